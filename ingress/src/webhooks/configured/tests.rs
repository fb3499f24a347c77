//! Providers that are configuration, read by the real reader and held against published examples.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::Mac;
use hyper::header::{HeaderName, HeaderValue};
use millrace::config::{Config, ConfigFault, Process, Scheme, SourceConfig};
use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;
use crate::webhooks::{Unverified, Verified, Webhook};

const GITHUB: &str = include_str!("fixtures/github.toml");
const ZENDESK: &str = include_str!("fixtures/zendesk.toml");
const STANDARD: &str = include_str!("fixtures/standard_webhooks.toml");
const PADDLE: &str = include_str!("fixtures/paddle.toml");

/// An ingress's configuration with one more source.
fn read(fragment: &str, secret: &str) -> Result<Config, ConfigFault> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("password", "guest"), ("seal", &*"07".repeat(32)), ("secret", secret)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let file = folder.path().join("millrace.toml");
    let text = format!(
        r#"
        amqp.addresses = ["amqp://127.0.0.1:9"]
        amqp.logins.ingress.password_file = "password"
        [publishers.ingress-1]
        name = "ingress"
        signs = true
        types = ["stripe.event"]
        actor_kinds = ["webhook"]
        secret_file = "seal"
        [sources.stripe]
        provider = "stripe"
        secrets.s1.secret_file = "secret"
        {fragment}"#
    );
    std::fs::write(&file, text).unwrap();
    Config::load(&file, Process::Ingress, &millrace::builtin().check().unwrap())
}

fn configured(fragment: &str, secret: &str) -> (SourceConfig, Arc<Source>) {
    let config = read(fragment, secret).unwrap();
    let source = config.sources.iter().find(|source| source.name != "stripe").unwrap().clone();
    let signer = config.publishers.signer("ingress").unwrap();
    let prepared = Source::new(&source, &millrace::builtin().check().unwrap(), &signer).unwrap();
    (source, Arc::new(prepared))
}

fn received(source: &Arc<Source>, headers: &[(&str, &str)], body: &[u8]) -> Webhook<Unverified> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Webhook::received(Arc::clone(source), map, body.to_vec())
}

fn at_time(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

/// The dedupe key of a webhook that verifies, else the label of its refusal.
fn outcome(verified: Result<Webhook<Verified>, WebhookFault>) -> Result<String, &'static str> {
    let webhook = verified.map_err(|fault| fault.reason())?;
    Ok(webhook.into_envelope("millrace").0.dedupe_key.unwrap())
}

fn mac(key: &[u8], signed: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(signed);
    mac.finalize().into_bytes().to_vec()
}

#[test]
fn githubs_own_example_verifies_and_equal_bodies_are_one_event() {
    // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    let (_, source) = configured(GITHUB, "It's a Secret to Everybody");
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let verify = |signature: &str, body: &[u8]| {
        outcome(received(&source, &[("x-hub-signature-256", signature)], body).verify(at_time(0)))
    };
    let hash = hex::encode(Sha256::digest("Hello, World!"));
    assert_eq!(verify(signature, b"Hello, World!"), Ok(format!("github:{hash}")));
    assert_eq!(verify(signature, b"Hello, World?"), Err("signature_mismatch"));
    assert_eq!(verify(&signature.replace("sha256=", "sha1="), b"Hello, World!"), Err("signature_no_candidate"));
    assert_eq!(verify(&signature[..40], b"Hello, World!"), Err("signature_no_candidate"));
    let twice = [("x-hub-signature-256", signature), ("x-hub-signature-256", signature)];
    assert_eq!(outcome(received(&source, &twice, b"Hello, World!").verify(at_time(0))), Err("signature_repeated"));
    assert_eq!(outcome(received(&source, &[], b"Hello, World!").verify(at_time(0))), Err("signature_missing"));
}

