//! The audit log can be searched: every line is in the index once, at its place, whatever was away meanwhile.

use millrace::config::Process;
use millrace::db::IndexerPool;
use millrace::pipeline::{AuditIndexer, IndexFault};
use millrace_cli::local::Stop;
use millrace_tests::{AuditCopy, Left, World, eventually};
use serde_json::{Value, json};
use sqlx::Row;
use time::{Duration, OffsetDateTime};

/// A line of a tenant that arose so many days ago.
fn line(org: &str, number: u64, days: i64) -> Value {
    let at = millrace::contract::Timestamp::new(OffsetDateTime::now_utc() - Duration::days(days));
    json!({
        "timestamp": at.to_string(), "org_id": org, "actor_id": "user:u", "action": "projects.create",
        "resource_type": "project", "resource_id": format!("p-{number}"), "metadata": { "code": "c" },
        "event_id": uuid::Uuid::now_v7(), "outcome": "rejected", "policy_version": "0",
    })
}

fn lines(org: &str, days: i64, count: u64) -> Vec<Value> {
    (0..count).map(|number| line(org, number, days)).collect()
}

fn indexer(world: &World, log: &AuditCopy, days: Option<u16>) -> AuditIndexer {
    let pool = IndexerPool::new(&world.config(Process::Audit).database).expect("an address");
    AuditIndexer::new(pool, log.path().to_owned(), days)
}

/// Steps until everything of the log is indexed.
async fn level(indexer: &mut AuditIndexer) {
    eventually("the index is level", async || {
        let progress = indexer.step().await.expect("a step");
        (progress.indexed == progress.lines).then_some(())
    })
    .await;
}

