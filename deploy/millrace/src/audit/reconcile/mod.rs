//! `millrace audit reconcile`: what no file can show by itself, that nothing was lost between database and log.

mod compare;
mod database;
mod identity;
mod log;
mod sorter;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::pipeline::WINDOW;
use serde_json::{Map, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::progress::Progress;
use crate::screen::Screen;
use compare::{Awaited, Fault, FaultName, compare};
use log::Log;
use sorter::Sorter;

/// Exit code when the two do not agree.
const DISAGREE: u8 = 1;
/// How far the clocks of two processes, and the beginning and the end of a settlement, may lie apart. What is that close
/// to the window's edge is compared with, but not asked for.
const SLACK: time::Duration = time::Duration::hours(1);
/// Between two looks at a log that grows.
const PAUSE: Duration = Duration::from_millis(500);
/// Fewer lines show no progress.
const SHORT: u64 = 100_000;

pub(super) const ABOUT: &str = r"It reads the log's files and the database, over the 35 days that the inbox certainly remembers, and names each
settlement on which they do not agree:
  line_missing      a settled message or a dead letter has no line
  line_doubled      one settlement has two lines
  message_missing   a line has no message in the inbox and no dead letter
  line_foreign      a line's event id is not the one that its message, outcome and tenant give
  line_unreadable   no line of an audit log
Lines that are on their way are no fault: what waits in the outbox is known, and the log is watched for what is in the
audit queue, for --patience seconds. Acts of operators, and messages outside their publisher's grant, have no row.
Needs compliance.event_id_key as the workers have it, and the log's folder. Memory does not grow with the log; sorting
takes up to 150 bytes a line in $TMPDIR. Audited under your name as audit.reconcile.
Exit codes: 0 both agree, 1 they do not, 64 bad usage or configuration, 70 it failed on the way.";

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// Seconds to wait for lines that are in the audit queue.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    lines: u64,
    acts: u64,
    messages: u64,
    dead_letters: u64,
    in_flight: u64,
    faults: BTreeMap<FaultName, u64>,
}

impl Tally {
    /// Shows a fault and counts it.
    fn fault(&mut self, fault: &Fault, screen: &Screen) {
        screen.row(&fault.text, &fault.facts);
        *self.faults.entry(fault.name).or_default() += 1;
    }
}

impl Reconcile {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let folder = &config.compliance.audit_log_path;
        if !folder.join("seg").is_dir() {
            let text = format!("there is no audit log in {:?}: name its folder in compliance.audit_log_path", folder);
            return Err(Usage(text).into());
        }
        let missing = || Usage("compliance.event_id_key is not configured".to_owned());
        let key = config.compliance.event_id_key.clone().ok_or_else(missing)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(act.conn()).await?;
        let noted = act.note(&TenantId::operator(), "audit.reconcile", ("audit_log", "*"), Map::new())?;
        let mut start = now - WINDOW + SLACK;
        let (mut sorter, mut tally) = (Sorter::default(), Tally::default());
        // The log first: whatever has a line by now was committed before, and is among the rows that are read after it.
        let mut log = Log::since(folder, start - SLACK, &key);
        read(&mut log, &mut start, &mut sorter, &mut tally, screen)?;
        screen.step("reading the inbox, dead letters and the outbox");
        let mut rows = noted.commit_then_read().await?;
        database::messages(rows.conn(), start, &mut sorter, &mut tally).await?;
        database::dead_letters(rows.conn(), start, &mut sorter, &mut tally).await?;
        database::pending(rows.conn(), &key, &mut sorter, &mut tally).await?;
        let awaited = compare(sorter.sorted()?, &mut |fault| tally.fault(&fault, screen))?;
        let lost = watch(&mut log, awaited, Duration::from_secs(self.patience), screen).await?;
        lost.values().for_each(|text| tally.fault(&Fault::missing(text), screen));
        Ok(tally.conclude(start, screen))
    }
}

/// Reads the log to its present end. Where lines of the window are gone from the files, the window begins after them.
fn read(
    log: &mut Log<'_>,
    start: &mut OffsetDateTime,
    sorter: &mut Sorter,
    tally: &mut Tally,
    screen: &Screen,
) -> Result<(), CommandFault> {
    let end = log.lines()?;
    screen.step(&format!("reading the audit log, {end} lines"));
    let mut progress = Progress::of(end, "lines", SHORT);
    let mut first = true;
    loop {
        let lines = log.read(end)?;
        let Some(last) = lines.last() else { return Ok(()) };
        if std::mem::take(&mut first) {
            *start = log.oldest(&lines).map_or(*start, |oldest| (*start).max(oldest + SLACK));
        }
        for fault in log.offer(&lines, *start, sorter, tally)? {
            tally.fault(&fault, screen);
        }
        progress.show(last.place.lines);
    }
}

/// Waits for the lines of what is in the audit queue; returns what has none in the end.
async fn watch(
    log: &mut Log<'_>,
    mut awaited: Awaited,
    patience: Duration,
    screen: &Screen,
) -> Result<Awaited, CommandFault> {
    let until = Instant::now() + patience;
    let mut told = false;
    while !awaited.is_empty() {
        let lines = log.read(log.lines()?)?;
        for placed in &lines {
            if let Some(key) = log.settlement(placed) {
                awaited.remove(&key);
            }
        }
        if !lines.is_empty() {
            continue;
        }
        if Instant::now() >= until {
            break;
        }
        if !std::mem::replace(&mut told, true) {
            screen.step(&format!("waiting for {} lines that may be in the audit queue", awaited.len()));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(awaited)
}

impl Tally {
    fn conclude(&self, start: OffsetDateTime, screen: &Screen) -> ExitCode {
        let faults: u64 = self.faults.values().sum();
        let names: Map<String, serde_json::Value> =
            self.faults.iter().map(|(name, count)| (name.as_str().to_owned(), (*count).into())).collect();
        let since = millrace::contract::Timestamp::new(start).to_string();
        let text = format!(
            "{} messages, {} dead letters and {} lines since {since} ({} of them acts), {} lines on their way: {}",
            self.messages,
            self.dead_letters,
            self.lines,
            self.acts,
            self.in_flight,
            if faults == 0 { "they agree".to_owned() } else { format!("{faults} faults") },
        );
        let facts = json!({ "since": since, "messages": self.messages, "dead_letters": self.dead_letters,
            "lines": self.lines, "acts": self.acts, "in_flight": self.in_flight, "faults": names, "agree": faults == 0 });
        if faults == 0 {
            screen.done(&text, facts);
            return ExitCode::SUCCESS;
        }
        screen.row(&text, &facts);
        ExitCode::from(DISAGREE)
    }
}
