//! `millrace check-config`

use std::process::ExitCode;

use clap::Args;
use millrace::config::{ConfigFault, Process, StartFault, start};
use millrace::contract::Contract;
use millrace::lifecycle::exit;
use serde_json::json;

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::screen::Screen;

#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    #[command(flatten)]
    config: ConfigFile,
    /// Check what one process needs instead of all.
    #[arg(long = "for", value_name = "PROCESS", default_value = "all",
          value_parser = ["all", "ingress", "worker", "relay", "audit", "operator", "token"])]
    process: String,
}

impl CheckConfig {
    pub(crate) fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let process = match self.process.as_str() {
            "ingress" => Process::Ingress,
            "worker" => Process::Worker,
            "relay" => Process::Relay,
            "audit" => Process::Audit,
            "operator" => Process::Operator,
            "token" => Process::Token,
            _ => Process::All,
        };
        let path = self.config.path();
        match start(contract, &path, process) {
            Err(StartFault::Config(ConfigFault::Mistakes(mistakes))) if screen.is_json() => {
                let listed: Vec<_> =
                    mistakes.iter().map(|m| json!({ "place": m.place, "problem": m.problem })).collect();
                screen.done("", json!({ "config": path, "for": self.process, "mistakes": listed }));
                return Ok(ExitCode::from(exit::USAGE));
            }
            started => drop(started?),
        }
        let facts = json!({ "config": path, "for": self.process, "mistakes": [] });
        screen.done(&format!("{} has no mistakes", path.display()), facts);
        Ok(ExitCode::SUCCESS)
    }
}
