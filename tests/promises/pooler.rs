//! PgBouncer in transaction mode may stand before the database, if the configuration says so; if it does not, that is said
//! loudly and costs no message.

use hyper::Method;
use millrace_tests::{Caller, Left, PgBouncer, World, eventually, run_cli};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Row};

const POOLER: &str = "MILLRACE__DATABASE__POOLER";

/// Which tenant one session behind the pooler has been left with.
async fn left_behind(world: &World, role: &str, port: u16) -> Option<String> {
    let options: PgConnectOptions = world.role_url(role).await.parse().expect("an address");
    let mut connection = options.port(port).extra_float_digits(None).connect().await.expect("a connection");
    let look = "SELECT nullif(current_setting('app.ctx', true), '')";
    sqlx::raw_sql(look).fetch_one(&mut connection).await.expect("a row").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_behind_a_pooler_in_transaction_mode_and_no_session_keeps_a_tenant() {
    let mut world = World::new().await;
    let strict = PgBouncer::start(&world, false).await;
    world.tenant("acme", "cus_1").await;
    world.tenant("globex", "cus_2").await;
    world.set("MILLRACE__DATABASE__URL", world.database_at(strict.port()));
    world.set(POOLER, "transaction");
    let (programs, url) = world.start_all_workers().await;
    let second = world.start("millrace-billing");
    let (acme, globex) = (Caller::user("acme", "u_1", "admin"), Caller::user("globex", "u_2", "admin"));
    for number in 0..30 {
        world.accept(&url, &world.invoice_event(if number % 2 == 0 { "cus_1" } else { "cus_2" })).await;
        if number < 3 {
            for caller in [&acme, &globex] {
                let body = json!({ "name": format!("{} {number}", caller.org) });
                let id = world.command(&url, caller, "projects.create", &format!("k{number}"), &body).await;
                assert_eq!(world.outcome(&caller.org, &id).await, "applied");
            }
        }
        for caller in [&acme, &globex] {
            let bearer = format!("Bearer {}", caller.token());
            let headers = [("authorization", bearer.as_str())];
            let answer = world.http().send(Method::GET, &format!("{url}/api/projects"), &headers, vec![]).await;
            let answer = answer.expect("an answer");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, 200, "{text}");
            let other = if caller.org == "acme" { "globex" } else { "acme" };
            assert!(!text.contains(other), "{} sees {text}", caller.org);
        }
    }
    world.until_lines("applied", 36).await;
    assert_eq!(world.count("select count(*) from app.billing_history").await, 30);
    for role in ["app", "relay", "reader"] {
        // Several looks, since each may reach another session.
        for _ in 0..6 {
            assert_eq!(left_behind(&world, &format!("millrace_{role}"), strict.port()).await, None, "{role}");
        }
    }
    let sessions =
        "select count(*) from pg_stat_activity where datname = current_database() and usename = 'millrace_app'";
    assert!(world.count(sessions).await <= 2, "the pooler was gone round");
    for program in programs.iter().chain([&second]) {
        assert!(!program.log_text().contains("prepared statement"), "{}", program.log_text());
    }
    world.finish(Left::default()).await;
    drop((programs, second, strict));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_the_configuration_does_not_know_of_is_named_and_no_message_is_blamed() {
    let mut world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    let direct = world.database_at(world.servers().postgres.lock().await.port());
    let (strict, lenient) = (PgBouncer::start(&world, false).await, PgBouncer::start(&world, true).await);
    for pooler in [&strict, &lenient] {
        world.set("MILLRACE__DATABASE__URL", world.database_at(pooler.port()));
        let worker = world.start("millrace-billing");
        eventually("the mistake is named", async || {
            // The first connection may find sessions that nobody has used; more work brings more connections.
            world.accept(&url, &world.invoice_event("cus_1")).await;
            worker.log_text().contains("database.pooler").then_some(())
        })
        .await;
        assert_eq!(world.count("select count(*) from engine.dead_letters").await, 0);
        assert_eq!(
            world.count("select count(*) from engine.parked where attempts > 0 and reason <> 'redelivered'").await,
            0
        );
        worker.kill().await;
    }

    // An operator's act has a session of its own, and says so where none is named.
    world.set(POOLER, "transaction");
    let create = ["tenants", "create", "globex"];
    let refused = run_cli(&create, &world.environment()).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(64) && said.contains("database.direct_url"), "{said}");
    world.set("MILLRACE__DATABASE__DIRECT_URL", direct);
    world.cli(&create).await;

    let others = ["millrace-billing", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let events = "select count(*) from app.billing_history";
    eventually("all are applied", async || (world.depth("work.billing.main").await == 0).then_some(())).await;
    eventually("each has its line", async || {
        let applied = usize::try_from(world.count(events).await).ok()?;
        (applied > 0 && applied == world.lines_with("applied")).then_some(())
    })
    .await;
    world.finish(Left::default()).await;
    drop((ingress, others, strict, lenient));
}
