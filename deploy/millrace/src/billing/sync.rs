//! `millrace billing sync`
//!
//! Events take the road that the provider's own deliveries take: signed with the endpoint's secret, posted to the ingress,
//! sealed there. So their ids and dedupe keys are the same, and the inbox knows what was settled before.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::StatusCode;
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId};
use millrace::stripe::{EventsAfter, Page, StripeClient, StripeFault};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{NOT_ALL_WELL, PROVIDER, STRIPE};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::http::HttpClient;
use crate::operator::OperatorName;
use crate::screen::Screen;
use crate::send::{endpoint_secret, from_environment, post_signed};

pub(super) const EXAMPLE: &str = r"Examples:
  millrace billing sync --undelivered
  millrace billing sync --days 3 --type invoice.paid --dry-run --json
The endpoint's signing secret comes from --secret-file or $MILLRACE_STRIPE_SECRET. Stripe keeps events for 30 days.
Broken off, go on with --after and the id that the message names.";

/// Tries of one event or one page, a second apart and then longer, before the run gives up.
const TRIES: u32 = 6;

#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// Events of so many days, the last 30 at most.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=30))]
    days: u8,
    /// Those alone that the provider could deliver to no endpoint.
    #[arg(long)]
    undelivered: bool,
    /// Events of one type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Go on behind this event, newest first.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Count by type and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where the ingress is [default: $MILLRACE_HTTP_URL]
    #[arg(long)]
    url: Option<String>,
    /// File with the endpoint's signing secret.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// What is read of an event here; the rest goes through as it is.
#[derive(Deserialize)]
struct Head {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
}

/// Where events are sent.
struct Edge {
    url: String,
    secret: SecretString,
    client: HttpClient,
}

#[derive(Debug, Default)]
struct Tally {
    types: BTreeMap<String, u64>,
    sent: u64,
    refused: u64,
}

impl Sync {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let stripe = StripeClient::new(&config.billing.api)?;
        let edge = self.edge(&config.billing.webhook_endpoint)?;
        if edge.is_some() {
            let act = self.operator.act(&contract, &config).await?;
            act.commit(&TenantId::operator(), "billing.sync", (PROVIDER, STRIPE), self.facts()).await?;
        }
        let mut tally = Tally::default();
        let mut wanted = EventsAfter {
            since: (OffsetDateTime::now_utc() - time::Duration::days(self.days.into())).unix_timestamp(),
            undelivered: self.undelivered,
            event_type: self.event_type.clone(),
            after: self.after.clone(),
        };
        loop {
            let page = page(&stripe, &wanted).await.map_err(|fault| broken_off(&fault, wanted.after.as_deref()))?;
            for raw in &page.items {
                let head: Head = serde_json::from_str(raw.get()).map_err(|_| StripeFault::Shape("an event"))?;
                if let Some(edge) = &edge {
                    let taken = edge.send(raw).await.map_err(|fault| broken_off(&fault, wanted.after.as_deref()))?;
                    if !taken {
                        let facts = json!({ "refused": head.id, "type": head.event_type });
                        screen.row(&format!("refused {} {}", head.id, head.event_type), &facts);
                    }
                    tally.count(taken);
                }
                *tally.types.entry(head.event_type).or_default() += 1;
                wanted.after = Some(head.id);
            }
            screen.step(&format!("{} events", tally.types.values().sum::<u64>()));
            if !page.has_more || page.items.is_empty() {
                return Ok(tally.tell(self.dry_run, screen));
            }
        }
    }

    fn edge(&self, path: &str) -> Result<Option<Edge>, CommandFault> {
        if self.dry_run {
            return Ok(None);
        }
        let base = from_environment(self.url.clone(), "MILLRACE_HTTP_URL", "--url")?;
        let secret = endpoint_secret(self.secret_file.as_deref())?;
        let url = format!("{}{path}", base.trim_end_matches('/'));
        Ok(Some(Edge { url, secret, client: HttpClient::new()? }))
    }

    fn facts(&self) -> Map<String, Value> {
        Map::from_iter([
            ("days".to_owned(), self.days.into()),
            ("undelivered".to_owned(), self.undelivered.into()),
            ("type".to_owned(), self.event_type.clone().into()),
        ])
    }
}

/// A page, after a pause if the provider asks for one.
async fn page(stripe: &StripeClient, wanted: &EventsAfter) -> Result<Page<Box<RawValue>>, StripeFault> {
    let mut tries = 1;
    loop {
        match stripe.events(wanted).await {
            Err(StripeFault::Later { after, .. }) if tries < TRIES => {
                tokio::time::sleep(after.unwrap_or(pause(tries)).min(Duration::from_secs(60))).await;
                tries += 1;
            }
            answer => return answer,
        }
    }
}

fn pause(tries: u32) -> Duration {
    Duration::from_millis(500 << tries.min(6))
}

fn broken_off(fault: &(dyn std::error::Error + 'static), after: Option<&str>) -> CommandFault {
    let go_on = after.map_or_else(|| "run it again".to_owned(), |id| format!("go on with --after {id}"));
    format!("{fault}; {go_on}").into()
}

/// The ingress could not take an event.
#[derive(Debug, thiserror::Error)]
#[error("the ingress does not take events: {0}")]
struct Closed(String);

impl Edge {
    /// True when the event is on its queue; false when the ingress says that it never takes it, such as one of another mode.
    async fn send(&self, raw: &RawValue) -> Result<bool, Closed> {
        let mut said = String::new();
        for tries in 1..=TRIES {
            let body = raw.get().as_bytes().to_vec();
            match post_signed(&self.client, &self.url, &self.secret, body).await {
                Ok((StatusCode::OK, _)) => return Ok(true),
                Ok((StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE, answer)) => {
                    let code: Value = serde_json::from_slice(&answer).unwrap_or_default();
                    // A wrong secret is wrong for all of them.
                    if code["code"] == "invalid_signature" {
                        return Err(Closed("the signing secret is not the endpoint's".to_owned()));
                    }
                    return Ok(false);
                }
                Ok((status, _)) => said = status.to_string(),
                Err(fault) => said = fault.to_string(),
            }
            tokio::time::sleep(pause(tries)).await;
        }
        Err(Closed(said))
    }
}

impl Tally {
    fn count(&mut self, taken: bool) {
        if taken {
            self.sent += 1;
        } else {
            self.refused += 1;
        }
    }

    fn tell(&self, dry_run: bool, screen: &Screen) -> ExitCode {
        for (event_type, count) in &self.types {
            screen.tell(&format!("{count:>8} {event_type}"));
        }
        let found: u64 = self.types.values().sum();
        let facts = json!({ "found": found, "sent": self.sent, "refused": self.refused, "types": self.types,
            "dry_run": dry_run });
        let text = match dry_run {
            true => format!("{found} events would be sent"),
            false => format!("{} of {found} events sent; what was settled before is a duplicate", self.sent),
        };
        screen.done(&text, facts);
        ExitCode::from(if self.refused > 0 { NOT_ALL_WELL } else { 0 })
    }
}
