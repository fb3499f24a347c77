//! Checkpoints are held off the host: by a command, in a folder, in a bucket; what fails is tried again, and where an audit
//! trail is required nothing starts without a place for them.

use std::path::Path;

use millrace_tests::{Left, ObjectStoreStandIn, World, eventually, run_cli};

const COPY: &str = "MILLRACE__COMPLIANCE__CHECKPOINT_COPY";
const REQUIRED: &str = "MILLRACE__COMPLIANCE__SOC2_AUDIT_TRAIL_REQUIRED";

fn newest(world: &World) -> String {
    std::fs::read_to_string(world.audit_folder().join("checkpoint")).expect("a checkpoint")
}

/// The files of a folder, by their names, which rise with the log.
fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.iter().map(|path| std::fs::read_to_string(path).expect("a copy")).collect()
}

/// Everything that has happened so far has its line.
async fn settled(world: &World) {
    world.until_count("select count(*) from engine.outbox", 0).await;
    eventually("nothing waits for the log", async || (world.depth("audit").await == 0).then_some(())).await;
}

/// One event becomes a line, and everything ends.
async fn one_line(world: &World, applied: usize) {
    let (programs, url) = world.start_all().await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", applied).await;
    settled(world).await;
    for program in programs {
        assert_eq!(program.terminate().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_holds_the_last_checkpoint_and_shows_a_rollback() {
    let mut world = World::new().await;
    let held = tempfile::tempdir().expect("a folder");
    world.set(COPY, format!("file://{}", held.path().display()));
    world.tenant("acme", "cus_1").await;
    one_line(&world, 1).await;
    let before = tempfile::tempdir().expect("a folder");
    let copied = std::process::Command::new("cp").arg("-r").arg(world.audit_folder()).arg(before.path()).status();
    assert!(copied.expect("cp").success());
    one_line(&world, 2).await;
    let copies = files(held.path());
    assert_eq!(copies.last(), Some(&newest(&world)));
    let outside = held.path().join("note");
    std::fs::write(&outside, copies.last().expect("a copy")).expect("a note");
    let arguments = |log: &Path| {
        let (log, note) = (log.display().to_string(), outside.display().to_string());
        ["audit".to_owned(), "verify".into(), log, "--since-checkpoint".into(), note]
    };
    for (log, code) in [(world.audit_folder(), 0), (before.path().join("audit"), 4)] {
        let arguments = arguments(&log);
        let verified = run_cli(&arguments.each_ref().map(String::as_str), &[]).await;
        assert_eq!(verified.status.code(), Some(code), "{}", log.display());
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_is_run_again_with_the_newest_checkpoint() {
    let mut world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (script, ready, held) = (folder.path().join("hold"), folder.path().join("ready"), folder.path().join("held"));
    let text = format!(
        "#!/bin/sh\nenv | grep -q ^MILLRACE && exit 9\ntest -e {} || exit 3\ncat > {}\n",
        ready.display(),
        held.display()
    );
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a program");
    let command = format!("[compliance]\ncheckpoint_copy = [\"{}\"]\n", script.display());
    let config = std::fs::read_to_string(world.config_path()).expect("a configuration");
    std::fs::write(world.config_path(), config.replacen("[compliance]\n", &command, 1)).expect("a configuration");
    world.set(REQUIRED, "true");
    world.tenant("acme", "cus_1").await;
    let (mut programs, url) = world.start_all().await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    let audit = programs.pop().expect("the audit worker");
    eventually("the refusal is told", async || audit.log_text().contains("ended with exit status: 3").then_some(()))
        .await;
    assert!(!held.exists());
    std::fs::write(&ready, "").expect("a file");
    eventually("the copy is held", async || held.exists().then_some(())).await;
    settled(&world).await;
    assert_eq!(audit.terminate().await, 0);
    assert_eq!(std::fs::read_to_string(&held).expect("a copy"), newest(&world));
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_holds_the_last_checkpoint_and_a_refusal_is_told() {
    let mut world = World::new().await;
    let bucket = ObjectStoreStandIn::start().await;
    world.set(COPY, "s3://evidence/eu1");
    world.set("MILLRACE__COMPLIANCE__CHECKPOINT_COPY_ENDPOINT", bucket.url());
    world.set("MILLRACE__COMPLIANCE__CHECKPOINT_COPY_KEY_ID", "AKIATEST");
    world.set("MILLRACE__COMPLIANCE__CHECKPOINT_COPY_SECRET_KEY", "only for tests");
    world.set(REQUIRED, "true");
    world.tenant("acme", "cus_1").await;
    bucket.refuse(403);
    let (mut programs, url) = world.start_all().await;
    let audit = programs.pop().expect("the audit worker");
    eventually("the refusal is told", async || audit.log_text().contains("not held off this host").then_some(())).await;
    assert!(!audit.log_text().contains("only for tests"), "a secret is told");
    bucket.accept();
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    settled(&world).await;
    assert_eq!(audit.terminate().await, 0);
    let objects = bucket.objects();
    let (name, last) = objects.last_key_value().expect("an object");
    assert!(name.starts_with("/evidence/eu1/0000"), "{name}");
    assert_eq!(*last, newest(&world));
    assert!(bucket.signers().iter().all(|signer| signer.starts_with("AWS4-HMAC-SHA256 Credential=AKIATEST/")));
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_audit_trail_is_required_no_writer_starts_without_a_place_off_the_host() {
    let mut world = World::new().await;
    world.set(REQUIRED, "true");
    let mut refused = world.start("millrace-audit");
    assert_eq!(refused.wait().await, 64);
    assert!(refused.log_text().contains("compliance.checkpoint_copy: is missing"), "{}", refused.log_text());
    assert!(!world.audit_folder().exists(), "it has not begun a log");
    let held = tempfile::tempdir().expect("a folder");
    world.set(COPY, format!("file://{}", held.path().display()));
    let (audit, _) = world.start_ready("millrace-audit").await;
    assert_eq!(audit.terminate().await, 0);
    assert_eq!(files(held.path()).last(), Some(&newest(&world)));
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_one_is_a_mistake() {
    let mut world = World::new().await;
    for (place, said) in [
        ("s3:///nowhere", "checkpoint_copy: must be"),
        ("https://example.org/x", "checkpoint_copy: must be"),
        ("s3://evidence/eu1?acl=public", "checkpoint_copy: must be"),
    ] {
        world.set(COPY, place);
        let mut refused = world.start("millrace-audit");
        assert_eq!(refused.wait().await, 64, "{place}");
        assert!(refused.log_text().contains(said), "{place}: {}", refused.log_text());
    }
    world.set(COPY, "s3://evidence/eu1");
    world.set("MILLRACE__COMPLIANCE__CHECKPOINT_COPY_KEY_ID", "AKIATEST");
    let mut refused = world.start("millrace-audit");
    assert_eq!(refused.wait().await, 64);
    assert!(refused.log_text().contains("checkpoint_copy_secret_key"), "{}", refused.log_text());
    world.finish(Left::default()).await;
}
