//! Copies of checkpoints off this host: what is held elsewhere cannot be rewritten together with the log.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use millrace::auditlog::Sealed;
use millrace::config::CheckpointCopy;
use millrace::lifecycle::Drain;
use millrace::retry::RetrySchedule;
use millrace::telemetry::{chain, fields};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::watch;

/// Shortest time between two copies. Each checkpoint covers all before it, so none in between is missed.
const PAUSE: Duration = Duration::from_secs(10);
/// Longest time that one copy may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same when the process ends, within the time of a drain.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Why a checkpoint is not held elsewhere.
#[derive(Debug, thiserror::Error)]
enum CopyFault {
    #[error("the command of compliance.checkpoint_copy cannot be run")]
    Run(#[source] std::io::Error),
    #[error("the command of compliance.checkpoint_copy ended with {0}")]
    Refused(std::process::ExitStatus),
    #[error("the copy took longer than {} s", .0.as_secs())]
    Slow(Duration),
    #[error("cannot write below the folder of compliance.checkpoint_copy")]
    Write(#[source] std::io::Error),
    #[error("the bucket of compliance.checkpoint_copy does not take an object")]
    Bucket(#[source] object_store::Error),
}

/// Copies the newest checkpoint whenever there is one.
pub(crate) struct Copier {
    target: CheckpointCopy,
    sealed: watch::Receiver<Option<Sealed>>,
}

impl Copier {
    pub(crate) fn new(target: CheckpointCopy, sealed: watch::Receiver<Option<Sealed>>) -> Self {
        Self { target, sealed }
    }

    /// Copies until drained. What fails is tried again, then with the newest checkpoint of that moment.
    pub(crate) async fn follow(mut self, drain: Drain) -> Self {
        let mut delays = RetrySchedule::connections().delays();
        metrics::gauge!(fields::AUDIT_COPIED_TIME).set(0.0);
        while !drain.begun() {
            let newest = self.sealed.borrow_and_update().clone();
            let pause = match newest {
                None => Duration::ZERO,
                Some(newest) => match tokio::select! {
                    copied = self.copy(&newest, PATIENCE) => copied,
                    // The farewell copies what is newest then.
                    () = drain.started() => break,
                } {
                    Ok(()) => {
                        delays = RetrySchedule::connections().delays();
                        PAUSE
                    }
                    Err(fault) => {
                        self.sealed.mark_changed();
                        metrics::counter!(fields::AUDIT_COPY_FAILED).increment(1);
                        tracing::error!(error = chain(&fault), "a checkpoint is not held off this host; trying again");
                        delays.next_delay()
                    }
                },
            };
            tokio::select! {
                () = drain.started() => {}
                changed = async {
                    tokio::time::sleep(pause).await;
                    self.sealed.changed().await
                } => if changed.is_err() { break },
            }
        }
        self
    }

    /// Copies the last checkpoint of this process, if that does not take long.
    pub(crate) async fn farewell(self) {
        let newest = self.sealed.borrow().clone();
        if let Some(newest) = newest
            && let Err(fault) = self.copy(&newest, LAST_PATIENCE).await
        {
            tracing::warn!(error = chain(&fault), "the last checkpoint is copied by the next start");
        }
    }

    async fn copy(&self, newest: &Sealed, patience: Duration) -> Result<(), CopyFault> {
        let copying = async {
            match &self.target {
                CheckpointCopy::Command(command) => run(command, newest).await,
                CheckpointCopy::Folder(folder) => write(folder, newest).await,
                CheckpointCopy::Bucket(bucket) => super::bucket::put(bucket, newest).await.map_err(CopyFault::Bucket),
            }
        };
        tokio::time::timeout(patience, copying).await.map_err(|_| CopyFault::Slow(patience))??;
        metrics::gauge!(fields::AUDIT_COPIED_TIME).set(newest.time.unix() as f64);
        metrics::gauge!(fields::AUDIT_COPIED_SIZE).set(newest.size as f64);
        Ok(())
    }
}

async fn run(command: &[String], newest: &Sealed) -> Result<(), CopyFault> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    // The log's private key may stand in this process's environment.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(CopyFault::Run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading closes the pipe; its exit code says whether that was right.
        let _ = stdin.write_all(newest.note.as_bytes()).await;
    }
    let status = child.wait().await.map_err(CopyFault::Run)?;
    if status.success() { Ok(()) } else { Err(CopyFault::Refused(status)) }
}

/// Is it a variable of Millrace's own configuration?
fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"MILLRACE")
}

/// A file a checkpoint, named by size and time; none is ever written twice.
async fn write(folder: &Path, newest: &Sealed) -> Result<(), CopyFault> {
    tokio::fs::create_dir_all(folder).await.map_err(CopyFault::Write)?;
    let path = folder.join(format!("{:020}-{}", newest.size, newest.time.unix()));
    if tokio::fs::read(&path).await.is_ok_and(|there| there == newest.note.as_bytes()) {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    let mut file = tokio::fs::File::create(&fresh).await.map_err(CopyFault::Write)?;
    file.write_all(newest.note.as_bytes()).await.map_err(CopyFault::Write)?;
    file.sync_all().await.map_err(CopyFault::Write)?;
    tokio::fs::hard_link(&fresh, &path).await.map_err(CopyFault::Write)?;
    tokio::fs::remove_file(&fresh).await.map_err(CopyFault::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_does_not_see_millraces_variables() {
        for (name, ours) in [("MILLRACE__COMPLIANCE__AUDIT_LOG_KEY", true), ("PATH", false), ("AWS_PROFILE", false)] {
            assert_eq!(is_ours(OsStr::new(name)), ours, "{name}");
        }
    }
}
