use std::io::Write as _;

use super::super::super::note::Checkpoint;
use super::super::super::segments::ledger;
use super::super::super::tile::{FULL, TileId};
use super::super::super::tree::{Frontier, Hash};
use super::*;

/// What a verification has to say.
struct Expected {
    fault: Option<Fault>,
    exit: u8,
    index: Option<u64>,
    to: Option<u64>,
    line: Option<u64>,
}

fn valid() -> Expected {
    Expected { fault: None, exit: 0, index: None, to: None, line: None }
}

fn fault(fault: Fault) -> Expected {
    Expected { fault: Some(fault), exit: fault.exit(), index: None, to: None, line: None }
}

impl Expected {
    fn at(self, index: u64, to: u64) -> Self {
        Self { index: Some(index), to: Some(to), ..self }
    }

    fn line(self, line: u64) -> Self {
        Self { line: Some(line), ..self }
    }
}

type Attack = fn(&Bed, &Layout) -> Expected;

/// The middle segment, and a line in it.
fn middle(layout: &Layout) -> (usize, u64) {
    let all = segments(layout).unwrap();
    (all.len() / 2, all[all.len() / 2].first)
}

fn edit(_: &Bed, layout: &Layout) -> Expected {
    let (at, first) = middle(layout);
    change(layout, at, |lines| lines[10][60] ^= 1);
    fault(Fault::LineAltered).at(first + 10, first + 11).line(11)
}

fn delete(_: &Bed, layout: &Layout) -> Expected {
    let (at, first) = middle(layout);
    change(layout, at, |lines| drop(lines.remove(5)));
    fault(Fault::LineMissing).at(first + 5, first + 6).line(6)
}

fn insert(_: &Bed, layout: &Layout) -> Expected {
    let (at, first) = middle(layout);
    change(layout, at, |lines| {
        let copy = String::from_utf8(lines[3].clone()).unwrap().replace("projects.create", "projects.delete");
        lines.insert(7, copy.into_bytes());
    });
    fault(Fault::LineInserted).at(first + 7, first + 7).line(8)
}

fn reorder(_: &Bed, layout: &Layout) -> Expected {
    let (at, first) = middle(layout);
    change(layout, at, |lines| {
        let line = lines.remove(20);
        lines.insert(3, line);
    });
    fault(Fault::LineMoved).at(first + 20, first + 21).line(4)
}

fn backdate(_: &Bed, layout: &Layout) -> Expected {
    let (at, first) = middle(layout);
    change(layout, at, |lines| {
        let old =
            String::from_utf8(lines[30].clone()).unwrap().replacen("\"timestamp\":\"2025", "\"timestamp\":\"2019", 1);
        lines.insert(30, old.into_bytes());
    });
    fault(Fault::LineInserted).at(first + 30, first + 30).line(31)
}

fn cut_tail(bed: &Bed, layout: &Layout) -> Expected {
    let at = segments(layout).unwrap().len() - 1;
    change(layout, at, |lines| lines.truncate(lines.len() - 3));
    fault(Fault::TailMissing).at(bed.lines - 3, bed.lines)
}

fn cut_head(_: &Bed, layout: &Layout) -> Expected {
    let all = segments(layout).unwrap();
    std::fs::remove_file(&all[0].path).unwrap();
    fault(Fault::HeadMissing).at(0, all[1].first)
}

fn remove_segment(_: &Bed, layout: &Layout) -> Expected {
    let (at, first) = middle(layout);
    let all = segments(layout).unwrap();
    std::fs::remove_file(&all[at].path).unwrap();
    fault(Fault::SegmentMissing).at(first, all[at + 1].first)
}

fn rewrite_everything(bed: &Bed, layout: &Layout) -> Expected {
    rewrite(layout);
    let text = std::fs::read_to_string(layout.history()).unwrap();
    let keys = [bed.key.verifying()];
    let sizes = super::super::super::note::history(&text)
        .map(|note| super::super::super::note::open_note(note, &keys).unwrap().size);
    // The first signed root that is not that of nothing.
    fault(Fault::RangeAltered).at(0, sizes.filter(|size| *size > 0).min().unwrap())
}

