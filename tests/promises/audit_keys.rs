//! The key of the audit log is made once, read by nobody else, and never written over. Needs no server.

use std::os::unix::fs::PermissionsExt;

use millrace::auditlog::SigningKey;
use millrace::auditlog::note::VerifyingKey;
use millrace_tests::run_cli;
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("a text")
}

#[tokio::test]
async fn a_new_key_goes_to_a_file_of_its_own_and_is_told_by_its_public_half() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit-log");
    let out = path.display().to_string();
    let made = run_cli(&["audit", "keygen", "eu1.example/audit", "--out", &out, "--json"], &[]).await;
    assert!(made.status.success());
    let said: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may read it");
    let written = std::fs::read_to_string(&path).expect("a key");
    let key = SigningKey::parse(&written.clone().into()).expect("a key");
    assert_eq!(key.name(), "eu1.example/audit");
    let public = VerifyingKey::parse(said["vkey"].as_str().expect("a key")).expect("a public key");
    assert_eq!(public, key.verifying());
    assert!(!text(&made.stdout).contains("PRIVATE"), "the file alone has the private half");

    let again = run_cli(&["audit", "keygen", "eu1.example/audit", "--out", &out], &[]).await;
    assert!(!again.status.success(), "a key that may be in use is not written over");
    assert_eq!(std::fs::read_to_string(&path).expect("a key"), written);
}

#[tokio::test]
async fn without_a_file_the_key_alone_is_on_standard_output() {
    let made = run_cli(&["audit", "keygen", "x/audit"], &[]).await;
    assert!(made.status.success());
    let printed = text(&made.stdout);
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert_eq!(SigningKey::parse(&printed.into()).expect("a key").name(), "x/audit");
    for name in ["", "two words", "a+b"] {
        let refused = run_cli(&["audit", "keygen", name], &[]).await;
        assert_eq!(refused.status.code(), Some(64), "{name:?}");
        assert_eq!(refused.stdout, b"");
    }
}
