//! The audit log of one tenant: what is found, and what never is.

use millrace::contract::{ActorKind, Principal, Role, TenantId};
use millrace_tests::{Left, World};
use serde_json::Value;

use super::{Asker, reads, sql};

/// Whether the line of a number is to be found.
type Fits = fn(i64) -> bool;

/// Lines of two tenants and of the deployment itself, 120 of each, in the same minutes.
async fn seed(world: &World) {
    sql(
        world,
        "INSERT INTO app.tenants (org_id, name) VALUES ('acme', 'Acme'), ('globex', 'Globex');
         INSERT INTO app.audit_index (org_id, timestamp, tenant_seq, event_id, actor, action, resource_type, resource_id,
             outcome, code, segment, byte_offset, byte_length)
           SELECT o, timestamptz '2026-01-01Z' + (n / 40) * interval '1 minute', n, gen_random_uuid(),
             CASE n % 2 WHEN 0 THEN 'user:even|+ö' ELSE 'user:odd' END, CASE n % 3 WHEN 0 THEN 'a.three' ELSE 'a.other' END,
             CASE n % 5 WHEN 0 THEN 'five' ELSE 'project' END, 'id:' || n % 7, CASE n % 4 WHEN 0 THEN 'denied' ELSE 'applied' END,
             CASE n % 4 WHEN 0 THEN 'role_table' END, 0, n, 1
           FROM unnest(ARRAY['acme', 'globex', 'millrace:operator']) o, generate_series(1, 120) n",
    )
    .await;
}

/// Numbers of a page's lines, and where the next one begins.
async fn page(world: &World, asker: &Asker, query: &str) -> (Vec<i64>, Option<String>) {
    let found =
        reads(world).audit(asker.reader(), Some(query)).await.unwrap_or_else(|fault| panic!("{query}: {fault}"));
    let numbers =
        found["items"].as_array().expect("items").iter().map(|item| item["tenant_seq"].as_i64().expect("a number"));
    (numbers.collect(), found["next"].as_str().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_finds_its_lines_page_by_page_newest_first() {
    let world = World::new().await;
    seed(&world).await;
    let acme = Asker::admin("acme");
    let filters: [(&str, Fits); 9] = [
        ("", |_| true),
        ("actor=user:even%7C%2B%C3%B6&", |n| n % 2 == 0),
        ("action=a.three&", |n| n % 3 == 0),
        ("resource=five&", |n| n % 5 == 0),
        ("resource=project:id:3&", |n| n % 5 != 0 && n % 7 == 3),
        ("outcome=denied&", |n| n % 4 == 0),
        ("from=2026-01-01T00:01:00Z&", |n| n >= 40),
        ("to=2026-01-01T00:02:00Z&from=2026-01-01T01:01:00%2B01:00&", |n| (40..80).contains(&n)),
        ("actor=user:odd&action=a.other&outcome=applied&resource=project&", |n| n % 2 == 1 && n % 3 != 0 && n % 5 != 0),
    ];
    for (filter, fits) in filters {
        let wanted: Vec<i64> = (1..=120).rev().filter(|n| fits(*n)).collect();
        let (mut seen, mut query) = (Vec::new(), format!("{filter}limit=7"));
        loop {
            let (numbers, next) = page(&world, &acme, &query).await;
            seen.extend(numbers);
            let Some(next) = next else { break };
            query = format!("{filter}limit=7&after={next}");
            // What is added meanwhile is newer than every page that follows.
            sql(
                &world,
                "INSERT INTO app.audit_index SELECT org_id, now(), 1000 + (SELECT count(*) FROM app.audit_index),
                   gen_random_uuid(), actor, action, resource_type, resource_id, outcome, code, 0, 0, 1
                 FROM app.audit_index WHERE org_id = 'acme' AND tenant_seq = 12",
            )
            .await;
        }
        assert_eq!(seen, wanted, "{filter}");
        sql(&world, "DELETE FROM app.audit_index WHERE tenant_seq > 1000").await;
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_other_tenants_and_of_the_deployment_are_never_shown() {
    let world = World::new().await;
    seed(&world).await;
    sql(&world, "UPDATE app.audit_index SET action = 'secret_of_' || org_id WHERE org_id <> 'acme'").await;
    for query in ["limit=100", "limit=100&outcome=denied", "limit=100&actor=user:odd", "action=secret_of_globex"] {
        let shown = reads(&world).audit(Asker::admin("acme").reader(), Some(query)).await.expect("a page").to_string();
        assert!(!shown.contains("secret_of_"), "{query}: {shown}");
    }
    // Nobody is of the deployment's own tenant; an edge that would let somebody in finds no tenant there.
    let principal = Principal { kind: ActorKind::User, id: "u".to_owned(), role: Some(Role::Admin) };
    let operator = Asker { org: TenantId::operator(), principal };
    assert_eq!(operator.code(&reads(&world), "audit").await, "tenant_unknown");
    // What the files' places would tell is not shown either.
    let found = reads(&world).audit(Asker::admin("acme").reader(), Some("limit=1")).await.expect("a page");
    let names: Vec<&String> = found["items"][0].as_object().expect("a line").keys().collect();
    assert!(
        !names.iter().any(|name| ["segment", "byte_offset", "byte_length", "org_id"].contains(&name.as_str())),
        "{names:?}"
    );
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_off_is_told_from_an_empty_one_and_a_query_without_meaning_is_refused() {
    let world = World::new().await;
    sql(&world, "INSERT INTO app.tenants (org_id, name) VALUES ('acme', 'Acme')").await;
    let (on, off) = (reads(&world), reads(&world).without_audit_index());
    let acme = Asker::admin("acme");
    let empty = on.audit(acme.reader(), None).await.expect("an empty page");
    assert_eq!(empty["items"], Value::Array(Vec::new()));
    assert_eq!(acme.code(&off, "audit").await, "audit_index_off");
    assert_eq!(Asker::user("acme", "v", Some(Role::Viewer)).code(&off, "audit").await, "role_table");
    for (query, code) in
        [("outcome=x", "invalid_filter"), ("after=AAAAAAAAAAF1", "invalid_cursor"), ("org_id=x", "invalid_query")]
    {
        let fault = on.audit(acme.reader(), Some(query)).await.expect_err(query);
        assert_eq!((fault.code(), fault.status().as_u16()), (code, 422), "{query}");
    }
    world.finish(Left::default()).await;
}
