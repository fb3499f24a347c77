use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{LocalError, processes};

const POLL: Duration = Duration::from_millis(20);

/// One running server process. A plain child that is polled, not one of the runtime's: it outlives the runtime it was
/// started in, as servers shared by tests do.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
    farewell: Signal,
}

impl Server {
    /// Starts the command with its output appended to `log`. When dropped it gets `farewell`, and nobody waits.
    pub(super) fn spawn(
        name: &'static str,
        mut command: Command,
        log: &Path,
        farewell: Signal,
    ) -> Result<Self, LocalError> {
        let output = OpenOptions::new().create(true).append(true).open(log).map_err(LocalError::file("open", log))?;
        let errors = output.try_clone().map_err(LocalError::file("open", log))?;
        let spawned = command.stdout(output).stderr(errors).spawn();
        let child = spawned.map_err(|source| LocalError::Spawn { program: name.to_owned(), source })?;
        Ok(Self { name, child, log: log.to_owned(), farewell })
    }

    /// The process id, unless the process has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.child.id()).filter(|pid| processes::is_running(*pid))
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Polls `ready` until it holds.
    pub(super) async fn wait_ready(
        &mut self,
        limit: Duration,
        mut ready: impl AsyncFnMut(u32) -> bool,
    ) -> Result<(), LocalError> {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(LocalError::Failed {
                    server: self.name,
                    reason: status.to_string(),
                    log: self.log.clone(),
                });
            }
            if ready(self.child.id()).await {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(LocalError::TooSlow { server: self.name, seconds: limit.as_secs(), log: self.log.clone() })
    }

    /// Sends the signals one after the other, each time waiting for as long as it is given, until the process is gone.
    pub(super) async fn end(&mut self, steps: &[(Signal, Duration)]) {
        for (signal, patience) in steps {
            self.signal(*signal);
            let begin = Instant::now();
            while self.is_running() && begin.elapsed() < *patience {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// The child is reaped only by [`is_running`](Self::is_running), so its process id cannot have been reused here.
    fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(self.farewell);
    }
}
