//! The processes of Millrace itself: started beside this program, each with a log of its own, started again when one
//! dies.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::control::StateDir;
use crate::CommandFault;
use crate::local::MARKER;

/// A drain ends within five seconds by contract; then it is no drain any more.
const DRAIN: Duration = Duration::from_secs(8);

/// The processes that run, by program and number.
#[derive(Debug)]
pub(super) struct Processes {
    state: StateDir,
    marker: String,
    programs: PathBuf,
    running: BTreeMap<(String, usize), Child>,
}

impl Processes {
    /// Programs stand beside this one.
    pub(super) fn new(state: StateDir, marker: String) -> Result<Self, CommandFault> {
        let own = std::env::current_exe()?;
        let programs = own.parent().ok_or("this program has no folder")?.to_owned();
        Ok(Self { state, marker, programs, running: BTreeMap::new() })
    }

    /// Starts the `number`th process of a program, if it does not run.
    pub(super) fn ensure(&mut self, name: &str, number: usize) -> Result<(), CommandFault> {
        let key = (name.to_owned(), number);
        if let Some(child) = self.running.get_mut(&key)
            && child.try_wait()?.is_none()
        {
            return Ok(());
        }
        let log = append(&self.state.logs().join(format!("{name}-{number}.log")))?;
        let program = self.programs.join(format!("millrace-{name}"));
        let mut command = Command::new(&program);
        command
            .env("MILLRACE_CONFIG", self.state.config_file())
            .env(MARKER, &self.marker)
            .current_dir(self.state.root())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at the terminal is for the supervisor, which drains in order.
            .process_group(0);
        if name != "ingress" {
            command.env("MILLRACE__HTTP__ADMIN_LISTEN", "127.0.0.1:0");
        }
        let child = command.spawn().map_err(|e| format!("cannot run {}: {e}; build all of it", program.display()))?;
        self.running.insert(key, child);
        Ok(())
    }

    /// Starts and stops processes of a program until `count` run.
    pub(super) async fn scale(&mut self, name: &str, count: usize) -> Result<(), CommandFault> {
        for number in 0..count {
            self.ensure(name, number)?;
        }
        let surplus: Vec<_> = self.running.keys().filter(|(n, i)| n == name && *i >= count).cloned().collect();
        self.stop(surplus).await;
        Ok(())
    }

    /// Starts again what died; returns what that was, with its log.
    pub(super) fn revive(&mut self) -> Result<Vec<(String, PathBuf)>, CommandFault> {
        let mut dead = Vec::new();
        for (key, child) in &mut self.running {
            if child.try_wait()?.is_some() {
                dead.push(key.clone());
            }
        }
        for (name, number) in &dead {
            self.ensure(name, *number)?;
        }
        Ok(dead.into_iter().map(|(n, i)| (n.clone(), self.state.logs().join(format!("{n}-{i}.log")))).collect())
    }

    /// Drains in the order of the road, so that what is accepted still gets through: edge, workers, relay, audit.
    pub(super) async fn stop_all(&mut self) {
        let rank = |name: &str| match name {
            "ingress" => 0,
            "relay" => 2,
            "audit" => 3,
            _ => 1,
        };
        for turn in 0..=3 {
            let now: Vec<_> = self.running.keys().filter(|(name, _)| rank(name) == turn).cloned().collect();
            self.stop(now).await;
        }
    }

    async fn stop(&mut self, keys: Vec<(String, usize)>) {
        let mut stopping = Vec::new();
        for key in keys {
            if let Some(child) = self.running.remove(&key) {
                let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
                // One that is gone already has nothing to drain.
                let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
                stopping.push(child);
            }
        }
        for mut child in stopping {
            if tokio::time::timeout(DRAIN, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Starts this program again with `up --detached`, in a session of its own.
pub(super) fn spawn_detached(
    state: &StateDir,
    workers: &[(String, usize)],
    log: &Path,
) -> Result<std::process::Child, CommandFault> {
    state.set_ready(false)?;
    let log = File::create(log)?;
    // setsid(1) of util-linux: a session of its own outlives the terminal.
    let mut command = std::process::Command::new("setsid");
    command.arg(std::env::current_exe()?).args(["up", "--detached", "--state"]).arg(state.root());
    for (name, count) in workers {
        command.arg("--workers").arg(format!("{name}={count}"));
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}
