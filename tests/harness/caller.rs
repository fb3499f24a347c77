//! Who sends commands: tokens of the world's own issuer, and commands over HTTP or straight into a queue.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use hyper::Method;
use millrace::config::Process;
use millrace::contract::{
    ActorKind, CommandIdentity, Envelope, KeyId, Lane, MessageId, MessageType, Principal, Role, Signer, TenantId,
    Timestamp, WireMessage,
};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use time::OffsetDateTime;

use crate::{Answer, World, eventually};

/// The secret behind the world's two issuers: one for people, one for services.
pub(crate) const ISSUER_SECRET: &str = "only for tests, and long enough for HMAC-SHA256";

/// One principal of one tenant.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The tenant.
    pub org: String,
    /// User or service.
    pub kind: ActorKind,
    /// Its id.
    pub id: String,
    /// Its role claim; `None` leaves the claim out.
    pub role: Option<&'static str>,
}

impl Caller {
    /// A user with a role.
    pub fn user(org: &str, id: &str, role: &'static str) -> Self {
        Self { org: org.to_owned(), kind: ActorKind::User, id: id.to_owned(), role: Some(role) }
    }

    /// A service with a role.
    pub fn service(org: &str, id: &str, role: &'static str) -> Self {
        Self { org: org.to_owned(), kind: ActorKind::Service, id: id.to_owned(), role: Some(role) }
    }

    /// The claims of an honest token.
    pub fn claims(&self) -> Map<String, Value> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let issuer = if self.kind == ActorKind::User { "https://people.test" } else { "https://services.test" };
        let claims = json!({
            "iss": issuer, "aud": "millrace", "sub": self.id, "org_id": self.org, "role": self.role,
            "iat": now, "exp": now + 600, "jti": uuid::Uuid::now_v7().to_string(),
        });
        let Value::Object(mut claims) = claims else { unreachable!("an object") };
        if self.role.is_none() {
            claims.remove("role");
        }
        claims
    }

    /// An honest token.
    pub fn token(&self) -> String {
        sign(&json!({ "alg": "HS256", "typ": "JWT" }), &Value::Object(self.claims()))
    }
}

/// Any token, signed with the world's secret.
///
/// # Panics
/// Never, for keys of this length.
pub fn sign(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(ISSUER_SECRET.as_bytes()).expect("a key");
    mac.update(input.as_bytes());
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A sealed command.
///
/// # Panics
/// When a name is none.
pub fn sealed(signer: &Signer, caller: &Caller, name: &str, key: &str, body: &Value) -> WireMessage {
    sealed_then(OffsetDateTime::now_utc(), signer, caller, name, key, body)
}

fn sealed_then(
    moment: OffsetDateTime,
    signer: &Signer,
    caller: &Caller,
    name: &str,
    key: &str,
    body: &Value,
) -> WireMessage {
    let body = body.to_string().into_bytes();
    let principal = Principal { kind: caller.kind, id: caller.id.clone(), role: caller.role.and_then(Role::parse) };
    let org = TenantId::parse(&caller.org).expect("a tenant");
    let command = MessageType::parse(name).expect("a command");
    let identity = CommandIdentity { org: &org, actor: &principal.actor_id(), command: &command, key, body: &body };
    let envelope = Envelope {
        message_id: MessageId::of_command(signer.deployment(), &identity),
        message_type: command.clone(),
        schema_version: 1,
        content_type: "application/json".to_owned(),
        org_id: Some(org.clone()),
        principal,
        token: Some(("t".to_owned(), moment.unix_timestamp())),
        origin: None,
        dedupe_key: Some(key.to_owned()),
        correlation_id: None,
        causation_id: None,
        issued_at: Timestamp::new(moment),
        expected_version: None,
    };
    signer.seal(&envelope, Lane::Main, body).expect("a sealed message")
}

impl World {
    /// Posts a command; `None` when the connection broke.
    pub async fn post_command(&self, base: &str, token: &str, name: &str, key: &str, body: &Value) -> Option<Answer> {
        let bearer = format!("Bearer {token}");
        let headers =
            [("authorization", bearer.as_str()), ("idempotency-key", key), ("content-type", "application/json")];
        let url = format!("{base}/api/commands/{name}");
        self.http().send(Method::POST, &url, &headers, body.to_string().into_bytes()).await
    }

    /// Posts a command and expects 202; returns its message id.
    ///
    /// # Panics
    /// On any other answer.
    pub async fn command(&self, base: &str, caller: &Caller, name: &str, key: &str, body: &Value) -> String {
        let answer = self.post_command(base, &caller.token(), name, key, body).await.expect("an answer");
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 202, "{name}: {said}");
        let accepted: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let operation = accepted["operation"].as_str().expect("an operation");
        operation.trim_start_matches("op_").rsplit_once('_').expect("a tag").0.to_owned()
    }

    /// A command sealed with the ingress's key, as the ingress would send it.
    ///
    /// # Panics
    /// When a name is none.
    pub fn sealed(&self, caller: &Caller, name: &str, key: &str, body: &Value) -> WireMessage {
        self.sealed_by("ingress", caller, name, key, body)
    }

    /// A command sealed with the first key of a publisher.
    ///
    /// # Panics
    /// When a name is none.
    pub fn sealed_by(&self, publisher: &str, caller: &Caller, name: &str, key: &str, body: &Value) -> WireMessage {
        sealed(&self.signer(publisher), caller, name, key, body)
    }

    /// A command that was sealed at another time.
    ///
    /// # Panics
    /// When a name is none.
    pub fn sealed_at(
        &self,
        moment: OffsetDateTime,
        publisher: &str,
        caller: &Caller,
        name: &str,
        key: &str,
        body: &Value,
    ) -> WireMessage {
        sealed_then(moment, &self.signer(publisher), caller, name, key, body)
    }

    /// A signer with the first key of a publisher.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn signer(&self, publisher: &str) -> Signer {
        let keyring = self.config(Process::Worker).publishers.keyring().clone();
        keyring.signer(&KeyId::parse(&format!("{publisher}-1")).expect("a key id")).expect("a key")
    }

    /// What became of a command, once something has: `applied`, `rejected:plan_limit`, `denied:role_table`, `dead:…`.
    pub async fn outcome(&self, org: &str, message_id: &str) -> String {
        eventually(&format!("the outcome of {message_id}"), async || {
            sqlx::query_scalar(
                "SELECT concat_ws(':', outcome, code) FROM engine.operations WHERE org_id = $1 AND message_id = $2",
            )
            .bind(org)
            .bind(message_id)
            .fetch_optional(self.superuser())
            .await
            .expect("the operations")
        })
        .await
    }
}
