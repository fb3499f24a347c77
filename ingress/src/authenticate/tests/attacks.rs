//! Attacks on what proves a token: its algorithm, its key and where that comes from.

use super::*;

#[tokio::test]
async fn an_honest_token_passes_with_every_algorithm() {
    let world = World::new().await;
    for key in [&*ED, &*EC, &*RSA] {
        let caller = world.ask(&key.sign(&claims())).await.unwrap();
        assert_eq!((caller.org.as_str(), caller.principal.actor_id()), ("acme", "user:u1".to_owned()));
        assert_eq!(caller.principal.role, Some(Role::Editor));
        assert_eq!((caller.token_id.as_str(), caller.token_iat), ("t1", NOW - 60));
    }
}

#[tokio::test]
async fn an_unsigned_token_is_refused_however_it_is_spelled() {
    let world = World::new().await;
    for name in ["none", "None", "NONE", "nOnE", "", " none", "null", "eddsa", "EDDSA", "Ed25519", "ES256 ", "HS256"] {
        let header = json!({ "alg": name, "kid": "ed" });
        let (head, body) = (b64(header.to_string()), b64(claims().to_string()));
        world.refuses(&format!("{head}.{body}."), Unauthenticated::Structure).await;
        world.refuses(&format!("{head}.{body}"), Unauthenticated::Structure).await;
        // Signed by the right key, even.
        world.refuses(&ED.sign_with(&header, &claims()), Unauthenticated::Algorithm).await;
    }
    for header in [json!({ "kid": "ed" }), json!({ "alg": null, "kid": "ed" }), json!({ "alg": ["EdDSA"] })] {
        world.refuses(&ED.sign_with(&header, &claims()), Unauthenticated::Header).await;
    }
}

#[tokio::test]
async fn a_signature_of_somebody_else_is_refused() {
    let world = World::new().await;
    world.refuses(&STRANGER.sign(&claims()), Unauthenticated::Signature).await;
    world.refuses(&Key::rsa("rsa").sign(&claims()), Unauthenticated::Signature).await;
    world.refuses(&Key::ec("ec").sign(&claims()), Unauthenticated::Signature).await;
    for signature in [vec![0; 64], vec![0; 1], vec![0xff; 64], vec![0; 256]] {
        for key in [&*ED, &*EC, &*RSA] {
            let token = format!("{}.{}.{}", b64(key.header().to_string()), b64(claims().to_string()), b64(&signature));
            world.refuses(&token, Unauthenticated::Signature).await;
        }
    }
    // The signature of another token.
    let (one, other) = (ED.sign(&claims()), ED.sign(&but("role", json!("admin"))));
    let (signed, _) = other.rsplit_once('.').unwrap();
    let (_, signature) = one.rsplit_once('.').unwrap();
    world.refuses(&format!("{signed}.{signature}"), Unauthenticated::Signature).await;
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let world = World::new().await;
    for key in [&*ED, &*EC, &*RSA] {
        let jwk = key.jwk();
        let texts = ["n", "x"].iter().filter_map(|member| jwk[*member].as_str());
        let mut secrets: Vec<Vec<u8>> = texts.clone().map(|text| text.as_bytes().to_vec()).collect();
        secrets.extend(texts.map(|text| URL_SAFE_NO_PAD.decode(text).unwrap()));
        secrets.push(jwk.to_string().into_bytes());
        secrets.push(Vec::new());
        for secret in secrets {
            let header = json!({ "alg": "HS256", "kid": key.id });
            world.refuses(&hs256(&secret, &header, &claims()), Unauthenticated::Algorithm).await;
            // Under the right name, the HMAC is only a wrong signature.
            world.refuses(&hs256(&secret, &key.header(), &claims()), Unauthenticated::Signature).await;
        }
    }
}

