//! A database that is away, somebody else's, or not configured at all.

use millrace::config::{DatabaseUser, Login, Process};
use millrace_cli::local::Stop;
use millrace_ingress::reads::Reads;
use millrace_tests::{Left, World, eventually};

use super::{Asker, ROUTES, reads, roles, seed, with};

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_unavailable_while_the_database_is_away_and_answered_when_it_is_back() {
    let world = World::alone().await;
    seed(&world, "acme").await;
    let (before, acme) = (reads(&world), Asker::admin("acme"));
    assert_eq!(acme.code(&before, "settings").await, "ok");
    world.servers().postgres.lock().await.stop(Stop::Immediate).await;
    let during = reads(&world);
    for reads in [&before, &during] {
        let fault = acme.operation(reads, "m_acme", 10).await.expect_err("an answer without a database");
        assert_eq!((fault.code(), fault.status().as_u16(), fault.is_passing()), ("reads_unavailable", 503, true));
        assert_eq!(acme.code(reads, "settings").await, "reads_unavailable");
    }
    world.servers().postgres.lock().await.start_again().await.expect("PostgreSQL returns");
    for reads in [&before, &during] {
        eventually("reads are answered", async || (acme.code(reads, "settings").await == "ok").then_some(())).await;
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_login_of_the_reader_reads_are_off_and_the_edge_is_not() {
    let world = World::new().await;
    seed(&world, "acme").await;
    let mut config = world.config(Process::Ingress);
    config.database.logins.clear();
    let reads = with(&config);
    for route in ROUTES.into_iter().chain(["operations", "audit"]) {
        assert_eq!(Asker::admin("acme").code(&reads, route).await, "reads_unavailable", "{route}");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_to_the_replica_where_one_is_named() {
    let world = World::new().await;
    seed(&world, "acme").await;
    let mut config = world.config(Process::Ingress);
    config.database.read_url = config.database.url.replace("postgres://127.0.0.1:9/nowhere".parse().expect("a URL"));
    let acme = Asker::admin("acme");
    assert_eq!(acme.code(&with(&config), "settings").await, "ok");
    config.database.read_url = None;
    assert_eq!(acme.code(&with(&config), "settings").await, "reads_unavailable", "the control");
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_above_row_level_security_reads_nothing() {
    let world = World::new().await;
    seed(&world, "acme").await;
    let mut config = world.config(Process::Ingress);
    let migrator = Login { user: "millrace_migrator".to_owned(), password: "only for tests".into() };
    config.database.logins.insert(DatabaseUser::Reader, migrator);
    let reads = Reads::new(&config.database, roles()).expect("an address");
    for route in ROUTES.into_iter().chain(["operations", "audit"]) {
        assert_eq!(Asker::admin("acme").code(&reads, route).await, "reads_unavailable", "{route}");
    }
    world.finish(Left::default()).await;
}
