use proptest::prelude::*;

use super::*;

fn read(path: &Path, compressed: bool) -> (Vec<Vec<u8>>, usize) {
    let mut lines = Lines::of_file(path, compressed).unwrap();
    let mut all = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        all.push(line.bytes().to_vec());
        assert_eq!(line.number, all.len() as u64);
    }
    let mut batches = Lines::of_file(path, compressed).unwrap();
    let mut together = Vec::new();
    loop {
        let batch = batches.next_lines().unwrap();
        if batch.is_empty() {
            break;
        }
        for line in batch.lines() {
            together.push(line.bytes().to_vec());
            assert_eq!(line.number, together.len() as u64);
        }
    }
    assert_eq!((&together, batches.torn(), batches.number()), (&all, lines.torn(), lines.number()));
    (all, lines.torn())
}

#[test]
fn raw_and_compressed_files_have_the_same_lines() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<Vec<u8>> = (0..300_usize).map(|i| vec![b'a' + (i % 26) as u8; i * 911 % 65_536]).collect();
    let mut text: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
    text.extend(b"torn");
    let (raw, packed) = (folder.path().join("raw"), folder.path().join("zst"));
    std::fs::write(&raw, &text).unwrap();
    std::fs::write(&packed, zstd::encode_all(text.as_slice(), 3).unwrap()).unwrap();
    assert_eq!(read(&raw, false), (lines.clone(), 4));
    assert_eq!(read(&packed, true), (lines, 4));
    std::fs::write(&packed, &zstd::encode_all(text.as_slice(), 3).unwrap()[..100]).unwrap();
    let mut broken = Lines::of_file(&packed, true).unwrap();
    let end = std::iter::from_fn(|| broken.next_line().map(|line| line.map(|_| ())).transpose()).find(Result::is_err);
    assert!(matches!(end, Some(Err(SegmentFault::Io { .. }))));
}

#[test]
fn what_is_longer_than_a_line_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raw");
    for (length, fits) in [(65_535, true), (65_536, false), (3_000_000, false)] {
        let text = [vec![b'x'; length], b"\n".to_vec()].concat();
        std::fs::write(&path, text).unwrap();
        assert_eq!(Lines::of_file(&path, false).unwrap().next_line().is_ok(), fits, "{length}");
    }
}

#[test]
fn segments_are_listed_in_order_and_strangers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    std::fs::create_dir_all(layout.segments_dir()).unwrap();
    for path in [layout.segment(700), layout.closed(0), layout.segment(300), layout.closed(300)] {
        std::fs::write(path, "").unwrap();
    }
    std::fs::write(layout.segments_dir().join("00000000000000000000.jsonl.zst.tmp"), "").unwrap();
    let found: Vec<(u64, bool)> = segments(&layout).unwrap().iter().map(|s| (s.first, s.compressed)).collect();
    assert_eq!(found, [(0, true), (300, false), (700, false)]);
    let stranger = layout.segments_dir().join("+0000000000000000700.jsonl");
    std::fs::write(&stranger, "").unwrap();
    assert!(matches!(segments(&layout), Err(SegmentFault::Foreign(path)) if path == stranger));
}

#[test]
fn the_ledger_forgets_a_torn_line_and_names_a_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    assert_eq!(ledger(&layout).unwrap(), []);
    let closed = Closed {
        closed: None,
        first: 0,
        lines: 3,
        bytes: 9,
        sha256: "00".to_owned(),
        oldest: "a".to_owned(),
        newest: "b".to_owned(),
    };
    let line = serde_json::to_string(&closed).unwrap();
    std::fs::write(layout.ledger(), format!("{line}\n{}", &line[..20])).unwrap();
    assert_eq!(ledger(&layout).unwrap(), [closed]);
    std::fs::write(layout.ledger(), format!("{line}\n{}\n", &line[..20])).unwrap();
    assert!(matches!(ledger(&layout), Err(SegmentFault::Ledger { line: 2, .. })));
}

#[test]
fn a_file_named_with_an_index_that_no_log_reaches_is_foreign() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    std::fs::create_dir_all(layout.segments_dir()).unwrap();
    std::fs::write(layout.segments_dir().join(format!("{}.jsonl", u64::MAX)), "a\nb\n").unwrap();
    assert!(matches!(segments(&layout), Err(SegmentFault::Foreign(_))));
}

proptest! {
    #[test]
    fn any_bytes_come_back(text in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..600)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raw");
        std::fs::write(&path, &text).unwrap();
        let (lines, torn) = read(&path, false);
        let mut expected: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        prop_assert_eq!(expected.pop().unwrap().len(), torn);
        prop_assert_eq!(lines, expected);
    }
}
