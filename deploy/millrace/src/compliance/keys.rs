//! `millrace keys list`

use clap::{Args, Subcommand};
use millrace::config::{KeyKind, RegisteredKey, key_register};
use millrace::contract::Timestamp;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::screen::Screen;

const EXAMPLE: &str = "Example: millrace keys list --rotate-after 180\n\
    With --json every key is one line: place, kind, name, algorithm, since, fingerprint, rotation (kept, issuer, on_time, \
    overdue, unknown).\n\
    A key is as old as its file. The secret itself is never shown; a fingerprint tells two keys apart.";

/// Days after which a key is due, where nothing else is said.
const ROTATE_AFTER: u16 = 365;

/// Which keys the deployment uses.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// The register: name, kind, algorithm, age and fingerprint of every key, and which of them are due.
    #[command(after_help = EXAMPLE)]
    List(List),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Days after which a key is due for rotation.
    #[arg(long, value_name = "DAYS", default_value_t = ROTATE_AFTER)]
    rotate_after: u16,
    #[command(flatten)]
    config: ConfigFile,
}

/// Where a key stands in its rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rotation {
    /// Never: what it has named would lose its name.
    Kept,
    /// Somebody else's business.
    Issuer,
    OnTime,
    Overdue,
    /// Its age is not known here.
    Unknown,
}

impl Rotation {
    fn of(key: &RegisteredKey, rotate_after: Duration, now: OffsetDateTime) -> Self {
        match key.since {
            _ if key.kind.is_kept() => Self::Kept,
            Some(since) if now - since > rotate_after => Self::Overdue,
            Some(_) => Self::OnTime,
            None if key.kind == KeyKind::Issuer && key.place.ends_with(".jwks_uri") => Self::Issuer,
            None => Self::Unknown,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Issuer => "issuer",
            Self::OnTime => "on_time",
            Self::Overdue => "overdue",
            Self::Unknown => "unknown",
        }
    }
}

impl Keys {
    pub(crate) fn run(&self, screen: &Screen) -> Result<(), CommandFault> {
        let Self::List(list) = self;
        list.run(screen)
    }
}

impl List {
    fn run(&self, screen: &Screen) -> Result<(), CommandFault> {
        let keys = key_register(&self.config.path())?;
        let (now, limit) = (OffsetDateTime::now_utc(), Duration::days(self.rotate_after.into()));
        screen.tell(&columns("KIND", "NAME", "ALGORITHM", "SINCE", "FINGERPRINT", "ROTATION"));
        let mut due = Vec::new();
        for key in &keys {
            let rotation = Rotation::of(key, limit, now);
            let since = key.since.map(|since| Timestamp::new(since).to_string());
            let day = since.as_deref().map_or("-", |since| since.get(..10).unwrap_or(since));
            let print = key.fingerprint.as_deref().unwrap_or("-");
            let text = columns(key.kind.as_str(), &key.name, &key.algorithm, day, print, rotation.as_str());
            screen.row(&text, &facts(key, since.as_deref(), rotation));
            if rotation == Rotation::Overdue {
                due.push(key.place.as_str());
            }
        }
        if !due.is_empty() {
            screen.warn(&format!("{} key(s) are older than {} days: {}", due.len(), self.rotate_after, due.join(", ")));
        }
        Ok(())
    }
}

fn facts(key: &RegisteredKey, since: Option<&str>, rotation: Rotation) -> Value {
    json!({ "place": key.place, "kind": key.kind.as_str(), "name": key.name, "algorithm": key.algorithm, "since": since,
            "fingerprint": key.fingerprint, "rotation": rotation.as_str() })
}

fn columns(kind: &str, name: &str, algorithm: &str, since: &str, fingerprint: &str, rotation: &str) -> String {
    format!("{kind:<16} {name:<24} {algorithm:<16} {since:<11} {fingerprint:<28} {rotation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_due_by_the_age_of_its_file_unless_it_is_kept() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(1_000);
        let key = |kind, place: &str, days: Option<i64>| RegisteredKey {
            place: place.to_owned(),
            kind,
            name: "k".to_owned(),
            algorithm: String::new(),
            since: days.map(|days| now - Duration::days(days)),
            fingerprint: None,
        };
        for (kind, place, days, wanted) in [
            (KeyKind::Seal, "publishers.a.secret", Some(365), Rotation::OnTime),
            (KeyKind::Seal, "publishers.a.secret", Some(366), Rotation::Overdue),
            (KeyKind::Seal, "publishers.a.secret", None, Rotation::Unknown),
            (KeyKind::AuditEventIds, "compliance.event_id_key", Some(900), Rotation::Kept),
            (KeyKind::Issuer, "issuers.a.jwks_uri", None, Rotation::Issuer),
            (KeyKind::Issuer, "issuers.a.secret", None, Rotation::Unknown),
        ] {
            assert_eq!(Rotation::of(&key(kind, place, days), Duration::days(365), now), wanted, "{place} {days:?}");
        }
    }
}