fn rewrite_with_another_key(_: &Bed, layout: &Layout) -> Expected {
    rewrite(layout);
    let eve = SigningKey::generate(NAME).unwrap();
    let note = std::fs::read_to_string(layout.checkpoint()).unwrap();
    let text = &note[..=note.find("\n\n").unwrap()];
    replace(&layout.checkpoint(), eve.sign(text).as_bytes());
    replace(&layout.history(), format!("{}\n", eve.sign(text)).as_bytes());
    let vkeys = std::fs::read_to_string(layout.vkeys()).unwrap();
    let entries: serde_json::Value = serde_json::from_str(&vkeys).unwrap();
    let forged = vkeys.replace(entries[0]["vkey"].as_str().unwrap(), &eve.verifying().to_string());
    replace(&layout.vkeys(), forged.as_bytes());
    fault(Fault::UnknownKey)
}

fn edit_line_and_tile(_: &Bed, layout: &Layout) -> Expected {
    let (at, first) = middle(layout);
    let n = first / 256 + 1;
    let k = (n * 256 - first) as usize + 9;
    let mut changed = None;
    change(layout, at, |lines| {
        lines[k][60] ^= 1;
        changed = Some(leaf(&lines[k]));
    });
    let path = layout.tile(&TileId { level: 0, n, width: FULL });
    let mut tile = std::fs::read(&path).unwrap();
    tile[9 * 32..10 * 32].copy_from_slice(&changed.unwrap().0);
    replace(&path, &tile);
    fault(Fault::RangeAltered).at(n * 256, n * 256 + 256)
}

fn edit_tile(_: &Bed, layout: &Layout) -> Expected {
    let path = layout.tile(&TileId { level: 0, n: 3, width: FULL });
    let mut tile = std::fs::read(&path).unwrap();
    tile[77] ^= 1;
    replace(&path, &tile);
    fault(Fault::TileAltered).at(768, 1_024)
}

fn remove_tile(_: &Bed, layout: &Layout) -> Expected {
    std::fs::remove_file(layout.tile(&TileId { level: 0, n: 3, width: FULL })).unwrap();
    fault(Fault::TileMissing).at(768, 1_024)
}

fn swap_checkpoint(_: &Bed, layout: &Layout) -> Expected {
    let other = SigningKey::generate("other.example/audit").unwrap();
    let time = Timestamp::from_unix(1_790_000_000).unwrap();
    let note = Checkpoint { origin: "other.example/audit".to_owned(), size: 5, root: Hash([1; 32]), time, keys: None }
        .sign(&other);
    replace(&layout.checkpoint(), note.as_bytes());
    fault(Fault::UnknownKey)
}

fn older_checkpoint(bed: &Bed, layout: &Layout) -> Expected {
    replace(&layout.checkpoint(), bed.old_checkpoint().as_bytes());
    fault(Fault::CheckpointOld)
}

fn flip_signature(_: &Bed, layout: &Layout) -> Expected {
    let note = std::fs::read_to_string(layout.checkpoint()).unwrap();
    replace(&layout.checkpoint(), note.replacen("time 20", "time 19", 1).as_bytes());
    fault(Fault::SignatureWrong)
}

fn cut_history(_: &Bed, layout: &Layout) -> Expected {
    std::fs::remove_file(layout.history()).unwrap();
    fault(Fault::HistoryMissing)
}

fn two_histories(bed: &Bed, layout: &Layout) -> Expected {
    let text = std::fs::read_to_string(layout.history()).unwrap();
    let first = super::super::super::note::history(&text).next().unwrap();
    let (checkpoint, _) = super::super::super::note::open_signed(first, &[bed.key.verifying()]).unwrap();
    let lie = Checkpoint { root: Hash([9; 32]), ..checkpoint }.sign(&bed.key);
    replace(&layout.history(), text.replacen(first, &lie, 1).as_bytes());
    fault(Fault::HistoryInconsistent)
}

fn forge_retention(_: &Bed, layout: &Layout) -> Expected {
    let all = segments(layout).unwrap();
    let ledger = ledger(layout).unwrap();
    let record = PruneRecord {
        from: 0,
        to: all[1].first,
        root_before: "00".repeat(32),
        segment_sha256: vec![ledger[0].sha256.clone()],
        days: 1,
        segments: 1,
    };
    let mut line = Vec::new();
    splice(&prune_event(&record).render().unwrap(), &Position { tenant_seq: 1, prev_hash: Hash::ZERO }, &mut line);
    let kept = serde_json::json!({ "index": 5, "line": String::from_utf8(line).unwrap() });
    replace(&layout.retention(), format!("{kept}\n").as_bytes());
    std::fs::remove_file(&all[0].path).unwrap();
    fault(Fault::RetentionFalse)
}

