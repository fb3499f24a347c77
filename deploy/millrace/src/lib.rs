//! The operator's command line of Millrace, and the local stack behind `deploy/up`.

mod asyncapi;
mod check_config;
mod commands;
mod http;
pub mod local;
mod migrate;
mod operator;
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

pub use asyncapi::asyncapi;
pub use migrate::{bootstrap, migrate};
pub use topology::{BrokerAdmin, apply_topology};

use commands::Cli;
use screen::Screen;

/// Errors of a whole command; shown once, with what to do next.
pub(crate) type CommandFault = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command line with a contract; adopters call it with theirs.
pub fn run(contract: Contract) -> ExitCode {
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
    match runtime.block_on(commands::dispatch(cli, contract, &screen)) {
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
