//! A whole log's folder.

use std::collections::HashSet;

use super::super::layout::Layout;
use super::super::note::{Checkpoint, open_note};
use super::super::segments::{Closed, Segment, ledger, segments};
use super::super::tile::Tiles;
use super::checkpoints::newest;
use super::pass::Pass;
use super::report::Report;
use super::retained::{self, Retained};
use super::trust::Trust;
use super::{Fault, Finding, Options, VerifyFault, segment};

pub(super) fn verify(
    layout: &Layout,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, VerifyFault> {
    let trust = Trust::of(layout, &options.policy)?;
    let mut report = Report::new("log");
    report.keys_from_policy = trust.outside;
    if trust.is_empty() {
        let text = "no public key of the log is known: copy vkeys.json, or give the keys with --policy";
        report.add(Finding::new(Fault::UnknownKey, text).file(&layout.vkeys()));
    }
    let since = since(options, &trust)?;
    let newest = newest(layout, &trust)?;
    newest.findings.into_iter().for_each(|finding| report.add(finding));
    report.checkpoints = newest.notes;
    let (said, enough) = options.policy.witnesses(newest.note.as_deref());
    if !enough {
        report.add(Finding::new(
            Fault::WitnessesMissing,
            format!("the newest checkpoint has too few cosignatures: {said}"),
        ));
    }
    report.witness = said;
    let signed = newest.signed.map(|(checkpoint, key)| {
        report.key = Some(hex::encode(key.id()));
        describe(&mut report, &checkpoint);
        checkpoint
    });
    let covered = signed.as_ref().map_or(0, |signed| signed.size);
    let (files, ledger) = (segments(layout)?, ledger(layout)?);
    let mut findings = Vec::new();
    let mut tiles = Tiles::new(layout.clone(), covered);
    let retained = retained::read(layout, &ledger, covered, |index| tiles.leaf(index).ok(), &mut findings)?;
    findings.into_iter().for_each(|finding| report.add(finding));
    report.retention_records = retained.records;
    let wanted: HashSet<_> = retained.roots.iter().map(|(root, _)| *root).collect();
    let pass = Pass::new(layout, &trust, signed, since, wanted, report)?;
    walk(pass, layout, &files, &ledger, &retained, progress)
}

/// The checkpoint from outside, which has to be one of this log.
pub(super) fn since(options: &Options, trust: &Trust) -> Result<Option<Checkpoint>, VerifyFault> {
    let Some(note) = &options.since else { return Ok(None) };
    open_note(note, trust.keys()).map(Some).map_err(|fault| VerifyFault::Since(fault.to_string()))
}

pub(super) fn describe(report: &mut Report, checkpoint: &Checkpoint) {
    report.origin = Some(checkpoint.origin.clone());
    report.size = Some(checkpoint.size);
    report.root = Some(checkpoint.root.to_string());
    report.signed_at = Some(checkpoint.time.to_string());
}

fn walk(
    mut pass: Pass<'_>,
    layout: &Layout,
    files: &[Segment],
    ledger: &[Closed],
    retained: &Retained,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, VerifyFault> {
    let total = bytes(files, ledger);
    let mut done = 0;
    let mut told = |more: u64| {
        done += more;
        progress(done, total);
    };
    let mut pruned = Vec::new();
    for (at, file) in files.iter().enumerate() {
        gap(&mut pass, layout, retained, file.first, at == 0, &mut pruned)?;
        let listed = ledger
            .iter()
            .find(|closed| closed.first == file.first)
            .map(|closed| closed.first.saturating_add(closed.lines));
        let next = files.get(at + 1).map(|next| next.first);
        if let (Some(listed), Some(next)) = (listed, next)
            && listed > next
        {
            let text = "segments.jsonl says that this segment goes on into the next one";
            pass.report.add(Finding::new(Fault::LedgerContradicts, text).file(&file.path).range(file.first, listed));
        }
        // The ledger tells where a segment ends; before the next one others may be missing.
        let end = match (listed, next) {
            (Some(listed), Some(next)) => Some(listed.min(next)),
            (listed, next) => listed.or(next),
        };
        let end = end.filter(|end| *end <= pass.covered);
        segment::read(&mut pass, file, end, &mut told)?;
    }
    let covered = pass.covered;
    gap(&mut pass, layout, retained, covered, files.is_empty(), &mut pruned)?;
    pass.finish(&pruned)
}

/// Lines that no file has before `to`: dropped with leave, or missing.
fn gap(
    pass: &mut Pass<'_>,
    layout: &Layout,
    retained: &Retained,
    to: u64,
    first: bool,
    pruned: &mut Vec<(u64, u64)>,
) -> Result<(), VerifyFault> {
    let to = to.min(pass.covered);
    while pass.position() < to {
        let at = pass.position();
        let end = retained.end_of(at).min(to);
        if end > at {
            pass.report.entries.pruned += end - at;
            pass.was_pruned();
            pruned.push((at, end));
            pass.skip(end)?;
            continue;
        }
        let end = retained.next(at, to);
        let (fault, text) = match (first && at == 0, to == pass.covered) {
            (true, _) => {
                (Fault::HeadMissing, "the beginning is gone and no retention record says why: restore it from a copy")
            }
            (false, true) => {
                (Fault::TailMissing, "the end is gone that a signed checkpoint covers: restore it from a copy")
            }
            (false, false) => {
                (Fault::SegmentMissing, "a segment is gone and no retention record says why: restore it from a copy")
            }
        };
        let expected = pass.leaf(at);
        let file = layout.segment(at);
        pass.suspect(Finding::new(fault, text).range(at, end).file(&file).hashes(expected, None));
        pass.skip(end)?;
    }
    if retained.any_before(to) {
        pass.was_pruned();
    }
    Ok(())
}

/// Bytes of all lines, as far as they are known before they are read.
fn bytes(files: &[Segment], ledger: &[Closed]) -> u64 {
    let of = |file: &Segment| {
        let listed = ledger.iter().find(|closed| closed.first == file.first).map(|closed| closed.bytes);
        listed.unwrap_or_else(|| std::fs::metadata(&file.path).map_or(0, |found| found.len()))
    };
    files.iter().map(of).fold(0, u64::saturating_add)
}
