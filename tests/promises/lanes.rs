//! Nothing waits behind a noisy tenant: beyond its rate what it sends goes to the overflow lane, and its neighbours' stays
//! in main. No worker runs while the lanes are looked at.

use futures_util::{StreamExt, stream};
use hyper::Method;
use millrace::client::{CommandOptions, CommandPublisher};
use millrace::contract::payloads::ProjectsCreate;
use millrace::contract::{ActorKind, Field, Lane, Principal, Role, TenantId};
use millrace_tests::{Answer, Caller, Left, Program, Sample, World, eventually, signature};
use serde_json::json;
use time::OffsetDateTime;

/// So many messages of one sender do not fit into main at one a second.
const FLOOD: usize = 40;

/// Messages in a worker's lanes.
async fn depths(world: &World, worker: &str) -> [u32; 2] {
    [world.depth(&format!("work.{worker}.main")).await, world.depth(&format!("work.{worker}.overflow")).await]
}

/// Waits until the lanes of a worker hold so many messages together; returns how many are in main and in overflow.
async fn filled(world: &World, worker: &str, wanted: usize) -> [u32; 2] {
    eventually(&format!("{wanted} messages for {worker}"), async || {
        let depths = depths(world, worker).await;
        (depths.iter().sum::<u32>() as usize == wanted).then_some(depths)
    })
    .await
}

/// Starts an ingress that confirms; returns its public and its admin URL.
async fn start_ingress(world: &World) -> (Program, String, String) {
    let (ingress, public, admin) = world.start_ingress_unready().await;
    eventually("the ingress is ready", async || {
        let answer = world.http().send(Method::GET, &format!("{admin}/api/health/ready"), &[], Vec::new()).await?;
        (answer.status == 200).then_some(())
    })
    .await;
    (ingress, public, admin)
}

