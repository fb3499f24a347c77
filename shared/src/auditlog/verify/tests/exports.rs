use super::super::super::export::{ExportFault, export, prove};
use super::*;

fn exported(bed: &Bed) -> (TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let done = export(&bed.log(), "org_3", &out, &bed.key).unwrap();
    assert_eq!(done.numbers, (1, done.lines));
    (folder, Layout::new(out))
}

#[test]
fn an_export_is_whole_and_says_nothing_of_others() {
    let bed = Bed::new(3_000);
    let (_folder, out) = exported(&bed);
    let report = bed.verify(out.folder(), Some(bed.old_checkpoint()));
    assert_eq!((report.exit, report.kind, report.org_id.as_deref()), (0, "tenant", Some("org_3")), "{report:#?}");
    let lines = (0..3_000).filter(|n| n % TENANTS == 3).count() as u64;
    assert_eq!((report.entries.verified, report.numbers), (lines, Some((1, lines))));
    assert_eq!(report.since, Against::Consistent(1_500));
    for entry in std::fs::read_dir(out.folder()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for other in (0..TENANTS).filter(|other| *other != 3) {
            assert!(!text.contains(&format!("org_{other}")));
        }
    }
    assert!(matches!(export(&bed.log(), "org_3", out.folder(), &bed.key), Err(ExportFault::Occupied(_))));
    let other = SigningKey::generate("another").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(matches!(export(&bed.log(), "org_3", elsewhere.path(), &other), Err(ExportFault::OtherLog { .. })));
    assert!(matches!(export(&bed.log(), "org", elsewhere.path(), &bed.key), Err(ExportFault::Nothing(_))));
}

#[test]
fn what_is_done_to_an_export_is_named() {
    type Attack = fn(&Layout, &mut Vec<String>);
    let bed = Bed::new(3_000);
    let attacks: [(Attack, Fault, Option<u64>); 6] = [
        (|_, lines| lines[9] = lines[9].replace("create", "delete"), Fault::LineAltered, Some(10)),
        (|_, lines| drop(lines.remove(9)), Fault::LineAltered, Some(10)),
        (|_, lines| lines.swap(9, 10), Fault::LineAltered, Some(10)),
        (|_, lines| drop(lines.pop()), Fault::LineMissing, None),
        (|out, _| drop_blocks(out, 1), Fault::LineMissing, None),
        (|out, _| std::fs::remove_file(out.consistency()).unwrap(), Fault::HistoryInconsistent, None),
    ];
    for (at, (attack, fault, line)) in attacks.into_iter().enumerate() {
        let (_folder, out) = exported(&bed);
        let text = std::fs::read_to_string(out.export_lines()).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if fault == Fault::LineMissing {
            // Whoever takes a line takes its proof, too.
            drop_blocks(&out, 0);
            lines.pop();
        }
        attack(&out, &mut lines);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(out.export_lines(), text).unwrap();
        let report = bed.verify(out.folder(), None);
        let found = report.findings.iter().find(|finding| finding.fault == fault);
        let ended = report.findings.iter().any(|finding| finding.fault == Fault::TailMissing);
        assert!(found.is_some() || (fault == Fault::LineMissing && ended), "{at}: {:#?}", report.findings);
        assert!(report.exit > 0);
        if line.is_some() {
            assert_eq!(found.and_then(|found| found.line), line, "{at}");
        }
    }
}

/// Takes proofs away from the end.
fn drop_blocks(out: &Layout, more: usize) {
    let text = std::fs::read_to_string(out.export_proofs()).unwrap();
    let mut blocks: Vec<&str> = text.split_inclusive("\n\n").collect();
    blocks.truncate(blocks.len() - 1 - more);
    std::fs::write(out.export_proofs(), blocks.concat()).unwrap();
}

