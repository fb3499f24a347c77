//! A hundred thousand messages of one tenant: refused at the edge beyond its rate, in overflow where a service sends them
//! by itself, applied once each, and in nobody's way meanwhile.

use futures_util::{StreamExt, stream};
use hyper::Method;
use millrace::client::{CommandOptions, CommandPublisher};
use millrace::contract::payloads::ProjectsCreate;
use millrace::contract::{ActorKind, Lane, Principal, Role, TenantId};
use millrace_tests::{Caller, Left, World, eventually};
use serde_json::{Value, json};

use super::high_water;

/// Commands that a service sends for the tenant, each another one.
const FLOOD: usize = 100_000;
/// So many are there before a worker is, so that their lane can be looked at.
const BEFORE: usize = 2_000;
/// Unconfirmed at once.
const OUTSTANDING: usize = 512;
/// Commands of the tenant over HTTP, far more than its rate.
const AT_THE_EDGE: usize = 200;
/// What another tenant sends meanwhile.
const QUIET: [&str; 3] = ["one", "two", "three"];
/// Most memory of a worker through all of it.
const WORKER_BYTES: u64 = 256 << 20;
/// What the tenant has had applied so far, which the limits count anyway: one row, so that watching costs nothing.
const APPLIED: &str =
    "select coalesce(sum(used), 0)::bigint from app.usage_counters where org_id = 'acme' and metric = 'projects'";

/// Publishes these commands of the flood, each until it is confirmed.
async fn publish(commands: &CommandPublisher, numbers: std::ops::Range<usize>) {
    let org = TenantId::parse("acme").expect("a tenant");
    let principal = Principal { kind: ActorKind::Service, id: "crm".to_owned(), role: Some(Role::Editor) };
    stream::iter(numbers)
        .for_each_concurrent(OUTSTANDING, |number| {
            let (org, principal) = (&org, &principal);
            async move {
                let body = json!({ "name": format!("flood {number}") }).to_string().into_bytes();
                let key = format!("flood-{number}");
                let publish = async || {
                    let options = CommandOptions::default();
                    let queued =
                        commands.publish_command::<ProjectsCreate>(org, principal, &key, body.clone(), options);
                    queued.await.ok()
                };
                drop(eventually("it is queued", publish).await);
            }
        })
        .await;
}

/// The tenant's own users at the edge: accepted within its rate, else told when to come again. How many were accepted.
async fn knock(world: &World, url: &str) -> usize {
    let token = Caller::user("acme", "u_1", "admin").token();
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..AT_THE_EDGE {
        let body = json!({ "name": format!("knock {number}") });
        let answer = world.post_command(url, &token, "projects.create", &format!("knock-{number}"), &body).await;
        let answer = answer.expect("an answer");
        match answer.status {
            202 => accepted += 1,
            429 => {
                assert!(answer.headers.contains_key("retry-after"));
                refused += 1;
            }
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
    }
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
    accepted
}

/// Waits until the tenant has had so many applied, for as long as it goes on.
async fn until_applied(world: &World, wanted: i64) {
    let mut seen = 0;
    while seen < wanted {
        seen = eventually(&format!("more than {seen} of {wanted} are applied"), async || {
            let now = world.count(APPLIED).await;
            (now > seen).then_some(now)
        })
        .await;
    }
    assert_eq!(seen, wanted, "more was applied than was sent");
}

/// A quiet tenant's commands, each applied while the flood is on.
async fn keep_quietly(world: &World, url: &str, wanted: i64) {
    let globex = Caller::user("globex", "u_1", "admin");
    for name in QUIET {
        let before = world.count(APPLIED).await;
        let id = world.command(url, &globex, "projects.create", name, &json!({ "name": name })).await;
        assert_eq!(world.outcome("globex", &id).await, "applied");
        assert!(world.count(APPLIED).await < wanted, "the flood was over before the others: it shows nothing");
        eventually("the flood goes on", async || (world.count(APPLIED).await > before).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_messages_of_one_tenant_are_applied_once_each_and_leave_the_main_lane_to_the_others() {
    let mut world = World::new().await;
    world.set("MILLRACE__LIMITS__SOFT_RATE", "10");
    world.set("MILLRACE__LIMITS__HARD_RATE", "20");
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org, "--plan", "enterprise"]).await;
    }
    // What follows from the flood is for nobody here.
    for service in ["crm", "ledger"] {
        world.ask_broker(Method::DELETE, &format!("queues/{{vhost}}/events.{service}"), &Value::Null).await;
    }
    let (ingress, url) = world.start_ingress().await;
    let commands = world.commands_of("crm", Lane::Overflow).await;
    publish(&commands, 0..BEFORE).await;
    let overflow = async || (world.depth("work.projects.overflow").await as usize == BEFORE).then_some(());
    eventually("all of it is in overflow", overflow).await;
    assert_eq!(world.depth("work.projects.main").await, 0);
    let accepted = knock(&world, &url).await;

    let (worker, _) = world.start_ready("millrace-projects").await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let all = FLOOD + accepted;
    let wanted = i64::try_from(all).expect("a count");
    tokio::join!(publish(&commands, BEFORE..FLOOD), keep_quietly(&world, &url, wanted));
    until_applied(&world, wanted).await;

    for (table, what) in [
        ("app.projects", "count(*)"),
        ("app.projects", "count(distinct name)"),
        ("engine.operations", "count(*) filter (where outcome = 'applied')"),
    ] {
        assert_eq!(world.count(&format!("select {what} from {table} where org_id = 'acme'")).await, wanted, "{what}");
    }
    let used = high_water(worker.pid());
    assert!(used < WORKER_BYTES, "the worker has had {} MiB", used >> 20);
    eventually("every event is on its way", async || {
        (world.count("select count(*) from engine.outbox").await == 0).then_some(())
    })
    .await;
    eventually("every line is on its way into the log", async || (world.depth("audit").await == 0).then_some(())).await;
    world.until_lines("applied", all + QUIET.len()).await;
    world.finish(Left::default()).await;
    drop((ingress, worker, others));
}
