//! A whole tenant is erased in bounded steps: of every table that no tag keeps, an adopter's included, to a certificate that the
//! audit log vouches for. From the first step on everybody is denied.

mod exports;
mod held;
mod operators;
mod resumed;

use millrace_tests::{Caller, Left, World, eventually};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::erasure::late::of_a_later_version;
use crate::erasure::{ask_for, executed, get, settled, tables_with};

/// Stands in whatever acme has.
const MARKER: &str = "zanzibar";

/// An adopter's tables: folders in folders, a ring of them, and papers in them.
const FOLDERS: &str = "
    SET ROLE millrace_owner;
    CREATE TABLE app.folders (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      id int NOT NULL, parent int, name text NOT NULL, PRIMARY KEY (org_id, id),
      FOREIGN KEY (org_id, parent) REFERENCES app.folders (org_id, id));
    SELECT millrace.protect('folders');
    CREATE TABLE app.papers (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      id int NOT NULL, folder int NOT NULL, text text NOT NULL, PRIMARY KEY (org_id, id),
      FOREIGN KEY (org_id, folder) REFERENCES app.folders (org_id, id));
    SELECT millrace.protect('papers');
    SELECT millrace.tag('app.folders', '{org_id,id,parent}', 'pii: none, ids');
    SELECT millrace.tag('app.folders', '{name}', 'pii: content; erase: kept, the tenant renames them');
    SELECT millrace.tag('app.papers', '{org_id,id,folder}', 'pii: none, ids');
    SELECT millrace.tag('app.papers', '{text}', 'pii: content; erase: kept, the tenant''s own words');
    RESET ROLE";

/// Rows of two tenants; so many projects of each.
async fn seed(world: &World, projects: usize) {
    for org in ["acme", "globex"] {
        let marker = if org == "acme" { MARKER } else { "other" };
        world
            .execute(&format!(
                "INSERT INTO app.projects (org_id, id, name)
                   SELECT '{org}', gen_random_uuid(), '{marker}' FROM generate_series(1, {projects});
                 INSERT INTO app.settings (org_id, entries) VALUES ('{org}', '{{\"x\":\"{marker}\"}}');
                 INSERT INTO app.members (org_id, user_id, role) VALUES ('{org}', '{marker}-1', 'editor');
                 INSERT INTO app.invoices (org_id, provider, invoice_id, status, rank, state_created, amount_due, amount_paid,
                   currency) VALUES ('{org}', 'stripe', 'in_{org}', 'paid', 4, now(), 100, 100, 'eur');
                 INSERT INTO app.fee_ledger (org_id, source_id, kind, invoice_id, amount, fee, currency)
                   VALUES ('{org}', 'in_{org}', 'fee', 'in_{org}', 100, 25, 'EUR')"
            ))
            .await;
    }
}

/// Rows of a tenant by table, but for the index of the audit log, which grows by itself.
async fn rows(world: &World, org: &str, which: &str) -> Vec<(String, i64)> {
    let places = format!(
        "SELECT place FROM app.org_tables() WHERE kept IS {which}
        AND place <> 'app.audit_index' ORDER BY place"
    );
    let places: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(places)).fetch_all(world.superuser()).await.expect("tables");
    assert!(places.len() >= 5, "the catalogue was not read: {places:?}");
    let mut found = Vec::new();
    for place in places {
        let count = world.count(&format!("select count(*) from {place} where org_id = '{org}'")).await;
        found.extend((count > 0).then_some((place, count)));
    }
    found
}

fn lines_of(world: &World, action: &str) -> usize {
    world.lines().iter().filter(|line| line["action"] == action && line["outcome"] == "applied").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_erased_in_steps_and_the_certificate_can_be_checked() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__ERASURE_COOLING_OFF_S", "0");
    for org in ["acme", "globex"] {
        world.tenant(org, &format!("cus_{org}")).await;
    }
    let (mut programs, url) = world.start_all().await;
    programs.extend(["compliance", "tenants"].map(|worker| world.start(&format!("millrace-{worker}"))));
    let projects = world.start("millrace-projects");
    world.listen("recipients", "compliance.org_erased").await;
    world.execute(FOLDERS).await;
    seed(&world, 2_500).await;
    world
        .execute(&format!(
            "INSERT INTO app.folders SELECT 'acme', n, nullif(n - 1, 0), '{MARKER}' FROM generate_series(1, 30) AS n;
             INSERT INTO app.folders VALUES ('acme', 41, NULL, 'a'), ('acme', 42, 41, 'b');
             UPDATE app.folders SET parent = 42 WHERE id = 41;
             INSERT INTO app.papers SELECT 'acme', n, n, '{MARKER}' FROM generate_series(1, 30) AS n"
        ))
        .await;
    let ann = Caller::user("acme", "ann", "admin");
    let letter = world.sealed(&ann, "projects.create", "d1", &json!({ "mark": MARKER }));
    world.enqueue("projects", &letter).await;
    world.until_count("select count(*) from engine.dead_letters", 1).await;
    let waiting = world.sealed(&ann, "projects.create", "w1", &json!({ "name": MARKER }));
    world.enqueue("projects", &of_a_later_version(&world, &waiting)).await;
    world.until_count("select count(*) from engine.parked where reason = 'unknown_type'", 1).await;
    projects.kill().await;
    let (others, kept) = (rows(&world, "globex", "NULL").await, rows(&world, "globex", "NOT NULL").await);

    let wrong = ask_for(&world, &url, &ann, "e0", &json!({ "scope": "org", "org_id": "globex" })).await;
    assert_eq!(settled(&world, &wrong, &ann).await["code"], "org_mismatch");
    let place = ask_for(&world, &url, &ann, "e1", &json!({ "scope": "org", "org_id": "acme" })).await;
    // What waits for a worker that is away is waited for.
    world.until_count("select count(*) from engine.parked where reason = 'erasure_unfinished'", 1).await;
    assert_eq!(settled(&world, &place, &ann).await["erasure"]["state"], "executing");
    programs.push(world.start("millrace-projects"));
    let found = executed(&world, &place, &ann).await;
    assert_eq!((&found["erasure"]["scope"], &found["erasure"]["plan"]["app.projects"]), (&json!("org"), &json!(2_500)));
    assert_eq!(rows(&world, "acme", "NULL").await, []);
    assert_eq!(tables_with(&world, MARKER).await, Vec::<String>::new());
    let kept_rows: Vec<String> = rows(&world, "acme", "NOT NULL").await.into_iter().map(|(place, _)| place).collect();
    assert_eq!(kept_rows, ["app.erasures", "app.fee_ledger", "app.invoices", "app.tenants"]);
    assert_eq!(rows(&world, "globex", "NULL").await, others, "another tenant's rows went");
    assert_eq!(rows(&world, "globex", "NOT NULL").await, kept);
    let tombstone =
        "select count(*) from app.tenants where org_id = 'acme' and state = 'closed' and erased_at is not null
        and name = 'erased'";
    assert_eq!(world.count(tombstone).await, 1);
    let stripped =
        "select count(*) from engine.dead_letters where body = '' and state = 'discarded' and erased_at is not null";
    assert_eq!(world.count(stripped).await, 2);
    eventually("recipients hear of it", async || (world.depth("recipients").await == 1).then_some(())).await;

    certified(&world, &place, &ann).await;
    denied(&world, &url, &ann).await;
    world.finish(Left { dead: 3, parked: 0 }).await;
    drop(programs);
}

