//! Messages, made and sealed or signed before any clock starts.

use millrace::contract::{
    CommandIdentity, Envelope, Field, Lane, MessageId, MessageType, Origin, Principal, Signer, TenantId, Timestamp,
    WireMessage,
};
use millrace_tests::{Caller, Sample, World, properties, sealed};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::http_load::Request;
use super::publish::Prepared;

/// The command of most parts.
pub(crate) const COMMAND: &str = "projects.create";
/// Who sends it.
const USER: &str = "ada";

/// Makes the messages of a world.
pub(crate) struct Messages {
    signer: Signer,
    tenants: usize,
}

impl Messages {
    pub(crate) fn new(world: &World, tenants: usize) -> Self {
        Self { signer: world.signer("ingress"), tenants }
    }

    /// The tenant of the nth message: tenants take turns.
    pub(crate) fn org(&self, n: usize) -> String {
        format!("org_{:04}", n % self.tenants)
    }

    fn customer(&self, n: usize) -> String {
        format!("cus_{:04}", n % self.tenants)
    }

    /// Who sends for a tenant.
    pub(crate) fn caller(org: &str) -> Caller {
        Caller::user(org, USER, "editor")
    }

    /// What the project of a command is called.
    pub(crate) fn name(series: &str, n: usize) -> String {
        format!("{series} {n:08}")
    }

    fn body(series: &str, n: usize) -> Value {
        json!({ "name": Self::name(series, n) })
    }

    fn key(series: &str, n: usize) -> String {
        format!("{series}-{n:08}")
    }

    /// The nth command as the ingress would seal it.
    pub(crate) fn command(&self, series: &str, n: usize) -> WireMessage {
        let caller = Self::caller(&self.org(n));
        sealed(&self.signer, &caller, COMMAND, &Self::key(series, n), &Self::body(series, n))
    }

    /// Commands ready to be published.
    pub(crate) fn commands(&self, series: &str, count: usize) -> Vec<Prepared> {
        (0..count).map(|n| prepared(self.command(series, n))).collect()
    }

    /// The message id that the ingress will give the nth command of a series, for a tenant.
    pub(crate) fn command_id(&self, org: &str, series: &str, n: usize) -> String {
        let org = TenantId::parse(org).expect("a tenant");
        let actor = format!("user:{USER}");
        let command = MessageType::parse(COMMAND).expect("a command");
        let (key, body) = (Self::key(series, n), Self::body(series, n).to_string().into_bytes());
        let identity = CommandIdentity { org: &org, actor: &actor, command: &command, key: &key, body: &body };
        MessageId::of_command(self.signer.deployment(), &identity).to_string()
    }

    /// The nth command of a series as a request, under a token that was signed before.
    pub(crate) fn command_request(token: &str, series: &str, n: usize) -> Request {
        let (bearer, key) = (format!("Bearer {token}"), Self::key(series, n));
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", &key)];
        Request::post(&format!("/api/commands/{COMMAND}"), &headers, Self::body(series, n).to_string().as_bytes())
    }

    /// A new paid invoice of the nth message's customer.
    fn invoice(&self, n: usize) -> Sample {
        Sample::paid_invoice(&self.customer(n), "sub_1")
    }

    /// Signed webhooks, each with an event of its own.
    pub(crate) fn webhook_requests(&self, world: &World, count: usize) -> Vec<Request> {
        let signed = |n| {
            let body = self.invoice(n).body();
            Request::post("/api/billing/webhooks", &[("stripe-signature", &world.signature(&body))], &body)
        };
        (0..count).map(signed).collect()
    }

    /// Webhooks as the ingress would seal them.
    pub(crate) fn webhooks(&self, count: usize) -> Vec<Prepared> {
        (0..count).map(|n| prepared(self.webhook(&self.invoice(n)))).collect()
    }

    fn webhook(&self, sample: &Sample) -> WireMessage {
        let dedupe_key = format!("stripe:{}", sample.id);
        let origin = Origin { source: "stripe".into(), scheme: "stripe-v1".into(), secret_id: "first".into() };
        let envelope = Envelope {
            message_id: MessageId::derived(self.signer.deployment(), &dedupe_key),
            message_type: MessageType::parse("stripe.event").expect("a type"),
            schema_version: 1,
            content_type: "application/json".to_owned(),
            org_id: None,
            principal: Principal::webhook("stripe"),
            token: None,
            origin: Some(origin),
            dedupe_key: Some(dedupe_key),
            correlation_id: None,
            causation_id: None,
            issued_at: Timestamp::new(OffsetDateTime::now_utc()),
            expected_version: None,
        };
        self.signer.seal(&envelope, Lane::Main, sample.body()).expect("a sealed message")
    }
}

/// Everything that the product's publisher sends: persistent, with the two properties that are for people.
pub(crate) fn prepared(wire: WireMessage) -> Prepared {
    let issued = wire.get(Field::IssuedAt).and_then(Timestamp::parse).map_or(0, |issued| issued.unix());
    let key_id = wire.get(Field::KeyId).unwrap_or_default();
    let properties = properties(&wire)
        .with_delivery_mode(2)
        .with_timestamp(u64::try_from(issued).unwrap_or(0))
        .with_app_id(key_id.into());
    Prepared { properties, body: wire.body }
}
