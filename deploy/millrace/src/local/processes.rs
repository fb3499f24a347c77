use std::fs;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that was found by what it carries, told apart from a later one with the same id by its start time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) name: String,
    started: u64,
}

impl Found {
    fn read(pid: u32) -> Option<Self> {
        let (name, parent, started) = parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        Some(Self { pid, parent, name, started })
    }

    pub(super) fn is_alive(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Signals exactly this process: the descriptor is taken before the check, so the id cannot be reused in between.
    pub(super) fn signal(&self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if self.is_alive() {
            let _ = pidfd_send_signal(descriptor, signal);
        }
    }
}

/// Whether a process with this id exists and is more than a zombie.
pub(super) fn is_running(pid: u32) -> bool {
    Found::read(pid).is_some()
}

/// All processes whose environment holds exactly `name=value`. Those of other accounts are invisible unless we are root.
pub(super) fn with_environment(name: &str, value: &str) -> Vec<Found> {
    let wanted = format!("{name}={value}");
    all()
        .into_iter()
        .filter(|pid| lists(*pid, "environ", |entry| entry == wanted.as_bytes()))
        .filter_map(Found::read)
        .collect()
}

pub(super) fn has_environment(pid: u32, name: &str) -> bool {
    let wanted = format!("{name}=");
    lists(pid, "environ", |entry| entry.starts_with(wanted.as_bytes()))
}

/// The postmaster of this cluster. Its process id file may be stale and its id reused, so the process must also have
/// been started with this very directory; PostgreSQL's child processes replace their arguments.
pub(super) fn postmaster(cluster: &Path) -> Option<Found> {
    let file = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    let pid: u32 = file.lines().next()?.trim().parse().ok()?;
    let wanted = cluster.as_os_str().as_encoded_bytes();
    lists(pid, "cmdline", |argument| argument == wanted).then(|| Found::read(pid))?
}

/// This process and those it descends from.
pub(super) fn ourselves() -> Vec<u32> {
    let mut line = vec![std::process::id()];
    while let Some(found) = line.last().copied().filter(|pid| *pid > 1).and_then(Found::read) {
        line.push(found.parent);
    }
    line
}

fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn lists(pid: u32, what: &str, matches: impl Fn(&[u8]) -> bool) -> bool {
    fs::read(format!("/proc/{pid}/{what}")).is_ok_and(|content| content.split(|byte| *byte == 0).any(matches))
}

/// Name, parent and start time of a process that is not a zombie. The name stands in parentheses and may hold any
/// character; the fields after the last parenthesis are numbered from 3 in proc(5).
fn parse_stat(stat: &str) -> Option<(String, u32, u64)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split(' ').collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    (!matches!(*state, "Z" | "X")).then_some((name.to_owned(), parent.parse().ok()?, started.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (odd) name) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 99 1000 2000";
        assert_eq!(parse_stat(stat), Some(("odd) name".to_owned(), 7, 99)));
        assert_eq!(parse_stat(&stat.replace(" S ", " Z ")), None);
    }

    #[test]
    fn a_process_is_found_by_its_whole_environment_entry_and_ends_when_signalled() {
        let value = format!("place-{}", std::process::id());
        let mut child = Command::new("sleep").arg("60").env("MILLRACE_PROCESSES_TEST", &value).spawn().unwrap();
        let found = loop {
            let found = with_environment("MILLRACE_PROCESSES_TEST", &value);
            if !found.is_empty() {
                break found;
            }
        };
        assert_eq!(found.iter().map(|found| found.pid).collect::<Vec<_>>(), [child.id()]);
        assert!(with_environment("MILLRACE_PROCESSES_TEST", &value[..value.len() - 1]).is_empty());
        assert_eq!(found[0].parent, std::process::id());
        found[0].signal(Signal::TERM);
        child.wait().unwrap();
        assert!(!found[0].is_alive());
    }

    #[test]
    fn we_are_among_ourselves() {
        assert!(ourselves().contains(&std::process::id()));
        assert!(ourselves().contains(&std::os::unix::process::parent_id()));
    }
}
