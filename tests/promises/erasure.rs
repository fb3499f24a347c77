//! A person's erasure is planned, cools off, is suspended by a hold, and leaves nothing of the person but a tombstone that
//! denies and a certificate that the audit log vouches for.

mod coverage;
pub(crate) mod late;
mod plans;
mod races;
mod restored;

use hyper::Method;
use millrace_tests::{Caller, Left, Program, World, eventually};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;

pub(crate) const BOB: &str = "bob@acme.test";

/// Tables of an adopter: rows of persons under rows of persons, and a person in a row that stays.
const VISITS: &str = "
    SET ROLE millrace_owner;
    CREATE TABLE app.guests (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      guest varchar(200) NOT NULL, phone text, PRIMARY KEY (org_id, guest));
    SELECT millrace.protect('guests');
    CREATE TABLE app.visits (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      id uuid NOT NULL, guest varchar(200) NOT NULL, PRIMARY KEY (org_id, id),
      FOREIGN KEY (org_id, guest) REFERENCES app.guests (org_id, guest));
    SELECT millrace.protect('visits');
    CREATE TABLE app.rooms (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      id uuid NOT NULL, keeper text, keeper_phone text, PRIMARY KEY (org_id, id));
    SELECT millrace.protect('rooms');
    SELECT millrace.tag('app.guests', '{org_id}', 'pii: none, the organisation');
    SELECT millrace.tag('app.guests', '{guest}', 'pii: person; erase: row');
    SELECT millrace.tag('app.guests', '{phone}', 'pii: about; erase: row');
    SELECT millrace.tag('app.visits', '{org_id,id}', 'pii: none, ids');
    SELECT millrace.tag('app.visits', '{guest}', 'pii: person; erase: row');
    SELECT millrace.tag('app.rooms', '{org_id,id}', 'pii: none, ids');
    SELECT millrace.tag('app.rooms', '{keeper}', 'pii: person; erase: column');
    SELECT millrace.tag('app.rooms', '{keeper_phone}', 'pii: about; erase: column');
    RESET ROLE";

/// Asks for a person's erasure over its own path; the operation's place.
async fn ask(world: &World, url: &str, caller: &Caller, key: &str, person: &str) -> String {
    ask_for(world, url, caller, key, &json!({ "user_id": person })).await
}

/// Asks for an erasure; the operation's place.
pub(crate) async fn ask_for(world: &World, url: &str, caller: &Caller, key: &str, body: &Value) -> String {
    let bearer = format!("Bearer {}", caller.token());
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key), ("content-type", "application/json")];
    let body = body.to_string().into_bytes();
    let path = format!("{url}/api/compliance/erase");
    let answer = world.http().send(Method::POST, &path, &headers, body).await.expect("an answer");
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    format!("{url}{}", answer.headers["location"].to_str().expect("a place"))
}

pub(crate) async fn get(world: &World, place: &str, caller: &Caller) -> (u16, Vec<u8>) {
    let bearer = format!("Bearer {}", caller.token());
    let answer = world.http().send(Method::GET, place, &[("authorization", &bearer)], Vec::new()).await;
    let answer = answer.expect("an answer");
    (answer.status, answer.body)
}

/// What became of the request, once it is settled.
pub(crate) async fn settled(world: &World, place: &str, caller: &Caller) -> Value {
    eventually("the request is settled", async || {
        let found: Value = serde_json::from_slice(&get(world, place, caller).await.1).ok()?;
        (found["status"] != "pending").then_some(found)
    })
    .await
}

pub(crate) async fn executed(world: &World, place: &str, caller: &Caller) -> Value {
    eventually("the erasure is executed", async || {
        let found: Value = serde_json::from_slice(&get(world, place, caller).await.1).ok()?;
        (found["erasure"]["state"] == "executed").then_some(found)
    })
    .await
}

/// Tables in which a text stands, as it is or as the bytes of a body.
pub(crate) async fn tables_with(world: &World, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('app', 'engine', 'priv', 'ref') AND c.relkind = 'r' ORDER BY 1",
    )
    .fetch_all(world.superuser())
    .await
    .expect("tables");
    let mut found = Vec::new();
    for table in tables {
        let count =
            format!("SELECT count(*) FROM {table} t WHERE position($1 IN t::text) > 0 OR position($2 IN t::text) > 0");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count))
            .bind(text)
            .bind(hex::encode(text))
            .fetch_one(world.superuser())
            .await
            .expect("rows");
        if count > 0 {
            found.push(table);
        }
    }
    found
}