#[tokio::test]
async fn a_symmetric_key_in_the_published_set_is_no_key() {
    let world = World::new().await;
    let oct = json!({ "kty": "oct", "kid": "oct", "k": b64(SECRET), "use": "sig" });
    world.keys.publish(&json!({ "keys": [oct, ED.jwk()] }));
    for name in ["HS256", "HS384", "HS512"] {
        let token = hs256(SECRET.as_bytes(), &json!({ "alg": name, "kid": "oct" }), &claims());
        world.refuses(&token, Unauthenticated::Algorithm).await;
    }
    for name in ["EdDSA", "RS256", "ES256"] {
        let token = hs256(SECRET.as_bytes(), &json!({ "alg": name, "kid": "oct" }), &claims());
        world.refuses(&token, Unauthenticated::UnknownKey).await;
    }
}

#[tokio::test]
async fn an_algorithm_fits_its_own_keys_alone() {
    let world = World::with("").await;
    for (name, id) in [("RS256", "ed"), ("ES256", "ed"), ("EdDSA", "rsa"), ("EdDSA", "ec"), ("ES256", "rsa")] {
        let token = ED.sign_with(&json!({ "alg": name, "kid": id }), &claims());
        world.refuses(&token, Unauthenticated::UnknownKey).await;
    }
    // Algorithms of the same families that the issuer does not sign with.
    for name in ["RS384", "RS512", "PS256", "ES384", "ES512", "ES256K", "HS512"] {
        world
            .refuses(&RSA.sign_with(&json!({ "alg": name, "kid": "rsa" }), &claims()), Unauthenticated::Algorithm)
            .await;
    }
    let keys = KeyServer::start(json!({ "keys": [ED.jwk(), RSA.jwk()] })).await;
    let mut narrow = issuer_with(&keys, "");
    if let IssuerKeys::Published { algorithms, .. } = &mut narrow[0].keys {
        algorithms.retain(|algorithm| algorithm.as_str() == "EdDSA");
    }
    let narrow = Authenticator::new(&narrow).unwrap();
    assert!(ask(&narrow, &ED.sign(&claims()), NOW).await.is_ok());
    assert_eq!(ask(&narrow, &RSA.sign(&claims()), NOW).await, Err(Unauthenticated::Algorithm));
}

#[tokio::test]
async fn a_token_brings_no_key_along_and_names_no_place_of_one() {
    let world = World::new().await;
    let attacker = KeyServer::start(json!({ "keys": [STRANGER.jwk()] })).await;
    let place = json!(attacker.uri());
    let members = [
        ("jwk", STRANGER.jwk()),
        ("jku", place.clone()),
        ("x5u", place.clone()),
        ("x5c", json!(["MIIB"])),
        ("jku", Value::Null),
        ("jwk", json!({})),
        ("x5c", json!([])),
    ];
    for (name, value) in members {
        let mut header = STRANGER.header();
        header[name] = value;
        world.refuses(&STRANGER.sign_with(&header, &claims()), Unauthenticated::HeaderMember).await;
        // Signed by the issuer's own key, too: no part of the header is ever obeyed.
        world.refuses(&ED.sign_with(&header, &claims()), Unauthenticated::HeaderMember).await;
    }
    // The issuer's name is compared, never asked.
    let token = STRANGER.sign(&but("iss", place.clone()));
    world.refuses(&token, Unauthenticated::Issuer).await;
    let mut header = STRANGER.header();
    header["kid"] = place;
    world.refuses(&STRANGER.sign_with(&header, &claims()), Unauthenticated::UnknownKey).await;
    assert_eq!(attacker.hits(), 0, "verification asked an address that a token named");
    assert_eq!(world.keys.hits(), 1, "and the issuer no more often than it had to");
}

#[tokio::test]
async fn an_extension_that_is_declared_critical_is_refused() {
    let world = World::new().await;
    let members = [
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("crit", Value::Null),
        ("b64", json!(false)),
        ("b64", json!(true)),
    ];
    for (name, value) in members {
        let mut header = ED.header();
        header[name] = value;
        world.refuses(&ED.sign_with(&header, &claims()), Unauthenticated::HeaderMember).await;
    }
    // What is not critical may be ignored (RFC 7515, 4).
    let mut header = ED.header();
    header["cat"] = json!("cl_B7d4PD111AAA");
    header["x5t"] = json!("abc");
    assert!(world.ask(&ED.sign_with(&header, &claims())).await.is_ok());
}

