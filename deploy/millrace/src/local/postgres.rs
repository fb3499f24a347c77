use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::identity::RunAs;
use super::place::write_secret;
use super::server::Server;
use super::{LocalError, Place, ports, processes, programs};

const SUPERUSER: &str = "postgres";
const START_LIMIT: Duration = Duration::from_secs(60);
const INIT_LIMIT: Duration = Duration::from_secs(60);
const FAST_PATIENCE: Duration = Duration::from_secs(20);
const IMMEDIATE_PATIENCE: Duration = Duration::from_secs(10);
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Given on the command line, where no configuration file and no `ALTER SYSTEM` can undo them. Shared memory is kept
/// in the cluster's directory so that a killed server leaves nothing in `/dev/shm`. Logs hold neither parameters nor
/// details of errors, which would be row contents.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "dynamic_shared_memory_type=mmap",
    "logging_collector=off",
    "log_destination=stderr",
    "log_line_prefix=%m [%p] %q%u@%d ",
    "log_error_verbosity=terse",
    "log_parameter_max_length=0",
    "log_parameter_max_length_on_error=0",
];

/// Commits are still written to the kernel before they are confirmed, so they survive any crash of the server.
const RELAXED: &[&str] = &["fsync=off", "full_page_writes=off"];

/// What a confirmed commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power, as in production.
    Full,
    /// A crash of the server, also by SIGKILL, but not of the machine. For tests: commits do not wait for the disk.
    Relaxed,
}

/// How a PostgreSQL server is brought down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Breaks connections off, rolls their transactions back and writes a checkpoint.
    Fast,
    /// Like a crash: the next start recovers from the log.
    Immediate,
}

/// A private PostgreSQL server. When dropped while it runs it is told to stop, without waiting for it.
#[derive(Debug)]
pub struct Postgres {
    place: Place,
    durability: Durability,
    port: u16,
    password: String,
    server: Option<Server>,
}

impl Postgres {
    /// Starts a server for the place on a free port of 127.0.0.1, creating the cluster (superuser `postgres`, UTF-8,
    /// locale C.UTF-8) when there is none, and waits until it accepts connections.
    ///
    /// # Errors
    /// Any [`LocalError`]; nothing is left running then.
    pub async fn start(place: &Place, durability: Durability) -> Result<Self, LocalError> {
        let port = ports::pick(1)?.first().copied().unwrap_or_default();
        Self::start_on(place, durability, port).await
    }

    /// [`start`](Self::start) on a port of the caller's choice, to come back where clients expect the server.
    ///
    /// # Errors
    /// [`LocalError::PortTaken`] when the port is in use, or any other [`LocalError`]; nothing is left running then.
    pub async fn start_on(place: &Place, durability: Durability, port: u16) -> Result<Self, LocalError> {
        let place = place.prepare()?;
        let cluster = place.postgres();
        if let Some(found) = processes::postmaster(&cluster) {
            return Err(LocalError::Running { server: "PostgreSQL", pid: found.pid });
        }
        let runner = RunAs::decide(SUPERUSER)?;
        let password = password(&place, runner)?;
        if !cluster.join("PG_VERSION").is_file() {
            create_cluster(&place, runner).await?;
        }
        let mut postgres = Self { place, durability, port, password, server: None };
        postgres.start_again().await?;
        Ok(postgres)
    }

