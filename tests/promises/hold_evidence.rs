//! A legal hold pins the tenant's audit lines with their proofs; the audit log has the hash of the bundle's manifest.

use millrace_tests::{Left, World, audit_holds, eventually, run_cli};
use serde_json::json;
use sha2::{Digest, Sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_pins_evidence_that_verify_takes_and_the_log_vouches_for() {
    let mut world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (programs, _) = world.start_all().await;
    let covered = || audit_holds(&world.audit_folder()) >= 2;
    let written = || world.lines().len() == 2 && covered();
    eventually("both lines are signed", async || written().then_some(())).await;
    let below = tempfile::tempdir().expect("a folder");
    let folder = below.path().display().to_string();

    // A key that cannot be read: the hold is in force, and its evidence is pinned by the next run.
    let place = ["hold", "place", "acme", "--matter", "m/1", "--evidence", &folder];
    let output = run_cli(&[&place[..], &["--key-file", "/nowhere/key"]].concat(), &world.environment()).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the hold is in force"), "{output:?}");
    assert!(world.cli(&["hold", "list"]).await.contains("no evidence pinned"));
    world.set("MILLRACE__COMPLIANCE__HOLD_EVIDENCE_PATH", folder.clone());
    let said = world.cli(&["hold", "place", "acme", "--matter", "m/1"]).await;
    assert!(said.contains("held for m/1 already") && said.contains("are pinned in"), "{said}");

    let bundles: Vec<_> =
        std::fs::read_dir(below.path()).expect("a folder").map(|entry| entry.expect("one").path()).collect();
    let [bundle] = bundles.as_slice() else { panic!("one bundle: {bundles:?}") };
    let said = world.cli(&["audit", "verify", &bundle.display().to_string()]).await;
    assert!(said.contains("VALID") && said.contains("acme"), "{said}");
    assert!(!std::fs::read_to_string(bundle.join("lines.jsonl")).expect("lines").contains("globex"));
    let manifest = hex::encode(Sha256::digest(std::fs::read(bundle.join("manifest")).expect("a manifest")));
    let said = world.cli(&["hold", "list"]).await;
    assert!(said.contains(&manifest), "{said}");
    assert_eq!(
        world.count("select count(*) from engine.holds where evidence_lines > 0 and pinned_at is not null").await,
        1
    );
    let pinned = || world.lines().into_iter().find(|line| line["action"] == "hold.pin");
    let line = eventually("the line of the evidence", async || pinned()).await;
    assert_eq!(line["metadata"]["manifest_sha256"], manifest);
    assert_eq!((&line["org_id"], &line["metadata"]["matter"]), (&json!("acme"), &json!("m/1")));

    // Pinned once; a changed bundle is not taken any more.
    let said = world.cli(&["hold", "place", "acme", "--matter", "m/1"]).await;
    assert!(said.contains("pinned already"), "{said}");
    let said = world.cli(&["hold", "release", "acme", "--matter", "m/1"]).await;
    assert!(said.contains(&manifest) && said.contains("delete it when"), "{said}");
    let text =
        std::fs::read_to_string(bundle.join("lines.jsonl")).expect("lines").replace("tenants.create", "tenants.delete");
    std::fs::write(bundle.join("lines.jsonl"), text).expect("a change");
    let output = run_cli(&["audit", "verify", &bundle.display().to_string()], &world.environment()).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    world.finish(Left::default()).await;
    drop(programs);
}
