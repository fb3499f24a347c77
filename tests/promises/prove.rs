//! `millrace prove` holds for what the migrations make, covers what an adopter adds, and turns red for what leaks.

use std::collections::BTreeMap;

use millrace_tests::{Left, World, run_cli};
use serde_json::Value;
use sqlx::AssertSqlSafe;

/// Defects that every tenant table is shown to be free of.
const EVERYWHERE: [&str; 10] = [
    "DISABLE ROW LEVEL SECURITY",
    "NO FORCE ROW LEVEL SECURITY",
    "policy dropped",
    "USING (true)",
    "WITH CHECK dropped",
    "WITH CHECK (true)",
    "additional permissive policy",
    "view without security_invoker",
    "extra partition without row-level security",
    "cur_org() without its MAC",
];

/// Runs statements as the superuser; what they make belongs to the owner, as in a migration.
async fn alter(world: &World, statements: &str) {
    let whole = format!("SET ROLE millrace_owner; {statements}; RESET ROLE");
    sqlx::raw_sql(AssertSqlSafe(whole)).execute(world.superuser()).await.expect("a change");
}

/// Exit code and evidence of `millrace prove`.
async fn prove(world: &mut World, arguments: &[&str]) -> (i32, Value, String) {
    let database: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(world.superuser()).await.expect("a name");
    let url = world.servers().postgres.lock().await.superuser_url(&database);
    world.set("MILLRACE_ADMIN_DATABASE_URL", url);
    let output = run_cli(&[&["prove", "--json"], arguments].concat(), &world.environment()).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output.status.code().expect("an exit code");
    let errors = String::from_utf8_lossy(&output.stderr);
    if let Some((_, rest)) = errors.split_once("millrace_prove_") {
        let scratch = rest.split_whitespace().next().expect("a name");
        let there = format!("select count(*) from pg_database where datname = 'millrace_prove_{scratch}'");
        assert_eq!(world.count(&there).await, 0, "the clone is still there");
    } else {
        assert!(arguments.contains(&"--live-only"), "no clone was made: {errors}");
    }
    let evidence = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    (code, evidence.unwrap_or_else(|| panic!("no evidence: {said}{errors}")), said)
}

/// What is red, by table.
fn red(evidence: &Value) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for failure in evidence["failures"].as_array().expect("failures") {
        let text = |key: &str| failure[key].as_str().expect("a text").to_owned();
        found.entry(text("place")).or_default().push(format!("{} ({})", text("what"), text("found")));
    }
    found
}

/// An adopter's table, with what a catalogue can hold against whoever makes up rows.
const THINGS: &str = "
    CREATE DOMAIN app.short AS text CHECK (length(VALUE) <= 20);
    CREATE TABLE app.shelves (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      id uuid NOT NULL DEFAULT gen_random_uuid(),
      kind text NOT NULL CHECK (kind IN ('low', 'high')),
      PRIMARY KEY (org_id, id), UNIQUE (org_id, kind));
    SELECT millrace.protect('shelves');
    CREATE TABLE app.things (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() CHECK (org_id ~ '^[A-Za-z0-9_.:@-]{1,64}$'),
      id uuid NOT NULL, shelf uuid NOT NULL, part_of uuid, number bigint GENERATED ALWAYS AS IDENTITY,
      slug text NOT NULL CHECK (slug ~ '^[a-z][a-z0-9-]{2,39}$'), mail varchar(30) CHECK (mail LIKE '%@%'),
      digest bytea NOT NULL CHECK (length(digest) = 64), share numeric NOT NULL CHECK (share > 0 AND share < 1),
      label app.short NOT NULL, tags text[] NOT NULL, extra jsonb NOT NULL CHECK (jsonb_typeof(extra) = 'array'),
      state text NOT NULL CHECK (state IN ('done', 'open')), done_at timestamptz,
      size int NOT NULL CHECK (size BETWEEN 40 AND 50), twice int GENERATED ALWAYS AS (size * 2) STORED,
      created_at timestamptz NOT NULL DEFAULT now(),
      CHECK ((state = 'done') = (done_at IS NOT NULL)),
      PRIMARY KEY (org_id, id), UNIQUE (org_id, slug),
      FOREIGN KEY (org_id, shelf) REFERENCES app.shelves (org_id, id),
      FOREIGN KEY (org_id, part_of) REFERENCES app.things (org_id, id));
    SELECT millrace.protect('things');
    CREATE TABLE app.readings (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
      id uuid NOT NULL, value real NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (org_id, id, created_at)) PARTITION BY RANGE (created_at);
    CREATE TABLE app.readings_of_now PARTITION OF app.readings DEFAULT;
    SELECT millrace.protect('readings');
    CREATE TABLE app.shards (
      org_id text COLLATE \"C\" NOT NULL DEFAULT app.cur_org(), slot int NOT NULL,
      PRIMARY KEY (org_id, slot)) PARTITION BY HASH (org_id);
    CREATE TABLE app.shards_0 PARTITION OF app.shards FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    SELECT millrace.protect('shards')";

