use std::io;
use std::path::PathBuf;

/// Why a local server could not be started, stopped or asked. Every message says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// A program is not installed.
    #[error("{program} is not installed: run deploy/packages")]
    Missing {
        /// The program that was looked for.
        program: &'static str,
    },
    /// The data directory was created by another major version of PostgreSQL.
    #[error("{path} holds data of PostgreSQL {version}, which is not installed: install it, or remove the directory")]
    Version {
        /// The cluster's directory.
        path: PathBuf,
        /// The major version in its `PG_VERSION`.
        version: String,
    },
    /// Root must not run the server, and the account that should is missing.
    #[error("there is no account {user} to run the server as: run deploy/packages, or start as an ordinary user")]
    NoAccount {
        /// The service account of the Debian package.
        user: &'static str,
    },
    /// The service account cannot enter the directory because an ancestor is closed to others.
    #[error(
        "{closed} is closed to the account {user}: choose a directory that it can enter, such as /var/lib/millrace"
    )]
    Unreachable {
        /// The ancestor that others may not enter.
        closed: PathBuf,
        /// The service account that needs to.
        user: &'static str,
    },
    /// The directory was left by another account, for example by a run with `sudo`.
    #[error("{path} belongs to another account: start as that account, or remove the directory")]
    Owner {
        /// The directory in question.
        path: PathBuf,
    },
    /// An id that would name a directory has characters that a name must not have.
    #[error("{id:?} cannot name a directory: use letters, digits, '-', '_' and '.'")]
    Id {
        /// The id as given.
        id: String,
    },
    /// A file or directory could not be used.
    #[error("cannot {doing} {path}: {source}; check the directory and its owner")]
    File {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file that remembers a node's name, ports and secrets cannot be read as such.
    #[error("{path} is damaged: {source}; remove the directory it is in to start afresh")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// No port of 127.0.0.1 is free.
    #[error("no free port on 127.0.0.1: {0}")]
    NoPort(io::Error),
    /// The wanted port is in use.
    #[error("port {port} of 127.0.0.1 is in use: stop what uses it, or start without naming a port")]
    PortTaken {
        /// The port that was asked for.
        port: u16,
    },
    /// A program could not be started at all.
    #[error("cannot run {program}: {source}; run deploy/packages")]
    Spawn {
        /// The program.
        program: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The server ended before it was ready.
    #[error("{server} did not start ({reason}): read {}", log.display())]
    Failed {
        /// Which server.
        server: &'static str,
        /// How it ended.
        reason: String,
        /// The log that says why.
        log: PathBuf,
    },
    /// The server was not ready in time; it has been stopped again.
    #[error("{server} was not ready within {seconds} s: read {}", log.display())]
    TooSlow {
        /// Which server.
        server: &'static str,
        /// How long it was given, in seconds.
        seconds: u64,
        /// The log that says why.
        log: PathBuf,
    },
    /// A server already works on this data directory.
    #[error("{server} already runs on this data (process {pid}): stop it first, with deploy/down")]
    Running {
        /// Which server.
        server: &'static str,
        /// Its process id.
        pid: u32,
    },
    /// Processes survived SIGKILL for several seconds.
    #[error("processes {pids:?} do not end, even killed: look at them with ps")]
    Survivors {
        /// Their process ids.
        pids: Vec<u32>,
    },
    /// `rabbitmqctl` reported a failure.
    #[error("rabbitmqctl {command} failed: {output}")]
    Ctl {
        /// The command, without its arguments, which may hold secrets.
        command: String,
        /// What it printed.
        output: String,
    },
}

impl LocalError {
    /// For `map_err` on file operations.
    pub(super) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}
