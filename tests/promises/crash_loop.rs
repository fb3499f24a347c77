//! A message that kills its process is counted, isolated and set aside, and costs no neighbour its life.

use millrace_tests::{Left, Program, World, eventually};

const NEIGHBOURS: usize = 300;
const KILLER: &str = "in_killer";

fn start(world: &World) -> Program {
    world.start_with("millrace-billing", &[("MILLRACE_CHAOS".to_owned(), format!("killer@{KILLER}"))])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_process_is_dead_once_and_all_its_neighbours_are_applied() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    // All of them wait in the queue, so that the worker takes many at once and the killer stands in their midst.
    for number in 0..=NEIGHBOURS {
        let mut event = world.invoice_event("cus_1");
        if number == NEIGHBOURS / 3 {
            event.invoice = KILLER.to_owned();
        }
        world.accept(&url, &event).await;
    }
    let (mut worker, mut deaths) = (start(&world), 0);
    eventually("every neighbour is applied and the killer dead", async || {
        // As whoever supervises the processes would.
        if !worker.is_running() {
            deaths += 1;
            worker = start(&world);
        }
        let ended = "select (select count(*) from app.billing_history) + (select count(*) from engine.dead_letters)";
        (world.count(ended).await > NEIGHBOURS as i64).then_some(())
    })
    .await;
    let dead: Vec<(String, i32)> = sqlx::query_as("SELECT reason, attempts FROM engine.dead_letters")
        .fetch_all(world.superuser())
        .await
        .expect("dead letters");
    assert_eq!(dead, [("crash_loop".to_owned(), 5)], "after {deaths} deaths");
    assert_eq!(deaths, 6, "one uncounted, since the broker had not handed it out before, and five counted");
    let applied = "select count(*) from app.billing_history where object_id <> 'in_killer'";
    assert_eq!(world.count(applied).await, NEIGHBOURS as i64);
    assert_eq!(world.count("select count(distinct event_id) from app.billing_history").await, NEIGHBOURS as i64);
    world.until_lines("applied", NEIGHBOURS).await;
    world.until_lines("dead", 1).await;
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop((ingress, others, worker));
}
