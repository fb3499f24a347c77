//! One file of lines against the tree.

use super::super::abreast::leaves;
use super::super::segments::{Batch, Lines, MOST_TOGETHER, Segment};
use super::super::tree::Hash;
use super::diff::{Difference, Place, difference};
use super::pass::Pass;
use super::{Fault, Finding, VerifyFault};

/// Lines between two words about progress.
const OFTEN: u64 = 1 << 14;

/// Reads a segment whose lines end at index `end`; the last segment goes on as far as it goes.
pub(super) fn read(
    pass: &mut Pass<'_>,
    segment: &Segment,
    end: Option<u64>,
    told: &mut dyn FnMut(u64),
) -> Result<(), VerifyFault> {
    let mut lines = Lines::open(segment)?;
    let (mut since, mut hashes) = (0, Vec::with_capacity(MOST_TOGETHER));
    let broken = loop {
        let batch = match lines.next_lines() {
            Ok(batch) if batch.is_empty() => break None,
            Ok(batch) => batch,
            Err(fault) => break Some(with_cause(&fault)),
        };
        leaves_of(&batch, &mut hashes);
        for (line, hash) in batch.lines().zip(hashes.drain(..)) {
            let index = segment.first + line.number - 1;
            since += line.bytes().len() as u64 + 1;
            if line.number.is_multiple_of(OFTEN) {
                told(std::mem::take(&mut since));
            }
            let place = (segment.path.as_path(), line.number);
            if end.is_none() && index >= pass.covered {
                pass.uncovered(line.bytes(), index, hash, place)?;
                continue;
            }
            let tile = pass.leaf(index);
            if end.is_some_and(|end| index >= end) || tile.is_some_and(|tile| tile != hash) {
                return differing(pass, segment, line.number - 1, end);
            }
            pass.take(line.bytes(), hash, tile, place)?;
        }
    };
    told(since);
    let reached = segment.first + lines.number();
    let stop = end.unwrap_or(pass.covered);
    if reached < stop {
        lost(pass, segment, reached, stop, end, broken)
    } else if lines.torn() > 0 && end.is_none() {
        pass.report.torn_bytes = lines.torn() as u64;
        Ok(())
    } else {
        Ok(())
    }
}

fn with_cause(fault: &dyn std::error::Error) -> String {
    fault.source().map_or_else(|| fault.to_string(), |cause| format!("{fault}: {cause}"))
}

/// The file ends before it should.
fn lost(
    pass: &mut Pass<'_>,
    segment: &Segment,
    from: u64,
    to: u64,
    end: Option<u64>,
    broken: Option<String>,
) -> Result<(), VerifyFault> {
    let fault = if end.is_none() { Fault::TailMissing } else { Fault::LineMissing };
    let text = broken.unwrap_or_else(|| "the file ends too early: restore it from a copy".to_owned());
    let expected = pass.leaf(from);
    let finding = Finding::new(fault, text).range(from, to).file(&segment.path).line(from - segment.first + 1);
    pass.suspect(finding.hashes(expected, None));
    pass.skip(to)
}

/// The rest of a file that differs: both sides are compared as a whole, a segment at a time.
fn differing(pass: &mut Pass<'_>, segment: &Segment, skip: u64, end: Option<u64>) -> Result<(), VerifyFault> {
    let base = segment.first + skip;
    let stop = end.unwrap_or(pass.covered);
    let there = hashes(segment, skip)?;
    let tree: Option<Vec<Hash>> = (base..stop).map(|index| pass.leaf(index)).collect();
    let Some(tree) = tree else {
        let text = "the file differs from the tree, and tiles that would tell where are missing";
        let finding = Finding::new(Fault::RangeAltered, text).range(base, stop).file(&segment.path).line(skip + 1);
        pass.suspect(finding);
        return pass.skip(stop);
    };
    let found = difference(&there, &tree);
    let uncovered = if end.is_none() { trailing(&found, &tree) } else { 0 };
    let covered = there.len() - uncovered;
    for finding in findings(segment, skip, &there[..covered], &tree, &found, end) {
        pass.suspect(finding);
    }
    let aligned = covered == tree.len();
    let mut lines = Lines::open(segment)?;
    let mut at = 0;
    while let Some(line) = lines.next_line()? {
        let Some(k) = (line.number - 1).checked_sub(skip).map(|k| k as usize).filter(|k| *k < there.len()) else {
            continue;
        };
        let place = (segment.path.as_path(), line.number);
        if k >= covered {
            let index = stop + (k - covered) as u64;
            fill(pass, &tree, &mut at, tree.len(), None)?;
            pass.uncovered(line.bytes(), index, there[k], place)?;
        } else if let Place::Right(here) = found.lines[k] {
            fill(pass, &tree, &mut at, here, aligned.then_some(there.as_slice()))?;
            pass.take(line.bytes(), there[k], Some(tree[here]), place)?;
            at = here + 1;
        }
    }
    fill(pass, &tree, &mut at, tree.len(), aligned.then_some(there.as_slice()))
}