fn prune_event(record: &PruneRecord) -> AuditEvent {
    AuditEvent {
        org_id: "millrace:operator".into(),
        actor_id: "operator:ada".into(),
        action: "retention.pruned".into(),
        metadata: serde_json::to_value(record).unwrap().as_object().unwrap().clone(),
        ..event(999_999_999)
    }
}

const ATTACKS: [(&str, Attack); 18] = [
    ("edit a line", edit),
    ("delete a line", delete),
    ("insert a line", insert),
    ("reorder lines", reorder),
    ("insert a line with an old date", backdate),
    ("truncate the tail", cut_tail),
    ("truncate the head", cut_head),
    ("remove a segment", remove_segment),
    ("rewrite everything without the key", rewrite_everything),
    ("rewrite everything with another key", rewrite_with_another_key),
    ("edit a line and its tile", edit_line_and_tile),
    ("edit a tile", edit_tile),
    ("remove a tile", remove_tile),
    ("another log's checkpoint", swap_checkpoint),
    ("an older checkpoint", older_checkpoint),
    ("a changed checkpoint", flip_signature),
    ("remove the history", cut_history),
    ("forge a retention record", forge_retention),
];

/// Says what was found, where and how soon, and holds it to what had to be.
fn hold(bed: &Bed, name: &str, report: &Report, expected: &Expected) {
    let first = report.findings.iter().find(|finding| Some(finding.fault) == expected.fault);
    let place = first.map_or_else(String::new, |first| {
        let file = first.file.as_deref().and_then(|file| Path::new(file).file_name()).unwrap_or_default();
        let line = first.line.map_or_else(String::new, |line| format!(":{line}"));
        let range = first.index.zip(first.to).map_or_else(String::new, |(from, to)| format!(" lines [{from}, {to})"));
        format!("{}{line}{range}", file.display())
    });
    let (fault, seconds) = (report.fault().map_or("valid", Fault::name), bed.took.get().as_secs_f64());
    let _ = writeln!(std::io::stdout(), "{name:50} {} {fault:21} {seconds:6.2} s  {place}", report.exit);
    assert_eq!((report.fault(), report.exit), (expected.fault, expected.exit), "{name}: {:#?}", report.findings);
    if let Some(index) = expected.index {
        let first = first.expect("the finding");
        assert_eq!((first.index, first.to), (Some(index), expected.to), "{name}: {:#?}", report.findings);
    }
    if let Some(line) = expected.line {
        assert_eq!(first.and_then(|first| first.line), Some(line), "{name}");
    }
}

#[test]
fn every_attack_is_named_with_its_place_and_the_rest_is_still_confirmed() {
    let bed = Bed::new(size());
    let sound = bed.verify(&bed.log(), Some(bed.old_checkpoint()));
    hold(&bed, "nothing", &sound, &valid());
    assert_eq!(sound.entries, Counts { verified: bed.lines, ..Counts::default() });
    assert_eq!((sound.sequences, sound.since), (TENANTS, Against::Consistent(bed.lines / 2)));
    for (name, attack) in ATTACKS {
        let (folder, layout) = bed.copy();
        let expected = attack(&bed, &layout);
        let report = bed.verify(folder.path(), None);
        hold(&bed, name, &report, &expected);
        let one_place =
            [Fault::LineAltered, Fault::LineMissing, Fault::LineInserted, Fault::LineMoved, Fault::TileAltered];
        if report.fault().is_some_and(|fault| one_place.contains(&fault)) {
            assert_eq!(report.found, 1, "{name}: {:#?}", report.findings);
            assert!(report.entries.verified >= bed.lines - 1, "{name}: {:?}", report.entries);
        }
    }
}

#[test]
fn a_rollback_of_log_and_checkpoint_is_seen_from_outside_alone() {
    let bed = Bed::new(size());
    let newest = std::fs::read_to_string(Layout::new(bed.log()).checkpoint()).unwrap();
    let unseen = bed.verify(&bed.old(), None);
    hold(&bed, "rollback, nothing kept outside", &unseen, &valid());
    assert_eq!(unseen.since, Against::Nothing);
    let seen = bed.verify(&bed.old(), Some(newest.clone()));
    hold(&bed, "rollback, a checkpoint kept outside", &seen, &fault(Fault::RolledBack).at(bed.lines / 2, bed.lines));
    // The key's owner writes another history of the same length.
    let (folder, layout) = bed.copy();
    rewrite(&layout);
    let mut tree = Frontier::empty();
    segments(&layout).unwrap().iter().flat_map(read_lines).for_each(|line| tree.push(leaf(&line)));
    let (checkpoint, _) = super::super::super::note::open_signed(&newest, &[bed.key.verifying()]).unwrap();
    let note = Checkpoint { root: tree.root(), ..checkpoint }.sign(&bed.key);
    replace(&layout.checkpoint(), note.as_bytes());
    replace(&layout.history(), format!("{note}\n").as_bytes());
    hold(&bed, "rewritten with the key, nothing kept outside", &bed.verify(folder.path(), None), &valid());
    hold(
        &bed,
        "rewritten with the key, a checkpoint kept outside",
        &bed.verify(folder.path(), Some(newest)),
        &fault(Fault::Forked),
    );
    let (folder, layout) = bed.copy();
    let expected = two_histories(&bed, &layout);
    hold(&bed, "a checkpoint of another history", &bed.verify(folder.path(), None), &expected);
}

