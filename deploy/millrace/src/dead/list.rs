//! `millrace dead list`

use clap::{Args, ValueEnum};
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::filters::Filters;
use super::letter::{Letter, moment};
use super::{DEAD_LETTER, PAGE, letter_id};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::OperatorName;
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = r"Examples:
  millrace dead list --newer-than 2h
  millrace dead list --tenant org_2abC --type projects.create --state redriven
  millrace dead list --limit 1000000 --json | jq -r .reason | sort | uniq -c
The next page begins after the last id of this one: --after ID. With --json every letter is one line.";

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    filters: Filters,
    /// Letters in this state.
    #[arg(long, value_enum, default_value_t = State::Open)]
    state: State,
    /// Most letters to show.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Go on after this letter, the last one of the page before.
    #[arg(long, value_name = "ID", value_parser = letter_id)]
    after: Option<Uuid>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// What was made of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Nothing yet.
    Open,
    /// Sent again.
    Redriven,
    /// Done with.
    Discarded,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
        }
    }
}

impl List {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let chosen = self.filters.fixed(act.conn()).await?;
        let noted = act.note(&TenantId::operator(), "dead.list", (DEAD_LETTER, "*"), self.facts())?;
        let mut read = noted.commit_then_read().await?;
        screen.tell(&columns(["ID", "TENANT", "TYPE", "REASON", "QUEUE", "ATTEMPTS", "REDRIVES", "DIED"]));
        let (mut after, mut left) = (self.after, self.limit);
        loop {
            // One more than is shown tells whether there is more.
            let most = i64::try_from(left.min(u64::from(PAGE))).unwrap_or(i64::MAX).saturating_add(1);
            let page = Letter::newest_first(read.conn(), &chosen, self.state.as_str(), after, most).await?;
            let shown = usize::try_from(most - 1).unwrap_or(usize::MAX);
            page.iter().take(shown).for_each(|letter| show(letter, screen));
            let Some(last) = page.get(shown.saturating_sub(1)).filter(|_| page.len() > shown) else { return Ok(()) };
            after = Some(last.id);
            left -= u64::try_from(shown).unwrap_or(left);
            if left == 0 {
                screen.tell(&format!("there are more: --after {}", last.id));
                return Ok(());
            }
        }
    }

    fn facts(&self) -> Map<String, Value> {
        let mut facts = self.filters.facts();
        facts.insert("state".to_owned(), self.state.as_str().into());
        facts
    }
}

fn show(letter: &Letter, screen: &Screen) {
    let (attempts, redrives) = (letter.attempts.to_string(), letter.redrives.to_string());
    let (id, died) = (letter.id.to_string(), moment(letter.created_at));
    let cells =
        [&id, &letter.org_id, letter.type_text(), &letter.reason, &letter.queue, &attempts, &redrives, died.as_str()];
    screen.row(&columns(cells), &letter.facts());
}

fn columns(cells: [&str; 8]) -> String {
    let [id, tenant, message_type, reason, queue, attempts, redrives, died] = cells;
    format!("{id:<36} {tenant:<20} {message_type:<20} {reason:<18} {queue:<22} {attempts:<8} {redrives:<8} {died}")
}