    /// The port on 127.0.0.1; the same for the life of this value.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster's process id while the server runs, for tests that stop or kill it from the outside.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref()?.pid()
    }

    /// Connection URL of the superuser, with its password.
    #[must_use]
    pub fn superuser_url(&self, database: &str) -> String {
        let database = utf8_percent_encode(database, NON_ALPHANUMERIC);
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Stops the server and waits until it is gone, escalating to SIGKILL when it takes too long. Does nothing when
    /// it is not running.
    pub async fn stop(&mut self, how: Stop) {
        let Some(mut server) = self.server.take() else { return };
        let fast = [(Signal::INT, FAST_PATIENCE)];
        let immediate = [(Signal::QUIT, IMMEDIATE_PATIENCE), (Signal::KILL, KILL_PATIENCE)];
        if how == Stop::Fast {
            server.end(&fast).await;
        }
        server.end(&immediate).await;
    }

    /// Starts the stopped (or crashed) server again on the same port and data. Does nothing when it is running.
    ///
    /// # Errors
    /// Any [`LocalError`]; nothing is left running then.
    pub async fn start_again(&mut self) -> Result<(), LocalError> {
        if self.pid().is_some() {
            return Ok(());
        }
        if !ports::is_free(self.port) {
            return Err(LocalError::PortTaken { port: self.port });
        }
        let (cluster, log) = (self.place.postgres(), log(&self.place));
        let command = self.command(&cluster)?;
        let mut server = Server::spawn("PostgreSQL", command, &log, Signal::INT)?;
        let port = self.port;
        let ready = server.wait_ready(START_LIMIT, async |pid| says_ready(&cluster, pid) && accepts(port).await).await;
        self.server = Some(server);
        if ready.is_err() {
            self.stop(Stop::Immediate).await;
        }
        ready
    }

    fn command(&self, cluster: &Path) -> Result<Command, LocalError> {
        let runner = RunAs::decide(SUPERUSER)?;
        runner.own_directory(cluster)?;
        let mut command = runner.command(&self.place, &programs_for(cluster)?.join("postgres"), cluster);
        command.arg("-D").arg(cluster).args(["-p", &self.port.to_string()]);
        let relaxed = if self.durability == Durability::Relaxed { RELAXED } else { &[] };
        command.args(SETTINGS.iter().chain(relaxed).flat_map(|setting| ["-c", setting]));
        Ok(command)
    }
}

fn log(place: &Place) -> PathBuf {
    place.logs.join("postgres.log")
}

/// The superuser's password, kept beside the cluster. The server's account owns the file: `initdb` reads it.
fn password(place: &Place, runner: RunAs) -> Result<String, LocalError> {
    let path = place.data.join("postgres.password");
    if !path.is_file() {
        write_secret(&path, hex::encode(rand::random::<[u8; 24]>()).as_bytes())?;
        runner.give(&path)?;
    }
    fs::read_to_string(&path).map_err(LocalError::file("read", &path))
}

/// Creates the cluster beside its final directory, so that an interrupted attempt is never mistaken for a cluster.
async fn create_cluster(place: &Place, runner: RunAs) -> Result<(), LocalError> {
    let (cluster, fresh) = (place.postgres(), place.data.join("postgres.new"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(LocalError::file("remove", &fresh))?;
    }
    runner.own_directory(&fresh)?;
    let program = programs::postgres(None).ok_or(LocalError::Missing { program: "PostgreSQL" })?.join("initdb");
    let mut command = runner.command(place, &program, &fresh);
    command.arg("-D").arg(&fresh).args(["-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]);
    command.args(["--no-sync", "--no-instructions", "--pwfile"]).arg(place.data.join("postgres.password"));
    let mut initdb = Server::spawn("initdb", command, &log(place), Signal::KILL)?;
    match initdb.wait_ready(INIT_LIMIT, async |_| false).await {
        Err(LocalError::Failed { .. }) if fresh.join("global/pg_control").is_file() => {}
        Err(error) => return Err(error),
        Ok(()) => {}
    }
    fs::rename(&fresh, &cluster).map_err(LocalError::file("rename", &fresh))
}

fn programs_for(cluster: &Path) -> Result<PathBuf, LocalError> {
    let path = cluster.join("PG_VERSION");
    let version = fs::read_to_string(&path).map_err(LocalError::file("read", &path))?.trim().to_owned();
    programs::postgres(Some(&version)).ok_or(LocalError::Version { path: cluster.to_owned(), version })
}

/// The postmaster's own word, as `pg_ctl` reads it: line 1 its process id, line 8 its state.
fn says_ready(cluster: &Path, pid: u32) -> bool {
    let Ok(file) = fs::read_to_string(cluster.join("postmaster.pid")) else { return false };
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    lines.first() == Some(&pid.to_string().as_str()) && lines.get(7) == Some(&"ready")
}

async fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
}
