//! The demo's journey: one signed event from the socket to its audit line, shown as it happens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use secrecy::SecretString;
use sqlx::postgres::{PgPool, PgPoolOptions};

use super::control::StateDir;
use super::files::{DEMO_CUSTOMER, DEMO_ORG, NAME, Ports};
use super::processes::Processes;
use crate::CommandFault;
use crate::http::HttpClient;
use crate::local::Postgres;
use crate::operator::OperatorName;
use crate::sample::Sample;
use crate::screen::Screen;
use crate::send;
use crate::tenants::{self, Customer};

/// How long one leg of the journey may take.
const LEG: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// Looks at a running stack from the outside.
pub(super) struct Watch {
    pool: PgPool,
    ports: Ports,
    /// Folder of the audit log's segments.
    segments: PathBuf,
    logs: PathBuf,
    began: Instant,
}

impl Watch {
    pub(super) fn new(state: &StateDir, postgres: &Postgres, ports: Ports) -> Result<Self, CommandFault> {
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(&postgres.superuser_url(NAME))?;
        Ok(Self { pool, ports, segments: state.audit_log().join("seg"), logs: state.logs(), began: Instant::now() })
    }

    pub(super) fn public_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.public)
    }

    pub(super) fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.admin)
    }

    /// Waits until the ingress says that the broker confirms its publishes.
    pub(super) async fn ingress_ready(&self, processes: &mut Processes, screen: &Screen) -> Result<(), CommandFault> {
        let client = HttpClient::new()?;
        let uri = format!("{}/api/health/ready", self.admin_url());
        let deadline = Instant::now() + LEG;
        loop {
            let request = Request::builder().uri(&uri).body(Full::new(Bytes::new()))?;
            if client.send(request).await.is_ok_and(|(status, _)| status.is_success()) {
                return Ok(());
            }
            if let Some((name, log)) = processes.revive()?.first() {
                screen.tell(&format!("{name} died and was started again: read {}", log.display()));
            }
            if Instant::now() > deadline {
                let log = self.logs.join("ingress-0.log");
                return Err(
                    format!("the ingress is not ready after {} s: read {}", LEG.as_secs(), log.display()).into()
                );
            }
            tokio::time::sleep(POLL * 10).await;
        }
    }

    /// Waits until the event's effect is committed.
    async fn applied(&self, event_id: &str) -> Result<String, CommandFault> {
        let deadline = Instant::now() + LEG;
        loop {
            let found: Option<(String, String)> = sqlx::query_as(
                "SELECT h.object_id, a.level FROM app.billing_history h JOIN app.access a USING (org_id) WHERE event_id = $1",
            )
            .bind(event_id)
            .fetch_optional(&self.pool)
            .await?;
            if let Some((object, level)) = found {
                return Ok(format!("{object}; access of {DEMO_ORG}: {level}"));
            }
            self.wait(deadline, "the event was not applied", "billing-0.log").await?;
        }
    }

    /// Waits until the event's line stands in the audit log.
    async fn audited(&self, event_id: &str) -> Result<String, CommandFault> {
        let deadline = Instant::now() + LEG;
        let needle = format!("\"dedupe_key\":\"stripe:{event_id}\"");
        loop {
            if let Some(line) = self.newest_lines().await.lines().rev().find(|line| line.contains(&needle)) {
                return Ok(line.to_owned());
            }
            self.wait(deadline, "the event has no audit line", "audit-0.log").await?;
        }
    }

    /// The open segment of the audit log: its names rise.
    async fn newest_lines(&self) -> String {
        let names =
            std::fs::read_dir(&self.segments).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let newest = names.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")).max();
        match newest {
            Some(path) => tokio::fs::read_to_string(path).await.unwrap_or_default(),
            None => String::new(),
        }
    }

    async fn wait(&self, deadline: Instant, otherwise: &str, log: &str) -> Result<(), CommandFault> {
        if Instant::now() > deadline {
            return Err(
                format!("{otherwise} within {} s: read {}", LEG.as_secs(), self.logs.join(log).display()).into()
            );
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    /// One line for people who keep the terminal open.
    pub(super) async fn status(&self, counts: &BTreeMap<String, usize>) -> String {
        let sums: Result<(i64, i64, i64, i64), _> = sqlx::query_as(
            "SELECT (SELECT count(*) FROM engine.inbox), (SELECT count(*) FROM engine.parked),
                    (SELECT count(*) FROM engine.dead_letters WHERE state = 'open'), (SELECT count(*) FROM engine.outbox)",
        )
        .fetch_one(&self.pool)
        .await;
        let minutes = self.began.elapsed().as_secs() / 60;
        let workers: Vec<String> = counts.iter().map(|(name, count)| format!("{name}={count}")).collect();
        match sums {
            Ok((settled, parked, dead, outbox)) => format!(
                "up {minutes} min · settled {settled} · parked {parked} · dead {dead} · outbox {outbox} · {}",
                workers.join(" ")
            ),
            Err(_) => format!("up {minutes} min · the database does not answer · {}", workers.join(" ")),
        }
    }
}

/// Makes the demo tenant, sends it a signed event, and shows each leg of the way.
pub(super) async fn show(
    contract: Contract,
    state: &StateDir,
    watch: &Watch,
    screen: &Screen,
) -> Result<(), CommandFault> {
    demo_tenant(contract, state).await?;
    let secret: SecretString =
        std::fs::read_to_string(state.root().join("keys/stripe-1"))?.trim_end().to_owned().into();
    let sample = Sample::paid_invoice(DEMO_CUSTOMER, "sub_demo");
    let began = Instant::now();
    let since = |began: Instant| began.elapsed().as_secs_f64() * 1e3;
    let url = format!("{}/api/billing/webhooks", watch.public_url());
    let accepted = send::deliver(&url, &secret, &sample).await?;
    screen.tell(&format!("\nthe journey of {} ({})", sample.id, sample.event_type));
    screen.tell(&format!("  accepted in {:.1} ms: signature verified, sealed", accepted.took.as_secs_f64() * 1e3));
    screen.tell("  queued: confirmed by the broker before the 200");
    let applied = watch.applied(&sample.id).await?;
    screen.tell(&format!("  applied after {:.1} ms: {applied}", since(began)));
    let line = watch.audited(&sample.id).await?;
    screen.tell(&format!("  audit line after {:.1} ms:\n  {line}", since(began)));
    Ok(())
}

/// As `millrace tenants create` and `link` would, under a name of its own.
async fn demo_tenant(contract: Contract, state: &StateDir) -> Result<(), CommandFault> {
    let (contract, config) = start(contract, &state.config_file(), Process::Operator)?;
    let operator = OperatorName::named("millrace-up");
    let org = TenantId::parse(DEMO_ORG)?;
    tenants::create(operator.act(&contract, &config).await?, &org, "Demo", None).await?;
    let customer =
        Customer { provider: "stripe".to_owned(), account: String::new(), live: false, id: DEMO_CUSTOMER.to_owned() };
    customer.link(operator.act(&contract, &config).await?, &org).await?;
    Ok(())
}
