//! The operator's command line of Millrace, and the local stack behind `deploy/up`.

mod asyncapi;
mod audit;
mod billing;
mod check_config;
mod commands;
mod compliance;
mod coverage;
mod dead;
mod erasures;
mod export;
mod hold;
mod http;
pub mod local;
mod migrate;
mod new;
pub mod openapi;
mod operator;
mod progress;
mod prove;
mod roles;
pub mod sample;
mod screen;
mod send;
mod stack;
mod tenants;
mod token;
mod topology;

use std::process::ExitCode;

use clap::Parser;
use millrace::config::{ConfigFault, StartFault};
use millrace::contract::Contract;
use millrace::lifecycle::exit;
use sqlx::migrate::Migrator;

pub use asyncapi::asyncapi;
pub use commands::command_names;
pub use compliance::{data_flow, retention_schedule};
pub use coverage::{Column, columns};
pub use migrate::{bootstrap, migrate};
pub use openapi::openapi;
pub use prove::{Exception, Failure, Proof, ProveFault, prove};
pub use roles::{roles_json, roles_markdown};
pub use topology::{BrokerAdmin, apply_topology};

use commands::Cli;
use screen::Screen;

/// Errors of a whole command; shown once, with what to do next.
pub(crate) type CommandFault = Box<dyn std::error::Error + Send + Sync>;

/// The command line of one deployment: Millrace's own, or that of an adopter.
#[derive(Debug)]
pub struct App {
    pub(crate) contract: Contract,
    pub(crate) migrations: Option<Migrator>,
}

impl App {
    /// The command line for a contract.
    pub fn new(contract: Contract) -> Self {
        Self { contract, migrations: None }
    }

    /// Gives it the adopter's own migrations, `sqlx::migrate!()`. They are applied after Millrace's, as the owner, and
    /// are remembered in a table of their own, so that both number their files from 1.
    #[must_use]
    pub fn migrations(mut self, mut migrations: Migrator) -> Self {
        migrations.dangerous_set_table_name(migrate::ADOPTERS_TABLE);
        self.migrations = Some(migrations);
        self
    }

    /// Runs the command that the program's arguments name.
    pub fn run(self) -> ExitCode {
        command(self)
    }
}

/// Runs the command line with a contract that has no migrations of its own.
pub fn run(contract: Contract) -> ExitCode {
    App::new(contract).run()
}

fn command(app: App) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    let screen = Screen::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return screen.fail(exit::SOFTWARE, &fault),
    };
    match runtime.block_on(commands::dispatch(cli, app, &screen)) {
        Ok(code) => code,
        Err(fault) => screen.fail(exit_code(fault.as_ref()), fault.as_ref()),
    }
}

/// 64 for configuration and usage, 69 for what is not there, 70 for the rest.
fn exit_code(fault: &(dyn std::error::Error + 'static)) -> u8 {
    if fault.is::<StartFault>() || fault.is::<ConfigFault>() || fault.is::<operator::Usage>() {
        return exit::USAGE;
    }
    match fault.downcast_ref::<local::LocalError>() {
        Some(local::LocalError::Missing { .. } | local::LocalError::NoAccount { .. }) => exit::UNAVAILABLE,
        _ => exit::SOFTWARE,
    }
}
