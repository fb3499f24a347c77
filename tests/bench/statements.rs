//! The statements with which a worker applies a message, one message at a time: what (c) and the bare loop of (e) execute.
//!
//! They are those of the engine for a batch of one. Each says where the engine has it. The pool's own checks, seals, JSON and
//! everything else that is no statement are left out, which favours this side.

use millrace::config::Process;
use millrace::contract::{
    AuditEvent, Envelope, Lane, MessageId, MessageType, Principal, TenantId, Timestamp, WireMessage,
};
use millrace::db::ContextKey;
use millrace_tests::World;
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// `shared/src/db/pool.rs`, `AppPool::begin`.
const BEGIN: &str = "BEGIN; SET LOCAL app.ctx = ''; SET LOCAL statement_timeout = '2s'";
/// `shared/src/pipeline/claim.rs`.
const CLAIM: &str = "SELECT claimed, holder, fresh FROM engine.claim($1, $2, $3, $4)";
/// `shared/src/pipeline/resolve.rs`; webhooks alone.
const RESOLVE: &str = "SELECT engine.resolve_link(l.provider, l.account, l.livemode, l.external_id) AS org
   FROM UNNEST($1::text[], $2::text[], $3::boolean[], $4::text[])
     WITH ORDINALITY AS l (provider, account, livemode, external_id, place) ORDER BY l.place";
/// `shared/src/db/batch.rs`, `Tenants::enter`.
const ENTER: &str =
    "SELECT standing, user_id, member_role, session_epoch, removed, pseudonym FROM app.enter($1, $2, $3)";
/// `shared/src/pipeline/turns.rs`, `wait_for`.
const TURN: &str = "SELECT pg_advisory_xact_lock(1835625581, hashtext($1) & 1023)";
/// `workers/src/limits.rs`, `take`.
const TAKE: &str = "WITH plan AS MATERIALIZED (SELECT app.limit_of($2) AS most)
   INSERT INTO app.usage_counters AS u (org_id, metric, used)
   SELECT $1, $2, $3 FROM plan WHERE $3 <= plan.most
   ON CONFLICT (org_id, metric) DO UPDATE SET used = u.used + EXCLUDED.used
     WHERE u.used <= (SELECT plan.most FROM plan) - EXCLUDED.used
   RETURNING used";
/// `workers/src/projects/create.rs`.
const CREATE: &str = "INSERT INTO app.projects (org_id, id, name) VALUES ($1, $2, $3)";
/// `workers/src/billing/invoices.rs`.
const INVOICE: &str = "INSERT INTO app.invoices AS i
     (org_id, provider, invoice_id, subscription_id, status, rank, state_created, amount_due, amount_paid, currency,
      unpaid_since, paid_at)
   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
   ON CONFLICT (org_id, provider, invoice_id) DO UPDATE SET
     subscription_id = coalesce(EXCLUDED.subscription_id, i.subscription_id),
     status = CASE WHEN EXCLUDED.rank > i.rank THEN EXCLUDED.status ELSE i.status END,
     amount_due = CASE WHEN (EXCLUDED.rank, EXCLUDED.state_created, EXCLUDED.amount_due)
                         > (i.rank, i.state_created, i.amount_due) THEN EXCLUDED.amount_due ELSE i.amount_due END,
     state_created = CASE WHEN EXCLUDED.rank > i.rank THEN EXCLUDED.state_created
                          WHEN EXCLUDED.rank = i.rank THEN greatest(i.state_created, EXCLUDED.state_created)
                          ELSE i.state_created END,
     rank = greatest(i.rank, EXCLUDED.rank),
     amount_paid = greatest(i.amount_paid, EXCLUDED.amount_paid),
     unpaid_since = CASE WHEN greatest(i.rank, EXCLUDED.rank) >= 3 THEN NULL
                         ELSE least(i.unpaid_since, EXCLUDED.unpaid_since) END,
     paid_at = least(i.paid_at, EXCLUDED.paid_at),
     updated_at = now()
   RETURNING rank";
/// `workers/src/billing/access.rs`, `standing`.
const STANDING: &str = "SELECT s.status, s.status_since, a.level, a.override_level, a.override_until,
     (SELECT min(unpaid_since) FROM app.invoices WHERE org_id = $1 AND unpaid_since IS NOT NULL) AS open_since,
     (SELECT max(paid_at) FROM app.invoices WHERE org_id = $1) AS paid_at
   FROM (SELECT 1) AS one LEFT JOIN LATERAL (
     SELECT status, status_since FROM app.subscriptions WHERE org_id = $1
     ORDER BY status IN ('canceled', 'incomplete_expired'), last_created DESC, subscription_id LIMIT 1
   ) AS s ON true LEFT JOIN app.access a ON a.org_id = $1";
/// `workers/src/billing/access.rs`, `evaluate`.
const ACCESS: &str = "INSERT INTO app.access (org_id, level, unpaid_since, evaluated_at) VALUES ($1, $2, $3, $4)
   ON CONFLICT (org_id) DO UPDATE SET
     level = EXCLUDED.level, unpaid_since = EXCLUDED.unpaid_since, evaluated_at = EXCLUDED.evaluated_at";
