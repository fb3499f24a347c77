//! One tenant's export, a legal hold's evidence, or the proof of one event.

use std::collections::HashMap;

use super::super::layout::Layout;
use super::super::note::{Checkpoint, NoteFault};
use super::super::proof::{Manifest, Proof, Proofs};
use super::super::segments::Lines;
use super::super::tree::{Hash, leaf, verify_consistency, verify_inclusion};
use super::checkpoints::{Notes, newest};
use super::clock::Clock;
use super::log::{describe, since};
use super::report::{Against, Report};
use super::retained::{self, Retained};
use super::scan::Scanned;
use super::trust::Trust;
use super::{Fault, Finding, Options, VerifyFault};

pub(super) fn verify(
    layout: &Layout,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, VerifyFault> {
    let trust = Trust::of(layout, &options.policy)?;
    let is_tenant = layout.export_manifest().exists();
    let mut report = Report::new(if is_tenant { "tenant" } else { "event" });
    report.keys_from_policy = trust.outside;
    let since = since(options, &trust)?;
    let newest = newest(layout, &trust)?;
    newest.findings.into_iter().for_each(|finding| report.add(finding));
    report.checkpoints = newest.notes;
    let (said, enough) = options.policy.witnesses(newest.note.as_deref());
    if !enough {
        report.add(Finding::new(Fault::WitnessesMissing, format!("the checkpoint has too few cosignatures: {said}")));
    }
    report.witness = said;
    let Some((signed, key)) = newest.signed else {
        if report.found == 0 {
            report.add(Finding::new(Fault::CheckpointMissing, "the export has no checkpoint: ask for a new one"));
        }
        return Ok(report);
    };
    report.key = Some(hex::encode(key.id()));
    describe(&mut report, &signed);
    let manifest = if is_tenant { manifest(layout, &trust, &signed, &mut report)? } else { None };
    let mut bundle = Bundle { layout, signed, report, clock: Clock::default(), retained: Retained::default() };
    bundle.history(&trust, since.as_ref())?;
    bundle.retention()?;
    bundle.lines(is_tenant, manifest.as_ref(), progress)?;
    Ok(bundle.report)
}

fn manifest(
    layout: &Layout,
    trust: &Trust,
    signed: &Checkpoint,
    report: &mut Report,
) -> Result<Option<Manifest>, VerifyFault> {
    let path = layout.export_manifest();
    let bytes = std::fs::read(&path).map_err(|source| VerifyFault::Io { path: path.clone(), source })?;
    match Manifest::open(&String::from_utf8_lossy(&bytes), trust.keys()) {
        Ok(manifest) if (manifest.size, manifest.root) == (signed.size, signed.root) => {
            report.org_id = Some(manifest.org_id.clone());
            Ok(Some(manifest))
        }
        Ok(manifest) => {
            let text = format!(
                "the manifest is of size {} and the checkpoint of {}: they belong to two exports",
                manifest.size, signed.size
            );
            report.add(Finding::new(Fault::HistoryInconsistent, text).file(&path));
            Ok(None)
        }
        Err(fault) => {
            let name = match fault {
                NoteFault::Signature(_) => Fault::SignatureWrong,
                NoteFault::UnknownKey(_) | NoteFault::Origin { .. } => Fault::UnknownKey,
                NoteFault::Form(_) | NoteFault::Text(_) => Fault::NoteMalformed,
            };
            report.add(Finding::new(name, format!("the manifest: {fault}")).file(&path));
            Ok(None)
        }
    }
}

struct Bundle<'a> {
    layout: &'a Layout,
    signed: Checkpoint,
    report: Report,
    clock: Clock,
    retained: Retained,
}

/// Where the sequence is.
#[derive(Default)]
struct Chain {
    count: u64,
    first: Option<(u64, Hash)>,
    last: Option<(u64, Hash)>,
    index: Option<u64>,
}

