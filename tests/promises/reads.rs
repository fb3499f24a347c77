//! A tenant reads its own rows and nobody else's, as far as role and standing go, and accepting needs none of it.

mod audit;
mod operations;
mod outages;
mod paging;
mod who;

use millrace::config::{Config, Process};
use millrace::contract::{ActorKind, MessageId, Principal, PublisherName, Role, RoleTable, TenantId};
use millrace_ingress::reads::{ReadFault, Reader, Reads};
use millrace_tests::{Left, World};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

/// The second in which every token here was issued.
const IAT: i64 = 1_700_000_000;
/// Every route but the operations, which take an id, and the audit log, which is for administrators.
const ROUTES: [&str; 5] = ["projects", "members", "settings", "billing", "limits"];

/// Somebody with a token.
struct Asker {
    org: TenantId,
    principal: Principal,
}

impl Asker {
    fn user(org: &str, id: &str, role: Option<Role>) -> Self {
        let principal = Principal { kind: ActorKind::User, id: id.to_owned(), role };
        Self { org: TenantId::parse(org).expect("a tenant"), principal }
    }

    fn admin(org: &str) -> Self {
        Self::user(org, "u_1", Some(Role::Admin))
    }

    fn reader(&self) -> Reader<'_> {
        Reader { org: &self.org, principal: &self.principal, token_iat: IAT }
    }

    /// One of [`ROUTES`], or `operations`: then the message `m_<org>`.
    async fn get(&self, reads: &Reads, route: &str) -> Result<Value, ReadFault> {
        match route {
            "projects" => reads.projects(self.reader(), None).await,
            "members" => reads.members(self.reader(), None).await,
            "settings" => reads.settings(self.reader(), None).await,
            "billing" => reads.billing(self.reader(), None).await,
            "limits" => reads.limits(self.reader(), None).await,
            "audit" => reads.audit(self.reader(), None).await,
            _ => self.operation(reads, &format!("m_{}", self.org), 0).await,
        }
    }

    async fn operation(&self, reads: &Reads, message: &str, seconds: u64) -> Result<Value, ReadFault> {
        let publisher = PublisherName::parse("ingress").expect("a publisher");
        let message = MessageId::parse(message).expect("an id");
        reads.operation(self.reader(), &publisher, &message, std::time::Duration::from_secs(seconds)).await
    }

    /// The code with which a route is refused, or `ok`.
    async fn code(&self, reads: &Reads, route: &str) -> &'static str {
        self.get(reads, route).await.map_or_else(|fault| fault.code(), |_| "ok")
    }
}

fn roles() -> RoleTable {
    millrace::builtin().check().expect("a contract").roles().clone()
}

fn with(config: &Config) -> Reads {
    Reads::new(&config.database, roles()).expect("an address")
}

fn reads(world: &World) -> Reads {
    with(&world.config(Process::Ingress))
}

async fn sql(world: &World, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(world.superuser()).await.expect("rows");
}

