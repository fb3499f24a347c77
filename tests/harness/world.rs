//! One test's world: database, vhost, keys and configuration of its own on real servers, as the real roles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::Method;
use lapin::BasicProperties;
use millrace::auditlog::SigningKey;
use millrace::config::{Config, Process, start};
use millrace::contract::{Exchange, Topology, WireMessage};
use millrace_cli::{BrokerAdmin, apply_topology, bootstrap, migrate};
use secrecy::ExposeSecret as _;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::audit_files::audit_holds;
use crate::broker::{Broker, properties};
use crate::caller::ISSUER_SECRET;
use crate::http::{Answer, HttpClient};
use crate::programs::{Program, run_cli};
use crate::raw_amqp::{RawProperties, publish_raw};
use crate::servers::Servers;
use crate::{Sample, eventually, signature, sql};

/// The secret of the world's Stripe endpoint, and the older one that is still active.
const SECRETS: [&str; 2] = ["whsec_first", "whsec_second"];

/// What a test leaves behind on purpose; everything else must be zero at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Rows of `dead_letters`.
    pub dead: i64,
    /// Rows of `parked`.
    pub parked: i64,
}

/// See the module's words.
pub struct World {
    name: String,
    servers: ServersOf,
    folder: TempDir,
    pool: PgPool,
    environment: BTreeMap<String, String>,
    http: HttpClient,
    started: AtomicUsize,
    finished: bool,
}

enum ServersOf {
    Shared(&'static Servers),
    Own(Box<Servers>),
}

impl std::ops::Deref for ServersOf {
    type Target = Servers;

    fn deref(&self) -> &Servers {
        match self {
            Self::Shared(servers) => servers,
            Self::Own(servers) => servers,
        }
    }
}

impl World {
    /// A world on the shared servers.
    pub async fn new() -> Self {
        Self::on(ServersOf::Shared(crate::shared_servers())).await
    }

    /// A world on servers of its own, which the test may stop.
    pub async fn alone() -> Self {
        Self::on(ServersOf::Own(Box::new(Servers::start().await))).await
    }

    /// A world on servers that whoever asks has started.
    pub async fn on_servers(servers: &'static Servers) -> Self {
        Self::on(ServersOf::Shared(servers)).await
    }

    /// A world on servers of its own, with a cluster of so many nodes for a broker. Every queue has a member on each.
    pub async fn with_brokers(brokers: usize) -> Self {
        Self::on(ServersOf::Own(Box::new(Servers::start_with_brokers(brokers).await))).await
    }

    async fn on(servers: ServersOf) -> Self {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let folder = tempfile::tempdir().expect("a folder");
        let superuser = servers.postgres.lock().await.superuser_url("postgres");
        let database = servers.postgres.lock().await.superuser_url(&name);
        let environment = [
            ("MILLRACE_CONFIG", folder.path().join("millrace.toml").display().to_string()),
            ("MILLRACE_STATE", servers.marker().to_owned()),
            ("MILLRACE_OPERATOR", "tester".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&database).expect("a pool");
        let world = Self {
            name,
            servers,
            folder,
            pool,
            environment,
            http: HttpClient::default(),
            started: AtomicUsize::new(0),
            finished: false,
        };
        world.write_files().await;
        let contract = millrace::builtin();
        let (checked, config) = start(contract, &world.config_path(), Process::All).expect("a configuration");
        bootstrap_one_at_a_time(&config, &superuser).await;
        migrate(&config).await.expect("migrations");
        apply_topology(&checked, &config, &world.broker_admin().await).await.expect("a topology");
        world
    }

    async fn write_files(&self) {
        let keys = self.folder.path().join("keys");
        std::fs::create_dir_all(&keys).expect("keys");
        let names = ["db-context", "audit-event-id", "seal-ingress-1", "seal-worker-1", "seal-operator-1"];
        for (number, name) in names.into_iter().chain(["seal-crm-1", "seal-ledger-1"]).enumerate() {
            std::fs::write(keys.join(name), format!("{:064x}\n", number + 1)).expect("a key");
        }
        // Logins are the cluster's and the broker's, shared by every world on them.
        let brokers = ["amqp-ingress", "amqp-worker", "amqp-relay", "amqp-audit", "amqp-crm", "amqp-ledger"];
        for name in brokers.into_iter().chain(["db-app", "db-relay", "db-reader", "db-indexer", "db-migrator"]) {
            std::fs::write(keys.join(name), "only for tests\n").expect("a password");
        }
        std::fs::write(keys.join("issuer"), ISSUER_SECRET).expect("a secret");
        let log_key = SigningKey::generate(&format!("{}/audit", self.name)).expect("a name").render();
        std::fs::write(keys.join("audit-log"), log_key.expose_secret()).expect("a key");
        let export_key = SigningKey::generate(&format!("{}/exports", self.name)).expect("a name").render();
        std::fs::write(keys.join("exports"), export_key.expose_secret()).expect("a key");
        std::fs::write(keys.join("stripe-1"), SECRETS[0]).expect("a secret");
        std::fs::write(keys.join("stripe-2"), SECRETS[1]).expect("a secret");
        let (host, port) = self.servers.rabbit.lock().await.amqp_address();
        let toml = include_str!("millrace.toml")
            .replace("{name}", &self.name)
            .replace("{amqp}", &format!("{host}:{port}"))
            .replace("{postgres}", &self.servers.postgres.lock().await.port().to_string());
        std::fs::write(self.config_path(), toml).expect("a configuration");
    }

    /// Name of its database and of its vhost.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The world's `millrace.toml`.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("millrace.toml")
    }