#[test]
fn retention_holds_a_new_key_and_an_uncovered_tail_raise_no_alarm() {
    let lines = size();
    let mut bed = Bed::new(lines);
    let layout = Layout::new(bed.log());
    let closed = ledger(&layout).unwrap();
    let note = std::fs::read_to_string(layout.checkpoint()).unwrap();
    let newest = super::super::super::note::open_note(&note, &[bed.key.verifying()]).unwrap();
    let now = Timestamp::new(time::OffsetDateTime::now_utc());
    let record = PruneRecord::plan(&closed, 0, newest.size, newest.root.to_string(), 1, now).unwrap();
    let mut held = prune_event(&record);
    (held.action, held.event_id, held.metadata) = ("hold.placed".into(), Uuid::from_u128(4), serde_json::Map::new());
    let acts = [prune_event(&record), held].map(|event| Entry::read(event.render().unwrap()).unwrap());
    bed.append(&acts);
    let path = bed.log();
    let segments_now = segments(&layout).unwrap();
    assert_eq!(segments_now[0].first, record.to, "retention has dropped");
    let report = bed.verify(&path, None);
    hold(&bed, "retention and hold", &report, &valid());
    assert_eq!(report.entries.pruned, record.to);
    assert_eq!((report.entries.verified, report.retention_records), (lines + 2 - record.to, 1));
    // What retention dropped is no gap of an export.
    let out = tempfile::tempdir().unwrap();
    super::super::super::export::export(&path, "org_3", out.path(), &bed.key).unwrap();
    assert_eq!(bed.verify(out.path(), None).exit, 0);
    // A new key, and a line that no checkpoint covers yet, and half of another.
    let old_key = std::mem::replace(&mut bed.key, SigningKey::generate(NAME).unwrap());
    bed.write(lines..lines + 10);
    let policy = Policy::parse(&format!("log {}\nlog {}\n", old_key.verifying(), bed.key.verifying())).unwrap();
    let last = segments(&layout).unwrap().pop().unwrap();
    let written = read_lines(&last);
    let mut text = std::fs::read(&last.path).unwrap();
    let mut next = Vec::new();
    let fields = Fields::read(written.last().unwrap()).unwrap();
    let (org, position) = (fields.org_id.to_owned(), fields.position.unwrap());
    let event = AuditEvent { org_id: org, ..event(lines + 1_000) };
    let position = Position { tenant_seq: position.tenant_seq + 1, prev_hash: leaf(written.last().unwrap()) };
    splice(&event.render().unwrap(), &position, &mut next);
    text.extend_from_slice(&[next.as_slice(), b"\n", &next[..40]].concat());
    replace(&last.path, &text);
    let report = bed.verify_as(&path, policy, None);
    hold(&bed, "new key and tail", &report, &valid());
    assert_eq!((report.entries.uncovered, report.torn_bytes), (1, 40));
    // Only the new key's owner is trusted: the old checkpoints are not.
    hold(&bed, "only the new key known", &bed.verify(&path, None), &fault(Fault::UnknownKey));
    // Without the record, the same log is one whose head was cut off.
    std::fs::remove_file(layout.retention()).unwrap();
    let both = Policy::parse(&format!("log {}\nlog {}\n", old_key.verifying(), bed.key.verifying())).unwrap();
    let report = bed.verify_as(&path, both, None);
    hold(&bed, "dropped without a record", &report, &fault(Fault::HeadMissing).at(0, record.to));
}

#[test]
fn what_is_no_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let fault = verify(folder.path(), &Options::default(), &mut |_, _| {}).unwrap_err();
    assert!(matches!(fault, VerifyFault::Foreign(_)));
    assert!(fault.to_string().contains("neither seg/ nor lines.jsonl"));
}
