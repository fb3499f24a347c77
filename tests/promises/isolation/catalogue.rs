//! What the catalogue says: policies, keys, indexes and grants, exactly.

use std::collections::BTreeSet;

use millrace_tests::{Left, World};
use sqlx::AssertSqlSafe;

use super::{WRITTEN_ONCE, tables};

const CANONICAL: &str = "(org_id = ( SELECT app.cur_org() AS cur_org))";

/// Every grant on the tables of a schema to somebody else than their owner: `role RIGHT table(column)`.
async fn grants(world: &World, schema: &str) -> BTreeSet<String> {
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s %s %s', coalesce(r.rolname, 'PUBLIC'), a.privilege_type, a.place) FROM (
           SELECT c.relowner, c.relname::text AS place, (aclexplode(c.relacl)).* FROM pg_class c
             WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
           UNION ALL
           SELECT c.relowner, format('%s(%s)', c.relname, t.attname), (aclexplode(t.attacl)).*
             FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid WHERE c.relnamespace = $1::regnamespace
         ) a LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> a.relowner",
    )
    .bind(schema)
    .fetch_all(world.superuser())
    .await
    .expect("the catalogue");
    found.into_iter().collect()
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Who may do what with tables of the engine.
const ENGINE_GRANTS: &str = "
    millrace_app INSERT outbox
    millrace_app SELECT holds(org_id)
    millrace_app SELECT holds(released_at)
    millrace_maintenance SELECT holds
    millrace_maintenance INSERT holds
    millrace_maintenance UPDATE holds(released_by)
    millrace_maintenance UPDATE holds(released_at)
    millrace_maintenance UPDATE holds(evidence_sha256)
    millrace_maintenance UPDATE holds(evidence_lines)
    millrace_maintenance UPDATE holds(pinned_at)
    millrace_maintenance INSERT due
    millrace_app SELECT parked(publisher)
    millrace_app SELECT parked(message_id)
    millrace_app SELECT parked(attempts)
    millrace_app SELECT parked(waits)
    millrace_app SELECT parked(reason)
    millrace_app SELECT parked(first_parked_at)
    millrace_app SELECT parked(not_before)
    millrace_app SELECT parked(execution)
    millrace_app INSERT parked
    millrace_app UPDATE parked(attempts)
    millrace_app UPDATE parked(waits)
    millrace_app UPDATE parked(reason)
    millrace_app UPDATE parked(not_before)
    millrace_app UPDATE parked(execution)
    millrace_app DELETE parked
    millrace_app INSERT dead_letters
    millrace_app SELECT dead_letters(identity)
    millrace_app SELECT dead_letters(redrives)
    millrace_app SELECT dead_letters(created_at)
    millrace_app SELECT dead_letters(state)
    millrace_app SELECT dead_letters(forced)
    millrace_app SELECT dead_letters(marked_at)
    millrace_reader SELECT operations
    millrace_maintenance SELECT operations
    millrace_relay SELECT relay_turn
    millrace_relay UPDATE relay_turn
    millrace_relay SELECT outbox
    millrace_relay DELETE outbox
    millrace_relay SELECT parked
    millrace_relay UPDATE parked(not_before)
    millrace_reader SELECT dead_letters
    millrace_indexer SELECT audit_index_position
    millrace_indexer UPDATE audit_index_position(lines)
    millrace_indexer UPDATE audit_index_position(segment)
    millrace_indexer UPDATE audit_index_position(byte_offset)
    millrace_maintenance SELECT audit_index_position
    millrace_maintenance SELECT inbox
    millrace_maintenance SELECT inbox_a
    millrace_maintenance SELECT inbox_b
    millrace_maintenance SELECT inbox_c
    millrace_maintenance SELECT outbox(exchange)
    millrace_maintenance SELECT outbox(body)
    millrace_maintenance INSERT outbox
    millrace_maintenance SELECT parked
    millrace_maintenance UPDATE parked(not_before)
    millrace_maintenance SELECT dead_letters
    millrace_maintenance UPDATE dead_letters(state)
    millrace_maintenance UPDATE dead_letters(marked_at)
    millrace_maintenance UPDATE dead_letters(marked_by)
    millrace_maintenance UPDATE dead_letters(because)
    millrace_maintenance UPDATE dead_letters(forced)
    millrace_maintenance SELECT provider_links
    millrace_maintenance INSERT provider_links";

