//! `millrace tenants import`

mod apply;
mod lines;

use std::io::Read;

use clap::Args;
use millrace::config::{Process, start};
use millrace::contract::Contract;
use millrace::pipeline::OperatorAct;
use serde_json::json;

use super::plans::Plans;
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;
use apply::Counts;
use lines::{Entry, Mistakes};

pub(super) const EXAMPLE: &str = r#"Example: millrace tenants import tenants.jsonl --dry-run
One JSON object a line; plan and customer may be absent, and of the customer all but its id:
  {"org_id":"org_2abC","name":"Acme Ltd","plan":"pro","customer":{"provider":"stripe","account":"","livemode":true,"id":"cus_9s6X"}}
All mistakes are listed with their lines, and then nothing is imported. A second run changes nothing that is there."#;

/// Tenants of one transaction: it stays short, and what it locks.
const AT_ONCE: usize = 500;
/// Largest file: it is held in memory, since no line is imported before every line is checked.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file of JSON lines, or - for standard input.
    file: String,
    /// Check and count, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Import {
    pub(in crate::tenants) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let text = self.read()?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let entries = self.check(&text, self.operator.act(&contract, &config).await?).await?;
        let mut counts = Counts::default();
        let mut done = 0;
        for part in entries.chunks(AT_ONCE) {
            let act = self.operator.act(&contract, &config).await?;
            match apply::part(act, part, self.dry_run).await {
                Ok(more) => counts += more,
                Err(fault) => {
                    screen.step(&format!("stopped after {done} of {}; run it again to go on", entries.len()));
                    return Err(fault);
                }
            }
            done += part.len();
            screen.step(&format!("{done} of {} tenants", entries.len()));
        }
        self.show(&counts, screen);
        Ok(())
    }

    /// Every line, or every mistake.
    async fn check(&self, text: &str, mut act: OperatorAct) -> Result<Vec<Entry>, CommandFault> {
        let plans = Plans::read(act.conn()).await?;
        let (entries, mut mistakes) = lines::parse(text, &plans);
        for part in entries.chunks(AT_ONCE) {
            apply::linked_elsewhere(act.conn(), part).await?.into_iter().for_each(|line| {
                mistakes.add(line, "the customer is linked to another tenant");
            });
        }
        self.none(&mistakes)?;
        Ok(entries)
    }

    fn none(&self, mistakes: &Mistakes) -> Result<(), Usage> {
        if mistakes.is_empty() {
            return Ok(());
        }
        Err(Usage(format!("{} has mistakes; nothing was imported:{mistakes}", self.file)))
    }

    fn read(&self) -> Result<String, Usage> {
        let unreadable = |fault: std::io::Error| Usage(format!("cannot read {}: {fault}", self.file));
        let mut text = String::new();
        let read = if self.file == "-" {
            std::io::stdin().take(LARGEST_FILE + 1).read_to_string(&mut text)
        } else {
            let file = std::fs::File::open(&self.file).map_err(unreadable)?;
            file.take(LARGEST_FILE + 1).read_to_string(&mut text)
        };
        read.map_err(unreadable)?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(Usage(format!("{} is larger than {LARGEST_FILE} bytes: split it", self.file)));
        }
        Ok(text)
    }

    fn show(&self, counts: &Counts, screen: &Screen) {
        let Counts { created, present, linked, released } = counts;
        let would = if self.dry_run { "nothing was changed; it would be " } else { "" };
        let text = format!(
            "{would}{created} created, {present} there already, {linked} customer(s) linked, {released} waiting \
             message(s) released"
        );
        let facts = json!({ "created": created, "present": present, "linked": linked, "released": released,
                            "dry_run": self.dry_run });
        screen.done(&text, facts);
    }
}
