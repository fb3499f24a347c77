//! One tenant never reads or changes another: what the database allows each real role, and what it refuses.

mod catalogue;
mod engine;
mod processes;
mod rows;

use hmac::{Hmac, KeyInit, Mac};
use millrace_tests::World;
use sha2::Sha256;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection};

/// PostgreSQL's code for what a role or a policy does not allow.
pub(crate) const REFUSED: &str = "42501";
const TENANTS: [&str; 2] = ["acme", "globex"];
/// Tables whose rows nobody changes or deletes; the index of the audit log has a test of its own.
const WRITTEN_ONCE: [&str; 3] = ["app.fee_ledger", "app.invoice_payments", "app.refunds"];

/// Rows of both tenants in every tenant table, written by the superuser.
async fn seed(world: &World) {
    for org in TENANTS {
        for row in [
            "tenants (org_id, name) VALUES ($1, 'Some Inc')",
            "subscriptions (org_id, provider, subscription_id, status, status_since, last_created, last_rank)
             VALUES ($1, 'stripe', 'sub_' || $1, 'active', now(), now(), 0)",
            "invoices (org_id, provider, invoice_id, status, rank, state_created, amount_due, amount_paid, currency)
             VALUES ($1, 'stripe', 'in_' || $1, 'paid', 4, now(), 100, 100, 'eur')",
            "invoice_payments (org_id, payment_id, invoice_id) VALUES ($1, 'ch_' || $1, 'in_' || $1)",
            "refunds (org_id, source_id, kind, payment_ids, refunded_before, refunded_after, currency)
             VALUES ($1, 'ch_' || $1, 'refund', '{}', 0, 50, 'EUR')",
            "fee_ledger (org_id, source_id, kind, invoice_id, amount, fee, currency)
             VALUES ($1, 'in_' || $1, 'fee', 'in_' || $1, 100, 25, 'EUR')",
            "entitlements (org_id, id, feature, kind, value, source)
             VALUES ($1, gen_random_uuid(), 'projects', 'limit', '7', 'override')",
            "usage_counters (org_id, metric, used) VALUES ($1, 'projects', 1)",
            "members (org_id, user_id, role) VALUES ($1, 'u_' || $1, 'editor')",
            "subjects (org_id, subject) VALUES ($1, 'u_' || $1)",
            "erasures (org_id, id, subject, pseudonym, plan, due_at)
             VALUES ($1, gen_random_uuid(), 'u_' || $1, gen_random_uuid(), '{}', now())",
            "exports (org_id, id, scope, requested_at, expires_at)
             VALUES ($1, '00000000-0000-7000-8000-000000000001', 'org', now(), now())",
            "export_files (org_id, export_id, page, name, object, place, row_count, byte_count, sha256, read_at)
             VALUES ($1, '00000000-0000-7000-8000-000000000001', 0, 'n', 'o', 'app.projects', 1, 1, '', now())",
            "removed_members (org_id, subject) VALUES ($1, sha256($1::bytea))",
            "projects (org_id, id, name) VALUES ($1, gen_random_uuid(), 'Apollo')",
            "settings (org_id, entries) VALUES ($1, '{\"theme\": \"dark\"}')",
            "access (org_id, level, evaluated_at) VALUES ($1, 'full', now())",
            "billing_history (org_id, id, event_id, event_type, object_id, change)
             VALUES ($1, gen_random_uuid(), 'evt_' || $1, 'invoice.paid', 'in_' || $1, 'changed')",
            "audit_index (org_id, timestamp, tenant_seq, event_id, actor, action, resource_type, resource_id, outcome,
               segment, byte_offset, byte_length)
             VALUES ($1, now(), 1, gen_random_uuid(), 'user:u', 'projects.create', 'project', 'p', 'applied', 0, 0, 1)",
        ] {
            let statement = AssertSqlSafe(format!("INSERT INTO app.{row}"));
            sqlx::query(statement).bind(org).execute(world.superuser()).await.expect("a row");
        }
    }
    for table in tables(world.superuser()).await {
        let count = format!("select count(distinct org_id) from {table}");
        assert_eq!(world.count(&count).await, 2, "{table} has no rows here: add some above");
    }
}

/// Every table of schema `app`, with its schema. Partitions carry no grant, which a test of the catalogue holds.
async fn tables(pool: &PgPool) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('app.%I', relname) FROM pg_class
         WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .expect("the catalogue");
    assert!(tables.len() >= 5, "the catalogue was not read: {tables:?}");
    tables
}

/// The tag of a tenant, by hand: HMAC-SHA256 over its id.
fn tag(world: &World, org: &str) -> String {
    let file = world.config_path().with_file_name("keys").join("db-context");
    let key = hex::decode(std::fs::read_to_string(file).expect("the key").trim()).expect("hex");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
    mac.update(org.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The setting that puts a tenant in scope.
pub(crate) fn context(world: &World, org: &str) -> String {
    format!("{}.{org}", tag(world, org))
}

/// A connection of one run-time role.
async fn connect(world: &World, role: &str) -> PgConnection {
    PgConnection::connect(&world.role_url(role).await).await.expect("a connection")
}

/// Rows that a statement changed, or PostgreSQL's code.
async fn run(connection: &mut PgConnection, statement: &str) -> Result<u64, String> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await;
    done.map(|done| done.rows_affected()).map_err(|error| match error.as_database_error() {
        Some(error) => error.code().expect("a code").into_owned(),
        None => panic!("{statement}: {error}"),
    })
}

/// As [`run`], in a transaction of its own with this tenant context.
pub(crate) async fn run_as(connection: &mut PgConnection, context: &str, statement: &str) -> Result<u64, String> {
    run(connection, &format!("BEGIN; SET LOCAL app.ctx = '{context}'")).await.expect("a context");
    let done = run(connection, statement).await;
    run(connection, if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).await.expect("the end");
    done
}

/// Everything one tenant has in a table, as the superuser sees it.
async fn contents(world: &World, table: &str, org: &str) -> String {
    let rows =
        format!("SELECT coalesce(string_agg(t::text, '|' ORDER BY t::text), '') FROM {table} t WHERE org_id = $1");
    sqlx::query_scalar(AssertSqlSafe(rows)).bind(org).fetch_one(world.superuser()).await.expect("rows")
}

/// One row of a tenant as JSON in a SQL literal, to be inserted by somebody else.
async fn row_of(world: &World, table: &str, org: &str) -> String {
    let row = format!("SELECT quote_literal(to_jsonb(t)::text) FROM {table} t WHERE org_id = $1 LIMIT 1");
    sqlx::query_scalar(AssertSqlSafe(row)).bind(org).fetch_one(world.superuser()).await.expect("a row")
}

/// Inserts a row made by [`row_of`].
fn insert(table: &str, row: &str) -> String {
    format!("INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, {row}::jsonb)")
}
