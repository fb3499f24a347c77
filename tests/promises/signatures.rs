//! Only what the provider signed, recently, for this endpoint's mode, reaches the queue.

use millrace_tests::{Left, World, signature};
use time::OffsetDateTime;

const FIRST: &str = "whsec_first";
const SECOND: &str = "whsec_second";

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_as_stripe_says_gets_400_and_never_a_message() {
    let world = World::new().await;
    let (ingress, url) = world.start_ingress().await;
    let body = world.invoice_event("cus_1").body();
    let good = signature(FIRST, now(), &body);
    let hex = good.split_once("v1=").expect("a v1").1.to_owned();
    let bad = [
        ("altered body", good.clone(), [body.clone(), b" ".to_vec()].concat()),
        ("old", signature(FIRST, now() - 330, &body), body.clone()),
        ("future", signature(FIRST, now() + 330, &body), body.clone()),
        ("wrong secret", signature("whsec_other", now(), &body), body.clone()),
        ("secret without its prefix", signature("first", now(), &body), body.clone()),
        ("time replaced", format!("t={},v1={hex}", now() - 1), body.clone()),
        ("v0 only", format!("t={},v0={hex}", now()), body.clone()),
        ("no time", format!("v1={hex}"), body.clone()),
        ("two times", format!("t={0},t={0},v1={hex}", now()), body.clone()),
        ("empty", String::new(), body.clone()),
        ("garbage", "t=,v1=,,==".to_owned(), body.clone()),
    ];
    for (what, signature, body) in bad {
        let answer = world.post_signed(&url, body, &signature).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_signature"), "{what}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("time"), "{what}: the answer must not say why");
    }
    let mut live = world.invoice_event("cus_1");
    live.livemode = true;
    let answer = world.post(&url, live.body()).await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (400, "livemode_mismatch"));
    assert_eq!(world.depth("work.billing.main").await, 0);
    world.finish(Left::default()).await;
    drop(ingress);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_active_secret_and_each_signature_of_a_rotation_is_enough() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let stranger = "00".repeat(32);
    let mut accepted = 0;
    for secret in [FIRST, SECOND] {
        for form in ["{}", "{},v1={stranger}", "{},v0={stranger},v1=not-hex,v2=x"] {
            let body = world.invoice_event("cus_1").body();
            let signed = signature(secret, now(), &body);
            let header = form.replace("{}", &signed).replace("{stranger}", &stranger);
            let answer = world.post_signed(&url, body, &header).await.expect("an answer");
            assert_eq!(answer.status, 200, "{header}");
            accepted += 1;
        }
    }
    let body = world.invoice_event("cus_1").body();
    let signed = signature(SECOND, now(), &body).replacen(",v1=", &format!(",v1={stranger},v1="), 1);
    assert_eq!(world.post_signed(&url, body, &signed).await.expect("an answer").status, 200);
    world.until_lines("applied", accepted + 1).await;
    world.finish(Left::default()).await;
    drop(programs);
}
