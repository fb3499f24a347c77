//! What tests of outages do to a world: locks, relays before its servers, and the broker's own administration.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::Method;
use serde_json::Value;

use crate::{Program, TcpRelay, World, eventually};

impl World {
    /// Starts a program and waits until it is ready; returns its admin base URL too.
    ///
    /// # Panics
    /// When it does not say where it listens.
    pub async fn start_ready(&self, program: &str) -> (Program, String) {
        let mut started = self.start(program);
        let line: Value = serde_json::from_str(&started.first_line().await).expect("an address");
        let admin = format!("http://{}", line["admin"].as_str().expect("an address"));
        eventually(&format!("{program} is ready"), async || (self.readiness(&admin).await?.0 == 200).then_some(()))
            .await;
        (started, admin)
    }

    /// Status and words of a process's readiness.
    pub async fn readiness(&self, admin: &str) -> Option<(u16, String)> {
        let answer = self.http().send(Method::GET, &format!("{admin}/api/health/ready"), &[], Vec::new()).await?;
        Some((answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// A superuser's transaction that holds a table against everybody, until it is dropped.
    ///
    /// # Panics
    /// When the table cannot be locked.
    pub async fn hold(&self, table: &str) -> sqlx::PgTransaction<'static> {
        let mut holding = self.superuser().begin().await.expect("a transaction");
        let lock = sqlx::AssertSqlSafe(format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"));
        sqlx::raw_sql(lock).execute(&mut *holding).await.expect("a lock");
        holding
    }

    /// A relay before the broker, with the address that leads through it.
    ///
    /// # Panics
    /// Never.
    pub async fn broker_relay(&self) -> (TcpRelay, String) {
        let relay = TcpRelay::start(self.servers().rabbit.lock().await.amqp_address()).await;
        let mut address = self.config(millrace::config::Process::Ingress).amqp.addresses[0].clone();
        address.set_port(Some(relay.port())).expect("a port");
        (relay, address.into())
    }

    /// A relay before PostgreSQL, with the address that leads through it.
    pub async fn database_relay(&self) -> (TcpRelay, String) {
        let port = self.servers().postgres.lock().await.port();
        let relay = TcpRelay::start(("127.0.0.1".to_owned(), port)).await;
        let address = self.database_at(relay.port());
        (relay, address)
    }

    /// The world's database behind another port.
    ///
    /// # Panics
    /// Never.
    pub fn database_at(&self, port: u16) -> String {
        let mut address = self.config(millrace::config::Process::Worker).database.url.expect("an address");
        address.set_port(Some(port)).expect("a port");
        address.into()
    }

    /// Asks the broker's management API about this world's vhost: `{vhost}` in the path is its name.
    ///
    /// # Panics
    /// When the broker does not answer, or refuses.
    pub async fn ask_broker(&self, method: Method, path: &str, body: &Value) -> Value {
        let (url, login) = {
            let rabbit = self.servers().rabbit.lock().await;
            let (user, password) = rabbit.admin();
            (rabbit.management_url(), format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
        };
        let vhost = self.config(millrace::config::Process::Ingress).deployment;
        let url = format!("{url}/api/{}", path.replace("{vhost}", &vhost));
        let headers = [("authorization", login.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.http().send(method, &url, &headers, body).await.expect("an answer of the broker");
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status < 300, "{path}: {} {said}", answer.status);
        serde_json::from_str(&said).unwrap_or(Value::Null)
    }
}
