//! From an authentic token to a caller: issuer, audience, tenant, user and role.

use millrace::contract::ActorKind;

use super::super::Answer;
use super::*;

#[tokio::test]
async fn a_token_of_another_issuer_is_refused() {
    let world = World::new().await;
    for iss in ["https://evil.example/", "https://id.example", "https://ID.example/", "https://id.example/ ", ""] {
        world.refuses(&ED.sign(&but("iss", json!(iss))), Unauthenticated::Issuer).await;
    }
    let nobody = Authenticator::new(&[]).unwrap();
    assert_eq!(ask(&nobody, &ED.sign(&claims()), NOW).await, Err(Unauthenticated::Issuer));
}

#[tokio::test]
async fn the_key_of_one_issuer_signs_nothing_for_another() {
    let first = KeyServer::start(json!({ "keys": [ED.jwk()] })).await;
    let second = KeyServer::start(json!({ "keys": [STRANGER.jwk()] })).await;
    let section = |name: &str, iss: &str, uri: String| {
        format!(
            "[issuers.{name}]\nissuer = \"{iss}\"\naudience = \"millrace\"\njwks_uri = \"{uri}\"\nalgorithms = [\"EdDSA\"]\n"
        )
    };
    let both = section("first", ISSUER, first.uri()) + &section("second", "https://second.example", second.uri());
    let authenticator = Authenticator::new(&issuers(&both)).unwrap();
    let others = but("iss", json!("https://second.example"));
    assert!(ask(&authenticator, &ED.sign(&claims()), NOW).await.is_ok());
    assert!(ask(&authenticator, &STRANGER.sign(&others), NOW).await.is_ok());
    assert_eq!(ask(&authenticator, &STRANGER.sign(&claims()), NOW).await, Err(Unauthenticated::Signature));
    assert_eq!(ask(&authenticator, &ED.sign(&others), NOW).await, Err(Unauthenticated::Signature));
}

#[tokio::test]
async fn a_token_for_another_service_is_refused() {
    let world = World::new().await;
    for aud in [json!([AUDIENCE]), json!(["other", AUDIENCE])] {
        assert!(world.ask(&ED.sign(&but("aud", aud))).await.is_ok());
    }
    for aud in [json!("other"), json!(""), json!([]), json!(["other", "millrac", "Millrace"]), json!("millrace other")]
    {
        world.refuses(&ED.sign(&but("aud", aud)), Unauthenticated::Audience).await;
    }
}

#[tokio::test]
async fn the_tenant_is_one_that_can_be() {
    let world = World::new().await;
    let long = "a".repeat(65);
    for tenant in ["", " acme", "a/b", "a'; --", "é", "a\0", &long] {
        world.refuses(&ED.sign(&but("org_id", json!(tenant))), Unauthenticated::TenantMalformed).await;
    }
    for tenant in [Value::Null, json!(7), json!(["acme"]), json!({ "id": "acme" }), json!(true)] {
        world.refuses(&ED.sign(&but("org_id", tenant)), Unauthenticated::TenantMalformed).await;
    }
    world.refuses(&ED.sign(&but("org_id", json!("millrace:operator"))), Unauthenticated::TenantReserved).await;
    assert_eq!(Unauthenticated::TenantReserved.answer(), Answer::Forbidden);
}