/// A tenant with a row for every route, each with `marker_<org>` in it.
async fn seed(world: &World, org: &str) {
    let rows = "
        INSERT INTO app.tenants (org_id, name, plan) VALUES ('ORG', 'marker_ORG', 'free');
        INSERT INTO app.projects (org_id, id, name) VALUES ('ORG', gen_random_uuid(), 'marker_ORG');
        INSERT INTO app.settings (org_id, entries) VALUES ('ORG', '{\"name\": \"marker_ORG\"}');
        INSERT INTO app.members (org_id, user_id, role) VALUES ('ORG', 'marker_ORG', 'editor');
        INSERT INTO app.subscriptions
            (org_id, provider, subscription_id, status, plan, status_since, last_created, last_rank)
            VALUES ('ORG', 'stripe', 'marker_ORG', 'active', 'pro', now(), now(), 0);
        INSERT INTO app.entitlements (org_id, id, feature, kind, value, source)
            VALUES ('ORG', gen_random_uuid(), 'marker_ORG', 'bool', 'true', 'override');
        INSERT INTO engine.operations
            (org_id, publisher, message_id, command, outcome, resource_type, resource_id, settled_at)
            VALUES ('ORG', 'ingress', 'm_ORG', 'projects.create', 'applied', 'project', 'marker_ORG', now());
        INSERT INTO app.audit_index (org_id, timestamp, tenant_seq, event_id, actor, action, resource_type, resource_id,
            outcome, segment, byte_offset, byte_length)
            VALUES ('ORG', now(), 1, gen_random_uuid(), 'user:u', 'projects.create', 'project', 'marker_ORG', 'applied', 0, 0, 9);";
    sql(world, &rows.replace("ORG", org)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_shows_the_rows_of_its_tenant_and_of_no_other() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        seed(&world, org).await;
    }
    let reads = reads(&world);
    for (own, other) in [("acme", "globex"), ("globex", "acme")] {
        for route in ROUTES.into_iter().chain(["operations", "audit"]) {
            let shown = Asker::admin(own).get(&reads, route).await.expect(route).to_string();
            assert!(shown.contains(&format!("marker_{own}")), "{route} of {own}: {shown}");
            assert!(!shown.contains(other), "{route} of {own} shows {other}: {shown}");
        }
        let theirs = Asker::admin(own).operation(&reads, &format!("m_{other}"), 0).await.expect("an answer");
        assert_eq!(theirs, json!({ "status": "pending" }), "{own} sees an operation of {other}");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_has_the_shape_that_is_promised() {
    let world = World::new().await;
    sql(
        &world,
        "INSERT INTO app.tenants (org_id, name, plan) VALUES ('acme', 'Acme', 'free'), ('bare', 'Bare', 'gone');
         INSERT INTO app.usage_counters (org_id, metric, used)
           VALUES ('acme', 'projects', 4), ('acme', 'members', 5), ('acme', 'seats', 1);
         INSERT INTO app.entitlements (org_id, id, feature, kind, value, source, valid_from, valid_to) VALUES
           ('acme', gen_random_uuid(), 'members', 'limit', '9', 'trial', now(), NULL),
           ('acme', gen_random_uuid(), 'members', 'limit', '7', 'override', now(), NULL),
           ('acme', gen_random_uuid(), 'projects', 'limit', '99', 'override', now() - interval '2 h', now() - interval '1 h');
         INSERT INTO app.access (org_id, level, unpaid_since, evaluated_at)
           VALUES ('acme', 'grace', '2026-01-02 03:04:05Z', now());",
    )
    .await;
    let (reads, acme, bare) = (reads(&world), Asker::admin("acme"), Asker::admin("bare"));
    let limit = |feature, value: Value, source: Option<&str>, used: i64, over: bool| json!({ "feature": feature, "kind": "limit", "value": value, "source": source, "used": used, "over_limit": over });
    let limits = json!({ "next": null, "items": [
        { "feature": "audit_export", "kind": "bool", "value": false, "source": "plan" },
        limit("members", json!(7), Some("override"), 5, false),
        limit("projects", json!(3), Some("plan"), 4, true),
        limit("seats", Value::Null, None, 1, true),
        { "feature": "support", "kind": "config", "value": "community", "source": "plan" },
    ] });
    assert_eq!(acme.get(&reads, "limits").await.expect("limits"), limits);
    let billing = json!({ "plan": "free", "access": "grace", "unpaid_since": "2026-01-02T03:04:05Z", "subscriptions": [], "fees": [] });
    assert_eq!(acme.get(&reads, "billing").await.expect("billing"), billing);
    let billing = json!({ "plan": "gone", "access": "full", "unpaid_since": null, "subscriptions": [], "fees": [] });
    assert_eq!(bare.get(&reads, "billing").await.expect("billing"), billing);
    assert_eq!(bare.get(&reads, "settings").await.expect("settings"), json!({ "entries": {}, "version": 0 }));
    for route in ["projects", "members", "limits"] {
        assert_eq!(bare.get(&reads, route).await.expect(route), json!({ "items": [], "next": null }), "{route}");
    }
    world.finish(Left::default()).await;
}