/// `workers/src/billing/history.rs`.
const HISTORY: &str = "INSERT INTO app.billing_history
     (org_id, id, event_id, event_type, object_id, change, status, happened_at, rank)
   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
/// `shared/src/db/batch.rs`, `Tenants::leave`.
const LEAVE: &str = "WITH scope AS MATERIALIZED (SELECT coalesce(current_setting('app.ctx', true), '') AS context)
   SELECT scope.context, set_config('app.ctx', '', true) FROM scope";
/// `shared/src/pipeline/park.rs`, `clear`.
const CLEAR: &str = "DELETE FROM engine.parked p USING UNNEST($1::text[], $2::text[]) AS s (publisher, message_id)
   WHERE p.publisher = s.publisher AND p.message_id = s.message_id";
/// `shared/src/pipeline/operations.rs`, `write`; commands alone.
const RECORD: &str = "SELECT engine.record_operations($1, $2, $3, $4, $5, $6, $7, $8, $9)";
/// `shared/src/pipeline/outbox.rs`, `store`.
const STORE: &str = "INSERT INTO engine.outbox (id, exchange, routing_key, fields, body)
   SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::bytea[])";
/// `shared/src/pipeline/outbox.rs`, `delete`; in a transaction of its own, as the relay's role.
const DELETE: &str = "DELETE FROM engine.outbox WHERE id = ANY($1)";

/// What is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `projects.create` of a user.
    Command,
    /// `invoice.payment_succeeded` of a linked customer.
    Webhook,
}

/// One message with everything that its statements take.
pub(crate) struct Message {
    org: String,
    customer: String,
    id: String,
    /// The project's name, or the event's id.
    name: String,
}

impl Message {
    /// The message number `n` of a tenant.
    pub(crate) fn new(org: String, name: String) -> Self {
        let id = Uuid::now_v7().to_string();
        let customer = org.replacen("org_", "cus_", 1);
        Self { org, customer, id, name }
    }
}

/// What all messages of a world have in common.
pub(crate) struct Statements {
    context: ContextKey,
    /// Outbox rows of the size that they have, sealed once: they are deleted unread.
    audit: WireMessage,
    event: WireMessage,
}

impl Statements {
    pub(crate) fn new(world: &World) -> Self {
        let context = world.config(Process::Worker).database.context_key.as_ref().map(ContextKey::new);
        let signer = world.signer("worker");
        let seal = |name: &str, body: Vec<u8>| {
            let envelope = Envelope {
                message_id: MessageId::from(Uuid::now_v7()),
                message_type: MessageType::parse(name).expect("a type"),
                schema_version: 1,
                content_type: "application/json".to_owned(),
                org_id: Some(TenantId::parse("org_0000").expect("a tenant")),
                principal: Principal::system("worker"),
                token: None,
                origin: None,
                dedupe_key: None,
                correlation_id: None,
                causation_id: None,
                issued_at: Timestamp::new(OffsetDateTime::now_utc()),
                expected_version: None,
            };
            signer.seal(&envelope, Lane::Main, body).expect("a sealed message")
        };
        let event = format!(r#"{{"id":"{}","name":"project 00000000","version":1}}"#, Uuid::now_v7());
        Self {
            context: context.expect("a context key"),
            audit: seal("audit.event", audit_line()),
            event: seal("projects.created", event.into_bytes()),
        }
    }

    /// The setting that puts a tenant in scope, as `shared/src/db/context.rs` makes it.
    fn context(&self, org: &str) -> String {
        let (inner, outer) = self.context.pads();
        let hash = Sha256::new().chain_update(inner).chain_update(org).finalize();
        format!("{}.{org}", hex::encode(Sha256::new().chain_update(outer).chain_update(hash).finalize()))
    }

    /// Applies one message in one transaction; returns its outbox rows.
    pub(crate) async fn apply(
        &self,
        connection: &mut PgConnection,
        kind: Kind,
        message: &Message,
    ) -> sqlx::Result<Vec<Uuid>> {
        let mut tx = connection.begin_with(BEGIN).await?;
        let (user, id) = ((kind == Kind::Command).then_some("ada"), Uuid::now_v7());
        if kind == Kind::Webhook {
            resolve(&mut tx, message).await?;
        }
        sqlx::query(TURN).bind(&message.org).fetch_one(&mut *tx).await?;
        claim(&mut tx, kind, message).await?;
        let users: Vec<&str> = user.into_iter().collect();
        sqlx::query(ENTER).bind("").bind(self.context(&message.org)).bind(users).fetch_all(&mut *tx).await?;
        match kind {
            Kind::Command => create(&mut tx, message, id).await?,
            Kind::Webhook => pay(&mut tx, message, id).await?,
        }
        sqlx::query(LEAVE).fetch_one(&mut *tx).await?;
        sqlx::query(CLEAR).bind(["ingress"]).bind([&message.id]).execute(&mut *tx).await?;
        if kind == Kind::Command {
            record(&mut tx, self.context(&message.org), message, id).await?;
        }
        let rows = self.store(&mut tx, kind).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// The audit event, and the event that a command leads to.
    async fn store(&self, connection: &mut PgConnection, kind: Kind) -> sqlx::Result<Vec<Uuid>> {
        let audit = (&self.audit, "millrace.audit", "audit");
        let event = (kind == Kind::Command).then_some((&self.event, "millrace.events", "projects.created"));
        let rows: Vec<_> = std::iter::once(audit).chain(event).collect();
        let ids: Vec<Uuid> = rows.iter().map(|_| Uuid::now_v7()).collect();
        sqlx::query(STORE)
            .bind(&ids)
            .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.2).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.0.fields_json()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.0.body.clone()).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(ids)
    }
}

