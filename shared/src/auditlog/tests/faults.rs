//! What a writer says to files that are not as it left them. It never overwrites any.

use super::*;

/// A log of two segments, the first of them compressed, with a checkpoint of all 200 lines.
fn log() -> Bed {
    let bed = Bed::small(40_000);
    let mut log = bed.open();
    for batch in 0..20 {
        let many: Vec<Entry> = (0..10).map(|n| entry(batch * 10 + n, ["acme", "globex"][n as usize % 2], 1)).collect();
        log.append(&many).unwrap();
    }
    let closed = bed.layout();
    until("the first segment is compressed", || closed.closed(0).exists() && !closed.segment(0).exists());
    log.close().unwrap();
    bed.check();
    bed
}

fn open_segment(bed: &Bed) -> PathBuf {
    let names = std::fs::read_dir(bed.layout().segments_dir()).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")).max().unwrap()
}

/// Every file below the folder with its bytes, but the lock.
fn files(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

/// The fault of opening it, which must leave every file as it was.
fn fault(bed: &Bed) -> LogFault {
    let before = files(bed.path());
    let fault = bed.try_open().expect_err("a fault");
    assert_eq!(before, files(bed.path()), "{fault} has changed a file");
    fault
}

#[test]
fn a_torn_last_line_is_cut_and_whole_lines_stay() {
    let bed = log();
    let segment = open_segment(&bed);
    let whole = std::fs::read(&segment).unwrap();
    for torn in [1, 20, 200] {
        std::fs::write(&segment, [whole.as_slice(), &whole[..torn]].concat()).unwrap();
        drop(bed.open());
        assert_eq!(std::fs::read(&segment).unwrap(), whole);
    }
}

#[test]
fn a_log_that_is_shorter_than_its_newest_checkpoint_is_refused() {
    let bed = log();
    let segment = open_segment(&bed);
    let whole = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(fault(&bed), LogFault::Foreign { .. }), "the last line feed");
    let line = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    std::fs::write(&segment, &whole[..line]).unwrap();
    assert!(matches!(fault(&bed), LogFault::Short { lines: 199, covered: 200, .. }));
    std::fs::remove_file(&segment).unwrap();
    assert!(matches!(fault(&bed), LogFault::Short { covered: 200, .. }));
}

#[test]
fn a_missing_segment_is_named() {
    let bed = log();
    std::fs::remove_file(bed.layout().closed(0)).unwrap();
    assert!(matches!(fault(&bed), LogFault::MissingSegment(path) if path == bed.first_segment()));
}

#[test]
fn a_changed_a_foreign_and_a_moved_line_are_named() {
    let bed = log();
    let segment = open_segment(&bed);
    let whole = std::fs::read(&segment).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    std::fs::write(&segment, text.replacen("webhook:stripe", "webhook:stripy", 1)).unwrap();
    assert!(matches!(fault(&bed), LogFault::Altered { line: 1, .. }));
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(2, 4);
    std::fs::write(&segment, lines.join("\n") + "\n").unwrap();
    assert!(matches!(fault(&bed), LogFault::Altered { line: 3, .. }));
    std::fs::write(&segment, format!("{text}somebody else's\n")).unwrap();
    assert!(matches!(fault(&bed), LogFault::Foreign { .. }));
    std::fs::write(&segment, whole).unwrap();
    drop(bed.open());
}

#[test]
fn a_log_of_an_older_version_is_left_alone() {
    let bed = Bed::new();
    std::fs::create_dir_all(bed.layout().segments_dir()).unwrap();
    let line = event(1, "acme", "2026-01-01T00:00:00.000000Z").render().unwrap();
    std::fs::write(bed.first_segment(), [line.as_slice(), b"\n"].concat()).unwrap();
    let said = bed.try_open().expect_err("a fault");
    assert!(matches!(said, LogFault::OlderFormat(_)));
    assert!(said.to_string().contains("compliance.audit_log_path"));
    assert_eq!(std::fs::read(bed.first_segment()).unwrap(), [line.as_slice(), b"\n"].concat());
}

#[test]
fn files_beside_the_lines_are_missed() {
    for missing in ["checkpoints.log", "segments.jsonl"] {
        let bed = log();
        std::fs::remove_file(bed.path().join(missing)).unwrap();
        let said = bed.try_open().expect_err(missing);
        assert!(matches!(said, LogFault::Damaged { .. }), "{missing}: {said}");
    }
    let bed = log();
    std::fs::remove_dir_all(bed.path().join("tile")).unwrap();
    assert!(matches!(fault(&bed), LogFault::Damaged { .. }));
}

#[test]
fn lost_heads_are_made_anew_from_the_lines() {
    let bed = log();
    let heads = bed.path().join("heads");
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    };
    let before = std::fs::read(&heads).unwrap();
    std::fs::remove_file(&heads).unwrap();
    drop(bed.open());
    assert_eq!(sorted(&std::fs::read(&heads).unwrap()), sorted(&before));
}

