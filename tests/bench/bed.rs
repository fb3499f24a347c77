//! What every part measures on: a fresh world on servers with real durability, with tenants on a plan without limits.

use std::net::SocketAddr;

use millrace::contract::Lane;
use millrace_cli::local::Stop;
use millrace_tests::{Program, Servers, World};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::messages::Messages;
use super::publish::{Broker, OURS, Prepared};

/// Tenants of every part but the fairness of (f).
pub(crate) const TENANTS: usize = 100;

/// One world with its tenants.
pub(crate) struct Bed {
    pub(crate) world: World,
    pub(crate) messages: Messages,
}

impl Bed {
    /// Makes the world with so many tenants, each linked to a customer.
    pub(crate) async fn new(servers: &'static Servers, tenants: usize) -> Self {
        let mut world = World::on_servers(servers).await;
        // What a deployment logs by default.
        world.set("MILLRACE__OBSERVABILITY__LOG_LEVEL", "warn");
        // One source sends as fast as it can; lanes are another part's affair.
        world.set("MILLRACE__LIMITS__WEBHOOK_SOFT_RATE", "off");
        let make = format!(
            "INSERT INTO app.tenants (org_id, name, plan)
               SELECT 'org_' || lpad(n::text, 4, '0'), 'Tenant ' || n, 'enterprise' FROM generate_series(0, {tenants} - 1) n;
             INSERT INTO engine.provider_links (provider, livemode, external_id, org_id)
               SELECT 'stripe', false, 'cus_' || lpad(n::text, 4, '0'), 'org_' || lpad(n::text, 4, '0')
               FROM generate_series(0, {tenants} - 1) n;
             ANALYZE"
        );
        world.execute(&make).await;
        let messages = Messages::new(&world, tenants);
        Self { world, messages }
    }

    /// Every measurement begins with clean buffers, or the one before would pay for it.
    pub(crate) async fn checkpoint(&self) {
        self.world.execute("CHECKPOINT").await;
    }

    /// Puts messages into a worker's main queue, each confirmed.
    pub(crate) async fn fill(&self, worker: &str, messages: Vec<Prepared>) {
        let key = format!("{worker}.{}", Lane::Main.as_str());
        Broker::connect(&self.world.broker_url().await, OURS).await.publish(&key, messages).await;
    }

    /// Starts the ingress; returns where it listens.
    pub(crate) async fn start_ingress(&self) -> (Program, SocketAddr) {
        let (ingress, url) = self.world.start_ingress().await;
        let address = url.trim_start_matches("http://").parse().expect("an address");
        (ingress, address)
    }

    /// Ends it all.
    pub(crate) async fn end(self, programs: Vec<Program>) {
        for program in programs {
            program.kill().await;
        }
        self.world.discard().await;
    }
}

/// Lets PostgreSQL remember when each transaction committed. Costs every figure the same.
pub(crate) async fn with_commit_times(servers: &Servers) {
    configure(servers, "track_commit_timestamp = on").await;
}

/// Changes a setting of PostgreSQL that takes a restart.
pub(crate) async fn configure(servers: &Servers, setting: &str) {
    let mut postgres = servers.postgres.lock().await;
    let mut connection = PgConnection::connect(&postgres.superuser_url("postgres")).await.expect("a connection");
    let statement = sqlx::AssertSqlSafe(format!("ALTER SYSTEM SET {setting}"));
    sqlx::raw_sql(statement).execute(&mut connection).await.expect("a setting");
    connection.close().await.expect("a closed connection");
    postgres.stop(Stop::Fast).await;
    postgres.start_again().await.expect("PostgreSQL");
}
