//! Private PostgreSQL and RabbitMQ, one pair for the whole run, further pairs for tests that break theirs.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use millrace_cli::local::{Durability, Guard, LocalError, Place, Postgres, RabbitMq};
use tokio::sync::Mutex;

/// One pair of servers.
pub struct Servers {
    /// Behind a lock, since tests of outages stop and start it.
    pub postgres: Mutex<Postgres>,
    /// Likewise.
    pub rabbit: Mutex<RabbitMq>,
    /// Further nodes of the broker's cluster.
    pub further: Mutex<Vec<RabbitMq>>,
    marker: String,
    data: PathBuf,
    _guard: Guard,
}

impl Servers {
    /// Starts a pair that nobody else uses.
    ///
    /// # Panics
    /// When a server does not start; the message names the log.
    pub async fn start() -> Self {
        Self::start_with_brokers(1).await
    }

    /// Starts a pair that nobody else uses, with a cluster of so many nodes for a broker.
    ///
    /// # Panics
    /// When a server does not start; the message names the log.
    pub async fn start_with_brokers(brokers: usize) -> Self {
        Self::with(Durability::Relaxed, brokers).await.unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Starts a pair whose commits and confirms survive the loss of power, as in production.
    ///
    /// # Errors
    /// A server is not installed or does not start; the message says what to do.
    pub async fn durable() -> Result<Self, LocalError> {
        Self::with(Durability::Full, 1).await
    }

    async fn with(durability: Durability, brokers: usize) -> Result<Self, LocalError> {
        let folder = std::env::temp_dir().join(format!("millrace-test-{}", uuid::Uuid::now_v7().simple()));
        let place = place(&folder);
        let guard = Guard::tie(&place, &[folder, place.data.clone()])?;
        let (postgres, rabbit) = tokio::join!(Postgres::start(&place, durability), RabbitMq::start(&place));
        let rabbit = rabbit?;
        let Place { marker, data, logs } = place;
        let mut further = Vec::new();
        for number in 2..=brokers {
            let beside = |folder: &PathBuf| folder.join(format!("node-{number}"));
            let place = Place { data: beside(&data), logs: beside(&logs), marker: marker.clone() };
            further.push(RabbitMq::join(&place, &rabbit).await?);
        }
        Ok(Self {
            postgres: Mutex::new(postgres?),
            rabbit: Mutex::new(rabbit),
            further: Mutex::new(further),
            marker,
            data,
            _guard: guard,
        })
    }

    /// Where they keep their data.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Value of the marker that lets the guard find processes of this pair.
    pub fn marker(&self) -> &str {
        &self.marker
    }
}

fn place(folder: &PathBuf) -> Place {
    std::fs::create_dir_all(folder).expect("a folder for the servers");
    let id = folder.file_name().and_then(|name| name.to_str()).expect("a name");
    Place::reachable_for_servers(folder, id).expect("a place")
}

/// The pair that most tests share. It lives in a runtime of its own, since each test's ends with the test.
pub fn shared_servers() -> &'static Servers {
    static SHARED: OnceLock<Servers> = OnceLock::new();
    SHARED.get_or_init(|| {
        let starting = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            let servers = runtime.block_on(Servers::start());
            // The servers' tasks go on for as long as the process.
            std::mem::forget(runtime);
            servers
        });
        starting.join().expect("the servers")
    })
}