#[tokio::test]
async fn a_key_id_is_only_ever_compared() {
    let world = World::new().await;
    for id in [
        "../../../../dev/null",
        "/etc/passwd",
        "..\\..\\ed",
        "ed\0",
        "ed' OR '1'='1",
        "' UNION SELECT 'key' --",
        "| cat /etc/passwd",
        "http://169.254.169.254/latest",
        "%65%64",
        "Ed",
    ] {
        let header = json!({ "alg": "EdDSA", "kid": id });
        world.refuses(&ED.sign_with(&header, &claims()), Unauthenticated::UnknownKey).await;
        world.refuses(&STRANGER.sign_with(&header, &claims()), Unauthenticated::UnknownKey).await;
    }
    for (length, reason) in
        [(0, Unauthenticated::KeyId), (128, Unauthenticated::UnknownKey), (129, Unauthenticated::KeyId)]
    {
        let header = json!({ "alg": "EdDSA", "kid": "k".repeat(length) });
        world.refuses(&ED.sign_with(&header, &claims()), reason).await;
    }
    for id in [Value::Null, json!(7), json!(["ed"]), json!({ "ed": 1 })] {
        world.refuses(&ED.sign_with(&json!({ "alg": "EdDSA", "kid": id }), &claims()), Unauthenticated::Header).await;
    }
}

#[tokio::test]
async fn keys_that_are_weak_or_for_another_use_verify_nothing() {
    let world = World::new().await;
    let (mut encrypts, mut signs, mut differs) = (ED.jwk(), EC.jwk(), RSA.jwk());
    encrypts["use"] = json!("enc");
    signs["key_ops"] = json!(["sign"]);
    differs["alg"] = json!("RS512");
    world.keys.publish(&json!({ "keys": [encrypts, signs, differs, Key::ed("honest").jwk()] }));
    for key in [&*ED, &*EC, &*RSA] {
        assert_eq!(world.ask(&key.sign(&claims())).await, Err(Unauthenticated::UnknownKey), "{}", key.algorithm());
    }
}

#[tokio::test]
async fn the_type_is_one_of_the_issuers() {
    let typed = |kind: Value| {
        let mut header = ED.header();
        header["typ"] = kind;
        ED.sign_with(&header, &claims())
    };
    let untyped = ED.sign_with(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims());
    let world = World::new().await;
    for kind in ["JWT", "jwt", "at+jwt", "AT+JWT"] {
        assert!(world.ask(&typed(json!(kind))).await.is_ok(), "{kind}");
    }
    assert!(world.ask(&untyped).await.is_ok());
    for kind in ["", "logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", "absent"] {
        world.refuses(&typed(json!(kind)), Unauthenticated::Type).await;
    }
    for kind in [Value::Null, json!(["JWT"])] {
        world.refuses(&typed(kind), Unauthenticated::Header).await;
    }
    let strict = World::with(r#"typ = ["at+jwt"]"#).await;
    assert!(strict.ask(&typed(json!("at+jwt"))).await.is_ok());
    assert_eq!(strict.ask(&typed(json!("JWT"))).await, Err(Unauthenticated::Type));
    assert_eq!(strict.ask(&untyped).await, Err(Unauthenticated::Type));
}

#[tokio::test]
async fn a_local_secret_is_for_hs256_alone() {
    let local = issuers(&format!(
        r#"
        [issuers.local]
        issuer = "{ISSUER}"
        audience = "{AUDIENCE}"
        secret_file = "local"
        "#
    ));
    let authenticator = Authenticator::new(&local).unwrap();
    let header = json!({ "alg": "HS256" });
    assert!(ask(&authenticator, &hs256(SECRET.as_bytes(), &header, &claims()), NOW).await.is_ok());
    let wrong = hs256(b"another secret of more than 32 bytes", &header, &claims());
    assert_eq!(ask(&authenticator, &wrong, NOW).await, Err(Unauthenticated::Signature));
    for name in ["HS384", "HS512", "EdDSA", "RS256", "none"] {
        let token = hs256(SECRET.as_bytes(), &json!({ "alg": name }), &claims());
        assert_eq!(ask(&authenticator, &token, NOW).await, Err(Unauthenticated::Algorithm), "{name}");
    }
}