/// Tells the places of the tree up to `to` that no right line has.
fn fill(
    pass: &mut Pass<'_>,
    tree: &[Hash],
    at: &mut usize,
    to: usize,
    lines: Option<&[Hash]>,
) -> Result<(), VerifyFault> {
    while *at < to {
        let line = lines.and_then(|lines| lines.get(*at).copied());
        pass.push(Some(tree[*at]), line)?;
        *at += 1;
    }
    Ok(())
}

/// Lines at the end that no checkpoint covers yet.
fn trailing(found: &Difference, tree: &[Hash]) -> usize {
    let known = found.lines.iter().rposition(|place| *place != Place::Inserted).map_or(0, |at| at + 1);
    // When the last place of the tree has its line, whatever follows is newer than the tree.
    let ends = tree.is_empty() || found.lines[..known].iter().any(|place| *place == Place::Right(tree.len() - 1));
    if ends { found.lines.len() - known } else { 0 }
}

/// Appends the leaf of every line of a batch.
fn leaves_of(batch: &Batch<'_>, into: &mut Vec<Hash>) {
    let mut lines: [&[u8]; MOST_TOGETHER] = [&[]; MOST_TOGETHER];
    let mut count = 0;
    for (line, place) in batch.lines().zip(&mut lines) {
        *place = line.bytes();
        count += 1;
    }
    leaves(&lines[..count], into);
}

fn hashes(segment: &Segment, skip: u64) -> Result<Vec<Hash>, VerifyFault> {
    let mut lines = Lines::open(segment)?;
    let mut hashes = Vec::new();
    // What cannot be read ends the file here; the comparison shows what is missing.
    while let Ok(batch) = lines.next_lines()
        && !batch.is_empty()
    {
        leaves_of(&batch, &mut hashes);
    }
    hashes.drain(..hashes.len().min(skip as usize));
    Ok(hashes)
}

fn findings(
    segment: &Segment,
    skip: u64,
    there: &[Hash],
    tree: &[Hash],
    found: &Difference,
    end: Option<u64>,
) -> Vec<Finding> {
    let base = segment.first + skip;
    let mut all = Vec::new();
    let mut near = 0;
    for (k, hash) in there.iter().enumerate() {
        let at = |fault, place: usize, text: &str| {
            let index = base + place as u64;
            let finding = Finding::new(fault, text).range(index, index + 1).file(&segment.path);
            finding.line(skip + k as u64 + 1).hashes(tree.get(place).copied(), Some(*hash))
        };
        match found.lines[k] {
            Place::Right(here) => near = here + 1,
            Place::Altered(here) => {
                all.push(at(Fault::LineAltered, here, "the line was changed: restore it from a copy"))
            }
            Place::Moved(here) => {
                let text = format!("this line belongs to index {}", base + here as u64);
                all.push(at(Fault::LineMoved, here, &text));
            }
            Place::Inserted => {
                let index = base + near as u64;
                let finding =
                    Finding::new(Fault::LineInserted, "this line was never part of the log").range(index, index);
                all.push(finding.file(&segment.path).line(skip + k as u64 + 1).hashes(None, Some(*hash)));
            }
        }
    }
    let mut missing = found.missing.iter().copied().peekable();
    while let Some(first) = missing.next() {
        let mut last = first;
        while missing.next_if_eq(&(last + 1)).is_some() {
            last += 1;
        }
        let tail = end.is_none() && last + 1 == tree.len();
        let fault = if tail { Fault::TailMissing } else { Fault::LineMissing };
        let (from, to) = (base + first as u64, base + last as u64 + 1);
        let before = found.lines.iter().filter(|place| matches!(place, Place::Right(here) if *here < first)).count();
        let finding = Finding::new(fault, "these lines are gone: restore the file from a copy").range(from, to);
        all.push(finding.file(&segment.path).line(skip + before as u64 + 1).hashes(tree.get(first).copied(), None));
    }
    all.sort_by_key(|finding| finding.index);
    all
}