    /// The configuration as one process reads it.
    ///
    /// # Panics
    /// When it has mistakes.
    pub fn config(&self, process: Process) -> Config {
        start(millrace::builtin(), &self.config_path(), process).expect("a configuration").1
    }

    async fn broker_admin(&self) -> BrokerAdmin {
        let rabbit = self.servers.rabbit.lock().await;
        let (user, password) = rabbit.admin();
        BrokerAdmin::new(rabbit.management_url().parse().expect("a URL"), user, password.to_owned().into())
    }

    /// The HTTP client that all of this world's requests share.
    pub fn http(&self) -> &HttpClient {
        &self.http
    }

    /// The servers, for tests that have them alone.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Overrides a key of the configuration for processes started from now on.
    pub fn set(&mut self, variable: &str, value: impl Into<String>) {
        self.environment.insert(variable.to_owned(), value.into());
    }

    /// The environment that processes of this world get.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Starts one of Millrace's programs in this world: `millrace-billing`, `millrace-relay`, `millrace-audit`. A path
    /// is that of somebody else's program.
    pub fn start(&self, program: &str) -> Program {
        self.start_with(program, &[])
    }

    /// The same with variables of its own, which win.
    ///
    /// # Panics
    /// As [`World::start`].
    pub fn start_with(&self, program: &str, variables: &[(String, String)]) -> Program {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = Path::new(program).file_name().and_then(|name| name.to_str()).expect("a program's name");
        let log = self.folder.path().join(format!("{name}-{number}.log"));
        let environment = [self.environment().as_slice(), variables].concat();
        Program::start(program, &environment, &log)
    }

    /// Starts the ingress and waits until it confirms; returns its public base URL.
    pub async fn start_ingress(&self) -> (Program, String) {
        let (ingress, public, admin) = self.start_ingress_unready().await;
        eventually("the ingress is ready", async || {
            let url = format!("{admin}/api/health/ready");
            let answer = self.http.send(Method::GET, &url, &[], Vec::new()).await?;
            (answer.status == 200).then_some(())
        })
        .await;
        (ingress, public)
    }

    /// Starts the ingress; returns its public and its admin base URL.
    ///
    /// # Panics
    /// When it does not say where it listens.
    pub async fn start_ingress_unready(&self) -> (Program, String, String) {
        let mut ingress = self.start("millrace-ingress");
        let line: serde_json::Value = serde_json::from_str(&ingress.first_line().await).expect("addresses");
        let url = |key: &str| format!("http://{}", line[key].as_str().expect("an address"));
        let (public, admin) = (url("listening"), url("admin"));
        (ingress, public, admin)
    }