impl Chain {
    /// A tenant's lines stand in the tree in the order of their numbers.
    fn rises(&mut self, index: Option<u64>) -> Option<Finding> {
        let index = index?;
        match self.index.replace(index) {
            Some(last) if index <= last => {
                let text = format!("it stands at index {index} of the tree, and the line before it at {last}");
                Some(Finding::new(Fault::LineMoved, text).range(index, index.saturating_add(1)))
            }
            _ => None,
        }
    }
}

impl Bundle<'_> {
    fn proofs(&mut self, path: &std::path::Path) -> Result<Option<Proofs>, VerifyFault> {
        if path.exists() {
            return Ok(Some(Proofs::open(path)?));
        }
        self.report
            .add(Finding::new(Fault::PartMissing, "this part of the export is missing: ask for it again").file(path));
        Ok(None)
    }

    fn holds(&self, hash: &Hash, proof: &Proof) -> bool {
        verify_inclusion(hash, proof.index, self.signed.size, &proof.hashes, &self.signed.root)
    }

    /// Signatures and order of the history; that each of its trees is the beginning of this one; and the note from outside.
    fn history(&mut self, trust: &Trust, since: Option<&Checkpoint>) -> Result<(), VerifyFault> {
        let mut notes = Notes::open(self.layout)?;
        let proofs = self.layout.consistency();
        let mut proofs = if notes.is_there() { self.proofs(&proofs)? } else { None };
        let mut proof: Option<(u64, Vec<Hash>)> = None;
        let mut since_proof = None;
        let mut last: Option<Checkpoint> = None;
        while let Some(note) = notes.next()? {
            let checkpoint = match trust.open(&note, &self.layout.history()) {
                Ok((checkpoint, _)) => checkpoint,
                Err(finding) => {
                    self.report.add(*finding);
                    continue;
                }
            };
            self.clock.checkpoint(checkpoint.time);
            while let Some(proofs) =
                proofs.as_mut().filter(|_| proof.as_ref().is_none_or(|(size, _)| *size < checkpoint.size))
            {
                proof = proofs.next_consistency()?;
                if proof.is_none() {
                    break;
                }
            }
            let hashes =
                proof.as_ref().filter(|(size, _)| *size == checkpoint.size).map(|(_, hashes)| hashes.as_slice());
            if since.is_some_and(|since| since.size == checkpoint.size) {
                since_proof = Some(hashes.unwrap_or_default().to_vec());
            }
            let goes_on = verify_consistency(
                checkpoint.size,
                self.signed.size,
                &checkpoint.root,
                &self.signed.root,
                hashes.unwrap_or_default(),
            );
            let in_order = last.as_ref().is_none_or(|last| {
                let strips = last.keys.is_some() && checkpoint.keys.is_none();
                last.size <= checkpoint.size && last.time <= checkpoint.time && !strips
            });
            if !goes_on || !in_order {
                let text =
                    format!("the checkpoint of size {} is not proved to be the beginning of this log", checkpoint.size);
                self.report.add(Finding::new(Fault::HistoryInconsistent, text).file(&self.layout.history()));
            }
            last = Some(checkpoint);
        }
        self.report.silences = self.clock.silences();
        if let Some(since) = since {
            self.compare(since, since_proof.as_deref());
        }
        Ok(())
    }

    fn compare(&mut self, since: &Checkpoint, proof: Option<&[Hash]>) {
        let (size, root) = (self.signed.size, self.signed.root);
        self.report.since = if since.size > size {
            let text = format!(
                "a signed checkpoint from outside covers {} lines and this export's {size}: it is older",
                since.size
            );
            self.report.add(Finding::new(Fault::RolledBack, text).range(size, since.size));
            Against::Contradicted(since.size)
        } else if since.size < size && proof.is_none() {
            Against::Unproved(since.size)
        } else if verify_consistency(since.size, size, &since.root, &root, proof.unwrap_or_default()) {
            Against::Consistent(since.size)
        } else {
            let text = format!("this export does not go on from the given checkpoint of size {}", since.size);
            self.report.add(Finding::new(Fault::Forked, text).hashes(Some(since.root), None));
            Against::Contradicted(since.size)
        };
    }

    fn retention(&mut self) -> Result<(), VerifyFault> {
        let kept = retained::kept(self.layout)?;
        if kept.is_empty() {
            return Ok(());
        }
        let path = self.layout.retention_proofs();
        let Some(mut proofs) = self.proofs(&path)? else { return Ok(()) };
        let mut in_tree = HashMap::new();
        for kept in kept.into_iter().flatten() {
            let hash = leaf(kept.line.as_bytes());
            if let Some(Some(proof)) = proofs.next_proof()?
                && proof.index == kept.index
                && self.holds(&hash, &proof)
            {
                in_tree.insert(kept.index, hash);
            }
        }
        let mut findings = Vec::new();
        self.retained =
            retained::read(self.layout, &[], self.signed.size, |index| in_tree.get(&index).copied(), &mut findings)?;
        findings.into_iter().for_each(|finding| self.report.add(finding));
        self.report.retention_records = self.retained.records;
        Ok(())
    }

    fn lines(
        &mut self,
        is_tenant: bool,
        manifest: Option<&Manifest>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), VerifyFault> {
        let (path, proofs) = (self.layout.export_lines(), self.layout.export_proofs());
        let Some(mut proofs) = self.proofs(&proofs)? else { return Ok(()) };
        let total = std::fs::metadata(&path).map_or(0, |found| found.len());
        let mut lines = Lines::of_file(&path, false)?;
        let mut chain = Chain::default();
        let mut done = 0;
        while let Some(line) = lines.next_line()? {
            done += line.bytes().len() as u64 + 1;
            if line.number.is_multiple_of(1 << 12) {
                progress(done, total);
            }
            let hash = leaf(line.bytes());
            let proof = proofs.next_proof()?.flatten();
            let at = |finding: Finding| finding.file(&path).line(line.number);
            let proof_index = proof.as_ref().map(|proof| proof.index);
            match proof {
                Some(proof) if self.holds(&hash, &proof) => self.report.entries.verified += 1,
                Some(proof) => {
                    self.report.entries.altered += 1;
                    let text = "the line is not the one that its proof leads to the signed root from: it or its proof was changed";
                    let finding =
                        Finding::new(Fault::LineAltered, text).range(proof.index, proof.index.saturating_add(1));
                    self.report.add(at(finding.hashes(None, Some(hash))));
                }
                None => self.report.add(at(Finding::new(Fault::ProofWrong, "there is no proof for this line"))),
            }
            if is_tenant && let Some(finding) = chain.rises(proof_index) {
                self.report.add(at(finding));
            }
            if is_tenant && let Err(finding) = self.follow(&mut chain, line.bytes(), hash, manifest) {
                self.report.add(at(*finding));
            }
        }
        if lines.torn() > 0 {
            let text = "the last line is cut off: ask for the export again";
            self.report.add(Finding::new(Fault::LineMissing, text).file(&path).line(lines.number() + 1));
        }
        if proofs.next_proof()?.is_some() {
            let text = "there are more proofs than lines: lines are gone";
            self.report.add(Finding::new(Fault::LineMissing, text).file(&path).line(lines.number() + 1));
        }
        self.report.times = self.clock.range();
        self.report.back_micros = self.clock.back().as_micros();
        if is_tenant {
            return self.ends(&chain, manifest);
        }
        self.is_one_event(lines.number());
        Ok(())
    }

    /// Without a manifest nothing says that lines are complete, so there may be one event alone.
    fn is_one_event(&mut self, lines: u64) {
        let parts = [self.layout.retention(), self.layout.retention_proofs(), self.layout.boundary()];
        if lines != 1 || parts.iter().any(|part| part.exists()) {
            let text = format!(
                "there is no manifest, and {lines} lines instead of one event: nothing says that they are complete; ask for the export again"
            );
            self.report.add(Finding::new(Fault::PartMissing, text).file(&self.layout.export_manifest()));
        }
    }

    fn follow(
        &mut self,
        chain: &mut Chain,
        line: &[u8],
        hash: Hash,
        manifest: Option<&Manifest>,
    ) -> Result<(), Box<Finding>> {
        let Some(scanned) = Scanned::read(line) else {
            return Err(Box::new(Finding::new(Fault::LineForeign, "no line of an audit log")));
        };
        self.clock.line(scanned.timestamp);
        let prev: Option<Hash> = std::str::from_utf8(scanned.prev_hash).ok().and_then(|text| text.parse().ok());
        let prev = prev.unwrap_or(Hash::ZERO);
        let last = chain.last.replace((scanned.tenant_seq, hash));
        chain.count += 1;
        chain.first.get_or_insert((scanned.tenant_seq, prev));
        if manifest.is_some_and(|manifest| manifest.org_id.as_bytes() != scanned.org_id) {
            return Err(Box::new(Finding::new(Fault::LineInserted, "this line is of another tenant")));
        }
        let Some((seq, before)) = last else { return Ok(()) };
        let gone = scanned.tenant_seq.saturating_sub(seq).saturating_sub(1);
        if gone > 0 {
            self.report.entries.missing = self.report.entries.missing.saturating_add(gone);
            let text = format!("numbers {} to {} are gone", seq + 1, scanned.tenant_seq - 1);
            return Err(Box::new(Finding::new(Fault::LineMissing, text)));
        }
        if scanned.tenant_seq <= seq {
            let text = format!("number {} follows {seq}", scanned.tenant_seq);
            return Err(Box::new(Finding::new(Fault::LineMoved, text)));
        }
        if prev != before {
            let text = format!("it does not name the line before it, number {seq}");
            return Err(Box::new(Finding::new(Fault::PreviousHashWrong, text).hashes(Some(prev), Some(before))));
        }
        Ok(())
    }

    /// Beginning and end: number 1 or a dropped predecessor, and the number that the manifest states.
    fn ends(&mut self, chain: &Chain, manifest: Option<&Manifest>) -> Result<(), VerifyFault> {
        let path = self.layout.export_lines();
        self.report.numbers = chain.first.map(|(seq, _)| seq).zip(chain.last.map(|(seq, _)| seq));
        if let Some((seq, before)) = chain.first.filter(|(seq, prev)| *seq != 1 || *prev != Hash::ZERO) {
            self.report.entries.pruned = seq.saturating_sub(1);
            if !self.boundary(&before)? {
                let text = format!(
                    "the export begins with number {seq}, and nothing proves that retention dropped what came before"
                );
                self.report.add(Finding::new(Fault::HeadMissing, text).file(&path).line(1));
            }
        }
        let Some(manifest) = manifest else { return Ok(()) };
        let last = chain.last.map_or(0, |(seq, _)| seq);
        if last < manifest.last {
            let text =
                format!("the manifest says that the last number is {}, and the lines end with {last}", manifest.last);
            self.report.entries.missing = self.report.entries.missing.saturating_add(manifest.last - last);
            self.report.add(Finding::new(Fault::TailMissing, text).file(&path).line(chain.count + 1));
        } else if last > manifest.last
            || chain.count != manifest.lines
            || chain.first.is_some_and(|(seq, _)| seq != manifest.first)
        {
            let text = format!(
                "the manifest says {} lines from {} to {}: these are others",
                manifest.lines, manifest.first, manifest.last
            );
            self.report.add(Finding::new(Fault::SequenceBroken, text).file(&path));
        }
        Ok(())
    }

    fn boundary(&mut self, before: &Hash) -> Result<bool, VerifyFault> {
        let path = self.layout.boundary();
        let Some(mut proofs) = self.proofs(&path)? else { return Ok(false) };
        let proof = proofs.next_proof()?.flatten();
        Ok(proof.is_some_and(|proof| self.holds(before, &proof) && self.retained.end_of(proof.index) > proof.index))
    }
}
