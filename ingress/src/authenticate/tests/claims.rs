//! What the claims may say, and how often.

use millrace::config::ClaimPath;
use proptest::prelude::*;

use super::super::claims::{Found, at_paths};
use super::*;

#[tokio::test]
async fn a_registered_claim_has_one_type() {
    let world = World::new().await;
    let wrong = [
        ("iss", json!([ISSUER])),
        ("iss", json!([ISSUER, "https://evil.example/"])),
        ("iss", Value::Null),
        ("iss", json!(7)),
        ("aud", json!({ "millrace": true })),
        ("aud", json!([AUDIENCE, 7])),
        ("aud", json!([[AUDIENCE]])),
        ("aud", Value::Null),
        ("aud", json!(true)),
        ("jti", json!(7)),
        ("jti", Value::Null),
    ];
    for (name, value) in wrong {
        world.refuses(&ED.sign(&but(name, value)), Unauthenticated::RegisteredClaim).await;
    }
    let dates = [
        json!(format!("{}", NOW + 600)),
        json!(NOW as f64 + 600.5),
        json!(-1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(253_402_300_800_u64),
        json!(1e300),
        json!([NOW + 600]),
        json!({ "at": NOW + 600 }),
        json!(true),
        Value::Null,
    ];
    for name in ["exp", "nbf", "iat"] {
        for date in &dates {
            world.refuses(&ED.sign(&but(name, date.clone())), Unauthenticated::RegisteredClaim).await;
        }
    }
    // Numbers that no type holds.
    let text = claims().to_string().replace(&format!("{}", NOW + 600), "1e999");
    world.refuses(&ED.sign_texts(&ED.header().to_string(), &text), Unauthenticated::Claims).await;
}

#[tokio::test]
async fn every_required_claim_is_there() {
    let world = World::new().await;
    for name in ["iss", "aud", "exp", "iat"] {
        world.refuses(&ED.sign(&but(name, None)), Unauthenticated::RegisteredClaim).await;
    }
    world.refuses(&ED.sign(&but("sub", None)), Unauthenticated::User).await;
    world.refuses(&ED.sign(&but("org_id", None)), Unauthenticated::TenantMissing).await;
    assert!(world.ask(&ED.sign(&but("nbf", None))).await.is_ok());
    let derived = world.ask(&ED.sign(&but("jti", None))).await.unwrap().token_id;
    assert!(derived.len() == 32 && derived.bytes().all(|b| b.is_ascii_hexdigit()), "{derived}");
    assert_eq!(derived, world.ask(&ED.sign(&but("jti", None))).await.unwrap().token_id, "it is the token's own");
    for unfit in ["", "a\nb", &"j".repeat(129)] {
        let id = world.ask(&ED.sign(&but("jti", json!(unfit)))).await.unwrap().token_id;
        assert!(id.len() == 32 && id != derived, "{id}");
    }
}

#[tokio::test]
async fn what_stands_twice_is_refused_at_every_depth() {
    let world = World::with("org_id_claim = \"o.id\"\nrole_claim = \"o.rol\"").await;
    let around = |inner: &str| {
        format!(
            r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"u1","iat":{NOW},"exp":{},"o":{{"id":"acme","rol":"viewer"}}{inner}}}"#,
            NOW + 60
        )
    };
    let header = ED.header().to_string();
    let honest = around("");
    assert_eq!(role(world.ask(&ED.sign_texts(&header, &honest)).await), Ok(Some(Role::Viewer)));
    for more in [
        format!(r#","iss":"{ISSUER}""#),
        r#","iss":"https://evil.example/""#.to_owned(),
        r#","exp":9999999999"#.to_owned(),
        r#","aud":"other""#.to_owned(),
        r#","sub":"u2""#.to_owned(),
        r#","s\u0075b":"u2""#.to_owned(),
        r#","o":{"id":"globex","rol":"admin"}"#.to_owned(),
        r#","x":1,"x":1"#.to_owned(),
        r#","x":{"deep":[{"a":1,"a":2}]}"#.to_owned(),
        r#","x":[[[{"":0,"":0}]]]"#.to_owned(),
    ] {
        let token = ED.sign_texts(&header, &around(&more));
        assert_eq!(world.ask(&token).await, Err(Unauthenticated::DuplicateClaim), "{more}");
    }
    for twice in [r#""id":"acme","id":"globex""#, r#""rol":"admin","id":"acme","rol":"viewer""#] {
        let text = honest.replace(r#""id":"acme","rol":"viewer""#, twice);
        assert_eq!(world.ask(&ED.sign_texts(&header, &text)).await, Err(Unauthenticated::DuplicateClaim), "{twice}");
    }
}

#[tokio::test]
async fn the_claims_are_one_object() {
    let world = World::new().await;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    let values = json!([ISSUER, AUDIENCE, NOW + 600, NOW - 60]).to_string();
    for text in ["null", "7", "[]", "\"x\"", "{", "{}{}", "{\"a\":tru}", &deep, &values] {
        world.refuses(&ED.sign_texts(&ED.header().to_string(), text), Unauthenticated::Claims).await;
    }
    world.refuses(&ED.sign_texts(&ED.header().to_string(), "{}"), Unauthenticated::RegisteredClaim).await;
}

#[tokio::test]
async fn a_token_is_good_for_its_time_and_five_seconds() {
    let world = World::with("longest_lifetime_s = 3600").await;
    let times = |iat: i64, nbf: i64, exp: i64| {
        let mut claims = claims();
        (claims["iat"], claims["nbf"], claims["exp"]) = (json!(iat), json!(nbf), json!(exp));
        ED.sign(&claims)
    };
    let (past, later) = (NOW - 60, NOW + 60);
    for (iat, nbf, exp) in
        [(past, past, NOW - 4), (NOW + 5, past, later), (past, NOW + 5, later), (past, past, past + 3_600)]
    {
        assert!(world.ask(&times(iat, nbf, exp)).await.is_ok(), "{iat} {nbf} {exp}");
    }
    for (iat, nbf, exp, reason) in [
        (past, past, NOW - 5, Unauthenticated::Expired),
        (0, 0, 1, Unauthenticated::Expired),
        (past, past, 0, Unauthenticated::Expired),
        (past, NOW + 6, later, Unauthenticated::NotYetValid),
        (NOW + 6, past, later, Unauthenticated::IssuedLater),
        (past, past, past + 3_601, Unauthenticated::Lifetime),
        (past, past, 253_402_300_799, Unauthenticated::Lifetime),
        (0, past, later, Unauthenticated::Lifetime),
        (NOW, past, NOW, Unauthenticated::Lifetime),
        (NOW + 3, past, NOW + 1, Unauthenticated::Lifetime),
    ] {
        world.refuses(&times(iat, nbf, exp), reason).await;
    }
    // Without a limit of its own, an issuer's tokens live for a day at most.
    let usual = World::new().await;
    assert!(usual.ask(&times(past, past, past + 86_400)).await.is_ok());
    assert_eq!(usual.ask(&times(past, past, past + 86_401)).await, Err(Unauthenticated::Lifetime));
}

/// Documents of every shape, with names from a few letters so that paths meet.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    let inner = leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// What [`at_paths`] must find, by another way.
fn expected(document: &Value, path: &[String]) -> Found {
    let mut at = document;
    for name in path {
        let Value::Object(object) = at else { return Found::Other };
        let Some(next) = object.get(name) else { return Found::Absent };
        at = next;
    }
    at.as_str().map_or(Found::Other, |text| Found::Text(text.to_owned()))
}

proptest! {
    #[test]
    fn a_path_leads_where_it_says(document in document(), one in "[a-c](\\.[a-c]){0,3}", other in "[a-c](\\.[a-c]){0,3}") {
        let paths = [ClaimPath::dotted(&one).unwrap(), ClaimPath::dotted(&other).unwrap()];
        let found = at_paths(&document.to_string(), paths.each_ref()).unwrap();
        for (found, path) in found.into_iter().zip(&paths) {
            prop_assert_eq!(found, expected(&document, path.segments()), "{} in {}", path, document);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", json in "[\\[\\]{}\",:a0-9.e\\\\ -]{0,60}") {
        let path = ClaimPath::dotted("a.a").unwrap();
        let _ = at_paths(&text, [&path]);
        let _ = at_paths(&format!("{{{json}"), [&path]);
    }

    #[test]
    fn a_name_that_stands_twice_is_found_wherever_it_is(document in document(), depth in 0_usize..20) {
        let (open, close) = ("[{\"a\":".repeat(depth), "}]".repeat(depth));
        let once = format!("{{\"z\":{open}{document}{close}}}");
        prop_assert!(at_paths(&once, []).is_ok());
        let twice = format!("{{\"z\":{open}{{\"y\":{document},\"y\":1}}{close}}}");
        prop_assert_eq!(at_paths(&twice, []), Err(Unauthenticated::DuplicateClaim));
    }
}
