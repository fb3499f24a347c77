//! What is no token, and what is no bearer token in a request.

use hyper::header::{AUTHORIZATION, HeaderValue};

use super::*;

#[tokio::test]
async fn a_token_has_three_segments_that_are_not_empty() {
    let world = World::new().await;
    let token = ED.sign(&claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, body) = signed.split_once('.').unwrap();
    for wrong in [
        "..".to_owned(),
        ".".to_owned(),
        "a".to_owned(),
        header.to_owned(),
        signed.to_owned(),
        format!("{signed}."),
        format!(".{body}.{signature}"),
        format!("{header}..{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{header}.{body}.{body}.{body}.{signature}"),
    ] {
        world.refuses(&wrong, Unauthenticated::Structure).await;
    }
}

#[tokio::test]
async fn a_segment_has_one_spelling() {
    let world = World::new().await;
    let token = ED.sign(&claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    // 64 bytes end with a character of which 4 bits count.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let cut = &signature[..signature.len() - 1];
    for wrong in [
        format!("{cut}{next}"),
        format!("{signature}="),
        format!("{signature}=="),
        format!("{cut}%"),
        format!("{cut} {last}"),
    ] {
        world.refuses(&format!("{signed}.{wrong}"), Unauthenticated::Structure).await;
    }
    // The standard alphabet, and the same padded.
    let claims = json!({ "a": "???>>>~~~" }).to_string();
    let standard = base64::engine::general_purpose::STANDARD.encode(&claims);
    assert!(standard.contains('/') || standard.contains('+'), "{standard}");
    let (header, _) = token.split_once('.').unwrap();
    world.refuses(&format!("{header}.{standard}.{signature}"), Unauthenticated::Structure).await;
    world.refuses(&format!("{header}.{}.{signature}", b64([0xff, 0xfe])), Unauthenticated::Structure).await;
}

#[tokio::test]
async fn a_token_that_is_too_long_is_not_read() {
    let world = World::new().await;
    let padded = |length: usize| {
        let claims = but("pad", json!("x".repeat(length)));
        ED.sign(&claims)
    };
    let fits = (0..).map(|n| padded(5_000 + n)).find(|token| token.len() >= 8_190).unwrap();
    assert!(fits.len() <= 8_192 && world.ask(&fits).await.is_ok(), "{}", fits.len());
    let longer = padded(5_900);
    assert!(longer.len() > 8_192);
    world.refuses(&longer, Unauthenticated::Oversize).await;
    world.refuses(&"a.".repeat(50_000), Unauthenticated::Oversize).await;
}

#[tokio::test]
async fn the_header_is_one_object_that_says_each_thing_once() {
    let world = World::new().await;
    for header in [
        "",
        "{",
        "null",
        "7",
        r#"["EdDSA","ed","JWT"]"#,
        r#"[["EdDSA","ed"]]"#,
        r#"{"alg":"EdDSA","alg":"EdDSA","kid":"ed"}"#,
        r#"{"alg":"none","kid":"ed","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","kid":"ed","kid":"rsa"}"#,
        r#"{"alg":"EdDSA","\u0061lg":"none","kid":"ed"}"#,
        r#"{"alg":"EdDSA","kid":"ed"} {}"#,
        r#"{"alg":"EdDSA","kid":"ed",}"#,
    ] {
        let reason = if header.is_empty() { Unauthenticated::Structure } else { Unauthenticated::Header };
        world.refuses(&ED.sign_texts(header, &claims().to_string()), reason).await;
    }
    assert!(world.ask(&ED.sign_texts(" {\"kid\":\"ed\", \"alg\":\"EdDSA\"} ", &claims().to_string())).await.is_ok());
}

/// Asks with these `Authorization` headers.
async fn with_headers(world: &World, values: &[&[u8]]) -> Result<Caller, Unauthenticated> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
    }
    world.authenticator.authenticate(&headers, OffsetDateTime::from_unix_timestamp(NOW).unwrap()).await
}

#[tokio::test]
async fn the_token_stands_in_one_bearer_header() {
    let world = World::new().await;
    let token = ED.sign(&claims());
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer  "] {
        assert!(with_headers(&world, &[format!("{scheme} {token}").as_bytes()]).await.is_ok(), "{scheme}");
    }
    let (bearer, basic) = (format!("Bearer {token}"), format!("Basic {token}"));
    assert_eq!(with_headers(&world, &[]).await, Err(Unauthenticated::Missing));
    for twice in [[&bearer, &bearer], [&bearer, &basic], [&basic, &bearer]] {
        let twice = twice.map(String::as_bytes);
        assert_eq!(with_headers(&world, &twice).await, Err(Unauthenticated::Repeated));
    }
    for other in [&basic, "", "Bearer", &token, &format!("Bearer\t{token}"), &format!("Bearer:{token}")] {
        assert_eq!(with_headers(&world, &[other.as_bytes()]).await, Err(Unauthenticated::Scheme), "{other}");
    }
    assert_eq!(with_headers(&world, &[b"Bearer \xff"]).await, Err(Unauthenticated::Scheme));
    for other in [format!("Bearer {token}, Bearer {token}"), format!("Bearer {token} x"), "Bearer ".to_owned()] {
        assert_eq!(with_headers(&world, &[other.as_bytes()]).await, Err(Unauthenticated::Structure), "{other}");
    }
}
