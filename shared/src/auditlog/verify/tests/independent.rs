//! Checkpoints and proofs of ours, read by Cloudflare's `signed_note` and `tlog_tiles`.

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{check_record, check_tree, record_hash};

use super::super::super::note::{history, open_note};
use super::super::super::tile::Tiles;
use super::super::super::tree::{Hash, consistency, inclusion};
use super::*;

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect()
}

#[test]
fn another_implementation_accepts_our_checkpoints_and_proofs() {
    let bed = Bed::new(2_000);
    let layout = Layout::new(bed.log());
    let note = std::fs::read_to_string(layout.checkpoint()).unwrap();
    let verifiers = || {
        let verifier = StandardVerifier::new(&bed.key.verifying().to_string()).unwrap();
        VerifierList::new(vec![Box::new(verifier)])
    };
    let opened = Note::from_bytes(note.as_bytes()).unwrap();
    assert!(opened.verify(&verifiers()).is_ok());
    let read = tlog_tiles::Checkpoint::from_bytes(opened.text()).unwrap();
    let ours = open_note(&note, &[bed.key.verifying()]).unwrap();
    assert_eq!((read.origin(), read.size(), read.hash().0), (NAME, ours.size, ours.root.0));
    let forged = note.replacen("\n2000\n", "\n2001\n", 1);
    assert!(Note::from_bytes(forged.as_bytes()).unwrap().verify(&verifiers()).is_err());
    let mut tiles = Tiles::new(layout.clone(), ours.size);
    let root = tlog_tiles::Hash(ours.root.0);
    let lines = segments(&layout).unwrap().iter().flat_map(read_lines).collect::<Vec<_>>();
    for (index, line) in (0..).zip(&lines).step_by(61) {
        let proof = theirs(&inclusion(&mut tiles, index, ours.size).unwrap());
        assert!(check_record(&proof, ours.size, root, index, record_hash(line)).is_ok(), "{index}");
        assert!(check_record(&proof, ours.size, root, index, record_hash(b"other")).is_err(), "{index}");
    }
    let text = std::fs::read_to_string(layout.history()).unwrap();
    let notes = history(&text).map(|note| open_note(note, &[bed.key.verifying()]).unwrap());
    for old in notes.filter(|old| (1..ours.size).contains(&old.size)) {
        let proof = theirs(&consistency(&mut tiles, old.size, ours.size).unwrap());
        assert!(check_tree(&proof, ours.size, root, old.size, tlog_tiles::Hash(old.root.0)).is_ok(), "{}", old.size);
    }
}