/// Deletes what a worker has published, as the relay's role.
pub(crate) async fn delete(connection: &mut PgConnection, rows: &[Uuid]) -> sqlx::Result<()> {
    let mut tx = connection.begin().await?;
    sqlx::query(DELETE).bind(rows).execute(&mut *tx).await?;
    tx.commit().await
}

async fn resolve(connection: &mut PgConnection, message: &Message) -> sqlx::Result<()> {
    sqlx::query(RESOLVE)
        .bind(["stripe"])
        .bind([""])
        .bind([false])
        .bind([&message.customer])
        .fetch_all(connection)
        .await
        .map(drop)
}

/// A command claims its idempotency key as well.
async fn claim(connection: &mut PgConnection, kind: Kind, message: &Message) -> sqlx::Result<()> {
    let claims = if kind == Kind::Command { 2 } else { 1 };
    let keys: Vec<Uuid> = (0..claims).map(|_| Uuid::from_u128(rand::random())).collect();
    sqlx::query(CLAIM)
        .bind(keys)
        .bind(vec![&message.id; claims])
        .bind(vec![&message.org; claims])
        .bind(vec!["ingress"; claims])
        .fetch_all(connection)
        .await
        .map(drop)
}

async fn create(connection: &mut PgConnection, message: &Message, id: Uuid) -> sqlx::Result<()> {
    sqlx::query(TAKE).bind(&message.org).bind("projects").bind(1_i64).fetch_one(&mut *connection).await?;
    sqlx::query(CREATE).bind(&message.org).bind(id).bind(&message.name).execute(connection).await.map(drop)
}

async fn pay(connection: &mut PgConnection, message: &Message, id: Uuid) -> sqlx::Result<()> {
    let now = OffsetDateTime::now_utc();
    let invoice = format!("in_{}", id.simple());
    sqlx::query(INVOICE)
        .bind(&message.org)
        .bind("stripe")
        .bind(&invoice)
        .bind("sub_1")
        .bind("paid")
        .bind(4_i16)
        .bind(now)
        .bind(2_900_i64)
        .bind(2_900_i64)
        .bind("eur")
        .bind(None::<OffsetDateTime>)
        .bind(now)
        .fetch_one(&mut *connection)
        .await?;
    sqlx::query(STANDING).bind(&message.org).fetch_one(&mut *connection).await?;
    let access = sqlx::query(ACCESS).bind(&message.org).bind("full").bind(None::<OffsetDateTime>).bind(now);
    access.execute(&mut *connection).await?;
    sqlx::query(HISTORY)
        .bind(&message.org)
        .bind(id)
        .bind(&message.name)
        .bind("invoice.payment_succeeded")
        .bind(&invoice)
        .bind("changed")
        .bind(None::<&str>)
        .bind(None::<OffsetDateTime>)
        .bind(None::<i16>)
        .execute(connection)
        .await
        .map(drop)
}

async fn record(connection: &mut PgConnection, context: String, message: &Message, id: Uuid) -> sqlx::Result<()> {
    sqlx::query(RECORD)
        .bind([context])
        .bind(["ingress"])
        .bind([&message.id])
        .bind(["projects.create"])
        .bind(["applied"])
        .bind([None::<String>])
        .bind([Some("project")])
        .bind([Some(id.to_string())])
        .bind(OffsetDateTime::now_utc())
        .execute(connection)
        .await
        .map(drop)
}

fn audit_line() -> Vec<u8> {
    let metadata = [("message_id", Uuid::now_v7().to_string()), ("publisher", "ingress".to_owned())];
    let event = AuditEvent {
        timestamp: Timestamp::new(OffsetDateTime::now_utc()).to_string(),
        org_id: "org_0000".to_owned(),
        actor_id: "user:ada".to_owned(),
        action: "projects.create".to_owned(),
        resource_type: "project".to_owned(),
        resource_id: Uuid::now_v7().to_string(),
        metadata: metadata.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
        event_id: Uuid::now_v7(),
        outcome: "applied".to_owned(),
        policy_version: "0".repeat(64),
    };
    event.render().expect("a line")
}
