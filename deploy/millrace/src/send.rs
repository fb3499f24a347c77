//! `millrace send`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use time::OffsetDateTime;

use crate::CommandFault;
use crate::http::HttpClient;
use crate::operator::Usage;
use crate::sample::{Sample, Shape, signature};
use crate::screen::Screen;

/// Environment variable with the endpoint's secret.
const SECRET: &str = "MILLRACE_STRIPE_SECRET";

#[derive(Debug, Args)]
#[command(after_help = "The secret comes from --secret-file or $MILLRACE_STRIPE_SECRET.\n\
    Example: . .millrace/env && millrace send invoice.payment_failed --customer \"$MILLRACE_DEMO_CUSTOMER\"")]
pub(crate) struct Send {
    /// Event type, such as invoice.payment_succeeded or customer.subscription.updated.
    event_type: String,
    /// Where the ingress is [default: $MILLRACE_HTTP_URL]
    #[arg(long)]
    url: Option<String>,
    /// Path of the source.
    #[arg(long, default_value = "/api/billing/webhooks")]
    path: String,
    /// File with the endpoint's signing secret.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Customer [default: $MILLRACE_DEMO_CUSTOMER]
    #[arg(long)]
    customer: Option<String>,
    /// Subscription.
    #[arg(long, default_value = "sub_demo")]
    subscription: String,
    /// Status of a subscription event.
    #[arg(long, default_value = "active")]
    status: String,
    /// Event id; the same id twice is a duplicate [default: a new one]
    #[arg(long)]
    id: Option<String>,
    /// Connected account.
    #[arg(long)]
    account: Option<String>,
    /// A live-mode event.
    #[arg(long)]
    live: bool,
    /// Shape of the event.
    #[arg(long, value_enum, default_value = "basil")]
    shape: Shape,
}

/// A webhook that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) event_id: String,
    pub(crate) took: Duration,
}

impl Send {
    pub(crate) async fn run(&self, screen: &Screen) -> Result<(), CommandFault> {
        let url = from_environment(self.url.clone(), "MILLRACE_HTTP_URL", "--url")?;
        let customer = from_environment(self.customer.clone(), "MILLRACE_DEMO_CUSTOMER", "--customer")?;
        let secret = endpoint_secret(self.secret_file.as_deref())?;
        let mut sample = Sample::paid_invoice(&customer, &self.subscription);
        sample.event_type = self.event_type.clone();
        sample.status = self.status.clone();
        sample.account = self.account.clone();
        sample.livemode = self.live;
        sample.shape = self.shape;
        if let Some(id) = &self.id {
            sample.id.clone_from(id);
        }
        let accepted = deliver(&format!("{}{}", url.trim_end_matches('/'), self.path), &secret, &sample).await?;
        let millis = accepted.took.as_secs_f64() * 1e3;
        let facts = json!({ "event_id": accepted.event_id, "accepted_ms": millis });
        screen.done(&format!("{} accepted in {millis:.1} ms", accepted.event_id), facts);
        Ok(())
    }
}

/// The endpoint's signing secret, from a file or the environment.
pub(crate) fn endpoint_secret(file: Option<&Path>) -> Result<SecretString, CommandFault> {
    Ok(match file {
        Some(file) => std::fs::read_to_string(file)?.trim_end().to_owned().into(),
        None => from_environment(None, SECRET, "--secret-file")?.into(),
    })
}

/// Signs a body as it is at this moment, and posts it.
pub(crate) async fn post_signed(
    client: &HttpClient,
    url: &str,
    secret: &SecretString,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), CommandFault> {
    let signature = signature(secret.expose_secret(), OffsetDateTime::now_utc().unix_timestamp(), &body);
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header("stripe-signature", signature)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    Ok(client.send(request).await?)
}

pub(crate) fn from_environment(given: Option<String>, variable: &str, flag: &str) -> Result<String, Usage> {
    given.or_else(|| std::env::var(variable).ok()).ok_or_else(|| Usage(format!("give {flag} or set {variable}")))
}

/// Signs and sends one sample.
pub(crate) async fn deliver(url: &str, secret: &SecretString, sample: &Sample) -> Result<Accepted, CommandFault> {
    let client = HttpClient::new()?;
    let began = Instant::now();
    let (status, answer) = post_signed(&client, url, secret, sample.body()).await?;
    let took = began.elapsed();
    if status == hyper::StatusCode::OK {
        return Ok(Accepted { event_id: sample.id.clone(), took });
    }
    let answer: String = String::from_utf8_lossy(&answer).chars().take(300).collect();
    Err(format!("the ingress refused the event with {status}: {answer}").into())
}
