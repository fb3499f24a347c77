//! The state folder: who supervises it, what is wanted, what runs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::CommandFault;
use crate::local::Place;
use crate::operator::Usage;

/// A stack's folder. Its supervisor holds a lock for as long as it lives; a pid is signalled only while the lock is held
/// and the process is one of ours.
#[derive(Debug, Clone)]
pub(super) struct StateDir {
    root: PathBuf,
}

/// Which stack a folder is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    /// Marks its processes and names its servers' data.
    id: String,
    /// Where it was made: a copied folder is no second stack.
    root: PathBuf,
}

/// Every file that a stack writes into its folder, beside its sub-folders.
const FILES: [&str; 9] = [
    "env",
    "lock",
    "millrace.toml",
    "ports.json",
    "ready",
    "running.json",
    "supervisor.pid",
    "workers.json",
    "stack.json",
];

fn fresh_id() -> String {
    format!("stack-{}", hex::encode(rand::random::<[u8; 6]>()))
}

/// Held by the supervisor.
#[derive(Debug)]
pub(super) struct Supervising {
    _file: File,
}

impl StateDir {
    /// Makes the folder, with an id that names the stack's processes and the servers' data.
    pub(super) fn create(dir: &Path) -> Result<Self, CommandFault> {
        std::fs::create_dir_all(dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
        if let Some(state) = Self::open(dir)? {
            return Ok(state);
        }
        if std::fs::read_dir(dir)?.next().is_some() {
            let problem = format!("{} is not empty and holds no stack: name a new folder with --state", dir.display());
            return Err(Usage(problem).into());
        }
        let state = Self { root: dir.canonicalize()? };
        std::fs::create_dir(state.logs())?;
        let id = Identity { id: fresh_id(), root: state.root.clone() };
        state.write("stack.json", &serde_json::to_string(&id)?, 0o644)?;
        Ok(state)
    }

    /// The folder, if a stack was ever there.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, CommandFault> {
        let state = match dir.canonicalize() {
            Ok(root) => Self { root },
            Err(_) => return Ok(None),
        };
        if !state.identity_file().is_file() {
            return Ok(None);
        }
        let identity = state.identity()?;
        if identity.root != state.root {
            let problem = format!(
                "{} is a copy of the stack in {}, and its servers' data is still that one's",
                state.root.display(),
                identity.root.display()
            );
            return Err(Usage(problem).into());
        }
        Ok(Some(state))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of the audit log.
    pub(super) fn audit_log(&self) -> PathBuf {
        self.root.join("audit")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.root.join("millrace.toml")
    }

    pub(super) fn env_file(&self) -> PathBuf {
        self.root.join("env")
    }

    fn identity_file(&self) -> PathBuf {
        self.root.join("stack.json")
    }

    fn identity(&self) -> Result<Identity, CommandFault> {
        let file = self.identity_file();
        let identity = serde_json::from_slice(&std::fs::read(&file)?);
        identity.map_err(|e| Usage(format!("{} is not of a stack: {e}", file.display())).into())
    }

    /// Removes what a stack wrote, and the folder if nothing else is in it.
    pub(super) fn purge(&self) -> Result<(), CommandFault> {
        let data = self.place()?.data;
        for folder in [data, self.logs(), self.root.join("keys"), self.root.join("audit")] {
            if folder.exists() {
                std::fs::remove_dir_all(folder)?;
            }
        }
        for file in FILES {
            let file = self.root.join(file);
            if file.exists() {
                std::fs::remove_file(file)?;
            }
        }
        // Somebody else's files keep the folder.
        let _ = std::fs::remove_dir(&self.root);
        Ok(())
    }

    /// Where the servers keep their data. The id and not the path names it, so that a folder made anew starts afresh.
    pub(super) fn place(&self) -> Result<Place, CommandFault> {
        Ok(Place::reachable_for_servers(&self.root, &self.identity()?.id)?)
    }

    /// Takes the lock; `None` while a supervisor lives.
    pub(super) fn lock(&self) -> std::io::Result<Option<Supervising>> {
        let file = OpenOptions::new().create(true).append(true).open(self.root.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Supervising { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Takes the lock once the supervisor has ended.
    pub(super) async fn wait_for_lock(&self, patience: Duration) -> Result<Supervising, CommandFault> {
        let mut taken = None;
        self.wait(patience, "the supervisor did not end", || {
            taken = self.lock()?;
            Ok(taken.is_some())
        })
        .await?;
        taken.ok_or_else(|| "the supervisor did not end".into())
    }

    pub(super) fn write_pid(&self) -> std::io::Result<()> {
        self.write("supervisor.pid", &std::process::id().to_string(), 0o644)
    }

    /// Signals the supervisor; callers have seen that its lock is held. The pid is checked against the process's own
    /// arguments, since another probe of the lock may have made the caller believe in a supervisor.
    pub(super) fn signal_supervisor(&self, signal: Signal) -> Result<(), CommandFault> {
        let text = std::fs::read_to_string(self.root.join("supervisor.pid"))?;
        let arguments = std::fs::read(format!("/proc/{}/cmdline", text.trim())).unwrap_or_default();
        if !arguments.split(|b| *b == 0).any(|argument| argument == b"up") {
            return Err(format!("process {} is no supervisor: try again", text.trim()).into());
        }
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).ok_or("supervisor.pid holds no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    pub(super) fn set_ready(&self, ready: bool) -> std::io::Result<()> {
        if ready {
            return self.write("ready", "", 0o644);
        }
        match std::fs::remove_file(self.root.join("ready")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.root.join("ready").exists()
    }

    pub(super) fn read_counts(&self) -> Result<BTreeMap<String, usize>, CommandFault> {
        Ok(serde_json::from_slice(&std::fs::read(self.root.join("workers.json"))?)?)
    }

    pub(super) fn write_counts(&self, counts: &BTreeMap<String, usize>) -> Result<(), CommandFault> {
        Ok(self.write("workers.json", &serde_json::to_string(counts)?, 0o644)?)
    }

    /// The supervisor's own word on what runs.
    pub(super) fn write_running(&self, counts: &BTreeMap<String, usize>) -> Result<(), CommandFault> {
        Ok(self.write("running.json", &serde_json::to_string(counts)?, 0o644)?)
    }

    pub(super) async fn wait_for_counts(
        &self,
        counts: &BTreeMap<String, usize>,
        patience: Duration,
    ) -> Result<(), CommandFault> {
        self.wait(patience, "the supervisor did not change the counts", || {
            let running = std::fs::read(self.root.join("running.json"))?;
            Ok(serde_json::from_slice::<BTreeMap<String, usize>>(&running).is_ok_and(|running| running == *counts))
        })
        .await
    }

    pub(super) fn read_env(&self) -> std::io::Result<Vec<(String, String)>> {
        let text = std::fs::read_to_string(self.env_file())?;
        Ok(text
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect())
    }

    /// Replaces a file in one step, so that nobody reads half of it.
    pub(super) fn write(&self, name: &str, text: &str, mode: u32) -> std::io::Result<()> {
        let fresh = self.root.join(format!("{name}.new"));
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(fresh, self.root.join(name))
    }

    async fn wait(
        &self,
        patience: Duration,
        otherwise: &str,
        mut done: impl FnMut() -> std::io::Result<bool>,
    ) -> Result<(), CommandFault> {
        let deadline = tokio::time::Instant::now() + patience;
        while !done()? {
            if tokio::time::Instant::now() > deadline {
                let logs = self.logs();
                return Err(
                    format!("{otherwise} within {} s: read {}/up.log", patience.as_secs(), logs.display()).into()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}