#[test]
fn an_event_proves_itself() {
    let bed = Bed::new(3_000);
    let folder = tempfile::tempdir().unwrap();
    let proved = prove(&bed.log(), event(1_234).event_id, Some(folder.path())).unwrap();
    assert_eq!(proved.index, 1_234);
    assert!(proved.proof.starts_with("c2sp.org/tlog-proof@v1\nindex 1234\n"));
    let report = bed.verify(folder.path(), None);
    assert_eq!((report.exit, report.kind, report.entries.verified), (0, "event", 1), "{report:#?}");
    assert!(matches!(prove(&bed.log(), Uuid::nil(), None), Err(ExportFault::Nothing(_))));
    let path = Layout::new(folder.path()).export_lines();
    let text = std::fs::read_to_string(&path).unwrap().replace("p1234", "p1235");
    std::fs::write(&path, text).unwrap();
    assert_eq!(bed.verify(folder.path(), None).fault(), Some(Fault::LineAltered));
}

#[test]
fn nothing_is_signed_that_is_not_complete() {
    let bed = Bed::new(3_000);
    let refused = |attack: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let (_copy, layout) = bed.copy();
        let last = segments(&layout).unwrap().len() - 1;
        change(&layout, last, attack);
        let folder = tempfile::tempdir().unwrap();
        let fault = export(layout.folder(), "org_3", folder.path(), &bed.key).unwrap_err();
        assert!(fault.to_string().contains("run millrace audit verify"), "{fault}");
        fault
    };
    let cut = refused(&|lines| lines.truncate(lines.len() - 20));
    assert!(matches!(cut, ExportFault::Incomplete { to: 3_000, .. }), "{cut}");
    let renamed = refused(&|lines| {
        let line = lines.iter_mut().rfind(|line| memchr::memmem::find(line, b"org_3").is_some()).unwrap();
        *line = String::from_utf8(line.clone()).unwrap().replace("org_3", "org_4").into_bytes();
    });
    assert!(matches!(renamed, ExportFault::Altered { .. }), "{renamed}");
}

#[test]
fn lines_without_a_manifest_prove_no_completeness() {
    let bed = Bed::new(3_000);
    let (_folder, out) = exported(&bed);
    std::fs::remove_file(out.export_manifest()).unwrap();
    assert_eq!(bed.verify(out.folder(), None).fault(), Some(Fault::PartMissing));
    std::fs::write(out.export_lines(), "").unwrap();
    std::fs::write(out.export_proofs(), "").unwrap();
    assert_eq!(bed.verify(out.folder(), None).fault(), Some(Fault::PartMissing));
}

#[test]
fn lines_behind_the_end_of_a_listed_last_segment_are_found() {
    let bed = Bed::new(3_000);
    let (_copy, layout) = bed.copy();
    let last = segments(&layout).unwrap().len() - 1;
    let segment = change(&layout, last, |lines| lines.push(event(9_999).render().unwrap()));
    let text = std::fs::read_to_string(layout.ledger()).unwrap();
    let mut closed: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    closed["first"] = segment.first.into();
    closed["lines"] = (3_000 - segment.first).into();
    std::fs::write(layout.ledger(), format!("{text}{closed}\n")).unwrap();
    let report = bed.verify(layout.folder(), None);
    assert_eq!((report.fault(), report.entries.altered), (Some(Fault::LineInserted), 1), "{report:#?}");
}

#[test]
fn an_export_of_an_old_log_has_the_newest_checkpoints_alone() {
    let bed = Bed::new(3_000);
    let (_copy, layout) = bed.copy();
    let text = std::fs::read_to_string(layout.history()).unwrap();
    let first = super::super::super::note::history(&text).next().unwrap();
    replace(&layout.history(), format!("{}{text}", format!("{first}\n").repeat(30_000)).as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let out = Layout::new(folder.path().join("out"));
    export(layout.folder(), "org_3", out.folder(), &bed.key).unwrap();
    let exported = std::fs::metadata(out.history()).unwrap().len();
    assert!((4 << 20) - 1_000 < exported && exported <= 4 << 20, "{exported}");
    let report = bed.verify(out.folder(), Some(bed.old_checkpoint()));
    assert_eq!((report.exit, report.since), (0, Against::Consistent(1_500)), "{:#?}", report.findings);
}
