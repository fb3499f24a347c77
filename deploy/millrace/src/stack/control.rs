//! The state folder: who supervises it, what is wanted, what runs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::CommandFault;
use crate::local::Place;

/// A stack's folder. Its supervisor holds a lock for as long as it lives, so a stale pid is never signalled.
#[derive(Debug, Clone)]
pub(super) struct StateDir {
    root: PathBuf,
}

/// Held by the supervisor.
#[derive(Debug)]
pub(super) struct Supervising {
    _file: File,
}

impl StateDir {
    /// Makes the folder, with an id that names the stack's processes and the servers' data.
    pub(super) fn create(dir: &Path) -> Result<Self, CommandFault> {
        std::fs::create_dir_all(dir.join("logs")).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
        let state = Self { root: dir.canonicalize()? };
        if !state.id_file().exists() {
            let id = format!("stack-{}", hex::encode(rand::random::<[u8; 6]>()));
            state.write("id", &id, 0o644)?;
        }
        Ok(state)
    }

    /// The folder, if a stack was ever there.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, CommandFault> {
        if !dir.join("id").is_file() {
            return Ok(None);
        }
        Ok(Some(Self { root: dir.canonicalize()? }))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
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

    fn id_file(&self) -> PathBuf {
        self.root.join("id")
    }

    /// Where the servers keep their data. The id and not the path names it, so that a folder made anew starts afresh.
    pub(super) fn place(&self) -> Result<Place, CommandFault> {
        let id = std::fs::read_to_string(self.id_file())?;
        Ok(Place::reachable_for_servers(&self.root, id.trim())?)
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

    pub(super) async fn wait_until_unlocked(&self, patience: Duration) -> Result<(), CommandFault> {
        self.wait(patience, "the supervisor did not end", || Ok(self.lock()?.is_some())).await
    }

    pub(super) fn write_pid(&self) -> std::io::Result<()> {
        self.write("supervisor.pid", &std::process::id().to_string(), 0o644)
    }

    /// Signals the supervisor; callers have seen that its lock is held.
    pub(super) fn signal_supervisor(&self, signal: Signal) -> Result<(), CommandFault> {
        let text = std::fs::read_to_string(self.root.join("supervisor.pid"))?;
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
