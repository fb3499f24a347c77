use hmac::{KeyInit, Mac};
use hyper::header::HeaderValue;
use millrace::contract::{ActorKind, Grant, KeyId, Keyring, Publisher, PublisherName, Role, SealKey, Tenants};
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_700_000_000;
const BODY: &[u8] = br#"{"id":"evt_1","type":"invoice.paid","livemode":false}"#;
const NEW: &str = "whsec_new";
const OLD: &str = "whsec_old";

fn signer() -> Signer {
    let key_id = KeyId::parse("ingress-1").unwrap();
    let publisher = Publisher {
        key_id: key_id.clone(),
        name: PublisherName::parse("ingress").unwrap(),
        key: SealKey::new(&[7; 32]).unwrap(),
        grant: Grant {
            types: vec![MessageType::parse("stripe.event").unwrap()],
            tenants: Tenants::Unresolved,
            kinds: vec![ActorKind::Webhook],
            highest_role: Role::Viewer,
            lane: Lane::Main,
        },
    };
    Keyring::new("millrace", vec![publisher]).signer(&key_id).unwrap()
}

fn config(name: &str, secrets: &[(&str, &str)]) -> SourceConfig {
    SourceConfig {
        name: name.to_owned(),
        scheme: Scheme::Builtin(Provider::Stripe),
        message_type: MessageType::parse("stripe.event").unwrap(),
        livemode: Some(false),
        tolerance: Duration::from_secs(300),
        secrets: secrets
            .iter()
            .map(|(id, secret)| SourceSecret { id: (*id).to_owned(), secret: (*secret).into() })
            .collect(),
    }
}

fn prepared(config: &SourceConfig) -> Result<Source, SourceFault> {
    Source::new(config, &millrace::builtin().check().unwrap(), &signer())
}

/// A Stripe source in test mode with these secrets by id.
pub(crate) fn source(name: &str, secrets: &[(&str, &str)]) -> Source {
    prepared(&config(name, secrets)).unwrap()
}

/// `v1` for a body at a time, computed apart from the code under test.
fn v1(secret: &str, time: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(&[time.to_string().as_bytes(), b".", body].concat());
    hex::encode(mac.finalize().into_bytes())
}

fn header(secret: &str, time: i64, body: &[u8]) -> String {
    format!("t={time},v1={}", v1(secret, time, body))
}