/// Parks a command of a person by a lock that its handler meets, and leaves it there.
async fn park(world: &World, caller: &Caller, projects: Program) {
    let mut holder = world.superuser().begin().await.expect("a transaction");
    let lock = "SELECT used FROM app.usage_counters WHERE org_id = 'acme' AND metric = 'projects' FOR UPDATE";
    sqlx::query(lock).fetch_one(&mut *holder).await.expect("the counter");
    world.enqueue("projects", &world.sealed(caller, "projects.create", "parked", &json!({ "name": "late" }))).await;
    world.until_count("select count(*) from engine.parked where reason = 'contended'", 1).await;
    projects.kill().await;
    holder.rollback().await.expect("an end");
}

/// Everything that a person leaves behind while it works.
async fn live(world: &World, url: &str) {
    let (ann, bob) = (Caller::user("acme", "ann", "admin"), Caller::user("acme", BOB, "editor"));
    world.execute(VISITS).await;
    world
        .execute(&format!(
            "INSERT INTO app.guests VALUES ('acme', '{BOB}', '123'), ('acme', 'carl', '456'), ('globex', '{BOB}', '789');
             INSERT INTO app.visits VALUES ('acme', gen_random_uuid(), '{BOB}'), ('acme', gen_random_uuid(), 'carl');
             INSERT INTO app.rooms VALUES ('acme', gen_random_uuid(), '{BOB}', '123'), ('acme', gen_random_uuid(), 'carl', '456')"
        ))
        .await;
    let role = json!({ "user_id": BOB, "role": "admin" });
    let set = world.command(url, &ann, "members.set_role", "k1", &role).await;
    assert_eq!(world.outcome("acme", &set).await, "applied");
    let projects = world.start("millrace-projects");
    let made = world.command(url, &bob, "projects.create", "k2", &json!({ "name": "Apollo" })).await;
    assert_eq!(world.outcome("acme", &made).await, "applied");
    // Dead letters: one of bob's, one of somebody else that names him, one of somebody else.
    world.enqueue("projects", &world.sealed(&bob, "projects.create", "d1", &json!({ "mail": BOB }))).await;
    world.enqueue("projects", &world.sealed(&ann, "projects.create", "d2", &json!({ "by": [BOB] }))).await;
    world.enqueue("projects", &world.sealed(&ann, "projects.create", "d3", &json!({ "mail": "carl@acme.test" }))).await;
    world.until_count("select count(*) from engine.dead_letters", 3).await;
    park(world, &bob, projects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_nowhere_and_still_denied_and_the_certificate_can_be_checked() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__ERASURE_COOLING_OFF_S", "0");
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (mut programs, url) = world.start_all().await;
    programs.extend(["members", "compliance", "tenants"].map(|worker| world.start(&format!("millrace-{worker}"))));
    world.listen("recipients", "compliance.erased").await;
    live(&world, &url).await;
    let (ann, bob) = (Caller::user("acme", "ann", "admin"), Caller::user("acme", BOB, "editor"));
    let pseudonym = world.actor("acme", BOB).await;

    let place = ask(&world, &url, &ann, "e1", BOB).await;
    let found = executed(&world, &place, &ann).await;
    let plan = &found["erasure"]["plan"];
    for (table, rows) in [
        ("app.members", 1),
        ("app.subjects", 1),
        ("app.guests", 1),
        ("app.visits", 1),
        ("app.rooms", 1),
        ("engine.dead_letters", 2),
        ("engine.parked", 1),
    ] {
        assert_eq!(plan[table], rows, "{table}: {plan}");
    }
    // What was parked is settled as denied, now that somebody takes it.
    programs.push(world.start("millrace-projects"));
    world.until_count("select count(*) from engine.parked", 0).await;
    world.until_count("select count(*) from engine.outbox", 0).await;
    assert_eq!(tables_with(&world, BOB).await, ["app.guests"], "globex's own guest alone");
    assert_eq!(world.count("select count(*) from app.guests where org_id = 'globex'").await, 1);
    assert_eq!(world.count("select count(*) from app.rooms where keeper is null and keeper_phone is null").await, 1);
    assert_eq!(world.count("select count(*) from app.rooms where keeper = 'carl' and keeper_phone = '456'").await, 1);
    assert_eq!(world.count("select used from app.usage_counters where metric = 'members'").await, 0);
    let letters =
        "select count(*) from engine.dead_letters where erased_at is not null and body = '' and state = 'discarded'";
    assert_eq!(world.count(letters).await, 2);
    assert_eq!(world.count("select count(*) from engine.dead_letters where state = 'open' and body <> ''").await, 1);

    let letter: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM engine.dead_letters WHERE erased_at IS NOT NULL LIMIT 1")
            .fetch_one(world.superuser())
            .await
            .expect("a letter");
    assert!(world.cli(&["dead", "show", &letter.to_string()]).await.contains("personal data erased"));

    // Still denied, and nothing names him again.
    let again = world.command(&url, &bob, "projects.create", "k9", &json!({ "name": "x" })).await;
    assert_eq!(world.outcome("acme", &again).await, "denied:member_removed");
    world.until_lines("denied", 2).await;
    assert_eq!(world.actor("acme", BOB).await, "");
    assert!(
        world.lines().iter().filter(|line| line["outcome"] == "denied").all(|line| line["actor_id"] == "user:erased")
    );
    assert_eq!(tables_with(&world, BOB).await, ["app.guests"]);
    assert!(!std::fs::read_to_string(world.audit_file()).expect("the log").contains("bob"));
    eventually("recipients hear of it", async || (world.depth("recipients").await == 1).then_some(())).await;

    certified(&world, &place, &ann, &pseudonym).await;
    restored(&world, &pseudonym).await;
    world.finish(Left { dead: 3, parked: 0 }).await;
    drop(programs);
}

/// The certificate names its line, and the line has its hash; nobody but an administrator of the tenant gets it.
async fn certified(world: &World, place: &str, ann: &Caller, pseudonym: &str) {
    let place = format!("{place}/certificate");
    let (status, bytes) = get(world, &place, ann).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&bytes));
    let certificate: Value = serde_json::from_slice(&bytes).expect("JSON");
    let lines = world.lines();
    let line = lines.iter().find(|line| line["action"] == "erasure.executed").expect("a line");
    assert_eq!(line["event_id"], certificate["audit_event"]);
    assert_eq!(line["metadata"]["certificate_sha256"], hex::encode(Sha256::digest(&bytes)));
    assert_eq!((&line["outcome"], &line["resource_id"]), (&json!("applied"), &certificate["pseudonym"]));
    assert_eq!(format!("user:{}", certificate["pseudonym"].as_str().expect("an id")), pseudonym);
    assert_eq!(certificate["erased"]["engine.dead_letters"], 2);
    assert_eq!(certificate["erased"]["app.subjects"], 1);
    let (status, _) = get(world, &place, &Caller::user("acme", "ed", "editor")).await;
    assert_eq!(status, 403);
    let (status, _) = get(world, &place, &Caller::user("globex", "ann", "admin")).await;
    assert_eq!(status, 404);
}