    /// Starts every worker, relay and audit worker, for commands of every kind; returns the ingress's base URL.
    pub async fn start_all_workers(&self) -> (Vec<Program>, String) {
        let (mut programs, url) = self.start_all().await;
        let others = ["projects", "settings", "members", "tenants", "compliance"];
        programs.extend(others.map(|worker| self.start(&format!("millrace-{worker}"))));
        (programs, url)
    }

    /// Starts everything a webhook needs to become an audit line; returns the ingress's base URL.
    pub async fn start_all(&self) -> (Vec<Program>, String) {
        let (ingress, url) = self.start_ingress().await;
        let others = ["millrace-billing", "millrace-relay", "millrace-audit"].map(|program| self.start(program));
        (std::iter::once(ingress).chain(others).collect(), url)
    }

    /// Runs `millrace` in this world and expects it to succeed.
    ///
    /// # Panics
    /// When it fails; the panic shows what it said.
    pub async fn cli(&self, arguments: &[&str]) -> String {
        let output = run_cli(arguments, &self.environment()).await;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "millrace {arguments:?}: {said}");
        said
    }

    /// Makes a tenant that is linked to a customer.
    pub async fn tenant(&self, org: &str, customer: &str) {
        self.cli(&["tenants", "create", org]).await;
        self.cli(&["tenants", "link", org, "--customer", customer]).await;
    }

    /// A sample invoice event of a customer with its own id and invoice.
    pub fn invoice_event(&self, customer: &str) -> Sample {
        Sample::paid_invoice(customer, "sub_1")
    }

    /// Signs a body with the world's secret and posts it to the billing endpoint; `None` when the connection broke.
    pub async fn post(&self, base: &str, body: Vec<u8>) -> Option<Answer> {
        let signature = self.signature(&body);
        self.post_signed(base, body, &signature).await
    }

    /// The world's signature of a body at this moment.
    pub fn signature(&self, body: &[u8]) -> String {
        signature(SECRETS[0], OffsetDateTime::now_utc().unix_timestamp(), body)
    }

    /// Posts a body under a signature header of the test's own making.
    pub async fn post_signed(&self, base: &str, body: Vec<u8>, signature: &str) -> Option<Answer> {
        let headers = [("stripe-signature", signature), ("content-type", "application/json")];
        self.http.send(Method::POST, &format!("{base}/api/billing/webhooks"), &headers, body).await
    }

    /// Posts a sample and expects exactly 200.
    ///
    /// # Panics
    /// On any other answer.
    pub async fn accept(&self, base: &str, sample: &Sample) {
        let answer = self.post(base, sample.body()).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.body, br#"{"received":true}"#);
    }

    /// Counts rows as the superuser: `select count(*) from …`.
    pub async fn count(&self, statement: &str) -> i64 {
        sql::count(&self.pool, statement).await
    }

    /// Changes rows as the superuser.
    ///
    /// # Panics
    /// When the statement fails.
    pub async fn execute(&self, statement: &str) {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        sqlx::raw_sql(statement).execute(&self.pool).await.expect("a statement");
    }

    /// Waits until a count is what it should be.
    pub async fn until_count(&self, statement: &str, wanted: i64) {
        eventually(&format!("{statement} is {wanted}"), async || (self.count(statement).await == wanted).then_some(()))
            .await;
    }

    /// A superuser's pool on the world's database.
    pub fn superuser(&self) -> &PgPool {
        &self.pool
    }

    /// A connection URL for one of the run-time roles, such as `millrace_app`.
    pub async fn role_url(&self, role: &str) -> String {
        let port = self.servers.postgres.lock().await.port();
        format!("postgres://{role}:only%20for%20tests@127.0.0.1:{port}/{}", self.name)
    }

    /// The audit log's folder.
    pub fn audit_folder(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    /// Puts a message into a worker's main queue as it stands, sealed or not.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub async fn enqueue(&self, worker: &str, wire: &WireMessage) {
        self.enqueue_to("millrace.work", &format!("{worker}.main"), wire).await;
    }

