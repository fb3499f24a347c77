//! What the command makes, the edge believes; and it makes nothing else.

use clap::Parser;
use hyper::HeaderMap;
use millrace_ingress::authenticate::{Authenticator, Caller, Unauthenticated};

use super::*;

const NOW: i64 = 1_800_000_000;
const LOCAL: &str = r#"
    [issuers.dev]
    issuer = "millrace-dev"
    audience = "millrace"
    secret_file = "secret"
"#;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    token: Token,
}

fn issuers(toml: &str) -> Vec<IssuerConfig> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "a local secret of more than 32 bytes\n").unwrap();
    let file = folder.path().join("millrace.toml");
    std::fs::write(&file, format!("amqp.addresses = [\"amqp://127.0.0.1:9\"]\n{toml}")).unwrap();
    start(millrace::builtin(), &file, Process::Token).unwrap_or_else(|fault| panic!("{fault}")).1.issuers
}

fn mint(issuers: &[IssuerConfig], arguments: &[&str]) -> Result<String, String> {
    let line = Line::try_parse_from([&["token", "--org", "acme", "--user", "u1"], arguments].concat()).unwrap();
    let minted = line.token.mint(issuers, NOW);
    minted.map(|(token, _)| token).map_err(|fault| {
        assert_eq!(crate::exit_code(fault.as_ref()), millrace::lifecycle::exit::USAGE);
        fault.to_string()
    })
}

fn ask(issuers: &[IssuerConfig], token: &str, now: i64) -> Result<Caller, Unauthenticated> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let authenticator = Authenticator::new(issuers).unwrap();
    let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(authenticator.authenticate(&headers, now))
}

#[test]
fn the_edge_believes_the_token_until_it_expires() {
    let issuers = issuers(LOCAL);
    let token = mint(&issuers, &["--role", "admin", "--lifetime-s", "60"]).unwrap();
    let caller = ask(&issuers, &token, NOW).unwrap();
    assert_eq!((caller.org.as_str(), caller.principal.actor_id()), ("acme", "user:u1".to_owned()));
    assert_eq!(caller.principal.role, Some(Role::Admin));
    assert_eq!(ask(&issuers, &token, NOW + 65), Err(Unauthenticated::Expired));
    let plain = ask(&issuers, &mint(&issuers, &[]).unwrap(), NOW).unwrap();
    assert_eq!(plain.principal.role, Some(Role::Viewer), "no role is the default role");
    assert_ne!(plain.token_id, caller.token_id);
}

#[test]
fn the_token_has_the_shape_that_the_issuer_is_configured_with() {
    let shaped = format!(
        "{LOCAL}org_id_claim = \"o.id\"\nrole_claim = [\"o\", \"my.role\"]\nuser_id_claim = \"uid\"\ntyp = [\"at+jwt\"]\n\
         actor_kind = \"service\"\n[issuers.dev.roles]\n\"org:admin\" = \"admin\"\n"
    );
    let issuers = issuers(&shaped);
    let caller = ask(&issuers, &mint(&issuers, &["--role", "admin"]).unwrap(), NOW).unwrap();
    assert_eq!((caller.principal.actor_id(), caller.principal.role), ("service:u1".to_owned(), Some(Role::Admin)));
    let unnamed = mint(&issuers, &["--role", "editor"]).unwrap_err();
    assert!(unnamed.contains("nothing in [issuers.dev.roles] means editor"), "{unnamed}");
}

#[test]
fn nobody_signs_for_an_identity_provider() {
    let published = r#"
        [issuers.idp]
        issuer = "https://id.example"
        audience = "millrace"
        jwks_uri = "https://id.example/jwks"
        algorithms = ["ES256"]
    "#;
    let none = mint(&issuers(published), &[]).unwrap_err();
    assert!(none.contains("no issuer has a local secret"), "{none}");
    let both = issuers(&format!("{LOCAL}{published}"));
    assert!(mint(&both, &[]).is_ok());
    let refused = mint(&both, &["--issuer", "idp"]).unwrap_err();
    assert!(refused.contains("only the issuer itself can sign"), "{refused}");
    let unknown = mint(&both, &["--issuer", "nobody"]).unwrap_err();
    assert!(unknown.contains("there is no [issuers.nobody]"), "{unknown}");
    let second = LOCAL.replace("issuers.dev", "issuers.two").replace("millrace-dev", "two");
    let two = issuers(&format!("{LOCAL}{second}"));
    let choice = mint(&two, &[]).unwrap_err();
    assert!(choice.contains("--issuer, one of dev, two"), "{choice}");
    assert!(mint(&two, &["--issuer", "two"]).is_ok());
}

#[test]
fn what_the_edge_would_refuse_is_not_made() {
    let issuers = issuers(&format!("{LOCAL}tenants = [\"acme\"]\nlongest_lifetime_s = 4000\n"));
    assert!(mint(&issuers, &["--lifetime-s", "4000"]).is_ok());
    let refused = |arguments: &[&str]| {
        let whole = [&["token"], arguments].concat();
        Line::try_parse_from(whole).map_or(true, |line| line.token.mint(&issuers, NOW).is_err())
    };
    assert!(!refused(&["--org", "acme", "--user", "u1"]), "the control");
    assert!(refused(&["--org", "acme", "--user", "u1", "--lifetime-s", "4001"]));
    assert!(refused(&["--org", "acme", "--user", "u1", "--lifetime-s", "0"]));
    assert!(refused(&["--org", "acme", "--user", "u1", "--role", "owner"]));
    assert!(refused(&["--org", "acme", "--user", "a\nb"]));
    for org in ["globex", "a b", "", "millrace:operator"] {
        assert!(refused(&["--org", org, "--user", "u1"]), "{org:?}");
    }
}
