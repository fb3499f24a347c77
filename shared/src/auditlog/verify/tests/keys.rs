//! Which key signed when: the checkpoints sign what `vkeys.json` says about it.

use super::super::super::note::{Checkpoint, history, open_note};
use super::*;

/// A log whose key was changed once, and the policy that trusts both keys.
fn changed_once() -> (Bed, SigningKey, impl Fn() -> Policy) {
    let mut bed = Bed::new(2_000);
    let old = std::mem::replace(&mut bed.key, SigningKey::generate(NAME).unwrap());
    bed.write(2_000..2_100);
    let text = format!("log {}\nlog {}\n", old.verifying(), bed.key.verifying());
    (bed, old, move || Policy::parse(&text).unwrap())
}

fn edit_keys(layout: &Layout, edit: impl Fn(&mut serde_json::Value)) {
    let mut table = serde_json::from_slice(&std::fs::read(layout.vkeys()).unwrap()).unwrap();
    edit(&mut table);
    replace(&layout.vkeys(), &serde_json::to_vec(&table).unwrap());
}

#[test]
fn a_widened_validity_of_an_old_key_is_told() {
    let (bed, _, policy) = changed_once();
    assert_eq!(bed.verify_as(&bed.log(), policy(), None).exit, 0);
    let edits: [fn(&mut serde_json::Value); 4] = [
        |table| table[0]["until"] = "2099-01-01T00:00:00.000000Z".into(),
        |table| table[0]["from"] = "2019-01-01T00:00:00.000000Z".into(),
        |table| drop(table.as_array_mut().unwrap().remove(0)),
        |table| table.as_array_mut().unwrap().clear(),
    ];
    for edit in edits {
        let (folder, layout) = bed.copy();
        edit_keys(&layout, edit);
        assert_eq!(bed.verify_as(folder.path(), policy(), None).fault(), Some(Fault::KeyNotValid));
    }
}

#[test]
fn what_an_old_key_signs_after_its_time_is_told() {
    let (bed, old, policy) = changed_once();
    let (folder, layout) = bed.copy();
    let text = std::fs::read_to_string(layout.history()).unwrap();
    let newest = open_note(history(&text).last().unwrap(), &[bed.key.verifying()]).unwrap();
    let first = open_note(history(&text).next().unwrap(), &[old.verifying()]).unwrap();
    let after = Timestamp::new(newest.time.moment() + Duration::from_secs(1));
    for keys in [newest.keys, first.keys, None] {
        let forged = Checkpoint { time: after, keys, ..newest.clone() }.sign(&old);
        replace(&layout.checkpoint(), forged.as_bytes());
        replace(&layout.history(), format!("{text}{forged}\n").as_bytes());
        assert_eq!(bed.verify_as(folder.path(), policy(), None).fault(), Some(Fault::KeyNotValid));
    }
}

#[test]
fn a_log_of_an_older_version_signs_no_keys_and_one_that_did_goes_on() {
    let bed = Bed::new(2_000);
    let (folder, layout) = bed.copy();
    let text = std::fs::read_to_string(layout.history()).unwrap();
    let signed = |keys: fn(Checkpoint, usize) -> Checkpoint| -> Vec<String> {
        let notes = history(&text).map(|note| open_note(note, &[bed.key.verifying()]).unwrap());
        notes.enumerate().map(|(place, note)| keys(note, place).sign(&bed.key)).collect()
    };
    for (notes, fault) in [
        (signed(|note, _| Checkpoint { keys: None, ..note }), None),
        (signed(|note, at| Checkpoint { keys: note.keys.filter(|_| at > 0), ..note }), None),
        (
            signed(|note, at| Checkpoint { keys: note.keys.filter(|_| at == 0), ..note }),
            Some(Fault::HistoryInconsistent),
        ),
    ] {
        replace(&layout.history(), notes.iter().map(|note| format!("{note}\n")).collect::<String>().as_bytes());
        replace(&layout.checkpoint(), notes.last().unwrap().as_bytes());
        assert_eq!(bed.verify(folder.path(), None).fault(), fault);
    }
}

#[test]
fn a_table_in_which_a_replaced_key_came_back_is_refused() {
    let (bed, _, policy) = changed_once();
    let (folder, layout) = bed.copy();
    edit_keys(&layout, |table| {
        let again = serde_json::json!({ "vkey": table[0]["vkey"], "from": table[1]["from"], "until": null });
        table[1]["until"] = table[1]["from"].clone();
        table.as_array_mut().unwrap().push(again);
    });
    let verified = verify(folder.path(), &Options { policy: policy(), since: None }, &mut |_, _| {});
    assert!(matches!(verified, Err(VerifyFault::Keys { what, .. }) if what.contains("came back")));
}