    /// Puts a message into an exchange as it stands, sealed or not.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub async fn enqueue_to(&self, exchange: &str, key: &str, wire: &WireMessage) {
        self.publish(exchange, key, properties(wire), &wire.body).await;
    }

    /// Puts a message of the test's own making into an exchange.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub async fn publish(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        self.broker().await.publish(exchange, key, properties, body).await.expect("a publish");
    }

    /// Puts a message into an exchange with properties that no client library would send.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub async fn publish_raw(&self, exchange: &str, key: &str, properties: &RawProperties) {
        let rabbit = self.servers.rabbit.lock().await;
        let published =
            publish_raw(rabbit.amqp_address(), rabbit.admin(), &self.name, (exchange, key), properties).await;
        published.expect("a publish");
    }

    /// Makes a queue of the test's own that gets every event of a type.
    ///
    /// # Panics
    /// When the broker does not make it.
    pub async fn listen(&self, queue: &str, event: &str) {
        self.broker().await.bind(queue, Exchange::Events.name(), event).await.expect("a queue");
    }

    /// Environment variable with the broker's management API, as `millrace topology` takes it.
    pub async fn management(&self) -> (String, String) {
        let rabbit = self.servers.rabbit.lock().await;
        let (user, password) = rabbit.admin();
        let url = rabbit.management_url().replacen("://", &format!("://{user}:{password}@"), 1);
        ("MILLRACE_MANAGEMENT_URL".to_owned(), url)
    }

    /// Ready messages of a queue.
    ///
    /// # Panics
    /// When there is no such queue.
    pub async fn depth(&self, queue: &str) -> u32 {
        self.broker().await.depth(queue).await.expect("a depth")
    }

    /// The first message of a queue as it stands there; it goes back where it was.
    ///
    /// # Panics
    /// When there is no such queue.
    pub async fn peek(&self, queue: &str) -> Option<(BasicProperties, Vec<u8>)> {
        self.broker().await.peek(queue).await.expect("a look into the queue")
    }

    /// The broker's address with a login that may do everything there.
    pub async fn broker_url(&self) -> String {
        self.servers.rabbit.lock().await.amqp_url(&self.name)
    }

    async fn broker(&self) -> Broker {
        let url = self.broker_url().await;
        eventually("the broker answers", async || Broker::connect(&url).await.ok()).await
    }

    /// Ends a world that is measured and promises nothing: whatever is left in its database and its queues is dropped.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn discard(mut self) {
        self.finished = true;
        let contract = millrace::builtin().check().expect("a contract");
        let broker = self.broker().await;
        for queue in Topology::of(&contract).queues {
            broker.delete(&queue.name).await.expect("a deleted queue");
        }
        let superuser = self.servers.postgres.lock().await.superuser_url("postgres");
        self.pool.close().await;
        let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let mut connection = PgConnection::connect(&superuser).await.expect("a connection");
        sqlx::raw_sql(drop).execute(&mut connection).await.expect("a dropped database");
    }

    /// Ends a world whose rest somebody else has judged.
    pub fn leave(mut self) {
        self.finished = true;
    }

    /// Ends the test: every queue is empty, nothing waits in the outbox, and only what was declared is parked or dead.
    ///
    /// # Panics
    /// When something is left.
    pub async fn finish(mut self, left: Left) {
        self.finished = true;
        self.until_count("select count(*) from engine.outbox", 0).await;
        let contract = millrace::builtin().check().expect("a contract");
        let (broker, watched) = (self.broker().await, |name: &str| name != Topology::QUARANTINE_QUEUE);
        for queue in Topology::of(&contract).queues.iter().map(|queue| queue.name.as_str()).filter(|name| watched(name))
        {
            let empty = async || (broker.depth(queue).await.expect("a depth") == 0).then_some(());
            eventually(&format!("queue {queue} is empty"), empty).await;
        }
        let found = Left {
            dead: self.count("select count(*) from engine.dead_letters").await,
            parked: self.count("select count(*) from engine.parked").await,
        };
        assert_eq!(found, left);
        self.check_facts();
        audit_holds(&self.audit_folder());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "the test must say what it leaves: call finish");
    }
}

/// Roles belong to the cluster, and two transactions that alter one role at once fail.
async fn bootstrap_one_at_a_time(config: &Config, superuser: &str) {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ONE.lock().await;
    bootstrap(config, superuser).await.expect("roles and database");
}