#[tokio::test(flavor = "multi_thread")]
async fn engine_tables_have_exactly_the_grants_of_the_design() {
    let world = World::new().await;
    assert_eq!(grants(&world, "engine").await, lines(ENGINE_GRANTS));
    assert_eq!(grants(&world, "priv").await, BTreeSet::new());
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_tables_have_exactly_the_grants_of_the_design() {
    let world = World::new().await;
    let mut wanted = BTreeSet::new();
    for table in tables(world.superuser()).await {
        let rights = ["SELECT", "INSERT", "UPDATE", "DELETE"];
        let rights = if WRITTEN_ONCE.contains(&table.as_str()) { &rights[..2] } else { &rights[..] };
        let table = table.trim_start_matches("app.");
        wanted.insert(format!("millrace_reader SELECT {table}"));
        if table == "audit_index" {
            // Made from the files by the indexer alone, which adds lines and sees none.
            wanted.extend(
                ["app SELECT", "maintenance SELECT", "indexer INSERT"].map(|r| format!("millrace_{r} {table}")),
            );
            continue;
        }
        for right in rights {
            wanted.extend(["app", "maintenance"].map(|role| format!("millrace_{role} {right} {table}")));
        }
    }
    assert_eq!(grants(&world, "app").await, wanted);
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tenant_table_has_forced_policies_of_the_canonical_text() {
    let world = World::new().await;
    let policies = "SELECT format('%s %s for %s to %s using %s check %s', polname,
             CASE WHEN polpermissive THEN 'permits' ELSE 'restricts' END, polcmd,
             (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ',') FROM unnest(polroles) r),
             coalesce(pg_get_expr(polqual, polrelid), '-'), coalesce(pg_get_expr(polwithcheck, polrelid), '-'))
           FROM pg_policy WHERE polrelid = $1::regclass ORDER BY 1";
    for table in tables(world.superuser()).await {
        let guarded = "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = $1::regclass";
        let guarded: bool = sqlx::query_scalar(guarded).bind(&table).fetch_one(world.superuser()).await.expect("a row");
        assert!(guarded, "{table} is not under forced row-level security");
        let found: Vec<String> =
            sqlx::query_scalar(policies).bind(&table).fetch_all(world.superuser()).await.expect("policies");
        let mut wanted = vec![
            format!("tenant permits for * to millrace_app using {CANONICAL} check {CANONICAL}"),
            format!("tenant_read permits for r to millrace_reader using {CANONICAL} check -"),
        ];
        if table == "app.audit_index" {
            wanted.insert(0, "indexing permits for a to millrace_indexer using - check true".to_owned());
        }
        assert_eq!(found, wanted, "{table}");
    }
    let dead: Vec<String> =
        sqlx::query_scalar(policies).bind("engine.dead_letters").fetch_all(world.superuser()).await.expect("policies");
    let wanted = [
        "bury permits for a to millrace_app using - check ((state = 'open'::text) OR (erased_at IS NOT NULL))"
            .to_owned(),
        "bury_once permits for r to millrace_app using true check -".to_owned(),
        format!("erase permits for w to millrace_owner using {CANONICAL} check {CANONICAL}"),
        format!("erase_find permits for r to millrace_owner using {CANONICAL} check -"),
        format!("tenant_read permits for r to millrace_reader using {CANONICAL} check -"),
    ];
    assert_eq!(dead, wanted);
    world.finish(Left::default()).await;
}

/// Objects that the query finds; each is a defect.
async fn defects(world: &World, query: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(world.superuser()).await.expect("the catalogue")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_between_tenant_rows_leads_with_the_tenant() {
    let world = World::new().await;
    let tenant = "SELECT attnum FROM pg_attribute WHERE attrelid = c.oid AND attname = 'org_id' AND attnotnull
                  AND atttypid = 'text'::regtype AND attcollation = 'pg_catalog.\"C\"'::regcollation";
    let of_app = "c.relnamespace = 'app'::regnamespace";
    let checks = [
        (
            "other things than tables",
            format!("SELECT c.relname::text FROM pg_class c WHERE {of_app} AND c.relkind NOT IN ('r', 'p', 'i', 'I')"),
        ),
        (
            "tables whose primary key does not begin with org_id, text, COLLATE C, NOT NULL",
            format!(
                "SELECT c.relname::text FROM pg_class c WHERE {of_app} AND c.relkind IN ('r', 'p') AND NOT EXISTS (
                   SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indkey[0] = ({tenant}))"
            ),
        ),
        (
            "unique indexes that do not begin with org_id",
            format!(
                "SELECT i.indexrelid::regclass::text FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid
                 WHERE {of_app} AND (i.indisunique OR i.indisexclusion) AND i.indkey[0] IS DISTINCT FROM ({tenant})"
            ),
        ),
        (
            "foreign keys that do not begin with org_id on both sides",
            format!(
                "SELECT f.conname::text FROM pg_class c JOIN pg_constraint f ON f.conrelid = c.oid
                 WHERE {of_app} AND f.contype = 'f' AND (f.conkey[1] IS DISTINCT FROM ({tenant}) OR f.confkey[1] <> (
                   SELECT attnum FROM pg_attribute WHERE attrelid = f.confrelid AND attname = 'org_id'))"
            ),
        ),
        (
            "tables with created_at but without an index on (org_id, created_at DESC, rest of the key)",
            format!(
                "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                 WHERE {of_app} AND c.relkind IN ('r', 'p') AND a.attname = 'created_at' AND NOT EXISTS (
                   SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indpred IS NULL
                   AND i.indkey[0] = ({tenant}) AND i.indkey[1] = a.attnum AND i.indoption[1] & 1 = 1)"
            ),
        ),
        (
            "definer functions without a pinned search_path, or open to everybody",
            "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname IN ('app', 'engine', 'millrace', 'priv') AND p.prosecdef AND (
               NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)
               OR p.proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(p.proacl) a WHERE a.grantee = 0))"
                .to_owned(),
        ),
    ];
    for (what, query) in checks {
        assert_eq!(defects(&world, &query).await, Vec::<String>::new(), "{what}");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_run_time_role_stands_above_row_level_security() {
    let world = World::new().await;
    let above = "SELECT rolname::text FROM pg_roles WHERE rolname IN
        ('millrace_app', 'millrace_reader', 'millrace_relay', 'millrace_indexer', 'millrace_migrator', 'millrace_owner')
        AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)";
    assert_eq!(defects(&world, above).await, Vec::<String>::new());
    let members = "SELECT format('%s in %s', m.member::regrole, m.roleid::regrole) FROM pg_auth_members m
        WHERE m.member::regrole::text LIKE 'millrace%' ORDER BY 1";
    let wanted = ["millrace_migrator in millrace_maintenance", "millrace_migrator in millrace_owner"];
    assert_eq!(defects(&world, members).await, wanted);
    let owned = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('app', 'engine', 'priv') AND c.relowner <> 'millrace_owner'::regrole";
    assert_eq!(defects(&world, owned).await, Vec::<String>::new());
    world.finish(Left::default()).await;
}