#[test]
fn a_checkpoint_of_another_key_or_a_changed_one_is_refused() {
    let bed = log();
    let history = std::fs::read_to_string(bed.layout().history()).unwrap();
    std::fs::write(bed.layout().history(), history.replace("\n200\n", "\n190\n")).unwrap();
    assert!(matches!(fault(&bed), LogFault::Checkpoint { .. }));
}

#[test]
fn a_clock_behind_the_newest_checkpoint_writes_nothing() {
    let bed = log();
    let newest = bed.checkpoints().pop().unwrap();
    let ahead = crate::contract::Timestamp::new(newest.time.moment() + Duration::from_secs(3_600));
    let note = Checkpoint { time: ahead, ..newest }.sign(&bed.key);
    let history = std::fs::read_to_string(bed.layout().history()).unwrap();
    std::fs::write(bed.layout().history(), format!("{history}{note}\n")).unwrap();
    std::fs::write(bed.layout().checkpoint(), note).unwrap();
    let said = fault(&bed);
    assert!(matches!(said, LogFault::Clock { newest, .. } if newest == ahead), "{said}");
}

#[test]
fn a_crash_between_history_and_newest_note_is_made_good() {
    let bed = log();
    let history = std::fs::read_to_string(bed.layout().history()).unwrap();
    let notes: Vec<&str> = super::history(&history).collect();
    std::fs::write(bed.layout().checkpoint(), notes[0]).unwrap();
    std::fs::write(bed.layout().history(), format!("{history}{}", &notes[0][..notes[0].len() / 2])).unwrap();
    let mut log = bed.open();
    log.append(&[entry(5_000, "acme", 2)]).unwrap();
    log.close().unwrap();
    bed.check();
    assert_eq!(bed.checkpoints().pop().unwrap().size, 201);
}

#[test]
fn the_lock_is_held_until_the_last_checkpoint_is_written() {
    let bed = Bed::new();
    let settings = Settings { checkpoint_every: Duration::from_secs(3_600), ..bed.settings() };
    let mut log = AuditLog::open(bed.path(), settings).unwrap();
    log.append(&(0..500).map(|id| entry(id, "acme", 1)).collect::<Vec<_>>()).unwrap();
    let (lock, layout) = (std::fs::File::open(bed.layout().lock()).unwrap(), bed.layout());
    let standby = std::thread::spawn(move || {
        lock.lock().unwrap();
        std::fs::read_to_string(layout.checkpoint()).unwrap()
    });
    drop(log);
    assert_eq!(standby.join().unwrap().lines().nth(1), Some("500"));
}

#[test]
fn a_close_without_a_last_checkpoint_is_no_success() {
    let bed = Bed::new();
    let settings = Settings { checkpoint_every: Duration::from_secs(3_600), ..bed.settings() };
    let mut log = AuditLog::open(bed.path(), settings).unwrap();
    log.append(&[entry(1, "acme", 1)]).unwrap();
    // A folder stands where the new note is written.
    std::fs::create_dir(bed.layout().checkpoint().with_extension("new")).unwrap();
    assert!(matches!(log.close(), Err(LogFault::Io { .. })));
}

#[test]
fn lines_without_any_checkpoint_are_not_signed() {
    let bed = Bed::new();
    let mut log = bed.open();
    log.append(&[entry(1, "acme", 1)]).unwrap();
    log.close().unwrap();
    std::fs::remove_file(bed.layout().checkpoint()).unwrap();
    std::fs::write(bed.layout().history(), "").unwrap();
    assert!(matches!(fault(&bed), LogFault::Damaged { .. }));
}

#[test]
fn a_list_with_a_foreign_end_is_left_alone_and_a_last_record_gets_its_end() {
    let bed = log();
    for name in ["checkpoints.log", "segments.jsonl"] {
        let path = bed.path().join(name);
        let whole = std::fs::read_to_string(&path).unwrap();
        // Lines of JSON may end so.
        let other_ends = (name == "checkpoints.log").then(|| whole.replace('\n', "\r\n"));
        for foreign in other_ends.into_iter().chain(["a list\nof somebody else's".to_owned()]) {
            std::fs::write(&path, foreign).unwrap();
            assert!(matches!(fault(&bed), LogFault::Damaged { .. }), "{name}");
        }
        std::fs::write(&path, whole.trim_end()).unwrap();
        drop(bed.open());
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&whole), "{name}");
    }
}

#[test]
fn lost_keys_are_missed() {
    let bed = log();
    std::fs::remove_file(bed.layout().vkeys()).unwrap();
    assert!(matches!(fault(&bed), LogFault::Damaged { .. }));
}