#[tokio::test(flavor = "multi_thread")]
async fn isolation_holds_for_what_is_there_and_for_what_an_adopter_adds_and_every_mutant_is_killed() {
    let mut world = World::new().await;
    alter(&world, THINGS).await;
    let (code, evidence, line) = prove(&mut world, &[]).await;
    assert!(evidence["failures"].is_array(), "{evidence}");
    assert_eq!(red(&evidence), BTreeMap::new());
    assert_eq!(code, 0);

    let of_app = "SELECT format('app.%I', relname) FROM pg_class WHERE relnamespace = 'app'::regnamespace
        AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(of_app).fetch_all(world.superuser()).await.expect("tables");
    assert!(tables.contains(&"app.things".to_owned()), "{tables:?}");
    assert_eq!(evidence["tables"], serde_json::json!(tables));
    for table in &tables {
        let killed = evidence["mutants_killed"][table].as_object().unwrap_or_else(|| panic!("no mutant of {table}"));
        for mutant in EVERYWHERE {
            assert!(killed.contains_key(mutant), "{mutant} of {table} is not among {killed:?}");
        }
        assert!(killed.keys().any(|mutant| mutant.starts_with("org_id removed from a unique index")), "{table}");
    }
    let things = &evidence["mutants_killed"]["app.things"];
    let saw = |mutant: &str, what: &str| {
        let by = things[mutant].as_array().unwrap_or_else(|| panic!("{mutant}: {things}"));
        assert!(by.iter().any(|by| by == what), "{mutant}: {by:?}");
    };
    saw("org_id removed from a unique index (slug)", "duplicate of another tenant's value (org_id, slug)");
    let reference = "reference to another tenant's row (things_org_id_shelf_fkey)";
    saw("org_id removed from a foreign key (things_org_id_shelf_fkey)", reference);
    saw("cur_org() without its MAC", "SELECT with a forged context");
    saw("NO FORCE ROW LEVEL SECURITY", "SELECT of owner");
    let dead = &evidence["mutants_killed"]["engine.dead_letters"]["USING (true)"];
    assert_eq!(dead, &serde_json::json!(["catalogue", "SELECT of reader", "SELECT of reader without a tenant"]));

    assert_eq!(world.count("select count(*) from app.things").await, 0, "the live database was changed");
    let programs = audited(&world, line.trim_end()).await;
    world.finish(Left::default()).await;
    drop(programs);
}