fn headers(values: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("stripe-signature", HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn verify_at(source: Source, values: &[&[u8]], body: &[u8], now: i64) -> Result<Webhook<Verified>, WebhookFault> {
    let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
    Webhook::received(Arc::new(source), headers(values), body.to_vec()).verify(now)
}

fn verify(secrets: &[(&str, &str)], header: &str) -> Result<Webhook<Verified>, WebhookFault> {
    verify_at(source("stripe", secrets), &[header.as_bytes()], BODY, NOW)
}

/// The id of the secret that verified it, or the reason of the refusal.
fn outcome(result: Result<Webhook<Verified>, WebhookFault>) -> Result<String, &'static str> {
    result.map(|webhook| webhook.into_envelope("millrace").0.origin.unwrap().secret_id).map_err(|fault| fault.reason())
}

#[test]
fn a_good_signature_becomes_the_documented_envelope_with_the_body_untouched() {
    let body = b" {\"id\" : \"evt_1\",\n\"type\":\"invoice.paid\",\"account\":\"acct_1\",\"x\":1e400}".as_slice();
    let webhook = verify_at(source("stripe", &[("s1", NEW)]), &[header(NEW, NOW, body).as_bytes()], body, NOW);
    let (envelope, sealed) = webhook.unwrap().into_envelope("millrace");
    assert_eq!(sealed, body);
    assert_eq!(
        envelope,
        Envelope {
            message_id: MessageId::parse("7383275f-cc53-8848-a557-f3e7a8860361").unwrap(),
            message_type: MessageType::parse("stripe.event").unwrap(),
            schema_version: 1,
            content_type: "application/json".into(),
            org_id: None,
            principal: Principal::webhook("stripe"),
            token: None,
            origin: Some(Origin { source: "stripe".into(), scheme: "stripe-v1".into(), secret_id: "s1".into() }),
            dedupe_key: Some("stripe:evt_1".into()),
            correlation_id: None,
            causation_id: None,
            issued_at: Timestamp::from_unix(NOW).unwrap(),
            expected_version: None,
        }
    );
}

/// Computed with Python's `hmac`: the key is the whole text, prefix included.
#[test]
fn the_signature_of_the_example_is_this() {
    let body = br#"{"id":"evt_1","type":"invoice.paid"}"#;
    let header = b"t=1700000000,v1=46dc069361a7691082640523fa33fe5d6c8c88d5f5e257cdf8cf11539d166595";
    let found = verify_at(source("stripe", &[("s1", "whsec_test_secret")]), &[header], body, NOW);
    assert_eq!(outcome(found), Ok("s1".into()));
}

#[test]
fn an_event_has_one_message_id_for_ever_and_another_in_each_source_and_deployment() {
    let first = MessageId::derived("millrace", "stripe:evt_1");
    assert_eq!(first, MessageId::derived("millrace", "stripe:evt_1"));
    assert_eq!(first.as_str(), "7383275f-cc53-8848-a557-f3e7a8860361");
    for (deployment, key) in [("millrace", "eu:evt_1"), ("other", "stripe:evt_1"), ("millrac", "estripe:evt_1")] {
        assert_ne!(first, MessageId::derived(deployment, key), "{deployment} {key}");
    }
}

#[test]
fn an_altered_body_or_time_or_a_wrong_secret_is_refused() {
    let good = header(NEW, NOW, BODY);
    let mut altered = BODY.to_vec();
    altered.push(b' ');
    let source = || source("stripe", &[("s1", NEW)]);
    assert_eq!(outcome(verify_at(source(), &[good.as_bytes()], &altered, NOW)), Err("signature_mismatch"));
    let moved = good.replace(&format!("t={NOW}"), &format!("t={}", NOW + 1));
    assert_eq!(outcome(verify_at(source(), &[moved.as_bytes()], BODY, NOW)), Err("signature_mismatch"));
    let stranger = header("whsec_stranger", NOW, BODY);
    assert_eq!(outcome(verify_at(source(), &[stranger.as_bytes()], BODY, NOW)), Err("signature_mismatch"));
    let stripped = header("new", NOW, BODY);
    assert_eq!(outcome(verify_at(source(), &[stripped.as_bytes()], BODY, NOW)), Err("signature_mismatch"));
}

#[test]
fn the_tolerance_holds_on_both_sides_to_the_second() {
    let at = |time: i64| outcome(verify(&[("s1", NEW)], &header(NEW, time, BODY)));
    for inside in [-300, -1, 0, 1, 300] {
        assert_eq!(at(NOW + inside), Ok("s1".into()), "{inside}");
    }
    assert_eq!(at(NOW - 301), Err("signature_stale"));
    assert_eq!(at(0), Err("signature_stale"));
    assert_eq!(at(NOW + 301), Err("signature_future"));
    assert_eq!(at(i64::MAX), Err("signature_future"));
}

#[test]
fn the_tolerance_is_the_sources_own() {
    let mut config = config("stripe", &[("s1", NEW)]);
    config.tolerance = Duration::from_secs(10);
    let at = |time| outcome(verify_at(prepared(&config).unwrap(), &[header(NEW, time, BODY).as_bytes()], BODY, NOW));
    assert_eq!(at(NOW - 10), Ok("s1".into()));
    assert_eq!(at(NOW - 11), Err("signature_stale"));
}

#[test]
fn a_rotation_works_from_both_ends() {
    let both = [("new", NEW), ("old", OLD)];
    assert_eq!(outcome(verify(&both, &header(NEW, NOW, BODY))), Ok("new".into()));
    assert_eq!(outcome(verify(&both, &header(OLD, NOW, BODY))), Ok("old".into()));
    let (new, old) = (v1(NEW, NOW, BODY), v1(OLD, NOW, BODY));
    for doubled in [format!("t={NOW},v1={new},v1={old}"), format!("t={NOW},v1={old},v1={new}")] {
        assert_eq!(outcome(verify(&[("old", OLD)], &doubled)), Ok("old".into()));
        assert_eq!(outcome(verify(&[("new", NEW)], &doubled)), Ok("new".into()));
        assert_eq!(outcome(verify(&both, &doubled)), Ok("new".into()));
    }
}

#[test]
fn whatever_is_no_v1_of_hex_is_skipped_and_never_believed() {
    let good = v1(NEW, NOW, BODY);
    let secrets = [("s1", NEW)];
    let around = format!("v1=zz,v1={}0,foo,=,v1,v2={good},t2=9,v1={good},v1=,v1={}", &good[..62], "0".repeat(64));
    assert_eq!(outcome(verify(&secrets, &format!("{around},t={NOW}"))), Ok("s1".into()));
    assert_eq!(outcome(verify(&secrets, &format!("t={NOW},v1={}", good.to_uppercase()))), Ok("s1".into()));
    for no_candidate in ["v0", "v2", "V1", "v1 ", "v11"] {
        let header = format!("t={NOW},{no_candidate}={good}");
        assert_eq!(outcome(verify(&secrets, &header)), Err("signature_no_candidate"), "{no_candidate}");
    }
    assert_eq!(outcome(verify(&secrets, &format!("t={NOW},v1=nothex"))), Err("signature_no_candidate"));
}

#[test]
fn a_header_without_exactly_one_time_is_refused() {
    let good = v1(NEW, NOW, BODY);
    let secrets = [("s1", NEW)];
    for time in ["t=", "t=x", "t=+1700000000", "t=-1", "t=1700000000.0", "t= 1700000000", "T=1700000000", "t"] {
        assert_eq!(outcome(verify(&secrets, &format!("{time},v1={good}"))), Err("signature_no_time"), "{time}");
    }
    let endless = format!("t={},v1={good}", "9".repeat(40));
    assert_eq!(outcome(verify(&secrets, &endless)), Err("signature_no_time"));
    for twice in [format!("t={NOW},t={NOW},v1={good}"), format!("t={NOW},v1={good},t=1")] {
        assert_eq!(outcome(verify(&secrets, &twice)), Err("signature_time_repeated"));
    }
}

#[test]
fn there_must_be_exactly_one_header() {
    let good = header(NEW, NOW, BODY);
    let source = || source("stripe", &[("s1", NEW)]);
    assert_eq!(outcome(verify_at(source(), &[], BODY, NOW)), Err("signature_missing"));
    let twice = [good.as_bytes(), good.as_bytes()];
    assert_eq!(outcome(verify_at(source(), &twice, BODY, NOW)), Err("signature_repeated"));
    // A proxy may have joined two headers into one.
    for joined in [format!("{good}, {good}"), format!("{good},{good}")] {
        assert_eq!(outcome(verify(&[("s1", NEW)], &joined)), Err("signature_time_repeated"));
    }
}

#[test]
fn the_mode_is_checked_where_both_sides_name_one() {
    let outcome_of = |expected, body: &[u8]| {
        let mut config = config("stripe", &[("s1", NEW)]);
        config.livemode = expected;
        outcome(verify_at(prepared(&config).unwrap(), &[header(NEW, NOW, body).as_bytes()], body, NOW))
    };
    let live = br#"{"id":"evt_1","type":"invoice.paid","livemode":true}"#;
    let thin = br#"{"id":"evt_1","type":"v1.billing.meter.no_meter_found","object":"v2.core.event"}"#;
    assert_eq!(outcome_of(Some(true), live), Ok("s1".into()));
    assert_eq!(outcome_of(Some(false), live), Err("livemode_mismatch"));
    assert_eq!(outcome_of(Some(true), BODY), Err("livemode_mismatch"));
    for expected in [None, Some(true), Some(false)] {
        assert_eq!(outcome_of(expected, thin), Ok("s1".into()));
    }
    for body in [live, BODY] {
        assert_eq!(outcome_of(None, body), Ok("s1".into()));
    }
}

#[test]
fn what_is_authentic_but_no_event_is_told_apart() {
    let long = format!(r#"{{"id":"{}","type":"a.b"}}"#, "x".repeat(201));
    let none = ["", "[]", "null", "{}", r#"{"id":"evt_1"}"#, r#"{"type":"a.b"}"#, r#"{"id":"","type":"a.b"}"#, &long];
    for body in none {
        let body = body.as_bytes();
        let signed = header(NEW, NOW, body);
        let found = verify_at(source("stripe", &[("s1", NEW)]), &[signed.as_bytes()], body, NOW);
        assert_eq!(outcome(found), Err("malformed_event"), "{body:?}");
        let unsigned = verify_at(source("stripe", &[("s1", OLD)]), &[signed.as_bytes()], body, NOW);
        assert_eq!(outcome(unsigned), Err("signature_mismatch"), "the signature comes first");
    }
}

#[test]
fn a_webhook_counts_towards_its_account_else_its_customer_else_its_source() {
    let sender_of = |body: &str| {
        let webhook = verify_at(
            source("stripe", &[("s1", NEW)]),
            &[header(NEW, NOW, body.as_bytes()).as_bytes()],
            body.as_bytes(),
            NOW,
        );
        let webhook = webhook.unwrap();
        assert_eq!(webhook.sender().source, "stripe");
        webhook.sender().id.map(str::to_owned)
    };
    let object =
        r#""data":{"object":{"id":"in_1","customer":{"id":"cus_1"},"amount_due":1,"amount_paid":1,"currency":"eur"}}"#;
    let event = |kind: &str, rest: &str| {
        format!(r#"{{"id":"evt_1","type":"{kind}","created":1700000000,"livemode":false,{rest}}}"#)
    };
    let paid = |rest: &str| event("invoice.payment_succeeded", rest);
    assert_eq!(sender_of(&paid(object)).as_deref(), Some("cus_1"));
    let connected = format!(r#""account":"acct_1",{object}"#);
    assert_eq!(sender_of(&paid(&connected)).as_deref(), Some("acct_1"));
    assert_eq!(sender_of(&event("charge.succeeded", &connected)).as_deref(), Some("acct_1"));
    // What names nobody, or not in the shape of its type, is taken all the same.
    assert_eq!(sender_of(&event("charge.succeeded", object)), None);
    assert_eq!(sender_of(&paid(r#""data":{"object":{"customer":"cus_1"}}"#)), None);
}

#[test]
fn a_source_whose_events_would_not_fit_the_wire_is_found_at_the_start() {
    let name = "n".repeat(54);
    assert!(prepared(&config(&name, &[("s1", NEW)])).is_ok());
    let name = "n".repeat(55);
    assert!(matches!(prepared(&config(&name, &[("s1", NEW)])), Err(SourceFault::TooLong(..))));
    let id = "i".repeat(256);
    assert!(matches!(prepared(&config("stripe", &[("s1", NEW), (&id, OLD)])), Err(SourceFault::TooLong(..))));
}

#[test]
fn no_secret_and_no_body_shows_in_debug() {
    let source = Arc::new(source("stripe", &[("s1", "whsec_hidden")]));
    let shown = format!("{source:?}");
    assert!(shown.contains("s1") && !shown.contains("hidden"), "{shown}");
    let signed = header("whsec_hidden", NOW, BODY);
    let webhook = Webhook::received(source, headers(&[signed.as_bytes()]), BODY.to_vec());
    assert_eq!(format!("{webhook:?}"), "Webhook { source: \"stripe\", .. }");
}

proptest! {
    #[test]
    fn no_header_and_no_body_makes_verifying_panic_or_succeed(
        value in proptest::collection::vec(any::<u8>().prop_filter("a header value", |b| *b == 9 || (*b >= 32 && *b != 127)), 0..200),
        body in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        prop_assert!(verify_at(source("stripe", &[("s1", NEW)]), &[&value], &body, NOW).is_err());
    }

    #[test]
    fn no_header_of_likely_parts_succeeds_without_the_secret(
        parts in proptest::collection::vec(prop_oneof![
            Just(format!("t={NOW}")), Just("v1".to_owned()), Just("=".to_owned()), Just(",".to_owned()),
            "[0-9a-f]{64}", "v1=[0-9a-f]{64}", "[ -~]{0,5}",
        ], 0..12),
        separator in "[,=]?",
    ) {
        prop_assert!(verify(&[("s1", NEW), ("s2", OLD)], &parts.join(&separator)).is_err());
    }

    #[test]
    fn every_change_of_a_signed_body_is_noticed(at in 0..BODY.len(), bit in 0..8_u32) {
        let mut altered = BODY.to_vec();
        altered[at] ^= 1 << bit;
        let found = verify_at(source("stripe", &[("s1", NEW)]), &[header(NEW, NOW, BODY).as_bytes()], &altered, NOW);
        prop_assert_eq!(outcome(found), Err("signature_mismatch"));
    }

    #[test]
    fn any_bytes_that_are_signed_either_are_an_event_or_are_refused_as_none(
        body in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let found = verify_at(source("stripe", &[("s1", NEW)]), &[header(NEW, NOW, &body).as_bytes()], &body, NOW);
        prop_assert_eq!(outcome(found), Err("malformed_event"));
    }
}
