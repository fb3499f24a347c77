//! Where exports are kept and asked for is configuration: its mistakes are named, and without a key nothing is exported.

use hyper::Method;
use millrace_tests::{Caller, Left, World, run_cli};
use serde_json::json;

use super::settled;

const HUSH: &str = "hush-hush";

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_the_store_are_named_and_no_secret_is_told() {
    let world = World::new().await;
    let check = async |variables: &[(&str, &str)]| {
        let own = variables.iter().map(|(name, value)| (format!("MILLRACE__COMPLIANCE__{name}"), (*value).to_owned()));
        let environment: Vec<_> = world.environment().into_iter().chain(own).collect();
        let output = run_cli(&["check-config"], &environment).await;
        (output.status.code().expect("a code"), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let bucket = [
        ("EXPORT_STORE", "s3://exports/eu1"),
        ("EXPORT_STORE_REGION", "eu-central-1"),
        ("EXPORT_STORE_ENDPOINT", "https://s3.example"),
        ("EXPORT_STORE_KEY_ID", "AKIA"),
        ("EXPORT_STORE_SECRET_KEY", HUSH),
    ];
    for sound in [&bucket[..], &bucket[..2], &[("EXPORT_STORE", "file:///var/lib/exports")]] {
        let (code, said) = check(sound).await;
        assert_eq!(code, 0, "{sound:?}: {said}");
    }
    for (mistaken, place) in [
        (&[("EXPORT_STORE", "ftp://x/y")][..], "compliance.export_store:"),
        (&[("EXPORT_STORE", "exports")], "compliance.export_store:"),
        (&[("EXPORT_STORE", "s3://b/p"), ("EXPORT_STORE_ENDPOINT", "ftp://x")], "compliance.export_store_endpoint:"),
        (&[("EXPORT_STORE", "s3://b/p"), ("EXPORT_STORE_KEY_ID", "AKIA")], "compliance.export_store_secret_key:"),
        (&[("EXPORT_SIGNING_KEY", HUSH)], "compliance.export_signing_key:"),
        (&[("GDPR_DATA_EXPORT_ENDPOINT", "/elsewhere")], "compliance.gdpr_data_export_endpoint:"),
        (&[("GDPR_DATA_EXPORT_ENDPOINT", "/api/a b")], "compliance.gdpr_data_export_endpoint:"),
    ] {
        let (code, said) = check(mistaken).await;
        assert_eq!(code, 64, "{mistaken:?}: {said}");
        assert!(said.contains(place) && said.contains("1 mistake(s)"), "{mistaken:?}: {said}");
        assert!(!said.contains(HUSH), "it tells a secret: {said}");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_exported_and_the_request_may_have_another_path() {
    let mut world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    world.set("MILLRACE__COMPLIANCE__GDPR_DATA_EXPORT_ENDPOINT", "/api/gdpr/takeout");
    let path = world.config_path();
    let text = std::fs::read_to_string(&path).expect("a configuration");
    std::fs::write(&path, text.replace("export_signing_key_file = \"keys/exports\"\n", "")).expect("a configuration");
    let (programs, url) = world.start_all_workers().await;
    let ann = Caller::user("acme", "ann", "admin");
    let bearer = format!("Bearer {}", ann.token());
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k"), ("content-type", "application/json")];
    let body = json!({ "scope": "org" }).to_string().into_bytes();
    let post = async |path: &str| {
        world.http().send(Method::POST, &format!("{url}{path}"), &headers, body.clone()).await.expect("an answer")
    };
    assert_eq!(post("/api/compliance/export").await.status, 404);
    let taken = post("/api/gdpr/takeout").await;
    assert_eq!(taken.status, 202);
    let place = format!("{url}{}", taken.headers["location"].to_str().expect("a place"));
    let refused = settled(&world, &place, &ann).await;
    assert_eq!((&refused["status"], &refused["code"]), (&json!("rejected"), &json!("exports_not_configured")));
    world.finish(Left::default()).await;
    drop(programs);
}
