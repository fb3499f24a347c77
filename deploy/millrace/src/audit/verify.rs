//! `millrace audit verify`: is what is in a folder what was logged? Needs no database, no network and no configuration.

mod text;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use millrace::auditlog::verify::{Fault, Options, Policy, Report, VerifyFault, verify};

use crate::CommandFault;
use crate::operator::Usage;
use crate::screen::Screen;

/// Between two looks at the clock's face.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) const ABOUT: &str = "\
Examples:
  millrace audit verify /var/lib/millrace/audit
  millrace audit verify ./bundle --policy policy.txt --since-checkpoint last-years.note
  millrace audit verify ./tenant-export --json

PATH is the folder of a log, a copy of one, or what audit export and audit prove wrote. The policy names the keys that
count, a line each: log <vkey>, witness <name> <vkey>, group <name> <all|any|number> <members>, quorum <name|none>.
Without one the keys of vkeys.json in the folder itself count, which somebody who rewrote everything has rewritten, too.
Without --since-checkpoint a rollback of log and checkpoint together cannot be seen.

Exit codes and the names in \"fault\" of --json, which are stable:
  0 valid
  1 altered: line-altered line-inserted line-moved range-altered tile-altered line-foreign sequence-broken
    previous-hash-wrong duplicate-id retention-false ledger-contradicts proof-wrong
  2 missing: line-missing head-missing segment-missing tail-missing tile-missing checkpoint-missing history-missing
    part-missing
  3 signature or key: unknown-key signature-wrong key-not-valid note-malformed
  4 inconsistent history: history-inconsistent checkpoint-old rolled-back forked
  5 witness coverage: witnesses-missing
  64 usage, 70 a file cannot be read
With faults of several classes the exit code is that of the first of 3, 1, 2, 4, 5.";

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Folder of a log, of a copy of it, or of an export.
    path: PathBuf,
    /// Whose signatures count [default: the keys in vkeys.json of the folder]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A checkpoint that was kept somewhere else: the log has to go on from it.
    #[arg(long, value_name = "NOTE")]
    since_checkpoint: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(&self, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let policy = self.policy.as_deref().map(read).transpose()?;
        let policy = policy.map_or(Ok(Policy::default()), |text| Policy::parse(&text)).map_err(usage)?;
        let since = self.since_checkpoint.as_deref().map(read).transpose()?;
        let mut progress = Progress::start();
        let report = verify(&self.path, &Options { policy, since }, &mut |done, total| progress.show(done, total));
        progress.end();
        let report = report.map_err(usage)?;
        if screen.is_json() {
            screen.document(&document(&report)?);
        } else {
            text::lines(&report).iter().for_each(|line| screen.raw(line));
        }
        Ok(ExitCode::from(report.exit))
    }
}

/// The report with the result and the fault's stable name in front.
fn document(report: &Report) -> Result<serde_json::Value, CommandFault> {
    let mut document = serde_json::to_value(report)?;
    let fault = report.fault().map(Fault::name);
    document["result"] = if report.exit == 0 { "valid" } else { "not valid" }.into();
    document["fault"] = fault.into();
    Ok(document)
}

fn read(path: &Path) -> Result<String, CommandFault> {
    std::fs::read_to_string(path).map_err(|fault| Usage(format!("cannot read {}: {fault}", path.display())).into())
}

/// What was asked for cannot be meant; everything else is a file that cannot be read.
fn usage(fault: VerifyFault) -> CommandFault {
    match fault {
        VerifyFault::Policy { .. } | VerifyFault::Foreign(_) | VerifyFault::Since(_) | VerifyFault::Keys { .. } => {
            Usage(fault.to_string()).into()
        }
        fault => fault.into(),
    }
}

/// A bar on standard error, for people who wait longer than a moment.
struct Progress {
    began: Instant,
    shown: Option<Instant>,
}

impl Progress {
    fn start() -> Self {
        Self { began: Instant::now(), shown: None }
    }

    fn show(&mut self, done: u64, total: u64) {
        const WIDTH: u64 = 30;
        let last = self.shown.unwrap_or(self.began);
        if !std::io::stderr().is_terminal() || last.elapsed() < PAUSE {
            return;
        }
        self.shown = Some(Instant::now());
        let part = |of: u64| (done.min(total) * of).checked_div(total).unwrap_or(0);
        let filled = part(WIDTH) as usize;
        let bar = format!("{}{}", "#".repeat(filled), "-".repeat(WIDTH as usize - filled));
        // Without a standard error there is nobody to tell.
        let _ = write!(std::io::stderr(), "\r[{bar}] {:3} % of {} MiB", part(100), total >> 20);
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_fault_beside_its_exit_code() {
        for fault in Fault::ALL {
            let begin = ABOUT.find(&format!("\n  {} ", fault.exit())).expect("the code");
            let end = ABOUT[begin + 1..].find("\n  6").map_or(ABOUT.len(), |at| begin + 1 + at);
            let end =
                ABOUT[begin + 1..end].find(&format!("\n  {} ", fault.exit() + 1)).map_or(end, |at| begin + 1 + at);
            assert!(ABOUT[begin..end].split_whitespace().any(|word| word == fault.name()), "{}", fault.name());
            let json = serde_json::to_value(fault).expect("a name");
            assert_eq!(json, fault.name());
        }
    }
}
