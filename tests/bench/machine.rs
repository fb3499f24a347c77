//! What the figures were measured on.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use millrace_tests::Servers;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::percentiles::Sorted;
use super::report::Figures;

/// One write of the fsync measurement, and how many there are.
const BLOCK: usize = 4 << 10;
const WRITES: usize = 1_000;

/// Hardware, software, commit and date.
#[derive(Debug, Default)]
pub(crate) struct Machine(Vec<(&'static str, String)>);

impl Machine {
    pub(crate) async fn read(servers: &Servers) -> Self {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let model = after_colon("/proc/cpuinfo", "model name");
        let memory = after_colon("/proc/meminfo", "MemTotal");
        Self(vec![
            ("date", OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()),
            ("commit", commit()),
            ("CPU", format!("{cpus} × {model}")),
            ("memory", memory),
            ("kernel", said("uname", &["-sr"])),
            ("file system", said("stat", &["-f", "-c", "%T", &servers.data().display().to_string()])),
            ("PostgreSQL", postgres_version(servers).await),
            ("RabbitMQ", rabbitmq_version(servers).await),
            ("build", format!("release, {}", said("rustc", &["--version"]))),
        ])
    }

    pub(crate) fn json(&self) -> Value {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into()
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "{name:<12} {value}"))
    }
}

fn commit() -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let commit = said("git", &["-C", root, "rev-parse", "--short", "HEAD"]);
    let changed = said("git", &["-C", root, "status", "--porcelain"]);
    if changed.is_empty() { commit } else { format!("{commit} with changes") }
}

async fn postgres_version(servers: &Servers) -> String {
    let url = servers.postgres.lock().await.superuser_url("postgres");
    let mut connection = PgConnection::connect(&url).await.expect("a connection");
    let show = "SELECT concat_ws(', ', current_setting('server_version'), 'fsync ' || current_setting('fsync'),
        'synchronous_commit ' || current_setting('synchronous_commit'))";
    sqlx::query_scalar(show).fetch_one(&mut connection).await.expect("a version")
}

async fn rabbitmq_version(servers: &Servers) -> String {
    let version = servers.rabbit.lock().await.ctl(&["version"]).await.unwrap_or_default();
    version.trim().to_owned()
}

/// What a program prints, on one line; empty when it is not there.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn after_colon(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().filter(|line| line.starts_with(name)).find_map(|line| line.split_once(':'));
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// How many files this process, and those that it starts, may have open.
pub(crate) fn open_files() -> u64 {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(u64::MAX)
}

/// MiB that anybody may still write below a folder.
pub(crate) fn free_mib(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |found| (found.f_bavail * found.f_frsize) >> 20)
}

/// What a commit or confirm waits for at least: overwrites blocks of a file one after the other, as a write-ahead log does,
/// each followed by `fdatasync`.
pub(crate) fn fsync(folder: &Path, figures: &mut Figures) {
    let path = folder.join("fsync");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).expect("a file");
    file.write_all(&vec![0; BLOCK * WRITES]).expect("a written file");
    file.sync_all().expect("a durable file");
    file.seek(SeekFrom::Start(0)).expect("the beginning");
    let mut took = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&[1; BLOCK]).expect("a write");
        file.sync_data().expect("fdatasync");
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(&path).expect("a removed file");
    let took = Sorted::new(took);
    figures.add("fsync.p50", took.percentile(50.0));
    figures.add("fsync.p99", took.percentile(99.0));
}
