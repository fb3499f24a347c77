use std::io::PipeWriter;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::programs::search_path;
use super::{LocalError, Place};

const SCRIPT: &str = include_str!("guard.sh");
const POLL: Duration = Duration::from_millis(20);
/// Longer than the script's own patience: 20 s in order and 5 s killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ties servers to the life of this process, even if it is killed with SIGKILL.
///
/// A small shell in a session of its own waits on a pipe that this process alone holds open. When the pipe closes (the
/// value is dropped, or the process is gone in whatever way) the shell stops the servers of the place and everything
/// else that carries its marker, waits until all of it is gone, and then removes the directories. It looks the processes
/// up at that moment, by their environment, so servers may be started, restarted and killed freely before.
///
/// The pipe's end is closed in every program this process starts, so neither servers nor workers keep the shell waiting.
#[derive(Debug)]
pub struct Guard {
    pipe: PipeWriter,
    shell: Child,
}

impl Guard {
    /// Begins to guard the place; best before its first server starts. `remove` are directories to delete at the end,
    /// with everything in them. If there are any, the servers' data is taken to be worthless and RabbitMQ is killed
    /// at once instead of being asked.
    ///
    /// # Errors
    /// When the place's directories cannot be created or no shell can be started.
    pub fn tie(place: &Place, remove: &[PathBuf]) -> Result<Self, LocalError> {
        let place = place.prepare()?;
        let shell_error = |source| LocalError::Spawn { program: "sh".to_owned(), source };
        let (reader, pipe) = std::io::pipe().map_err(shell_error)?;
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", SCRIPT, "millrace-guard", &place.marker]).arg(place.postgres());
        for directory in remove {
            command.arg(std::path::absolute(directory).map_err(LocalError::file("resolve", directory))?);
        }
        command.env_clear().env("PATH", search_path()).current_dir("/");
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null());
        let shell = command.spawn().map_err(shell_error)?;
        Ok(Self { pipe, shell })
    }

    /// Closes the pipe and waits until the servers are gone and the directories removed, for at most 30 s. After that
    /// the shell carries on alone.
    pub async fn finish(self) {
        let Self { pipe, mut shell } = self;
        drop(pipe);
        let begin = Instant::now();
        while matches!(shell.try_wait(), Ok(None)) && begin.elapsed() < PATIENCE {
            tokio::time::sleep(POLL).await;
        }
    }
}
