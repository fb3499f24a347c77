//! `[database]`: where PostgreSQL is, and one login for each role.

use std::collections::BTreeMap;

use url::Url;

use super::{Login, Process, Reader, compliance::hex_secret};

/// The roles a process can log in as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatabaseUser {
    /// Workers: tenant tables under RLS, INSERT on the outbox.
    App,
    /// The relay: due rows of outbox and `parked`.
    Relay,
    /// Migrations and operator acts; becomes the owner for them.
    Migrator,
}

impl DatabaseUser {
    /// Every user.
    pub const ALL: [Self; 3] = [Self::App, Self::Relay, Self::Migrator];

    /// Key of its login in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Relay => "relay",
            Self::Migrator => "migrator",
        }
    }
}

/// Where the database is and who we are there.
#[derive(Debug)]
pub struct DatabaseConfig {
    /// `postgres://host:port/database?sslmode=verify-full`, without user and password.
    pub url: Option<Url>,
    /// The logins this process needs.
    pub logins: BTreeMap<DatabaseUser, Login>,
    /// Key of the sealed tenant context; workers hold it in memory, PostgreSQL holds its pads.
    pub context_key: Option<secrecy::SecretSlice<u8>>,
    /// Connections of a worker's main pool.
    pub connections: u32,
}

impl DatabaseConfig {
    pub(super) fn read(s: &mut Reader, process: Process) -> Self {
        let worker = process.is(Process::Worker);
        let needed = worker || process.is(Process::Relay) || process.is(Process::Operator);
        let url = if needed || s.has("url") { read_url(s) } else { None };
        let logins = s.section("logins", |s| {
            let mut logins = BTreeMap::new();
            for user in DatabaseUser::ALL {
                let needed = match user {
                    DatabaseUser::App => worker || process.is(Process::Prover),
                    DatabaseUser::Relay => worker || process.is(Process::Relay),
                    DatabaseUser::Migrator => process.is(Process::Operator),
                };
                s.section(user.as_str(), |s| {
                    let name = s.text("user", Some(&format!("millrace_{}", user.as_str())));
                    if let Some(password) = s.secret("password", needed) {
                        logins.insert(user, Login { user: name, password });
                    }
                });
            }
            logins
        });
        Self {
            url,
            logins,
            context_key: hex_secret(s, "context_key", worker || process.is(Process::Operator)),
            connections: u32::try_from(s.number("connections", 8, 1..=500)).unwrap_or(8),
        }
    }
}

fn read_url(s: &mut Reader) -> Option<Url> {
    let form = "a URL such as postgres://db.example:5432/millrace?sslmode=verify-full";
    let url: Url = s.parsed("url", None, form)?;
    if !matches!(url.scheme(), "postgres" | "postgresql") || url.host_str().is_none() {
        s.mistake("url", format!("must be {form}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        s.mistake("url", "must not carry a user or password; use [database.logins.<role>]");
    }
    let far = !matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if far && !url.query_pairs().any(|(key, _)| key == "sslmode") {
        s.mistake("url", "must say sslmode for another host: verify-full, or disable on purpose");
    }
    Some(url)
}
