//! Rotation, compression, the ledger and retention.

use sha2::{Digest, Sha256};

use super::*;
use crate::auditlog::PruneRecord;
use crate::auditlog::segments::Closed;

fn ledger(bed: &Bed) -> Vec<Closed> {
    let text = std::fs::read_to_string(bed.layout().ledger()).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn fill(bed: &Bed, days: std::ops::RangeInclusive<u32>) {
    let mut log = bed.open();
    for day in days {
        let many: Vec<Entry> = (0..100).map(|n| entry(u128::from(day) * 1_000 + n, "acme", day)).collect();
        log.append(&many).unwrap();
    }
    log.close().unwrap();
}

#[test]
fn segments_close_by_size_and_are_compressed_and_the_ledger_knows_their_raw_bytes() {
    let bed = Bed::small(30_000);
    fill(&bed, 1..=5);
    let ledger = ledger(&bed);
    assert_eq!(ledger.len(), 4);
    let log = bed.open();
    let layout = bed.layout();
    until("compression", || ledger.iter().all(|closed| !layout.segment(closed.first).exists()));
    for closed in &ledger {
        let raw = zstd::decode_all(std::fs::File::open(layout.closed(closed.first)).unwrap()).unwrap();
        assert_eq!(closed.bytes, raw.len() as u64);
        assert_eq!(closed.sha256.to_string(), hex::encode(Sha256::digest(&raw)));
        assert_eq!(closed.oldest.to_string(), format!("2026-01-{:02}T00:00:00.000000Z", closed.first / 100 + 1));
        assert_eq!(closed.oldest, closed.newest);
    }
    log.close().unwrap();
    bed.check();
}

#[test]
fn a_tenant_that_was_silent_for_many_segments_goes_on_with_its_own_number() {
    let bed = Bed::small(10_000);
    let mut log = bed.open();
    log.append(&[entry(1, "quiet", 1), entry(2, "quiet", 1)]).unwrap();
    log.close().unwrap();
    fill(&bed, 2..=9);
    let mut log = bed.open();
    log.append(&[entry(3, "quiet", 20)]).unwrap();
    log.close().unwrap();
    let last = bed.lines().pop().unwrap();
    assert_eq!(Fields::read(&last).unwrap().position.unwrap().tenant_seq, 3);
    bed.check();
}

/// The line by which an operator has segments dropped.
fn prune(id: u128, record: &PruneRecord) -> Entry {
    let mut event = event(id, "millrace:operator", "2026-03-01T00:00:00.000000Z");
    event.actor_id = "operator:ada".into();
    event.action = "retention.pruned".into();
    event.metadata = serde_json::to_value(record).unwrap().as_object().unwrap().clone();
    Entry::read(event.render().unwrap()).unwrap()
}

fn plan(bed: &Bed, days: u64) -> Option<PruneRecord> {
    let newest = bed.checkpoints().pop().unwrap();
    let now = crate::contract::Timestamp::new(time::OffsetDateTime::now_utc());
    PruneRecord::plan(&ledger(bed), 0, newest.size, newest.root.to_string(), days, now)
}

#[test]
fn retention_drops_whole_old_segments_after_a_checkpoint_and_the_log_goes_on() {
    let bed = Bed::small(30_000);
    fill(&bed, 1..=9);
    let record = plan(&bed, 1).unwrap();
    // 800 lines are in closed segments, 768 of 900 in full tiles.
    assert_eq!((record.from, record.to, record.segments), (0, 700, 7));
    assert_eq!(plan(&bed, 100_000), None, "nothing is that old");
    let mut log = bed.open();
    log.append(&[prune(77, &record)]).unwrap();
    let layout = bed.layout();
    until("the files are gone", || {
        ledger(&bed)
            .iter()
            .filter(|closed| closed.first < 700)
            .all(|closed| !layout.segment(closed.first).exists() && !layout.closed(closed.first).exists())
    });
    log.append(&[entry(5_000_000, "acme", 2)]).unwrap();
    log.close().unwrap();
    let mut log = bed.open();
    assert_eq!(log.append(&[entry(9_050, "acme", 9), entry(5_000_000, "acme", 2)]).unwrap(), 0);
    log.append(&[entry(6_000_000, "acme", 2)]).unwrap();
    log.close().unwrap();
    let last = bed.lines().pop().unwrap();
    assert_eq!(Fields::read(&last).unwrap().position.unwrap().tenant_seq, 902);
    let kept = std::fs::read_to_string(bed.layout().retention()).unwrap();
    assert_eq!(kept.lines().count(), 1);
    assert!(kept.starts_with(r#"{"index":900,"line":"{\"timestamp\":\"2026-03-01T"#), "{kept}");
    assert!(bed.path().join("tile/0/000").exists(), "tiles stay");
}

#[test]
fn a_retention_record_that_is_not_true_drops_nothing() {
    let bed = Bed::small(30_000);
    fill(&bed, 1..=9);
    let honest = plan(&bed, 1).unwrap();
    let lies = [
        PruneRecord { to: 800, ..honest.clone() },
        PruneRecord { to: 650, ..honest.clone() },
        PruneRecord { from: 100, ..honest.clone() },
        PruneRecord { days: 0, ..honest.clone() },
        PruneRecord { segment_sha256: honest.segment_sha256.iter().rev().cloned().collect(), ..honest.clone() },
    ];
    let mut log = bed.open();
    let mut entries: Vec<Entry> = (1..).zip(&lies).map(|(id, lie)| prune(id, lie)).collect();
    // A tenant's line of that name is no operator's act.
    let mut forged = event(50, "acme", "2026-03-01T00:00:00.000000Z");
    (forged.actor_id, forged.action) = ("operator:eve".into(), "retention.pruned".into());
    forged.metadata = serde_json::to_value(&honest).unwrap().as_object().unwrap().clone();
    entries.push(Entry::read(forged.render().unwrap()).unwrap());
    log.append(&entries).unwrap();
    log.close().unwrap();
    assert_eq!(bed.lines().len(), 906);
    bed.check();
    assert_eq!(std::fs::read(bed.layout().retention()).unwrap(), b"");
}
