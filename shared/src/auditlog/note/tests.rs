use proptest::prelude::*;

use super::*;

/// Keys, text and note of Go's `golang.org/x/mod/sumdb/note` (`note_test.go`).
const GO_SIGNER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn key(name: &str) -> SigningKey {
    SigningKey::generate(name).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: "eu1.example/audit".to_owned(),
        size: 1_048_576,
        root: Hash([7; 32]),
        time: Timestamp::parse("2026-09-27T23:59:59.000001Z").unwrap(),
        keys: None,
    }
}

#[test]
fn keys_and_notes_are_those_of_go() {
    let signer = SigningKey::parse(&GO_SIGNER.into()).unwrap();
    assert_eq!(signer.render().expose_secret(), GO_SIGNER);
    assert_eq!(signer.verifying().to_string(), GO_VERIFIER);
    let verifier = VerifyingKey::parse(GO_VERIFIER).unwrap();
    assert_eq!(verifier, signer.verifying());
    assert_eq!(signer.sign(GO_TEXT), GO_NOTE);
    assert_eq!(open_text(GO_NOTE, std::slice::from_ref(&verifier)), Ok((GO_TEXT, &verifier)));
}

#[test]
fn keys_that_were_cut_or_changed_are_refused() {
    let form = |text: &str| VerifyingKey::parse(text).unwrap_err();
    assert!(matches!(form("PeterNeumann+c74f20a3"), KeyFault::Form(_)));
    assert!(matches!(form(&GO_VERIFIER[..GO_VERIFIER.len() - 4]), KeyFault::Form(_)));
    assert_eq!(form(&GO_VERIFIER.replace("c74f20a3", "c74f20a4")), KeyFault::Id);
    assert_eq!(form(&GO_VERIFIER.replace("Peter", "Paul")), KeyFault::Id);
    assert_eq!(form(&GO_VERIFIER.replace("PeterNeumann", "Peter Neumann")), KeyFault::Name);
    assert_eq!(form(&GO_VERIFIER.replace("+ARpc", "+Ahpc")), KeyFault::Type);
    assert!(matches!(SigningKey::parse(&GO_VERIFIER.into()), Err(KeyFault::Form(_))));
    assert_eq!(SigningKey::parse(&GO_SIGNER.replace("Peter", "Paul").into()).unwrap_err(), KeyFault::Id);
    for name in ["", "a b", "a+b", "a\u{a0}b"] {
        assert!(SigningKey::generate(name).is_none(), "{name:?}");
    }
}

#[test]
fn no_private_key_prints() {
    let key = key("log");
    assert!(!format!("{key:?}").contains(key.render().expose_secret()));
    assert_eq!(format!("{key:?}"), "SigningKey(log [REDACTED])");
}

#[test]
fn a_checkpoint_reads_back_under_its_key_alone() {
    let (key, other) = (key("eu1.example/audit"), key("eu1.example/audit"));
    let note = checkpoint().sign(&key);
    assert!(
        note.starts_with("eu1.example/audit\n1048576\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\ntime 2026-09-27T")
    );
    assert_eq!(open_note(&note, &[other.verifying(), key.verifying()]), Ok(checkpoint()));
    assert!(matches!(open_note(&note, &[other.verifying()]), Err(NoteFault::UnknownKey(_))));
    let forged = note.replace("1048576", "1048577");
    assert!(matches!(open_note(&forged, &[key.verifying()]), Err(NoteFault::Signature(_))));
    let moved = Checkpoint { origin: "another".to_owned(), ..checkpoint() }.sign(&key);
    assert!(matches!(open_note(&moved, &[key.verifying()]), Err(NoteFault::Origin { .. })));
}

#[test]
fn other_signatures_below_the_logs_do_no_harm() {
    let key = key("eu1.example/audit");
    let witness = "\u{2014} witness.example/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let note = checkpoint().sign(&key);
    assert_eq!(open_note(&format!("{note}{witness}"), &[key.verifying()]), Ok(checkpoint()));
    let first = note.replace("\n\n", &format!("\n\n{witness}"));
    assert_eq!(open_note(&first, &[key.verifying()]), Ok(checkpoint()));
}

#[test]
fn what_is_no_checkpoint_says_why() {
    let key = key("log");
    let open = |text: &str| open_note(&key.sign(text), &[key.verifying()]).unwrap_err().to_string();
    let root = Hash([1; 32]).to_base64();
    assert_eq!(open("log\n"), "not a checkpoint: it has no size");
    assert_eq!(open(&format!("log\n01\n{root}\n")), "not a checkpoint: its size is no number");
    assert_eq!(open("log\n1\nAAAA\n"), "not a checkpoint: its root is no hash");
    assert_eq!(open(&format!("log\n1\n{root}\n")), "not a checkpoint: it has no line with its time");
    assert!(matches!(open_note("log\n1\n", &[]), Err(NoteFault::Form(_))));
    assert!(matches!(open_note("log\n\n\u{2014} log AAAA", &[]), Err(NoteFault::Form(_))));
}

#[test]
fn the_history_is_read_note_by_note() {
    let key = key("log");
    let notes: Vec<String> = (0..5).map(|n| key.sign(&format!("log\n{n}\n"))).collect();
    let text: String = notes.iter().map(|note| format!("{note}\n")).collect();
    assert_eq!(history(&text).collect::<Vec<_>>(), notes);
    let cut = &text[..text.len() - 30];
    let read: Vec<&str> = history(cut).collect();
    assert_eq!(read[..4], notes[..4]);
    assert!(notes[4].starts_with(read[4]) && read[4].len() < notes[4].len());
    assert_eq!(history("").count(), 0);
}

proptest! {
    #[test]
    fn no_input_breaks_the_readers(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = format!("{text}{}", String::from_utf8_lossy(&bytes));
        let _ = (open_note(&text, &[]), VerifyingKey::parse(&text), SigningKey::parse(&text.clone().into()));
        prop_assert!(history(&text).map(str::len).sum::<usize>() <= text.len());
    }

    #[test]
    fn one_changed_byte_is_seen(at in any::<prop::sample::Index>(), to in 32_u8..127) {
        let key = SigningKey::parse(&GO_SIGNER.into()).unwrap();
        let note = Checkpoint { origin: "PeterNeumann".to_owned(), ..checkpoint() }.sign(&key);
        let mut bytes = note.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert_eq!(open_note(&changed, &[key.verifying()]).is_ok(), changed == note);
        }
    }
}

#[test]
fn the_first_whole_note_is_found_wherever_the_text_was_cut() {
    let (first, second) = (checkpoint().sign(&key("a")), checkpoint().sign(&key("b")));
    let text = format!("{first}\n{second}\n");
    for cut in 0..first.len() {
        let rest = &text.as_bytes()[cut..];
        let end = first_end(rest).unwrap();
        let signature = first.rfind(SIGNATURE).unwrap();
        let begins = if cut <= signature { format!("{second}\n") } else { String::new() };
        assert_eq!(std::str::from_utf8(&rest[end..]).unwrap(), begins, "{cut}");
    }
    assert_eq!(first_end(second.as_bytes()), None);
}
