//! `[database]`: where PostgreSQL is, and one login for each role.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::{Login, Process, Reader, compliance::hex_secret};

/// The roles a process can log in as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatabaseUser {
    /// Workers: tenant tables under RLS, INSERT on the outbox.
    App,
    /// The relay: due rows of outbox and `parked`.
    Relay,
    /// The read routes of the ingress: tenant tables under RLS, SELECT alone; may be pointed at a replica.
    Reader,
    /// The indexer of the audit log: adds lines to the index and sees none.
    Indexer,
    /// Migrations and operator acts; becomes the owner for them.
    Migrator,
}

impl DatabaseUser {
    /// Every user.
    pub const ALL: [Self; 5] = [Self::App, Self::Relay, Self::Reader, Self::Indexer, Self::Migrator];

    /// Key of its login in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Relay => "relay",
            Self::Reader => "reader",
            Self::Indexer => "indexer",
            Self::Migrator => "migrator",
        }
    }
}

/// What stands between the processes and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing, or a proxy that gives each connection a session of its own.
    None,
    /// A pooler that may give each transaction another session, as PgBouncer does with `pool_mode = transaction`.
    Transaction,
}

/// Where the database is and who we are there.
#[derive(Debug)]
pub struct DatabaseConfig {
    /// `postgres://host:port/database?sslmode=verify-full`, without user and password. For operators' acts and
    /// migrations, which need a session of their own, this is `database.direct_url` where that is set.
    pub url: Option<Url>,
    /// What the addresses lead to.
    pub pooler: Pooler,
    /// Where the reader reads, such as a replica; [`Self::url`] when absent.
    pub read_url: Option<Url>,
    /// The logins this process needs.
    pub logins: BTreeMap<DatabaseUser, Login>,
    /// Key of the sealed tenant context; workers and read routes hold it in memory, PostgreSQL holds its pads.
    pub context_key: Option<secrecy::SecretSlice<u8>>,
    /// Connections of a worker's main pool.
    pub connections: u32,
    /// Connections of the read routes.
    pub read_connections: u32,
    /// Longest transaction of a batch. The server bounds every statement, so one that takes longer has no answer to wait for.
    pub batch_timeout: Duration,
}

/// Connections of either pool, where none are named.
const CONNECTIONS: u32 = 8;
/// Most connections a pool may be given.
const MOST_CONNECTIONS: u64 = 500;

impl DatabaseConfig {
    pub(super) fn read(s: &mut Reader, process: Process) -> Self {
        let worker = process.is(Process::Worker);
        let needed = worker || process.is(Process::Relay) || process.is(Process::Operator);
        let (mut reads, mut indexes) = (false, false);
        let logins = s.section("logins", |s| {
            let mut logins = BTreeMap::new();
            for user in DatabaseUser::ALL {
                let needed = match user {
                    DatabaseUser::App => worker || process.is(Process::Prover),
                    DatabaseUser::Relay => worker || process.is(Process::Relay),
                    DatabaseUser::Reader | DatabaseUser::Indexer => false,
                    DatabaseUser::Migrator => process.is(Process::Operator),
                };
                s.section(user.as_str(), |s| {
                    // Reads are optional: the ingress accepts without a database.
                    let there = s.has("password") || s.has("password_file");
                    let chosen = there && user == DatabaseUser::Reader && process.is(Process::Ingress);
                    reads |= chosen;
                    // So is the index of the audit log: the writer needs no database.
                    let indexing = process.is(Process::Audit) || process.is(Process::Operator);
                    let indexer = there && user == DatabaseUser::Indexer && indexing;
                    indexes |= indexer;
                    let needed = needed || chosen || indexer;
                    let name = s.text("user", Some(&format!("millrace_{}", user.as_str())));
                    if let Some(password) = s.secret("password", needed) {
                        logins.insert(user, Login { user: name, password });
                    }
                });
            }
            logins
        });
        let url =
            if needed || indexes || (reads && !s.has("read_url")) || s.has("url") { address(s, "url") } else { None };
        let read_url = if s.has("read_url") { address(s, "read_url") } else { None };
        let direct_url = if s.has("direct_url") { address(s, "direct_url") } else { None };
        let pooler = s.word("pooler", Pooler::None, &[("none", Pooler::None), ("transaction", Pooler::Transaction)]);
        let direct = process.is(Process::Operator);
        if direct && pooler == Pooler::Transaction && direct_url.is_none() {
            s.mistake(
                "direct_url",
                "is missing: name PostgreSQL itself; migrations and operators' acts take no pooler",
            );
        }
        Self {
            url: direct_url.filter(|_| direct).or(url),
            pooler: if direct { Pooler::None } else { pooler },
            read_url,
            logins,
            context_key: hex_secret(s, "context_key", worker || reads || process.is(Process::Operator)),
            connections: connections(s, "connections"),
            read_connections: connections(s, "read_connections"),
            batch_timeout: Duration::from_millis(s.number("batch_timeout_ms", 120_000, 1_000..=600_000)),
        }
    }
}

fn connections(s: &mut Reader, key: &str) -> u32 {
    u32::try_from(s.number(key, u64::from(CONNECTIONS), 1..=MOST_CONNECTIONS)).unwrap_or(CONNECTIONS)
}

fn address(s: &mut Reader, key: &str) -> Option<Url> {
    let form = "a URL such as postgres://db.example:5432/millrace?sslmode=verify-full";
    let url: Url = s.parsed(key, None, form)?;
    if !matches!(url.scheme(), "postgres" | "postgresql") || url.host_str().is_none() {
        s.mistake(key, format!("must be {form}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        s.mistake(key, "must not carry a user or password; use [database.logins.<role>]");
    }
    let far = !matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if far && !url.query_pairs().any(|(key, _)| key == "sslmode") {
        s.mistake(key, "must say sslmode for another host: verify-full, or disable on purpose");
    }
    Some(url)
}
