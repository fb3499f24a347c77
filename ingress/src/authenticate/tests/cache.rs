//! How often an issuer is asked for its keys, and what happens when it does not answer.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Answer;
use super::keys::Reply;
use super::*;

/// A token signed by the honest key under an id that nobody has published.
fn unknown(id: usize) -> String {
    ED.sign_with(&json!({ "alg": "EdDSA", "kid": format!("unknown-{id}") }), &claims())
}

/// The honest token at a later time.
fn at(now: i64) -> String {
    let mut claims = claims();
    (claims["iat"], claims["nbf"], claims["exp"]) = (json!(now - 60), json!(now - 60), json!(now + 600));
    ED.sign(&claims)
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_after_ten_minutes() {
    let world = World::new().await;
    assert_eq!(world.keys.hits(), 0, "nothing is asked before the first token");
    for (now, hits) in [(NOW, 1), (NOW, 1), (NOW + 599, 1), (NOW + 600, 2), (NOW + 1_199, 2), (NOW + 1_200, 3)] {
        assert!(ask(&world.authenticator, &at(now), now).await.is_ok());
        assert_eq!(world.keys.hits(), hits, "at {now}");
    }
}

#[tokio::test]
async fn a_key_that_is_no_longer_published_is_forgotten_after_ten_minutes() {
    let world = World::new().await;
    assert!(world.ask(&at(NOW)).await.is_ok());
    world.keys.publish(&json!({ "keys": [EC.jwk()] }));
    assert!(ask(&world.authenticator, &at(NOW + 599), NOW + 599).await.is_ok());
    assert_eq!(ask(&world.authenticator, &at(NOW + 600), NOW + 600).await, Err(Unauthenticated::UnknownKey));
}

#[tokio::test]
async fn a_new_key_is_found_by_its_unknown_id() {
    let world = World::new().await;
    assert!(world.ask(&at(NOW)).await.is_ok());
    let new = Key::ed("new");
    world.keys.publish(&json!({ "keys": [ED.jwk(), new.jwk()] }));
    assert_eq!(world.ask(&new.sign(&claims())).await, Err(Unauthenticated::UnknownKey), "a fetch was a moment ago");
    assert!(ask(&world.authenticator, &new.sign(&claims()), NOW + 30).await.is_ok());
    assert_eq!(world.keys.hits(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_unknown_ids_at_once_cost_one_fetch_in_thirty_seconds() {
    let world = World::new().await;
    assert!(world.ask(&at(NOW)).await.is_ok());
    let authenticator = Arc::new(world.authenticator);
    let mut hits = world.keys.hits();
    for (now, more) in [(NOW + 1, 0), (NOW + 29, 0), (NOW + 30, 1), (NOW + 59, 0), (NOW + 60, 1)] {
        let misses: Vec<_> = (0..1_000)
            .map(|id| {
                let authenticator = authenticator.clone();
                tokio::spawn(async move { ask(&authenticator, &unknown(id), now).await })
            })
            .collect();
        for miss in misses {
            assert_eq!(miss.await.unwrap(), Err(Unauthenticated::UnknownKey));
        }
        hits += more;
        assert_eq!(world.keys.hits(), hits, "after {} s", now - NOW);
        assert!(ask(&authenticator, &at(now), now).await.is_ok(), "misses evict nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_during_the_first_fetch_waits_for_it() {
    let world = World::new().await;
    world.keys.shut();
    let (keys, authenticator) = (world.keys, Arc::new(world.authenticator));
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let authenticator = authenticator.clone();
            tokio::spawn(async move { ask(&authenticator, &ED.sign(&claims()), NOW).await })
        })
        .collect();
    keys.open();
    for caller in callers {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(keys.hits(), 1);
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_break_off_the_fetch() {
    let world = World::new().await;
    world.keys.shut();
    {
        let token = at(NOW);
        let asking = world.ask(&token);
        tokio::pin!(asking);
        // Polled until the request has arrived, then dropped.
        tokio::select! {
            biased;
            answer = &mut asking => panic!("nobody answered, but it is {answer:?}"),
            () = world.keys.asked(1) => {}
        }
    }
    world.keys.open();
    assert!(world.ask(&at(NOW)).await.is_ok());
    assert_eq!(world.keys.hits(), 1, "the fetch went on without its caller");
}

#[tokio::test]
async fn keys_stay_in_use_while_the_issuer_fails() {
    let world = World::new().await;
    assert!(world.ask(&at(NOW)).await.is_ok());
    let attacker = KeyServer::start(json!({ "keys": [STRANGER.jwk()] })).await;
    let mut weak = ED.jwk();
    weak["use"] = json!("enc");
    let failures = [
        Reply::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Reply::Status(StatusCode::NOT_FOUND),
        Reply::Status(StatusCode::NO_CONTENT),
        Reply::Redirect(attacker.uri()),
        Reply::Document("not JSON".into()),
        Reply::Document(json!({ "keys": [] }).to_string().into()),
        Reply::Document(json!({ "keys": [weak] }).to_string().into()),
        Reply::Document(json!({ "keys": [STRANGER.jwk()], "pad": "x".repeat(300 << 10) }).to_string().into()),
    ];
    let mut now = NOW;
    for failure in failures {
        now += 600;
        let hits = world.keys.hits();
        world.keys.reply(failure);
        assert!(ask(&world.authenticator, &at(now), now).await.is_ok(), "stale keys stay in use");
        assert_eq!(world.keys.hits(), hits + 1);
        assert!(ask(&world.authenticator, &at(now + 29), now + 29).await.is_ok());
        assert_eq!(world.keys.hits(), hits + 1, "a failure is not repeated at once");
        assert!(ask(&world.authenticator, &at(now + 30), now + 30).await.is_ok());
        assert_eq!(world.keys.hits(), hits + 2, "but after a while");
    }
    assert_eq!(attacker.hits(), 0, "a redirect was followed");
    world.keys.publish(&json!({ "keys": [EC.jwk()] }));
    now += 600;
    assert_eq!(ask(&world.authenticator, &at(now), now).await, Err(Unauthenticated::UnknownKey), "it answers again");
}

#[tokio::test]
async fn without_any_keys_nothing_can_be_said() {
    let world = World::new().await;
    world.keys.reply(Reply::Status(StatusCode::SERVICE_UNAVAILABLE));
    for _ in 0..3 {
        assert_eq!(world.ask(&at(NOW)).await, Err(Unauthenticated::NoKeys));
    }
    assert_eq!((world.keys.hits(), Unauthenticated::NoKeys.answer()), (1, Answer::Unavailable));
    world.keys.publish(&json!({ "keys": [ED.jwk()] }));
    assert!(ask(&world.authenticator, &at(NOW + 30), NOW + 30).await.is_ok());
}

/// One request waits for a slow issuer; all others use the keys that are held.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_issuer_does_not_stop_its_users() {
    let world = World::new().await;
    assert!(world.ask(&at(NOW)).await.is_ok());
    world.keys.shut();
    let (keys, authenticator) = (world.keys, Arc::new(world.authenticator));
    let now = NOW + 600;
    let asking = authenticator.clone();
    let first = tokio::spawn(async move { ask(&asking, &at(now), now).await });
    keys.asked(2).await;
    for _ in 0..100 {
        assert!(ask(&authenticator, &at(now), now).await.is_ok());
    }
    assert!(!first.is_finished());
    keys.open();
    assert!(first.await.unwrap().is_ok());
    assert_eq!(keys.hits(), 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_stop_fetches() {
    let world = World::new().await;
    assert!(world.ask(&at(NOW)).await.is_ok());
    let before = NOW - 100_000;
    assert!(ask(&world.authenticator, &at(before), before).await.is_ok());
    assert_eq!(world.keys.hits(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_no_key() {
    let world = World::new().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut away = issuer_with(&world.keys, "");
    if let IssuerKeys::Published { jwks_uri, .. } = &mut away[0].keys {
        *jwks_uri = format!("http://{closed}/").parse().unwrap();
    }
    let away = Authenticator::new(&away).unwrap();
    assert_eq!(ask(&away, &at(NOW), NOW).await, Err(Unauthenticated::NoKeys));
}