const COUNT: &str = "select count(*) from app.audit_index";

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_indexed_once_at_its_place_the_deployments_own_like_any_tenants() {
    let world = World::new().await;
    let mut log = AuditCopy::of(lines("acme", 0, 30));
    log.add(lines("millrace:operator", 0, 5));
    log.rotate();
    log.add(lines("globex", 40, 2_500));
    let mut first = indexer(&world, &log, Some(90));
    level(&mut first).await;
    // Another process goes on where the last one was, and adds nothing twice.
    log.add(lines("acme", 1, 3));
    let mut second = indexer(&world, &log, Some(90));
    level(&mut second).await;
    level(&mut first).await;
    let counts = "select string_agg(org_id || ' ' || n, ',' order by org_id) from
        (select org_id, count(*) n from app.audit_index group by 1) as of_each";
    let counts: String = sqlx::query_scalar(counts).fetch_one(world.superuser()).await.expect("counts");
    assert_eq!(counts, "acme 33,globex 2500,millrace:operator 5");
    let rows = sqlx::query(
        "select org_id, tenant_seq, event_id::text, resource_id, code, outcome, segment, byte_offset, byte_length
         from app.audit_index order by segment, byte_offset",
    );
    for row in rows.fetch_all(world.superuser()).await.expect("rows") {
        let (segment, offset, length): (i64, i64, i32) = (row.get(6), row.get(7), row.get(8));
        let (start, end) = (offset as usize, offset as usize + length as usize);
        let bytes = log.file(segment as u64);
        assert_eq!(bytes[end], b'\n');
        let stored: Value = serde_json::from_slice(&bytes[start..end]).expect("a line");
        let of = |place| row.get::<String, usize>(place);
        assert_eq!(
            (of(0), row.get::<i64, usize>(1)),
            (stored["org_id"].as_str().expect("text").into(), stored["tenant_seq"].as_i64().expect("a number"))
        );
        assert_eq!(
            (of(2), of(3)),
            (stored["event_id"].as_str().expect("text").into(), stored["resource_id"].as_str().expect("text").into())
        );
        assert_eq!((of(4), of(5)), ("c".into(), "rejected".into()));
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_beyond_the_checkpoint_is_indexed_and_what_is_no_line_holds_nothing_up() {
    let world = World::new().await;
    let mut foreign = line("acme", 2, 0);
    foreign["outcome"] = "perhaps".into();
    let mut long = line("acme", 3, 0);
    long["resource_id"] = format!("\0{}", "é".repeat(5_000)).into();
    let log = AuditCopy::of([line("acme", 1, 0), foreign, long, line("acme", 4, 0)]);
    std::fs::write(log.path().join("checkpoint"), "test\n3\nAAAA\n").expect("a checkpoint");
    let mut indexer = indexer(&world, &log, Some(90));
    level(&mut indexer).await;
    let numbers: Vec<i64> = sqlx::query_scalar("select tenant_seq from app.audit_index order by 1")
        .fetch_all(world.superuser())
        .await
        .expect("rows");
    assert_eq!(numbers, [1, 3]);
    // An older copy of the log is told, and not taken for the log.
    std::fs::write(log.path().join("checkpoint"), "test\n2\nAAAA\n").expect("a checkpoint");
    assert!(matches!(indexer.step().await, Err(IndexFault::Behind { indexed: 3, lines: 2 })));
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_stay_as_many_days_as_configured_by_whole_months_and_the_index_can_be_off() {
    let world = World::new().await;
    let mut log = AuditCopy::of(lines("acme", 200, 10));
    log.add(lines("acme", 100, 10));
    log.rotate();
    log.add(lines("acme", 0, 10));
    log.add([line("acme", 0, -400)]);
    level(&mut indexer(&world, &log, Some(130))).await;
    assert_eq!(world.count(COUNT).await, 21, "100 days ago, today, and a clock that is ahead");
    assert_eq!(world.count("select count(*) from app.audit_index_other").await, 1);
    // Fewer days: months that are older as a whole are dropped with the next look.
    level(&mut indexer(&world, &log, Some(30))).await;
    assert_eq!(world.count(COUNT).await, 11);
    let months = "select count(*) from pg_inherits where inhparent = 'app.audit_index'::regclass";
    assert!(world.count(months).await <= 4);
    // Off: nothing is kept, and the next one begins anew, at what the files still have.
    let off = indexer(&world, &log, None);
    off.run(&millrace::lifecycle::Drain::default()).await;
    assert_eq!(world.count(COUNT).await, 0);
    log.prune();
    level(&mut indexer(&world, &log, Some(3_000))).await;
    assert_eq!(world.count(COUNT).await, 11);
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_the_index_waits_and_goes_on_when_it_is_back() {
    let world = World::alone().await;
    let mut log = AuditCopy::of(lines("acme", 0, 10));
    let mut indexer = indexer(&world, &log, Some(90));
    level(&mut indexer).await;
    world.servers().postgres.lock().await.stop(Stop::Immediate).await;
    log.add(lines("acme", 0, 10));
    assert!(matches!(indexer.step().await, Err(IndexFault::Database(_))));
    world.servers().postgres.lock().await.start_again().await.expect("PostgreSQL returns");
    eventually("the index is level", async || {
        let progress = indexer.step().await.ok()?;
        (progress.indexed == 20).then_some(())
    })
    .await;
    world.until_count(COUNT, 20).await;
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reindex_makes_the_index_again_and_is_on_record() {
    let mut world = World::new().await;
    let log = AuditCopy::of(lines("acme", 0, 40));
    world.set("MILLRACE__COMPLIANCE__AUDIT_LOG_PATH", log.path().display().to_string());
    level(&mut indexer(&world, &log, Some(90))).await;
    world
        .execute("DELETE FROM app.audit_index WHERE tenant_seq < 20; UPDATE app.audit_index SET actor = 'user:forged'")
        .await;
    world.cli(&["audit", "reindex"]).await;
    assert_eq!(world.count(COUNT).await, 40);
    assert_eq!(world.count("select count(*) from app.audit_index where actor = 'user:forged'").await, 0);
    world.cli(&["audit", "reindex", "--no-wait"]).await;
    assert_eq!(world.count(COUNT).await, 0);
    let acts = "select count(*) from engine.outbox where convert_from(body, 'UTF8') like '%\"audit.reindex\"%'";
    assert_eq!(world.count(acts).await, 2);
    let relay = world.start("millrace-relay");
    world.until_count("select count(*) from engine.outbox", 0).await;
    let audit =
        world.start_with("millrace-audit", &[("MILLRACE__COMPLIANCE__AUDIT_LOG_PATH".to_owned(), "audit".to_owned())]);
    world.finish(Left::default()).await;
    drop((relay, audit));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_worker_indexes_what_it_writes_and_an_administrator_reads_it() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    for _ in 0..5 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    world.until_lines("applied", 5).await;
    world.until_count("select count(*) from app.audit_index where org_id = 'acme' and outcome = 'applied' and actor = 'webhook:stripe'", 5).await;
    let bearer = format!("Bearer {}", millrace_tests::Caller::user("acme", "u_1", "admin").token());
    let headers = [("authorization", bearer.as_str())];
    let url = format!("{url}/api/audit?actor=webhook:stripe");
    let answer = world.http().send(hyper::Method::GET, &url, &headers, vec![]).await.expect("an answer");
    let shown: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((answer.status, shown["items"].as_array().map(Vec::len)), (200, Some(5)), "{shown}");
    let of_files: Vec<Value> = world.lines().into_iter().filter(|line| line["org_id"] == "acme").collect();
    for item in shown["items"].as_array().expect("items") {
        let line = of_files.iter().find(|line| line["event_id"] == item["event_id"]).expect("its line");
        assert_eq!((&item["tenant_seq"], &item["resource_id"]), (&line["tenant_seq"], &line["resource_id"]));
    }
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_stops_no_line_and_the_index_catches_up() {
    let world = World::alone().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    let indexed = "select count(*) from app.audit_index where outcome = 'applied' and actor = 'webhook:stripe'";
    world.until_count(indexed, 1).await;
    // The indexer alone is shut out: its role may not connect, and its session ends.
    world.execute("ALTER ROLE millrace_indexer NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'millrace_indexer'").await;
    for _ in 0..5 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    world.until_lines("applied", 6).await;
    assert_eq!(world.count(indexed).await, 1);
    world.execute("ALTER ROLE millrace_indexer LOGIN").await;
    world.until_count(indexed, 6).await;
    world.finish(Left::default()).await;
    drop(programs);
}
