//! Messages of the audit queue for (i) and (j), and the log that they become.

use std::path::Path;
use std::time::Duration;

use millrace::auditlog::{AuditLog, Entry, Settings, SigningKey};
use millrace::contract::{AuditEvent, Timestamp};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

/// Lines of one batch, as the audit worker takes them.
pub(super) const BATCH: usize = 512;
const TENANTS: u64 = 100;
/// Messages that are rendered; all others are one of them with another time and event.
const RENDERED: u64 = 1_000;
/// As the configuration has it by default.
const SEGMENT_BYTES: u64 = 64 << 20;
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// More than a line takes on disk, raw and compressed, with its share of the tree and of a log of a tenth.
const BYTES_OF_A_LINE: u64 = 1_200;

/// Room on disk that logs of so many lines take, in MiB.
pub(super) fn needed_mib(lines: usize) -> u64 {
    (lines as u64 * BYTES_OF_A_LINE) >> 20
}

/// Settings as a deployment has them.
pub(super) fn settings() -> Settings {
    let name = "bench/audit";
    Settings::new(name.to_owned(), SigningKey::generate(name).expect("a key"), SEGMENT_BYTES, YEAR)
}

/// Makes distinct messages faster than anybody takes them.
pub(super) struct Supply {
    rendered: Vec<Rendered>,
    made: u64,
}

struct Rendered {
    text: Vec<u8>,
    /// Where the event's id begins.
    id: usize,
}

impl Supply {
    pub(super) fn new() -> Self {
        Self { rendered: (0..RENDERED).map(Rendered::new).collect(), made: 0 }
    }

    /// The bodies of so many audit events, none of which was there before.
    pub(super) fn messages(&mut self, count: usize) -> Vec<Vec<u8>> {
        let now = Timestamp::new(OffsetDateTime::now_utc()).to_string();
        (0..count).map(|_| self.message(&now)).collect()
    }

    fn message(&mut self, now: &str) -> Vec<u8> {
        let number = self.made;
        self.made += 1;
        let rendered = &self.rendered[(number % RENDERED) as usize];
        let mut text = rendered.text.clone();
        let time = br#"{"timestamp":""#.len();
        text[time..time + now.len()].copy_from_slice(now.as_bytes());
        // Version and variant stand between.
        let id = &mut text[rendered.id..rendered.id + 36];
        digits(spread(2 * number), &mut id[..8]);
        digits(spread(2 * number + 1), &mut id[24..]);
        text
    }
}

impl Rendered {
    fn new(number: u64) -> Self {
        let text = message(number);
        let key = br#""event_id":""#;
        let id = text.windows(key.len()).rposition(|at| at == key).expect("an id") + key.len();
        Self { text, id }
    }
}

/// The finalizer of splitmix64: other numbers for other numbers, and all bits look random.
fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn digits(mut number: u64, into: &mut [u8]) {
    for digit in into {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// The body of an audit event as a worker renders it.
fn message(number: u64) -> Vec<u8> {
    let hash: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    let (mut id, mut cause) = ([0; 16], [0; 16]);
    id.copy_from_slice(&hash[..16]);
    cause.copy_from_slice(&hash[16..]);
    let facts = json!({
        "dedupe_key": format!("stripe:evt_{}", hex::encode(&hash[..12])),
        "message_id": Uuid::new_v8(cause),
        "publisher": "ingress",
    });
    let metadata: Map<String, serde_json::Value> = facts.as_object().cloned().unwrap_or_default();
    let event = AuditEvent {
        timestamp: Timestamp::new(OffsetDateTime::now_utc()).to_string(),
        org_id: format!("org_{}", number % TENANTS),
        actor_id: "webhook:stripe".to_owned(),
        action: "invoice.payment_succeeded".to_owned(),
        resource_type: "invoice".to_owned(),
        resource_id: format!("in_{}", hex::encode(&hash[..12])),
        metadata,
        event_id: Uuid::new_v8(id),
        outcome: "applied".to_owned(),
        policy_version: hex::encode(hash),
    };
    event.render().expect("a line")
}

/// Writes a log of so many lines; nothing of it is timed.
pub(super) fn write_log(folder: &Path, lines: usize) {
    let mut log = AuditLog::open(folder, settings()).expect("a log");
    let mut supply = Supply::new();
    for _ in 0..lines / BATCH {
        let entries: Vec<Entry> =
            supply.messages(BATCH).into_iter().map(|line| Entry::read(line).expect("a line")).collect();
        assert_eq!(log.append(&entries).expect("an append"), BATCH);
    }
    log.close().expect("the last checkpoint");
}
