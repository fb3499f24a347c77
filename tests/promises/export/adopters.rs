//! An adopter's tables are exported unasked, whatever their keys are; and one person's rows are found in them.

use std::collections::BTreeSet;

use millrace_tests::{Caller, Left, World};
use serde_json::{Value, json};

use super::{ask, fetch, files, manifest, no_row_is_there_twice, ready, rows, settled, tables, verified};

const BOB: &str = "bob@acme.test";

/// Tables with keys of every kind, one without any, and names that have to be quoted.
const TABLES: &str = r#"
    SET ROLE millrace_owner;
    CREATE TABLE app."Guest book" (
      org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      "the guest" varchar(200) NOT NULL, phone text, PRIMARY KEY (org_id, "the guest"));
    SELECT millrace.protect('Guest book');
    CREATE TABLE app.readings (
      org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org(), meter text NOT NULL, number bigint NOT NULL,
      at timestamptz NOT NULL, value numeric NOT NULL, raw bytea, secret text, PRIMARY KEY (org_id, meter, number, at));
    SELECT millrace.protect('readings');
    CREATE TABLE app.notes (org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org(), note text NOT NULL);
    SELECT millrace.protect('notes');
    SELECT millrace.tag('app."Guest book"', '{org_id}', 'pii: none, the organisation');
    SELECT millrace.tag('app."Guest book"', '{the guest}', 'pii: person; erase: row');
    SELECT millrace.tag('app."Guest book"', '{phone}', 'pii: about; erase: row');
    SELECT millrace.tag('app.readings', '{org_id,meter,number,at,value,raw}', 'pii: none, numbers');
    SELECT millrace.tag('app.readings', '{secret}', 'pii: none, a key; export: no, nobody can use it');
    SELECT millrace.tag('app.notes', '{org_id,note}', 'pii: content; erase: kept, the tenant deletes it');
    RESET ROLE"#;