/// A backup from before brings the person back, until the erasures of the log are applied to it.
async fn restored(world: &World, pseudonym: &str) {
    let pseudonym = pseudonym.trim_start_matches("user:");
    world
        .execute(&format!(
            "DELETE FROM app.removed_members; DELETE FROM app.erasures;
             INSERT INTO app.subjects VALUES ('acme', '{BOB}', '{pseudonym}');
             INSERT INTO app.members (org_id, user_id, role) VALUES ('acme', '{BOB}', 'editor');
             UPDATE app.usage_counters SET used = 1 WHERE metric = 'members'"
        ))
        .await;
    let said = world.cli(&["erasures", "apply"]).await;
    assert!(said.contains("1 erasures in the log, 1 of them applied again"), "{said}");
    assert_eq!(tables_with(world, BOB).await, ["app.guests"]);
    assert_eq!(world.count("select count(*) from app.removed_members where erased_at is not null").await, 1);
    let log = world.audit_folder().display().to_string();
    let said = world.cli(&["erasures", "apply", "--log", &log]).await;
    assert!(said.contains("0 of them applied again"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_names_a_person_however_it_is_written_and_nobody_by_chance() {
    let world = World::new().await;
    for (body, person, named) in [
        (r#"{"by":"bob\u0040acme.test"}"#, BOB, true),
        (r#"{"to":[{"who":"bob"}]}"#, "bob", true),
        (r#"{"text":"written by bob@acme.test"}"#, BOB, true),
        (r#"{"text":"bobsled"}"#, "bob", false),
        (r#"{"text":"bob"}"#, "ob", false),
        ("no JSON of bob", "bob", true),
        ("", "bob", false),
    ] {
        let found: bool = sqlx::query_scalar("SELECT engine.mentions(convert_to($1, 'UTF8'), $2)")
            .bind(body)
            .bind(person)
            .fetch_one(world.superuser())
            .await
            .expect("an answer");
        assert_eq!(found, named, "{person} in {body}");
    }
    world.finish(Left::default()).await;
}
