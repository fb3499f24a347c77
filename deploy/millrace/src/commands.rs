//! The table of commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use millrace::config;

use crate::compliance::{AccessReview, Breach, DataFlow, Evidence, Keys, Ropa};
use crate::screen::Screen;
use crate::stack::{Down, Scale, Up};
use crate::{
    App, CommandFault, asyncapi, audit, billing, check_config, coverage, dead, erasures, export, hold, migrate, new,
    openapi, prove, roles, send, stack, tenants, token, topology,
};

const AFTER: &str = "Exit codes: 0 done, 64 bad usage or configuration (all mistakes are listed), 65 something is not as \
    it should be, 69 something is not installed or not there, 70 it failed on the way.\n\
    Colours follow the terminal and NO_COLOR; --json writes one JSON object a line.";

/// Operates a Millrace deployment: databases, brokers, tenants, and a whole local stack.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    /// Write JSON lines instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// Configuration file [default: $MILLRACE_CONFIG, else ./millrace.toml]
    #[arg(long = "config", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl ConfigFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(config::default_path)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a private PostgreSQL and RabbitMQ with every process of Millrace, and send a signed sample event.
    Up(Up),
    /// Drain and stop what `up` started.
    Down(Down),
    /// Change how many workers of a running stack there are: `millrace scale billing=4`.
    Scale(Scale),
    /// Bring a database to this version's schema; with an admin URL also make roles and database.
    Migrate(migrate::Migrate),
    /// Declare queues, policies, users and permissions on a broker.
    Topology(topology::ApplyTopology),
    /// A tenant's life: create, import, link, suspend, resume, close, list.
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// What is dead and why: list, show, redrive, discard.
    #[command(subcommand)]
    Dead(dead::Dead),
    /// The audit log: verify, export, prove, reconcile, reindex, keygen, prune.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Legal holds: place, release, list. They suspend a tenant's erasures.
    #[command(subcommand)]
    Hold(hold::Hold),
    /// What was erased stays erased: apply the log's erasures to a restored database; erase a closed tenant.
    #[command(subcommand)]
    Erasures(erasures::Erasures),
    /// Exports of tenants' data: request, list, fetch; verify checks an archive offline.
    #[command(subcommand)]
    Export(export::Export),
    /// Show what each column holds of people, and whether erasure and export know it.
    Coverage(coverage::Coverage),
    /// What the billing provider knows and we may have missed: sync, reconcile.
    #[command(subcommand)]
    Billing(billing::Billing),
    /// Print every mistake of a configuration, for all processes at once.
    CheckConfig(check_config::CheckConfig),
    /// Print what internal services publish and consume, as an AsyncAPI 3.0 document.
    Asyncapi(asyncapi::AsyncApi),
    /// Prove that no tenant reaches another: catalogue, live probes, and defects made on a clone.
    Prove(prove::Prove),
    /// Send a signed sample webhook; needs no account with the provider and no network beyond the URL.
    Send(send::Send),
    /// Make a token of an issuer with a local secret, for development and tests; needs no server.
    Token(token::Token),
    /// Print the OpenAPI 3.1 document of the HTTP interface, with every command of the contract.
    Openapi,
    /// Print who may do what: the role table, and who may send each command.
    Roles,
    /// Which keys the deployment uses, how old they are, and which are due for rotation.
    #[command(subcommand)]
    Keys(Keys),
    /// Print who may do what in each tenant, when they last did, and which accounts are stale; that you looked is audited.
    AccessReview(AccessReview),
    /// Print where data goes: every queue, table and sink, as a diagram.
    DataFlow(DataFlow),
    /// Print the record of processing activities, or the retention schedule.
    Ropa(Ropa),
    /// Answer what a breach reached, from the audit log.
    #[command(subcommand)]
    Breach(Breach),
    /// Collect everything an auditor asks for into one indexed archive.
    Evidence(Evidence),
    /// Start a crate of your own: a command, a worker and a table beside everything built in, without a fork.
    New(new::New),
}

pub(crate) async fn dispatch(cli: Cli, app: App, screen: &Screen) -> Result<ExitCode, CommandFault> {
    let contract = app.contract.clone();
    match cli.command {
        Command::Up(up) => return stack::up(up, app, screen).await,
        Command::Down(down) => stack::down(down, screen).await?,
        Command::Scale(scale) => stack::scale(&scale, screen).await?,
        Command::Migrate(command) => command.run(app, screen).await?,
        Command::Topology(command) => command.run(contract, screen).await?,
        Command::Tenants(command) => command.run(contract, screen).await?,
        Command::Dead(command) => return command.run(contract, screen).await,
        Command::Audit(command) => return command.run(contract, screen).await,
        Command::Hold(command) => command.run(contract, screen).await?,
        Command::Erasures(command) => return command.run(contract, screen).await,
        Command::Export(command) => return command.run(contract, screen).await,
        Command::Coverage(command) => return command.run(contract, screen).await,
        Command::Billing(command) => return command.run(contract, screen).await,
        Command::CheckConfig(command) => return command.run(contract, screen),
        Command::Asyncapi(command) => command.run(contract, screen)?,
        Command::Prove(command) => return command.run(contract, screen).await,
        Command::Send(command) => command.run(screen).await?,
        Command::Token(command) => command.run(contract, screen)?,
        Command::Openapi => openapi::print(contract, screen)?,
        Command::Roles => roles::print(contract, screen)?,
        Command::Keys(command) => command.run(screen)?,
        Command::AccessReview(command) => command.run(contract, screen).await?,
        Command::DataFlow(command) => command.run(contract, screen)?,
        Command::Ropa(command) => command.run(contract, screen).await?,
        Command::Breach(command) => command.run(contract, screen).await?,
        Command::Evidence(command) => command.run(contract, screen).await?,
        Command::New(command) => command.run(screen)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Every command as it is typed, `tenants create` and the like included: what papers may name.
pub fn command_names() -> Vec<String> {
    fn gather(command: &clap::Command, before: &str, names: &mut Vec<String>) {
        for inner in command.get_subcommands() {
            let name = format!("{before}{}", inner.get_name());
            gather(inner, &format!("{name} "), names);
            names.push(name);
        }
    }
    let mut names = Vec::new();
    gather(&Cli::command(), "", &mut names);
    names
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_command_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
