//! One line an event, in the order and with the position that it has for good.

use super::super::known::Known;
use super::*;
use crate::contract::Timestamp;

#[test]
fn an_event_has_one_line_however_often_it_comes() {
    let bed = Bed::new();
    let mut log = bed.open();
    assert_eq!(log.append(&[entry(1, "acme", 1), entry(2, "acme", 1), entry(1, "acme", 1)]).unwrap(), 2);
    assert_eq!(log.append(&[entry(2, "acme", 1)]).unwrap(), 0);
    drop(log);
    let mut log = bed.open();
    assert_eq!(log.append(&[entry(1, "acme", 1), entry(3, "globex", 1)]).unwrap(), 1);
    log.close().unwrap();
    assert_eq!(bed.lines().len(), 3);
    bed.check();
}

#[test]
fn the_producers_bytes_stand_in_front_of_the_position() {
    let bed = Bed::new();
    let mut log = bed.open();
    let line = event(1, "acme", "2026-01-01T00:00:00.000000Z").render().unwrap();
    log.append(&[Entry::read(line.clone()).unwrap()]).unwrap();
    log.close().unwrap();
    let stored = String::from_utf8(bed.lines()[0].clone()).unwrap();
    let rest = stored.strip_prefix(std::str::from_utf8(&line[..line.len() - 1]).unwrap()).unwrap();
    assert_eq!(rest, format!(r#","tenant_seq":1,"prev_hash":"{}"}}"#, "0".repeat(64)));
}

#[test]
fn the_longest_line_fits_with_its_position_and_one_byte_more_is_refused() {
    let mut long = event(1, "acme", "2026-01-01T00:00:00.000000Z");
    let short = long.render().unwrap().len();
    long.resource_id = "x".repeat(AuditEvent::LONGEST_RENDERED - short + 1);
    let line = long.render().unwrap();
    assert_eq!(line.len(), AuditEvent::LONGEST_RENDERED);
    let mut stored = Vec::new();
    let last = crate::auditlog::line::Position { tenant_seq: u64::MAX, prev_hash: Hash([9; 32]) };
    crate::auditlog::line::splice(&line, &last, &mut stored);
    assert_eq!(stored.len(), AuditEvent::LONGEST);
    assert!(Fields::read(&stored).is_some());
    assert!(Entry::read(line).is_some());
    long.resource_id.push('x');
    assert!(long.render().is_err());
}

#[test]
fn an_old_event_is_looked_up_in_the_segments_of_its_time() {
    let bed = Bed::small(4_000);
    let mut log = bed.open();
    for day in 1..=20 {
        let many: Vec<Entry> = (0..20).map(|n| entry(u128::from(day) * 100 + n, "acme", day)).collect();
        assert_eq!(log.append(&many).unwrap(), 20);
    }
    drop(log);
    // A new writer has none of these days in memory.
    let mut log = bed.open();
    assert_eq!(log.append(&[entry(705, "acme", 7), entry(1_219, "acme", 12), entry(9_999, "acme", 7)]).unwrap(), 1);
    assert_eq!(log.append(&[entry(705, "acme", 7), entry(9_999, "acme", 7)]).unwrap(), 0);
    log.close().unwrap();
    assert_eq!(bed.lines().len(), 401);
    bed.check();
}

#[test]
fn two_writers_cannot_hold_one_log() {
    let bed = Bed::new();
    let log = bed.open();
    assert!(matches!(bed.try_open(), Err(LogFault::Locked(_))));
    drop(log);
    assert!(bed.try_open().is_ok());
}

#[test]
fn a_log_that_does_not_grow_has_a_checkpoint_all_the_same() {
    let bed = Bed::new();
    let log = bed.open();
    log.close().unwrap();
    assert_eq!(bed.checkpoints()[0].size, 0);
    let mut settings = bed.settings();
    settings.heartbeat_every = Duration::from_millis(20);
    let log = AuditLog::open(bed.path(), settings).unwrap();
    until("heartbeats", || bed.checkpoints().len() > 3);
    log.close().unwrap();
    bed.check();
}

#[test]
fn a_new_key_goes_on_where_the_old_one_stopped() {
    let mut bed = Bed::new();
    let mut log = bed.open();
    log.append(&[entry(1, "acme", 1)]).unwrap();
    log.close().unwrap();
    let old = std::mem::replace(&mut bed.key, SigningKey::generate(NAME).unwrap());
    let mut log = bed.open();
    log.append(&[entry(2, "acme", 1)]).unwrap();
    log.close().unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&std::fs::read(bed.layout().vkeys()).unwrap()).unwrap();
    assert_eq!(keys[0]["vkey"], old.verifying().to_string());
    assert_eq!(keys[0]["until"], keys[1]["from"]);
    assert_eq!(
        (keys[1]["vkey"].clone(), keys[1]["until"].clone()),
        (bed.key.verifying().to_string().into(), serde_json::Value::Null)
    );
    let newest = std::fs::read_to_string(bed.layout().checkpoint()).unwrap();
    assert_eq!(open_note(&newest, &[bed.key.verifying()]).unwrap().size, 2);
}

#[test]
fn a_recent_event_is_known_after_a_restart_from_memory_alone() {
    let bed = Bed::new();
    let now = crate::contract::Timestamp::new(time::OffsetDateTime::now_utc()).to_string();
    let recent = |id| Entry::read(event(id, "acme", &now).render().unwrap()).unwrap();
    let mut log = bed.open();
    log.append(&[recent(1), recent(2)]).unwrap();
    drop(log);
    let mut log = bed.open();
    assert_eq!(log.append(&[recent(2), recent(3), recent(1)]).unwrap(), 1);
    log.close().unwrap();
    bed.check();
}

#[test]
fn what_is_forgotten_right_now_is_looked_for_in_the_files() {
    let ago = |hours| Timestamp::new(time::OffsetDateTime::now_utc() - time::Duration::hours(hours));
    let arose = ago(40).to_string();
    let one = || Entry::read(event(1, "acme", &arose).render().unwrap()).unwrap();
    let bed = Bed::new();
    let mut log = bed.open();
    log.append(&[one()]).unwrap();
    log.close().unwrap();
    let (mut stager, _appender) = bed.open().split();
    // The generation that holds the id is due to be dropped.
    let mut known = Known::new(ago(72), ago(49));
    assert!(known.insert(one().event_id()));
    known.forget(ago(25));
    stager.known = known;
    let mut block = super::super::Block::default();
    stager.stage(&[one()], &mut block).unwrap();
    assert_eq!(block.lines(), 0);
}

#[test]
fn a_key_that_was_replaced_does_not_come_back() {
    let mut bed = Bed::new();
    bed.open().close().unwrap();
    let old = std::mem::replace(&mut bed.key, SigningKey::generate(NAME).unwrap());
    bed.open().close().unwrap();
    let table = std::fs::read(bed.layout().vkeys()).unwrap();
    let new = std::mem::replace(&mut bed.key, old);
    let vkey = bed.key.verifying().to_string();
    assert!(matches!(bed.try_open(), Err(LogFault::KeyReturned(returned)) if returned == vkey));
    assert_eq!(std::fs::read(bed.layout().vkeys()).unwrap(), table, "no file is touched");
    bed.key = new;
    bed.open().close().unwrap();
}
