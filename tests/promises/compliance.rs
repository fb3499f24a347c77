//! The papers are what the commands say of a running deployment: complete, of one tenant where one is asked for, and never
//! with a secret in them.

mod papers;

use std::path::Path;

use millrace::auditlog::note::{SigningKey, open_text};
use millrace_tests::{Caller, Left, World, run_cli};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a command printed, and its exit code.
async fn output(world: &World, arguments: &[&str]) -> (String, i32) {
    let output = run_cli(arguments, &world.environment()).await;
    let code = output.status.code().expect("an exit code");
    (String::from_utf8(output.stdout).expect("UTF-8"), code)
}

async fn document(world: &World, arguments: &[&str]) -> Value {
    let (text, code) = output(world, arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {text}"))
}

/// Two tenants with a project each, made by a user who is in one of them a member.
async fn furnish(world: &World, url: &str) {
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
        let caller = Caller::user(org, &format!("ada-{org}"), "editor");
        let id =
            world.command(url, &caller, "projects.create", "k1", &json!({ "name": format!("secret of {org}") })).await;
        assert_eq!(world.outcome(org, &id).await, "applied");
    }
    world
        .execute(
            "INSERT INTO app.members (org_id, user_id, role, created_at) VALUES
               ('acme', 'ada-acme', 'editor', now() - interval '400 days'),
               ('acme', 'long-gone', 'admin', now() - interval '400 days')",
        )
        .await;
    world.until_lines("applied", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_listed_and_no_secret_is_told() {
    let world = World::new().await;
    let (text, code) = output(&world, &["keys", "list", "--json"]).await;
    assert_eq!(code, 0);
    let keys: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (kind, name) in [
        ("seal", "ingress-1"),
        ("seal", "operator-1"),
        ("webhook", "stripe/second"),
        ("token issuer", "people"),
        ("tenant context", "context_key"),
        ("audit event ids", "event_id_key"),
    ] {
        let found = keys.iter().find(|key| key["kind"] == kind && key["name"] == name);
        let found = found.unwrap_or_else(|| panic!("{kind} {name} is not listed: {text}"));
        assert!(found["fingerprint"].as_str().is_some_and(|print| print.len() >= 16), "{found}");
        assert!(found["since"].is_string(), "{found}");
    }
    let human = run_cli(&["keys", "list", "--rotate-after", "0"], &world.environment()).await;
    let said = format!("{}{}", String::from_utf8_lossy(&human.stdout), String::from_utf8_lossy(&human.stderr));
    assert!(said.contains("older than 0 days"), "{said}");
    assert!(!said.contains("compliance.event_id_key\n"), "a key that is kept for ever is never due: {said}");
    for file in std::fs::read_dir(world.config_path().with_file_name("keys")).expect("keys") {
        let secret = std::fs::read_to_string(file.expect("a file").path()).expect("a secret");
        assert!(!text.contains(secret.trim()) && !said.contains(secret.trim()), "a secret was told");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_answer_for_the_tenants_that_are_asked_for_and_are_on_record() {
    let world = World::new().await;
    let (programs, url) = world.start_all_workers().await;
    furnish(&world, &url).await;
    review(&world).await;
    scope(&world).await;
    record(&world).await;
    evidence(&world).await;
    world.finish(Left::default()).await;
    drop(programs);
}

async fn review(world: &World) {
    let key = SigningKey::generate("reviewer").expect("a key");
    let file = world.config_path().with_file_name("reviewer.key");
    std::fs::write(&file, key.render().expose_secret()).expect("a key file");
    let path = file.to_str().expect("a path");
    let (note, code) = output(world, &["access-review", "--org", "acme", "--sign", path]).await;
    assert_eq!(code, 0, "{note}");
    let (text, _) = open_text(&note, &[key.verifying()])
        .map(|(text, key)| (text.to_owned(), key.name().to_owned()))
        .expect("a signed note");
    let review: Value = serde_json::from_str(&text).expect("JSON");
    let tenants = review["tenants"].as_array().expect("tenants");
    assert_eq!(tenants.len(), 1, "{text}");
    let stale: Vec<(&str, bool)> = tenants[0]["principals"]
        .as_array()
        .expect("principals")
        .iter()
        .map(|one| (one["principal"].as_str().expect("a name"), one["stale"].as_bool().expect("known")))
        .collect();
    assert_eq!(stale, [("user:ada-acme", false), ("user:long-gone", true)]);
    let changed = note.replace("long-gone", "still-here");
    assert!(open_text(&changed, &[key.verifying()]).is_err(), "a changed review was taken");
    // The log knows which review was seen.
    let digest = hex::encode(Sha256::digest(text.trim_end()));
    millrace_tests::eventually("the review is on record", async || {
        world
            .lines()
            .iter()
            .any(|line| line["action"] == "access.reviewed" && line["metadata"]["sha256"] == digest.as_str())
            .then_some(())
    })
    .await;
}

async fn scope(world: &World) {
    let asked = ["breach", "scope", "--from", "2020-01-01", "--to", "2100-01-01", "--org", "acme", "--json"];
    let found = document(world, &asked).await;
    assert_eq!((&found["resolved"], &found["log"]["unreadable"]), (&json!(true), &json!(0)));
    let tenants = found["tenants"].as_array().expect("tenants");
    assert_eq!(tenants.len(), 1, "{found}");
    let acme = &tenants[0];
    let action = acme["actions"].as_array().expect("actions").iter().find(|one| one["action"] == "projects.create");
    assert_eq!(action.expect("the command")["fields"], json!(["name"]));
    let resource =
        acme["resources"].as_array().expect("resources").iter().find(|one| one["resource_type"] == "project");
    let resource = resource.expect("the project");
    assert_eq!((&resource["table"], &resource["resources"]), (&json!("app.projects"), &json!(1)));
    assert!(acme["since"].is_string() && acme["principals"].as_array().is_some_and(|all| !all.is_empty()));
    assert!(!found.to_string().contains("globex"), "another tenant in the answer: {found}");
    // Nobody did anything before, and the files alone give the same.
    let before = ["breach", "scope", "--from", "2020-01-01", "--to", "2020-01-02", "--json"];
    assert_eq!(document(world, &before).await["tenants"], json!([]));
    let log = world.audit_file();
    let log = log.parent().and_then(Path::parent).and_then(Path::to_str).expect("a folder");
    let offline = document(world, &[asked.as_slice(), &["--offline", "--log", log]].concat()).await;
    assert_eq!((&offline["resolved"], &offline["tenants"][0]["lines"]), (&json!(false), &acme["lines"]));
    let (_, code) = output(world, &["breach", "scope", "--from", "2026-01-02", "--to", "2026-01-01"]).await;
    assert_eq!(code, 64);
}

async fn record(world: &World) {
    let record = document(world, &["ropa", "--json"]).await;
    let tables = record["tables"].as_array().expect("tables");
    assert!(tables.len() > 15, "the catalogue was not read: {record}");
    let without: Vec<&Value> =
        tables.iter().filter(|table| table["retention"].is_null()).map(|t| &t["table"]).collect();
    assert!(without.is_empty(), "tables without a line in the retention schedule (places.rs): {without:?}");
    let names: Vec<&str> = tables.iter().filter_map(|table| table["table"].as_str()).collect();
    let billed = record["activities"]
        .as_array()
        .expect("activities")
        .iter()
        .find(|one| one["activity"] == "Contract and billing");
    for table in billed.expect("billing")["tables"].as_array().expect("tables") {
        assert!(names.contains(&table.as_str().expect("a name")), "{table} is no table any more");
    }
    let recipients = record["recipients"].to_string();
    assert!(
        ["crm", "ledger", "stripe", "https://people.test"].iter().all(|name| recipients.contains(name)),
        "{recipients}"
    );
}

async fn evidence(world: &World) {
    let out = world.config_path().with_file_name("evidence.tar.gz");
    let path = out.to_str().expect("a path");
    let asked = ["evidence", "--from", "2020-01-01", "--to", "2100-01-01", "--out", path, "--json"];
    let (text, code) = output(world, &asked).await;
    assert_eq!(code, 0, "{text}");
    let said: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let archive = std::fs::read(&out).expect("the archive");
    assert_eq!(said["sha256"], hex::encode(Sha256::digest(&archive)));
    let folder = tempfile::tempdir().expect("a folder");
    let unpacked =
        std::process::Command::new("tar").arg("-xzf").arg(&out).arg("-C").arg(folder.path()).status().expect("tar");
    assert!(unpacked.success());
    let inside = folder.path().join("evidence");
    let index: Value =
        serde_json::from_slice(&std::fs::read(inside.join("index.json")).expect("an index")).expect("JSON");
    assert_eq!(index, said["index"]);
    let files = index["files"].as_array().expect("files");
    for file in files {
        let bytes = std::fs::read(inside.join(file["file"].as_str().expect("a name"))).expect("a file of the index");
        assert_eq!(file["sha256"], hex::encode(Sha256::digest(&bytes)), "{file}");
    }
    assert_eq!(
        std::fs::read_dir(&inside).expect("files").count(),
        files.len() + 1,
        "a file that the index does not name"
    );
    for (file, exit) in [
        ("keys.jsonl", 0),
        ("access-review.json", 0),
        ("scope.json", 0),
        ("isolation.json", 0),
        ("record-of-processing.md", 0),
    ] {
        let found = files.iter().find(|one| one["file"] == file);
        assert_eq!(found.unwrap_or_else(|| panic!("{file} is missing: {index:#}"))["exit"], exit, "{index:#}");
    }
    for missing in index["missing"].as_array().expect("a list") {
        assert!(missing["why"].as_str().is_some_and(|why| why.len() > 3), "{missing}");
    }
    // What is there is never written over.
    let (_, code) = output(world, &asked).await;
    assert_eq!((code, std::fs::read(&out).expect("the archive")), (64, archive));
}