async fn metrics(world: &World, admin: &str) -> String {
    let answer = world.http().send(Method::GET, &format!("{admin}/api/health/metrics"), &[], Vec::new()).await;
    String::from_utf8(answer.expect("metrics").body).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooding_customers_webhooks_overflow_and_anothers_stay_in_main() {
    let mut world = World::new().await;
    world.set("MILLRACE__LIMITS__WEBHOOK_SOFT_RATE", "1");
    world.tenant("acme", "cus_1").await;
    world.tenant("globex", "cus_2").await;
    let (ingress, url, admin) = start_ingress(&world).await;
    let flood: Vec<Sample> = (0..FLOOD).map(|_| world.invoice_event("cus_1")).collect();
    for event in &flood {
        world.accept(&url, event).await;
    }
    let [main, overflow] = filled(&world, "billing", FLOOD).await;
    assert!(main > 0, "the first is within the rate");
    assert!(overflow > 0, "nothing overflowed");

    // Another customer, and an event that is about nobody, have buckets of their own.
    world.accept(&url, &world.invoice_event("cus_2")).await;
    let nobody = Sample { event_type: "plan.created".to_owned(), ..world.invoice_event("cus_1") };
    world.accept(&url, &nobody).await;
    assert_eq!(filled(&world, "billing", FLOOD + 2).await, [main + 2, overflow]);

    let counted = metrics(&world, &admin).await;
    for (lane, count) in [("main", main + 2), ("overflow", overflow)] {
        let line = format!("millrace_lane_published_total{{publisher=\"ingress\",lane=\"{lane}\"}} {count}");
        assert!(counted.contains(&line), "{line} is not in\n{counted}");
    }
    assert!(!["acme", "globex", "cus_"].iter().any(|name| counted.contains(name)), "a sender in a label");

    // Copies of one event in both lanes are one effect.
    world.accept(&url, &flood[0]).await;
    world.accept(&url, &flood[FLOOD - 1]).await;
    let others = ["millrace-billing", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_lines("applied", FLOOD + 1).await;
    world.until_lines("ignored", 1).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, FLOOD as i64 + 1);
    world.finish(Left::default()).await;
    drop((ingress, others));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooding_tenants_commands_overflow_and_anothers_stay_in_main() {
    let mut world = World::new().await;
    world.set("MILLRACE__LIMITS__SOFT_RATE", "1");
    world.set("MILLRACE__LIMITS__HARD_RATE", "off");
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (ingress, url) = world.start_ingress().await;
    let send = async |org: &str, n: usize| {
        let editor = Caller::user(org, "u1", "editor");
        let body = json!({ "values": { "theme": format!("theme {n}") } });
        world.command(&url, &editor, "settings.update", &format!("key-{n}"), &body).await
    };
    for n in 0..FLOOD {
        send("acme", n).await;
    }
    let [main, overflow] = filled(&world, "settings", FLOOD).await;
    assert!(main > 0 && overflow > 0, "{main} in main, {overflow} in overflow");
    send("globex", 0).await;
    assert_eq!(filled(&world, "settings", FLOOD + 1).await, [main + 1, overflow]);

    let others = ["millrace-settings", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_lines("applied", FLOOD + 1).await;
    world.finish(Left::default()).await;
    drop((ingress, others));
}

async fn publish(commands: &CommandPublisher, org: &str, n: usize) {
    let principal = Principal { kind: ActorKind::Service, id: "ledger".to_owned(), role: Some(Role::Editor) };
    let (org, body) = (TenantId::parse(org).expect("a tenant"), json!({ "name": format!("project {n}") }));
    let (key, body) = (format!("key-{n}"), body.to_string().into_bytes());
    let published =
        commands.publish_command::<ProjectsCreate>(&org, &principal, &key, body, CommandOptions::default()).await;
    published.expect("confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_flood_of_one_tenant_overflows_and_anothers_commands_stay_in_main() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org, "--plan", "enterprise"]).await;
    }
    let commands = world.commands_of("ledger", Lane::Main).await.with_soft_rate(1.try_into().ok());
    for n in 0..FLOOD {
        // Clones count together.
        publish(&commands.clone(), "acme", n).await;
    }
    let [main, overflow] = filled(&world, "projects", FLOOD).await;
    assert!(main > 0 && overflow > 0, "{main} in main, {overflow} in overflow");
    publish(&commands, "globex", 0).await;
    assert_eq!(filled(&world, "projects", FLOOD + 1).await, [main + 1, overflow]);
    let unbounded = commands.clone().with_soft_rate(None);
    for n in FLOOD..2 * FLOOD {
        publish(&unbounded, "acme", n).await;
    }
    let [main, overflow] = [main + 1 + FLOOD as u32, overflow];
    assert_eq!(filled(&world, "projects", 2 * FLOOD + 1).await, [main, overflow]);
    // A key without the lane has no share of it, however little it sends.
    let granted_less = world.commands_of("crm", Lane::Overflow).await.with_soft_rate(None);
    publish(&granted_less, "acme", 2 * FLOOD).await;
    assert_eq!(filled(&world, "projects", 2 * FLOOD + 2).await, [main, overflow + 1]);

    let others = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_lines("applied", 2 * FLOOD + 2).await;
    assert_eq!(world.count("select count(*) from app.projects").await, 2 * FLOOD as i64 + 2);
    world.finish(Left::default()).await;
    drop(others);
}

/// The control of everything above, and how lanes are turned off.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_rates_off_everything_stays_in_main() {
    let mut world = World::new().await;
    for rate in ["SOFT_RATE", "HARD_RATE", "WEBHOOK_SOFT_RATE"] {
        world.set(&format!("MILLRACE__LIMITS__{rate}"), "off");
    }
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let world = std::sync::Arc::new(world);
    let mut sends = tokio::task::JoinSet::new();
    // More than the default rates let through in the same second.
    for n in 0..150 {
        let (world, url) = (std::sync::Arc::clone(&world), url.clone());
        sends.spawn(async move {
            let (editor, body) = (Caller::user("acme", "u1", "editor"), json!({ "values": { "theme": "dark" } }));
            world.command(&url, &editor, "settings.update", &format!("key-{n}"), &body).await;
            world.accept(&url, &world.invoice_event("cus_1")).await;
        });
    }
    sends.join_all().await;
    for worker in ["settings", "billing"] {
        assert_eq!(filled(&world, worker, 150).await, [150, 0], "{worker}");
    }
    let programs = ["settings", "billing", "relay", "audit"].map(|name| world.start(&format!("millrace-{name}")));
    world.until_lines("applied", 300).await;
    std::sync::Arc::into_inner(world).expect("the senders are done").finish(Left::default()).await;
    drop((ingress, programs));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_source_has_signed_counts_towards_its_hard_rate_which_is_off_by_default() {
    let mut world = World::new().await;
    world.set("MILLRACE__LIMITS__WEBHOOK_SOFT_RATE", "1");
    world.set("MILLRACE__LIMITS__SOURCE_HARD_RATE", "1");
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    for _ in 0..FLOOD {
        let body = world.invoice_event("cus_1").body();
        let forged = signature("whsec_stranger", OffsetDateTime::now_utc().unix_timestamp(), &body);
        assert_eq!(world.post_signed(&url, body, &forged).await.expect("an answer").status, 400);
    }
    let (mut taken, mut refused) = (0, None::<Answer>);
    for _ in 0..FLOOD {
        let answer = world.post(&url, world.invoice_event("cus_1").body()).await.expect("an answer");
        match answer.status {
            200 => taken += 1,
            _ => refused = Some(answer),
        }
    }
    assert!(taken > 0, "forgeries have used up the rate");
    let refused = refused.expect("the flood was never refused");
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert!(refused.headers["retry-after"].to_str().expect("seconds").parse::<u32>().expect("seconds") >= 1);
    let others = ["millrace-billing", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_lines("applied", taken).await;
    world.finish(Left::default()).await;
    drop((ingress, others));
}

/// The mark stands outside the seal, so whoever reaches an overflow queue may write what it likes into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_mark_lifts_no_message_out_of_overflow_not_even_when_it_was_parked() {
    let world = World::new().await;
    let caller = Caller::service("acme", "crm", "editor");
    let mut wire = world.sealed_by("crm", &caller, "projects.create", "key", &json!({ "name": "x" }));
    assert_eq!(wire.lane(), Lane::Overflow, "the key is granted no more");
    wire.set(Field::Lane, Lane::Main.as_str()).expect("a mark");
    world.enqueue_to("millrace.direct", "projects", &wire).await;
    assert_eq!(filled(&world, "projects", 1).await, [0, 1]);

    // Its tenant is not there yet, so it is parked, and the relay will send it again: to overflow, as its grant says.
    let programs = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let parked = "select count(*) from engine.parked where reason = 'tenant_unknown'";
    world.until_count(parked, 1).await;
    let route = "select count(*) from engine.parked where exchange || '/' || routing_key";
    assert_eq!(world.count(&format!("{route} = 'millrace.work/projects.overflow'")).await, 1);
    world.cli(&["tenants", "create", "acme"]).await;
    world.until_lines("applied", 1).await;
    assert_eq!(world.count("select count(*) from app.projects").await, 1);
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooded_main_lane_does_not_starve_overflow() {
    const MAIN: usize = 2_000;
    let world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
        world.execute(&format!("UPDATE app.tenants SET plan = 'enterprise' WHERE org_id = '{org}'")).await;
    }
    let publisher = world.commands_of("ledger", Lane::Main).await.with_soft_rate(None);
    let (acme, globex) = (TenantId::parse("acme").expect("a tenant"), TenantId::parse("globex").expect("a tenant"));
    let principal = Principal { kind: ActorKind::Service, id: "crm".to_owned(), role: Some(Role::Editor) };
    let send = async |publisher: &CommandPublisher, org: &TenantId, key: String| {
        let body = json!({ "name": key }).to_string().into_bytes();
        let options = CommandOptions::default();
        publisher.publish_command::<ProjectsCreate>(org, &principal, &key, body, options).await.expect("queued")
    };
    stream::iter(0..MAIN)
        .for_each_concurrent(256, async |n| drop(send(&publisher, &acme, format!("main-{n}")).await))
        .await;
    let modest = world.commands_of("ledger", Lane::Overflow).await;
    let waiting = send(&modest, &globex, "overflow".to_owned()).await;
    assert_eq!(depths(&world, "projects").await, [u32::try_from(MAIN).expect("a count"), 1]);

    let programs = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    assert_eq!(world.outcome("globex", waiting.as_str()).await, "applied");
    world.until_lines("applied", MAIN + 1).await;
    let after = "select count(*) from engine.operations o, engine.operations w
                 where w.org_id = 'globex' and o.org_id = 'acme' and o.settled_at > w.settled_at";
    assert!(world.count(after).await > 0, "overflow had to wait for the end of main");
    world.finish(Left::default()).await;
    drop(programs);
}
