//! How many connections and channels each process has is a formula (ARCHITECTURE.md, "Connections"), and holds under load.

use std::collections::BTreeMap;

use hyper::Method;
use millrace_tests::{Left, World, eventually};
use serde_json::Value;

/// By the name that a process gives its connections: how many it has, and channels on all of them.
const BROKER: [(&str, usize, u64); 4] =
    [("millrace-ingress", 1, 2), ("millrace-billing", 3, 7), ("millrace-relay", 1, 2), ("millrace-audit", 1, 1)];
/// `database.connections` of this world.
const APP: i64 = 2;
/// `database.read_connections` of this world.
const READER: i64 = 3;
/// One of the worker, two of the relay.
const RELAY: i64 = 1 + 2;

/// Connections and channels by connection name.
async fn at_the_broker(world: &World) -> BTreeMap<String, (usize, u64)> {
    let list = world.ask_broker(Method::GET, "vhosts/{vhost}/connections", &Value::Null).await;
    let mut found = BTreeMap::<String, (usize, u64)>::new();
    for connection in list.as_array().expect("a list") {
        let Some(name) = connection["client_properties"]["connection_name"].as_str() else { continue };
        let entry = found.entry(name.to_owned()).or_default();
        entry.0 += 1;
        entry.1 += connection["channels"].as_u64().unwrap_or_default();
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_has_the_connections_of_the_formula_and_no_more() {
    let mut world = World::new().await;
    world.set("MILLRACE__DATABASE__CONNECTIONS", APP.to_string());
    world.set("MILLRACE__DATABASE__READ_CONNECTIONS", READER.to_string());
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let token = millrace_tests::Caller::user("acme", "u_1", "admin").token();
    let bearer = format!("Bearer {token}");
    let projects = format!("{url}/api/projects");
    let mut most = BTreeMap::<&str, i64>::new();
    for _ in 0..15 {
        let (one, two) = (world.invoice_event("cus_1"), world.invoice_event("cus_1"));
        let posts = futures_util::future::join(world.accept(&url, &one), world.accept(&url, &two));
        let headers = [("authorization", bearer.as_str())];
        let reads = (0..8).map(|_| world.http().send(Method::GET, &projects, &headers, vec![]));
        futures_util::future::join(posts, futures_util::future::join_all(reads)).await;
        for user in ["millrace_app", "millrace_reader", "millrace_relay"] {
            let sessions = format!(
                "select count(*) from pg_stat_activity where datname = current_database() and usename = '{user}'"
            );
            let seen = world.count(&sessions).await;
            let most = most.entry(user).or_default();
            *most = seen.max(*most);
        }
    }
    world.until_lines("applied", 30).await;
    assert!(most["millrace_reader"] == READER, "eight readers at once need all of them: {most:?}");
    assert!((1..=APP).contains(&most["millrace_app"]), "{most:?}");
    assert!((1..=RELAY).contains(&most["millrace_relay"]), "{most:?}");
    let formula: BTreeMap<String, (usize, u64)> =
        BROKER.iter().map(|(name, connections, channels)| ((*name).to_owned(), (*connections, *channels))).collect();
    // The broker's statistics come every five seconds.
    eventually("the broker's list is the formula", async || {
        let found = at_the_broker(&world).await;
        (found == formula).then_some(())
    })
    .await;
    world.finish(Left::default()).await;
    drop(programs);
}
