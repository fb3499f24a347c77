//! Millrace's own programs, as processes.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// Path of a program of the workspace. A test builds it first if need be, so that plain `cargo test` works; what is no
/// test takes those beside itself, which were built as it was. `MILLRACE_PROGRAMS` names another folder.
///
/// # Panics
/// When the workspace does not build.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("MILLRACE_PROGRAMS") {
            return folder.into();
        }
        let this = std::env::current_exe().expect("this program");
        let own = this.parent().expect("a folder");
        // target/debug/deps/<test> stands one below the programs.
        if !own.ends_with("deps") {
            return own.to_owned();
        }
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let built = std::process::Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--bins", "--features", "millrace-tests/chaos"])
            .args(["--manifest-path", root])
            .status()
            .expect("cargo");
        assert!(built.success(), "the programs do not build");
        own.parent().expect("a target folder").to_owned()
    });
    folder.join(name)
}

/// Longest wait for a program to end; a drain takes five seconds at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. Dropped it is killed, as if by `kill -9`.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program with its standard error in `log`.
    ///
    /// # Panics
    /// When it cannot be started at all.
    pub fn start(name: &str, environment: &[(String, String)], log: &Path) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let mut command = Command::new(binary(name));
        command.envs(environment.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let child = command.kill_on_drop(true).spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
        Self { child, log: log.to_owned() }
    }

    /// The first line on standard output.
    ///
    /// # Panics
    /// When the program ends without one; the panic shows its log.
    pub async fn first_line(&mut self) -> String {
        self.announced().await.unwrap_or_else(|| panic!("ended: {}", self.log_text()))
    }

    /// The first line on standard output, unless the program ends without one.
    ///
    /// # Panics
    /// When it was asked before.
    pub async fn announced(&mut self) -> Option<String> {
        let stdout = self.child.stdout.take().expect("standard output");
        BufReader::new(stdout).lines().next_line().await.expect("standard output")
    }

    /// Has it not ended yet?
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Is it stopped, by SIGSTOP?
    pub fn is_stopped(&self) -> bool {
        let stat = self.child.id().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        stat.is_some_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, after)| after.starts_with('T')))
    }

    /// Signals it, if it has not ended: it is reaped by [`Program::is_running`] and [`Program::wait`] alone, so the id is
    /// its own.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// What it has logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Process id.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running program")
    }

    /// Process id, unless its end has been seen.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Panics
    /// When the process cannot be killed.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("kill");
    }

    /// SIGTERM, and waits for the end; returns the exit code.
    ///
    /// # Panics
    /// When it was ended by a signal.
    pub async fn terminate(mut self) -> i32 {
        self.signal(Signal::TERM);
        self.wait().await
    }

    /// Waits for the end; returns the exit code.
    ///
    /// # Panics
    /// When it was ended by a signal, or does not end.
    pub async fn wait(&mut self) -> i32 {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("did not end: {}", self.log_text())).expect("wait");
        status.code().unwrap_or_else(|| panic!("ended by a signal: {}", self.log_text()))
    }
}

/// Sends a signal to a process that is no [`Program`], such as a server.
///
/// # Panics
/// When it is not there.
pub fn send_signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("a process id");
    kill_process(pid, signal).expect("a process");
}

/// Runs `millrace` with arguments and environment to its end; its standard input is empty, and no terminal.
///
/// # Panics
/// When it cannot be started.
pub async fn run_cli(arguments: &[&str], environment: &[(String, String)]) -> Output {
    run_cli_fed(arguments, environment, b"").await
}

/// Runs `millrace` to its end with this on standard input.
///
/// # Panics
/// When it cannot be started.
pub async fn run_cli_fed(arguments: &[&str], environment: &[(String, String)], input: &[u8]) -> Output {
    let mut command = Command::new(binary("millrace"));
    command.args(arguments).envs(environment.iter().cloned()).env("NO_COLOR", "1").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("millrace");
    let mut stdin = child.stdin.take().expect("a standard input");
    let feed = async move {
        // A program that ends without reading closes the pipe, which is its right.
        let _ = stdin.write_all(input).await;
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    output.expect("millrace")
}