/// The audit log gets the digest of the line under the operator's name.
async fn audited(world: &World, line: &str) -> [millrace_tests::Program; 2] {
    use sha2::{Digest, Sha256};
    let digest = hex::encode(Sha256::digest(line));
    let programs = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_count("select count(*) from engine.outbox", 0).await;
    millrace_tests::eventually("the proof is in the audit log", async || {
        let lines = world.lines();
        let proof = lines.iter().find(|line| line["action"] == "prove.run")?;
        assert_eq!(proof["resource_id"], digest[..16]);
        assert_eq!(proof["metadata"]["sha256"], digest);
        assert_eq!(proof["actor_id"], "operator:tester");
        Some(())
    })
    .await;
    programs
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaks_on_the_live_database_turns_the_proof_red_and_is_named() {
    let mut world = World::new().await;
    let policy = "CREATE POLICY generous ON app.access FOR SELECT TO millrace_app USING (true)";
    let definer = "CREATE FUNCTION app.spy() RETURNS bigint LANGUAGE sql SECURITY DEFINER
        AS $$ SELECT count(*) FROM app.invoices $$";
    let leaks = [
        ("ALTER TABLE app.invoices DISABLE ROW LEVEL SECURITY", "app.invoices", "row-level security", "SELECT (1 row"),
        (policy, "app.access", "exactly one permissive policy", "SELECT (1 row"),
        ("CREATE TABLE app.forgotten (id int PRIMARY KEY, org_id text)", "app.forgotten", "row-level security", "key"),
        (definer, "app.spy()", "everybody may call it", "list of exceptions"),
        ("GRANT SELECT ON engine.outbox TO millrace_app", "engine.outbox", "not expected", "millrace_app SELECT"),
    ];
    for (statement, ..) in leaks {
        alter(&world, statement).await;
    }
    let (code, live, _) = prove(&mut world, &["--live-only"]).await;
    assert_eq!(code, 70, "{live}");
    assert_eq!(live["mutants_killed"], serde_json::json!({}));
    let (code, whole, _) = prove(&mut world, &[]).await;
    assert_eq!(code, 70, "{whole}");
    assert!(whole["mutants_killed"]["app.tenants"].is_object(), "{whole}");
    for evidence in [live, whole] {
        names_what_leaks(&red(&evidence), &leaks);
    }
    assert_eq!(world.count("select count(*) from app.invoices").await, 0, "the live database was changed");
    let programs = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.finish(Left::default()).await;
    drop(programs);
}

/// Each leak is red where it is, twice over; what has none is not.
fn names_what_leaks(red: &BTreeMap<String, Vec<String>>, leaks: &[(&str, &str, &str, &str)]) {
    for (statement, place, first, second) in leaks {
        let found = red.get(*place).unwrap_or_else(|| panic!("{statement}: {red:?}"));
        for wanted in [first, second] {
            assert!(found.iter().any(|found| found.contains(wanted)), "{statement}: no {wanted} in {found:?}");
        }
    }
    let innocent = ["app.tenants", "app.subscriptions", "app.billing_history", "engine.dead_letters"];
    assert!(innocent.iter().all(|table| !red.contains_key(*table)), "{red:?}");
}

/// What breaks a rule, where, and the rule.
const BROKEN: &[(&str, &str, &str)] = &[
    ("CREATE VIEW app.all_of_them AS SELECT * FROM app.invoices", "app.all_of_them", "a view is not security_invoker"),
    (
        "CREATE MATERIALIZED VIEW app.totals AS SELECT 1 AS n; GRANT SELECT ON app.totals TO millrace_app",
        "app.totals",
        "a materialized view or a foreign table is granted",
    ),
    (
        "CREATE SCHEMA side; CREATE TABLE side.notes (n int); GRANT SELECT ON side.notes TO millrace_reader",
        "side.notes",
        "a relation outside of app, engine and ref is granted",
    ),
    ("GRANT INSERT ON ref.plans TO millrace_app", "ref.plans", "grants more than SELECT"),
    ("CREATE TABLE ref.rates (n int)", "ref.rates", "a table outside of row-level security is on no list"),
    ("DROP INDEX app.projects_org_id_created_at_id_idx", "app.projects", "there is no index on (org_id, created_at"),
    ("GRANT TRUNCATE ON app.members TO millrace_app", "app.members", "a grant that no tenant table has"),
    ("GRANT REFERENCES ON app.settings TO millrace_app", "app.settings", "TRUNCATE, REFERENCES or TRIGGER"),
    ("GRANT SELECT ON app.usage_counters TO millrace_relay", "app.usage_counters", "exactly one permissive policy"),
    ("RESET ROLE; ALTER TABLE app.access OWNER TO CURRENT_USER", "app.access", "somebody else than millrace_owner"),
    ("RESET ROLE; ALTER TABLE app.entitlements OWNER TO millrace_app", "app.entitlements", "owns something"),
    (
        "RESET ROLE; CREATE FUNCTION app.same(a text) RETURNS text LANGUAGE sql LEAKPROOF AS $$ SELECT a $$",
        "app.same(text)",
        "a function is marked LEAKPROOF",
    ),
    ("GRANT CREATE ON SCHEMA app TO millrace_app", "app", "the login may create"),
    ("GRANT USAGE ON SCHEMA priv TO millrace_app", "priv", "the schema of secrets"),
    ("REVOKE INSERT ON engine.outbox FROM millrace_app", "engine.outbox", "an expected grant is missing"),
    ("DROP POLICY take ON engine.due", "engine.due", "an expected policy is missing"),
    (
        "CREATE POLICY extra ON engine.dead_letters FOR SELECT TO millrace_reader USING (true)",
        "engine.dead_letters",
        "a policy that is not expected",
    ),
    (
        "ALTER TABLE app.billing_history ADD UNIQUE (event_id)",
        "app.billing_history",
        "a unique or exclusion index does not begin with org_id",
    ),
    (
        "ALTER TABLE app.projects ADD UNIQUE (id); ALTER TABLE app.invoices ADD COLUMN project uuid
         REFERENCES app.projects (id)",
        "app.invoices",
        "a foreign key between tenant tables does not carry org_id",
    ),
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO millrace_app",
        "app",
        "default privileges would open what is created next",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_the_catalogue_turns_the_proof_red_when_it_is_broken() {
    let mut world = World::new().await;
    for (statement, ..) in BROKEN {
        alter(&world, statement).await;
    }
    let (code, evidence, _) = prove(&mut world, &["--live-only"]).await;
    assert_eq!(code, 70, "{evidence}");
    let red = red(&evidence);
    for (statement, place, wanted) in BROKEN {
        let found = red.get(*place).unwrap_or_else(|| panic!("{statement}: {red:?}"));
        assert!(found.iter().any(|found| found.contains(wanted)), "{statement}: no {wanted} in {found:?}");
    }
    let programs = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    // The workers' right to write to the outbox went above; it has no row but the proof's own audit event.
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_without_a_clone_is_asked_for_by_name() {
    let world = World::new().await;
    let output = run_cli(&["prove"], &world.environment()).await;
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("MILLRACE_ADMIN_DATABASE_URL") && said.contains("--live-only"), "{said}");
    world.finish(Left::default()).await;
}
