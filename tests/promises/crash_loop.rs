//! Messages that kill their process are counted, isolated and set aside, and cost no neighbour its life.

use millrace_tests::{Left, Program, World, eventually};

const NEIGHBOURS: usize = 300;
/// They stand side by side: whoever is in flight next to them is so for many deaths.
const KILLERS: usize = 3;
const FIRST_KILLER: usize = 100;
const ATTEMPTS: usize = 5;
const KILLER: &str = "in_killer";

fn start(world: &World) -> Program {
    world.start_with("millrace-billing", &[("MILLRACE_CHAOS".to_owned(), format!("killer@{KILLER}"))])
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_kill_their_process_are_dead_once_and_all_their_neighbours_are_applied() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    // All of them wait in the queue, so that the worker takes many at once and the killers stand in their midst.
    for number in 0..NEIGHBOURS + KILLERS {
        let mut event = world.invoice_event("cus_1");
        if (FIRST_KILLER..FIRST_KILLER + KILLERS).contains(&number) {
            event.invoice = KILLER.to_owned();
        }
        world.accept(&url, &event).await;
    }
    let (mut worker, mut deaths) = (start(&world), 0);
    eventually("every neighbour is applied and every killer dead", async || {
        // As whoever supervises the processes would.
        if !worker.is_running() {
            deaths += 1;
            worker = start(&world);
        }
        let ended = "select (select count(*) from app.billing_history) + (select count(*) from engine.dead_letters)";
        (world.count(ended).await == (NEIGHBOURS + KILLERS) as i64).then_some(())
    })
    .await;
    let dead: Vec<(String, i32)> = sqlx::query_as("SELECT reason, attempts FROM engine.dead_letters")
        .fetch_all(world.superuser())
        .await
        .expect("dead letters");
    assert_eq!(dead, vec![("crash_loop".to_owned(), ATTEMPTS as i32); KILLERS], "after {deaths} deaths");
    // The first death is not counted, since the broker had handed nobody out before.
    assert!((1 + ATTEMPTS..=1 + ATTEMPTS * KILLERS).contains(&deaths), "{deaths} deaths");
    let applied = "select count(*) from app.billing_history where object_id <> 'in_killer'";
    assert_eq!(world.count(applied).await, NEIGHBOURS as i64);
    assert_eq!(world.count("select count(distinct event_id) from app.billing_history").await, NEIGHBOURS as i64);
    world.until_lines("applied", NEIGHBOURS).await;
    world.until_lines("dead", KILLERS).await;
    world.finish(Left { dead: KILLERS as i64, parked: 0 }).await;
    drop((ingress, others, worker));
}

/// A COMMIT that takes a second when it keeps a count, and a handler that fails.
const SLOW_COUNT: &str = "CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
     CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON engine.parked DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION public.dawdle();
     CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
     CREATE TRIGGER fail BEFORE INSERT ON app.billing_history FOR EACH ROW EXECUTE FUNCTION public.fail()";

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_counted_once_though_nobody_learns_how_the_commit_of_its_count_ended() {
    let mut world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let mut doomed =
        world.start_with("millrace-billing", &[("MILLRACE_CHAOS".to_owned(), "abort@after_claim:1".to_owned())]);
    world.accept(&url, &world.invoice_event("cus_1")).await;
    eventually("it dies with the message in flight", async || (!doomed.is_running()).then_some(())).await;

    world.execute(SLOW_COUNT).await;
    let (connections, address) = world.database_relay().await;
    world.set("MILLRACE__DATABASE__URL", address);
    let worker = world.start("millrace-billing");
    let committing = "select count(*) from pg_stat_activity
        where datname = current_database() and query = 'COMMIT' and wait_event = 'PgSleep'";
    world.until_count(committing, 1).await;
    connections.cut();
    // The server commits what nobody waits for any more; then the worker counts again, and the handler fails.
    let failed = "select count(*) from engine.parked where reason <> 'redelivered'";
    world.until_count(failed, 1).await;
    assert!(worker.log_text().contains("the batch waits"), "the commit was not lost: {}", worker.log_text());
    assert_eq!(world.count(&format!("{failed} and attempts = 1")).await, 1, "it was counted twice");

    world.execute("DROP TRIGGER fail ON app.billing_history; UPDATE engine.parked SET not_before = now()").await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_lines("applied", 1).await;
    world.finish(Left::default()).await;
    drop((ingress, worker, others));
}