/// Each step has its line, and the last one the certificate's hash; the proof of that line is one that anybody can check.
async fn certified(world: &World, place: &str, ann: &Caller) {
    eventually("the line", async || (lines_of(world, "erasure.executed") == 1).then_some(())).await;
    assert_eq!(lines_of(world, "erasure.begun"), 1);
    assert!(lines_of(world, "erasure.continued") >= 2, "2,500 rows went in one step");
    let (status, bytes) = get(world, &format!("{place}/certificate"), ann).await;
    assert_eq!(status, 200);
    let certificate: Value = serde_json::from_slice(&bytes).expect("JSON");
    for (table, rows) in [
        ("app.projects", 2_500),
        ("app.folders", 32),
        ("app.papers", 30),
        ("app.members", 1),
        ("engine.dead_letters", 1),
    ] {
        assert_eq!(certificate["erased"][table], rows, "{table}: {certificate}");
    }
    assert!(certificate["kept"]["app.invoices"].as_str().is_some_and(|why| why.contains("law")), "{certificate}");
    let lines = world.lines();
    let line = lines.iter().find(|line| line["action"] == "erasure.executed").expect("a line");
    assert_eq!(line["metadata"]["certificate_sha256"], hex::encode(Sha256::digest(&bytes)));
    assert_eq!((&line["event_id"], &line["resource_id"]), (&certificate["audit_event"], &json!("acme")));
    let folder = tempfile::tempdir().expect("a folder");
    let (log, out) = (world.audit_folder().display().to_string(), folder.path().join("proof").display().to_string());
    let event = certificate["audit_event"].as_str().expect("an id");
    let prove = ["audit", "prove", event, "--log", &log, "--out", &out];
    eventually("the line is signed", async || {
        let output = millrace_tests::run_cli(&prove, &world.environment()).await;
        output.status.success().then_some(())
    })
    .await;
    assert!(world.cli(&["audit", "verify", &out]).await.contains("VALID"));
    assert_eq!(world.cli(&["erasures", "certificate", "--org", "acme"]).await.into_bytes(), bytes);
}

/// Whoever comes, by whatever way, is denied and named nowhere.
async fn denied(world: &World, url: &str, ann: &Caller) {
    let late = world.command(url, ann, "projects.create", "late", &json!({ "name": MARKER })).await;
    assert_eq!(world.outcome("acme", &late).await, "denied:tenant_erased");
    let again = ask_for(world, url, ann, "e2", &json!({ "scope": "org", "org_id": "acme" })).await;
    assert_eq!(settled(world, &again, ann).await["code"], "tenant_erased");
    let (status, _) = get(world, &format!("{url}/api/projects"), ann).await;
    assert_eq!(status, 403);
    let service = Caller::service("acme", "signup", "admin");
    let made = world.command(url, &service, "tenants.create", "t1", &json!({ "name": MARKER })).await;
    assert_eq!(world.outcome("acme", &made).await, "rejected:tenant_exists");
    world.enqueue("projects", &world.sealed(ann, "projects.create", "d2", &json!({ "mark": MARKER }))).await;
    world.until_count("select count(*) from engine.dead_letters where body = '' and state = 'discarded'", 3).await;
    world.accept(url, &world.invoice_event("cus_acme")).await;
    world.until_lines("denied", 3).await;
    assert_eq!(rows(world, "acme", "NULL").await, []);
    world.until_count("select count(*) from engine.outbox", 0).await;
    assert_eq!(tables_with(world, MARKER).await, Vec::<String>::new());
}
