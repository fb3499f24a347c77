//! Connections that are cut, or open on one side only: noticed, bounded, and replaced without a restart.

use millrace_tests::{Left, Program, Side, TcpRelay, World, eventually};

/// What a relay does to the connections that there are.
type Break = fn(&TcpRelay);

/// A process that reaches its servers through a relay of its own.
struct Distant {
    program: Program,
    relay: TcpRelay,
}

impl Distant {
    /// Breaks every connection that it has, and waits until it has new ones.
    async fn break_off(&self, how: Break) {
        let before = self.relay.accepted();
        how(&self.relay);
        eventually("it dials again", async || (self.relay.accepted() > before).then_some(())).await;
    }
}

async fn post_until_accepted(world: &World, url: &str) {
    let body = world.invoice_event("cus_1").body();
    eventually("a 200", async || {
        let answer = world.post(url, body.clone()).await?;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_broker_that_are_cut_or_half_open_are_replaced_and_nothing_is_lost_or_doubled() {
    let mut world = World::new().await;
    world.set("MILLRACE__AMQP__HEARTBEAT_S", "1");
    world.tenant("acme", "cus_1").await;
    let mut fleet = Vec::new();
    let mut public = String::new();
    for program in ["millrace-ingress", "millrace-billing", "millrace-relay", "millrace-audit"] {
        let (relay, address) = world.broker_relay().await;
        // The first address of the list leads nowhere.
        world.set("MILLRACE__AMQP__ADDRESSES", format!("amqp://127.0.0.1:9/nowhere,{address}"));
        let program = if program == "millrace-ingress" {
            let (ingress, url) = world.start_ingress().await;
            public = url;
            ingress
        } else {
            world.start_ready(program).await.0
        };
        fleet.push(Distant { program, relay });
    }
    let mut sent = 0;
    let breaks: [(&str, Break); 3] = [
        ("cut", TcpRelay::cut),
        ("what the broker says is lost", |relay| relay.silence(Side::Server)),
        ("what the process says is lost", |relay| relay.silence(Side::Clients)),
    ];
    for (what, how) in breaks {
        for _ in 0..10 {
            post_until_accepted(&world, &public).await;
            sent += 1;
        }
        // All of them at once.
        futures_util::future::join_all(fleet.iter().map(|distant| distant.break_off(how))).await;
        post_until_accepted(&world, &public).await;
        sent += 1;
        eventually(what, async || (world.lines_with("applied") == sent).then_some(())).await;
    }
    let (all, wanted) = ("select count(*) from app.billing_history", i64::try_from(sent).expect("a count"));
    assert_eq!(world.count(all).await, wanted, "an effect was doubled");
    world.until_lines("applied", sent).await;
    world.finish(Left::default()).await;
    drop(fleet);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_postgres_that_are_cut_or_half_open_are_replaced_and_blame_no_message() {
    let mut world = World::new().await;
    world.set("MILLRACE__DATABASE__BATCH_TIMEOUT_MS", "2000");
    // So few that one which never came back would be missed.
    world.set("MILLRACE__DATABASE__CONNECTIONS", "2");
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let (relay, address) = world.database_relay().await;
    world.set("MILLRACE__DATABASE__URL", address);
    let (program, _) = world.start_ready("millrace-billing").await;
    let worker = Distant { program, relay };
    let mut sent = 0;
    let breaks: [Break; 4] = [
        TcpRelay::cut,
        |relay| relay.silence(Side::Server),
        |relay| relay.silence(Side::Clients),
        |relay| relay.silence(Side::Server),
    ];
    for how in breaks {
        // The batch is in the middle of its transaction when its connection is lost.
        let held = world.hold("engine.outbox").await;
        for _ in 0..5 {
            world.accept(&url, &world.invoice_event("cus_1")).await;
            sent += 1;
        }
        let blocked = "select count(*) from pg_stat_activity where datname = current_database()
            and usename = 'millrace_app' and wait_event_type = 'Lock'";
        eventually("a batch in flight", async || (world.count(blocked).await > 0).then_some(())).await;
        worker.break_off(how).await;
        drop(held);
        world.until_lines("applied", sent).await;
    }
    let log = worker.program.log_text();
    assert!(log.contains("communicating with database: timed out"), "the server noticed, and not the worker: {log}");
    // The server ends sessions as fast as it can while the worker works.
    for _ in 0..40 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
        sent += 1;
        world
            .count(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where datname = current_database() and usename in ('millrace_app', 'millrace_relay')",
            )
            .await;
    }
    world.until_lines("applied", sent).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, i64::try_from(sent).expect("a count"));
    assert_eq!(world.count("select count(*) from engine.dead_letters").await, 0);
    let blamed = "a handler's statement failed";
    assert!(!worker.program.log_text().contains(blamed), "{}", worker.program.log_text());
    world.finish(Left::default()).await;
    drop((ingress, others, worker));
}