#[test]
fn the_example_of_standard_webhooks_verifies_within_its_time() {
    // https://github.com/standard-webhooks/standard-webhooks, the test vector of its libraries
    let (_, source) = configured(STANDARD, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let (id, time, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let verify = |id: &str, signature: &str, now: i64| {
        let time = time.to_string();
        let headers = [("webhook-id", id), ("webhook-timestamp", &time), ("webhook-signature", signature)];
        outcome(received(&source, &headers, body).verify(at_time(now)))
    };
    assert_eq!(verify(id, good, time), Ok(format!("svix:{id}")));
    let rotating = format!("v1a,xyz v1,{} {good}", "A".repeat(44));
    assert_eq!(verify(id, &rotating, time), Ok(format!("svix:{id}")));
    assert_eq!(verify("msg_other", good, time), Err("signature_mismatch"));
    assert_eq!(verify(id, good, time + 301), Err("signature_stale"));
    assert_eq!(verify(id, good, time - 301), Err("signature_future"));
    assert_eq!(verify(id, &good.replace("v1,", "v2,"), time), Err("signature_no_candidate"));
}

#[test]
fn pairs_and_base64_of_other_providers_verify_and_name_their_event() {
    let (_, paddle) = configured(PADDLE, "pdl_secret");
    let body = br#"{"event_id":"evt_1"}"#;
    let signature = hex::encode(mac(b"pdl_secret", &[&b"1671552777:"[..], body].concat()));
    let verify = |header: String| {
        outcome(received(&paddle, &[("paddle-signature", &header)], body).verify(at_time(1_671_552_777)))
    };
    let old = "0".repeat(64);
    assert_eq!(verify(format!("ts=1671552777;h1={old};h1={signature}")), Ok("paddle:evt_1".into()));
    assert_eq!(verify(format!("ts=1671552777;ts=1;h1={signature}")), Err("signature_part_missing"));
    assert_eq!(verify(format!("h1={signature}")), Err("signature_part_missing"));
    assert_eq!(verify(format!("ts=+1671552777;h1={signature}")), Err("signature_no_time"));

    let (_, zendesk) = configured(ZENDESK, "zen");
    let body = br#"{"id":1234567}"#;
    let time = "2026-01-01T00:00:00Z";
    let signature = BASE64_STANDARD.encode(mac(b"zen", &[time.as_bytes(), body].concat()));
    let noon = Timestamp::parse(time).unwrap().unix();
    let at = |body: &[u8], signature: &str, now: i64| {
        let headers = [("x-zendesk-webhook-signature", signature), ("x-zendesk-webhook-signature-timestamp", time)];
        outcome(received(&zendesk, &headers, body).verify(at_time(now)))
    };
    let verify = |body: &[u8], signature: &str| at(body, signature, noon);
    assert_eq!(at(body, &signature, noon + 301), Err("signature_stale"));
    assert_eq!(verify(body, &signature), Ok("zendesk:1234567".into()));
    assert_eq!(verify(br#"{"id":7}"#, &signature), Err("signature_mismatch"));
    let no_id = br#"{"id":[1]}"#;
    let signature = BASE64_STANDARD.encode(mac(b"zen", &[time.as_bytes(), &no_id[..]].concat()));
    assert_eq!(verify(no_id, &signature), Err("malformed_event"));
}

#[test]
fn a_configured_webhook_counts_towards_the_link_of_its_payload() {
    let (_, source) = configured(GITHUB, "secret");
    let sender_of = |body: &[u8]| {
        let signature = format!("sha256={}", hex::encode(mac(b"secret", body)));
        let webhook = received(&source, &[("x-hub-signature-256", &signature)], body).verify(at_time(0)).unwrap();
        webhook.sender().id.map(str::to_owned)
    };
    let invoice = br#"{"id":"evt_1","type":"invoice.payment_failed","created":1,"livemode":false,"data":{"object":
        {"id":"in_1","customer":"cus_1","amount_due":1,"amount_paid":0,"currency":"eur"}}}"#;
    assert_eq!(sender_of(invoice).as_deref(), Some("cus_1"));
    assert_eq!(sender_of(br#"{"id":"evt_1","type":"charge.failed"}"#), None);
    assert_eq!(sender_of(b"no event at all"), None);
}

/// All mistakes of a fragment, as `key: problem`.
fn mistakes(fragment: &str) -> String {
    read(fragment, "whsec_!").map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_is_not_signed_proves_nothing_and_is_a_mistake() {
    let said = mistakes(
        r#"
        [sources.x]
        provider = "configured"
        type = "projects.create"
        signature_header = "x y"
        signed = ["header:a", "pair:t", "nonsense"]
        timestamp = "header:b"
        dedupe = "header:c"
        key_prefix = "other_"
        secrets.s1.secret_file = "secret"
        "#,
    );
    for part in [
        "sources.x.type: is no webhook payload of this deployment's contract: stripe.event",
        "sources.x.signature_header: must be the name of a header",
        "sources.x.signed: must hold \"body\"",
        "sources.x.signed: \"nonsense\" is none of",
        "sources.x.signed: \"pair:…\" needs grammar",
        "sources.x.signed: needs a \"text:…\" between two parts",
        "sources.x.timestamp: must be one of the signed parts",
        "sources.x.dedupe: must be signed",
        "sources.x.secrets.s1: does not have the form",
    ] {
        assert!(said.contains(part), "{part} is not among\n{said}");
    }
}

proptest! {
    #[test]
    fn no_header_makes_a_grammar_panic_and_none_verifies(value in "[ -~]{0,80}", body in "[ -~]{0,40}") {
        for fragment in [GITHUB, ZENDESK, PADDLE] {
            let (config, source) = configured(fragment, "secret");
            let Scheme::Configured(signature) = &config.scheme else { unreachable!() };
            let headers = [(signature.header.as_str(), value.as_str())];
            prop_assert!(received(&source, &headers, body.as_bytes()).verify(at_time(0)).is_err());
        }
    }
}