#[tokio::test]
async fn an_issuer_speaks_for_its_own_tenants_alone() {
    let world = World::with(r#"tenants = ["acme", "globex"]"#).await;
    for (tenant, bound) in [("acme", true), ("globex", true), ("Acme", false), ("initech", false)] {
        let asked = world.ask(&ED.sign(&but("org_id", json!(tenant)))).await;
        assert_eq!(
            asked.map(|caller| caller.org.to_string()),
            if bound { Ok(tenant.to_owned()) } else { Err(Unauthenticated::TenantNotBound) }
        );
    }
    assert_eq!(Unauthenticated::TenantNotBound.answer(), Answer::Forbidden);
}

#[tokio::test]
async fn the_user_is_one_that_can_be_recorded() {
    let world = World::new().await;
    for user in ["u", "auth0|507f1f77bcf86cd799439020", "Zoë", &"u".repeat(128)] {
        assert_eq!(world.ask(&ED.sign(&but("sub", json!(user)))).await.unwrap().principal.id, user);
    }
    let users =
        [json!(""), json!("a\nb"), json!("a\u{7f}"), json!("a\u{85}"), json!("u".repeat(129)), json!("é".repeat(65))];
    for user in users.into_iter().chain([Value::Null, json!(7), json!(["u1"]), json!({ "id": "u1" })]) {
        world.refuses(&ED.sign(&but("sub", user)), Unauthenticated::User).await;
    }
    assert_eq!(Unauthenticated::User.answer(), Answer::Unauthorized);
}

#[tokio::test]
async fn only_a_role_that_is_nowhere_is_the_default() {
    let world = World::new().await;
    for own in Role::ALL {
        assert_eq!(role(world.ask(&ED.sign(&but("role", json!(own.as_str())))).await), Ok(Some(own)));
    }
    assert_eq!(role(world.ask(&ED.sign(&but("role", None))).await), Ok(Some(Role::Viewer)));
    for unknown in [json!(""), json!("Admin"), json!("owner"), json!("admin "), json!("org:admin")] {
        world.refuses(&ED.sign(&but("role", unknown)), Unauthenticated::RoleUnknown).await;
    }
    for wrong in [Value::Null, json!(["admin"]), json!([]), json!({ "admin": true }), json!(1), json!(true)] {
        world.refuses(&ED.sign(&but("role", wrong)), Unauthenticated::RoleUnknown).await;
    }
    assert_eq!(Unauthenticated::RoleUnknown.answer(), Answer::Forbidden);
}

#[tokio::test]
async fn the_default_role_is_the_configurations() {
    let nothing = ED.sign(&but("role", None));
    for (word, expected) in [
        ("viewer", Ok(Some(Role::Viewer))),
        ("editor", Ok(Some(Role::Editor))),
        ("deny", Err(Unauthenticated::RoleMissing)),
    ] {
        let world = World::with(&format!("default_role = \"{word}\"")).await;
        assert_eq!(role(world.ask(&nothing).await), expected, "{word}");
        // For all issuers at once.
        let world = World::with(&format!("[tenant]\ndefault_role = \"{word}\"")).await;
        assert_eq!(role(world.ask(&nothing).await), expected, "[tenant] {word}");
    }
    assert_eq!(Unauthenticated::RoleMissing.answer(), Answer::Forbidden);
}

#[tokio::test]
async fn with_a_map_of_roles_our_own_names_do_not_count() {
    let world = World::with("[issuers.main.roles]\n\"org:admin\" = \"admin\"\n\"org:member\" = \"editor\"").await;
    let asked = async |name: &str| role(world.ask(&ED.sign(&but("role", json!(name)))).await);
    assert_eq!(asked("org:admin").await, Ok(Some(Role::Admin)));
    assert_eq!(asked("org:member").await, Ok(Some(Role::Editor)));
    for unmapped in ["admin", "editor", "viewer", "org:owner", "ORG:ADMIN"] {
        assert_eq!(asked(unmapped).await, Err(Unauthenticated::RoleUnknown), "{unmapped}");
    }
}

#[tokio::test]
async fn the_paths_of_a_section_tenant_hold_for_every_issuer() {
    let world =
        World::with("[tenant]\norg_id_claim = \"o.id\"\nuser_id_claim = \"uid\"\nrole_claim = [\"a.b\", \"c\"]").await;
    let mut claims = claims();
    claims["o"] = json!({ "id": "globex" });
    claims["uid"] = json!("u9");
    claims["a.b"] = json!({ "c": "admin" });
    let caller = world.ask(&ED.sign(&claims)).await.unwrap();
    assert_eq!((caller.org.as_str(), caller.principal.id.as_str()), ("globex", "u9"));
    assert_eq!(caller.principal.role, Some(Role::Admin));
    // The way to a role leads through something that is no object: that is not the same as no role.
    for blocked in [json!("admin"), Value::Null, json!(["c"])] {
        claims["a.b"] = blocked;
        assert_eq!(world.ask(&ED.sign(&claims)).await, Err(Unauthenticated::RoleUnknown));
    }
}

#[tokio::test]
async fn an_issuer_of_services_makes_services() {
    let world = World::with("actor_kind = \"service\"").await;
    let caller = world.ask(&ED.sign(&claims())).await.unwrap();
    assert_eq!((caller.principal.kind, caller.principal.actor_id()), (ActorKind::Service, "service:u1".to_owned()));
}

/// A caller learns 401, 403 or 503 and nothing else; each reason is a label of its own.
#[test]
fn every_reason_is_counted_apart() {
    let all = [
        Unauthenticated::Missing,
        Unauthenticated::Repeated,
        Unauthenticated::Scheme,
        Unauthenticated::Oversize,
        Unauthenticated::Structure,
        Unauthenticated::Header,
        Unauthenticated::HeaderMember,
        Unauthenticated::KeyId,
        Unauthenticated::Algorithm,
        Unauthenticated::Type,
        Unauthenticated::Claims,
        Unauthenticated::DuplicateClaim,
        Unauthenticated::RegisteredClaim,
        Unauthenticated::Issuer,
        Unauthenticated::UnknownKey,
        Unauthenticated::NoKeys,
        Unauthenticated::Signature,
        Unauthenticated::Audience,
        Unauthenticated::Expired,
        Unauthenticated::NotYetValid,
        Unauthenticated::IssuedLater,
        Unauthenticated::Lifetime,
        Unauthenticated::User,
        Unauthenticated::TenantMissing,
        Unauthenticated::TenantMalformed,
        Unauthenticated::TenantReserved,
        Unauthenticated::TenantNotBound,
        Unauthenticated::RoleMissing,
        Unauthenticated::RoleUnknown,
    ];
    let labels: std::collections::BTreeSet<_> = all.iter().map(|reason| reason.reason()).collect();
    assert_eq!(labels.len(), all.len());
    assert!(labels.iter().all(|label| label.starts_with("token_")));
    let forbidden = all.iter().filter(|reason| reason.answer() == Answer::Forbidden).count();
    assert_eq!((forbidden, Unauthenticated::NoKeys.answer()), (6, Answer::Unavailable));
}
