//! What the writer does while the disk refuses tiles or checkpoints.

use super::*;
use crate::auditlog::sealer::MOST_UNCOVERED;

#[test]
fn lines_are_taken_for_a_while_without_tiles_and_then_the_writer_waits() {
    let bed = Bed::new();
    let mut log = bed.open();
    let batch = |from: u128| (from..from + 4_096).map(|id| entry(id, "acme", 1)).collect::<Vec<Entry>>();
    // A file stands where the folder of tiles has to be.
    std::fs::write(bed.layout().tiles_dir(), "").unwrap();
    let mut taken = 0_u128;
    let fault = loop {
        match log.append(&batch(taken)) {
            Ok(_) => taken += 4_096,
            Err(fault) => break fault,
        }
        assert!(taken < 100 * u128::from(MOST_UNCOVERED), "it never waits");
    };
    assert!(matches!(fault, LogFault::Uncovered { lines } if lines > MOST_UNCOVERED), "{fault}");
    assert!(fault.to_string().contains("make room"));
    assert!(matches!(log.append(&[]), Err(LogFault::Uncovered { .. })), "it goes on to wait");
    std::fs::remove_file(bed.layout().tiles_dir()).unwrap();
    let log = std::cell::RefCell::new(log);
    let refused = || matches!(log.borrow_mut().append(&batch(taken)), Err(LogFault::Uncovered { .. }));
    until("lines are taken again", || !refused());
    log.into_inner().close().unwrap();
    assert_eq!(bed.lines().len() as u128, taken + 4_096);
    bed.check();
}

#[test]
fn a_checkpoint_that_is_not_in_its_place_yet_is_the_newest_all_the_same() {
    let bed = Bed::new();
    let mut log = bed.open();
    let fresh = bed.layout().checkpoint().with_extension("new");
    std::fs::create_dir(&fresh).unwrap();
    log.append(&[entry(1, "acme", 1)]).unwrap();
    until("a note stands in the history", || bed.checkpoints().last().is_some_and(|newest| newest.size == 1));
    let noted = bed.checkpoints().len();
    // The next attempts put it into its place, and sign nothing anew.
    log.append(&[entry(2, "acme", 1)]).unwrap();
    assert_eq!(log.seal().unwrap(), 1);
    assert_eq!(bed.checkpoints().len(), noted);
    std::fs::remove_dir(&fresh).unwrap();
    until("the newest note is in its place", || {
        let note = std::fs::read_to_string(bed.layout().checkpoint()).unwrap();
        open_note(&note, &[bed.key.verifying()]).unwrap().size == 2
    });
    log.close().unwrap();
    bed.check();
}

#[test]
fn tiles_without_a_checkpoint_are_no_new_log() {
    let bed = Bed::new();
    let mut log = bed.open();
    log.append(&[entry(1, "acme", 1)]).unwrap();
    log.close().unwrap();
    for file in [bed.layout().checkpoint(), bed.layout().history(), bed.first_segment()] {
        std::fs::remove_file(file).unwrap();
    }
    assert!(matches!(bed.try_open(), Err(LogFault::Damaged { path, .. }) if path == bed.layout().checkpoint()));
}