async fn seed(world: &World) {
    world.execute(TABLES).await;
    world
        .execute(&format!(
            r#"INSERT INTO app."Guest book" VALUES ('acme', '{BOB}', '123'), ('acme', 'carl', '456'), ('globex', '{BOB}', '789');
               INSERT INTO app.readings SELECT 'acme', 'meter ''' || m, n, '2026-01-01'::timestamptz + n * interval '1 microsecond',
                 n / 7.0, '\xff00', 'hush' FROM generate_series(1, 3) m, generate_series(-1500, 1500) n;
               INSERT INTO app.notes SELECT 'acme', 'note ' || n FROM generate_series(1, 4500) n;
               INSERT INTO app.notes SELECT 'globex', 'theirs' FROM generate_series(1, 10) n;
               INSERT INTO app.settings (org_id, entries) VALUES ('acme', jsonb_build_object('large', repeat('y', 9 << 20)));
               INSERT INTO app.members (org_id, user_id, role) VALUES ('acme', '{BOB}', 'editor'), ('acme', 'carl', 'viewer')"#
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopters_tables_are_exported_unasked_whatever_their_keys() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    seed(&world).await;
    let (mut programs, url) = world.start_all().await;
    programs.push(world.start("millrace-compliance"));
    let ann = Caller::user("acme", "ann", "admin");
    let place = ask(&world, &url, &ann, "e1", None).await;
    ready(&world, &place, &ann).await;
    let archive = fetch(&world, &place, &ann).await;
    assert_eq!(verified(&world, &archive).await.0, 0);
    let files = files(&archive);
    no_row_is_there_twice(&files);

    let guests = rows(&files, r#"app."Guest book""#);
    assert_eq!(guests.len(), 2);
    assert!(guests.iter().all(|row| row["org_id"] == "acme" && row["the guest"].is_string()), "{guests:?}");
    let readings = rows(&files, "app.readings");
    assert_eq!(readings.len(), 9_003);
    let columns: Vec<&String> = readings[0].as_object().expect("a row").keys().collect();
    assert_eq!(columns, ["at", "meter", "number", "org_id", "raw", "value"], "what is excused is not there");
    let notes: BTreeSet<String> = rows(&files, "app.notes").iter().map(|row| row["note"].to_string()).collect();
    assert_eq!(notes.len(), 4_500, "a table without a key");
    assert!(!notes.contains("\"theirs\""));
    assert_eq!(rows(&files, "app.settings")[0]["entries"]["large"].as_str().expect("a text").len(), 9 << 20);

    let manifest = manifest(&files);
    let table = |name: &str| -> Value {
        let tables = manifest["tables"].as_array().expect("tables");
        tables.iter().find(|table| table["table"] == name).cloned().unwrap_or_else(|| panic!("{name} is not there"))
    };
    assert_eq!(table("app.readings")["key_columns"], json!(["org_id", "meter", "number", "at"]));
    assert_eq!(table("app.readings")["excused"], json!([{ "column": "secret", "reason": "nobody can use it" }]));
    assert_eq!(table("app.notes")["key_columns"], json!([]));
    assert_eq!(table("app.notes")["rows"], 4_500);
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_persons_export_has_what_names_the_person_and_nothing_of_others() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    seed(&world).await;
    let (mut programs, url) = world.start_all().await;
    programs.extend(["projects", "compliance"].map(|worker| world.start(&format!("millrace-{worker}"))));
    let (ann, bob) = (Caller::user("acme", "ann", "admin"), Caller::user("acme", BOB, "editor"));
    let made = world.command(&url, &bob, "projects.create", "k1", &json!({ "name": "Apollo" })).await;
    assert_eq!(world.outcome("acme", &made).await, "applied");
    world.enqueue("projects", &world.sealed(&bob, "projects.create", "d1", &json!({ "mail": 1 }))).await;
    world.enqueue("projects", &world.sealed(&ann, "projects.create", "d2", &json!({ "by": [BOB] }))).await;
    world.enqueue("projects", &world.sealed(&ann, "projects.create", "d3", &json!({ "by": "carl" }))).await;
    world.until_count("select count(*) from engine.dead_letters", 3).await;
    let pseudonym = world.actor("acme", BOB).await;
    let indexed = format!("select count(*) from app.audit_index where actor = '{pseudonym}'");
    world.until_count(&indexed, 2).await;

    let unknown = settled(&world, &ask(&world, &url, &ann, "e0", Some("nobody")).await, &ann).await;
    assert_eq!((&unknown["status"], &unknown["code"]), (&json!("rejected"), &json!("person_unknown")));
    let place = ask(&world, &url, &ann, "e1", Some(BOB)).await;
    let done = ready(&world, &place, &ann).await;
    assert_eq!(done["export"]["scope"], "subject");
    let archive = fetch(&world, &place, &ann).await;
    assert_eq!(verified(&world, &archive).await.0, 0);
    let files = files(&archive);
    let wanted =
        ["app.\"Guest book\"", "app.audit_index", "app.exports", "app.members", "app.subjects", "engine.dead_letters"];
    assert_eq!(tables(&files), wanted.map(str::to_owned).into());
    assert_eq!(rows(&files, "app.\"Guest book\"")[0]["phone"], "123");
    assert_eq!(rows(&files, "app.members").len(), 1);
    assert_eq!(rows(&files, "engine.dead_letters").len(), 2);
    assert!(rows(&files, "app.audit_index").iter().all(|line| line["actor"] == pseudonym.as_str()));
    let manifest = manifest(&files);
    assert_eq!((&manifest["scope"], &manifest["user_id"]), (&json!("subject"), &json!(BOB)));
    for (name, content) in &files {
        assert!(!String::from_utf8_lossy(content).contains("carl"), "{name} names somebody else");
    }
    world.finish(Left { dead: 3, parked: 0 }).await;
    drop(programs);
}
