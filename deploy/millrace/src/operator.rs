//! Who acts, and with what.

use clap::Args;
use millrace::config::{Config, DatabaseUser};
use millrace::contract::CheckedContract;
use millrace::db::connect_options;
use millrace::pipeline::OperatorAct;

use crate::CommandFault;

/// The command cannot be meant like this.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Environment variable with the operator's name.
pub(crate) const OPERATOR_VARIABLE: &str = "MILLRACE_OPERATOR";

/// The name under which the audit log records the act.
#[derive(Debug, Args)]
pub(crate) struct OperatorName {
    /// Your name for the audit log [default: $MILLRACE_OPERATOR, else $SUDO_USER, else $USER]
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
}

impl OperatorName {
    /// A fixed name, for acts of a program.
    pub(crate) fn named(name: &str) -> Self {
        Self { operator: Some(name.to_owned()) }
    }

    /// The name itself.
    pub(crate) fn resolve(&self) -> Result<String, Usage> {
        let from = |variable| std::env::var(variable).ok().filter(|name: &String| !name.is_empty());
        let name = self.operator.clone().or_else(|| from(OPERATOR_VARIABLE)).or_else(|| from("SUDO_USER"));
        let name = name.or_else(|| from("USER")).ok_or_else(|| {
            Usage("the audit log needs to know who acts: give --operator NAME or set MILLRACE_OPERATOR".to_owned())
        })?;
        let clean = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b));
        if clean { Ok(name) } else { Err(Usage(format!("{name:?} is no operator name: use [A-Za-z0-9_.@-]"))) }
    }

    /// Begins an act under this name.
    pub(crate) async fn act(&self, contract: &CheckedContract, config: &Config) -> Result<OperatorAct, CommandFault> {
        let name = self.resolve()?;
        let missing = |what: &str| Usage(format!("{what} is not configured for operators"));
        let signer = config.publishers.signer("operator").ok_or_else(|| missing("a key of publisher operator"))?;
        let key = config.compliance.event_id_key.clone().ok_or_else(|| missing("compliance.event_id_key"))?;
        let options = connect_options(&config.database, DatabaseUser::Migrator)?;
        Ok(OperatorAct::begin(&options, signer, key, &name, contract).await?)
    }
}
