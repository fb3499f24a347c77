//! `millrace audit hold`: legal holds, as lines of the log.

use clap::{Args, Subcommand};
use millrace::auditlog::{HOLD_PLACED, HOLD_RELEASED, HoldRecord, holds, tenant_sequence};
use millrace::config::{Config, Process, start};
use millrace::contract::{CheckedContract, Contract, TenantId};
use serde_json::{Map, Value, json};

use super::folder;
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::hold;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = "Example: millrace audit hold place --org org_2abC --name case-17\n\
    A hold is for the lines that the tenant has now. Run it where compliance.audit_log_path is.";

/// Kind of target in audit lines.
const HOLD: &str = "hold";

#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Hold a tenant's lines; its erasures are suspended.
    Place(Change),
    /// Lift a hold.
    Release(Change),
    /// Show the holds that are in force; reads the whole log.
    List(List),
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// The tenant.
    #[arg(long)]
    org: String,
    /// The hold's name, of [a-z0-9-]: a case number, never a person.
    #[arg(long, value_parser = name)]
    name: String,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this tenant's.
    #[arg(long)]
    org: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

fn name(text: &str) -> Result<String, String> {
    let clean = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if clean { Ok(text.to_owned()) } else { Err("must be 1 to 64 of [a-z0-9-]".to_owned()) }
}

impl Hold {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        match self {
            Self::Place(change) => change.place(contract, screen).await,
            Self::Release(change) => change.release(contract, screen).await,
            Self::List(list) => list.run(contract, screen),
        }
    }
}

impl Change {
    async fn place(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let org = crate::tenants::tenant(&self.org)?;
        if holds(folder(&config)?)?.iter().any(|hold| hold.record.hold == self.name) {
            return Err(Usage(format!("there is a hold {} already: take another name", self.name)).into());
        }
        let Some((from_seq, to_seq)) = tenant_sequence(folder(&config)?, &org)? else {
            return Err(Usage(format!("the log has no line of {org}")).into());
        };
        let record = HoldRecord { org_id: org.to_string(), hold: self.name.clone(), from_seq, to_seq };
        self.act(&contract, &config, HOLD_PLACED, &record).await?;
        let text = format!("hold {} on lines {from_seq} to {to_seq} of {org}", self.name);
        screen.done(&text, json!(record));
        Ok(())
    }

    async fn release(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let org = crate::tenants::tenant(&self.org)?;
        let held = holds(folder(&config)?)?;
        let placed = held.into_iter().find(|hold| hold.record.hold == self.name && hold.record.org_id == org.as_str());
        let Some(placed) = placed else {
            let advice = format!("{org} has no hold {}: millrace audit hold list shows those there are", self.name);
            return Err(Usage(advice).into());
        };
        self.act(&contract, &config, HOLD_RELEASED, &placed.record).await?;
        screen.done(&format!("hold {} of {org} is lifted", self.name), json!(placed.record));
        Ok(())
    }

    async fn act(
        &self,
        contract: &CheckedContract,
        config: &Config,
        action: &str,
        record: &HoldRecord,
    ) -> Result<(), CommandFault> {
        let mut act = self.operator.act(contract, config).await?;
        let org = crate::tenants::tenant(&self.org)?;
        // The row is what suspends erasures; the line is the evidence.
        if action == HOLD_PLACED {
            hold::suspend(&mut act, &org, &self.name).await?;
        } else {
            hold::resume(&mut act, &org, &self.name).await?;
        }
        let metadata: Map<String, Value> = json!(record).as_object().cloned().unwrap_or_default();
        Ok(act.commit(&TenantId::operator(), action, (HOLD, &self.name), metadata).await?)
    }
}

impl List {
    fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (_, config) = start(contract, &self.config.path(), Process::Operator)?;
        let wanted = |org: &str| self.org.as_deref().is_none_or(|wanted| wanted == org);
        for hold in holds(folder(&config)?)?.iter().filter(|hold| wanted(&hold.record.org_id)) {
            let HoldRecord { org_id, hold: name, from_seq, to_seq } = &hold.record;
            let text = format!("{name}  {org_id}  lines {from_seq} to {to_seq}  {}  {}", hold.placed, hold.actor_id);
            let facts = json!({
                "hold": name, "org_id": org_id, "from_seq": from_seq, "to_seq": to_seq,
                "placed": hold.placed.to_string(), "actor_id": hold.actor_id,
            });
            screen.row(&text, &facts);
        }
        Ok(())
    }
}
