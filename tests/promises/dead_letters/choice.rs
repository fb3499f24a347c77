//! Which letters a list shows, and what a dry run says of them.

use std::collections::BTreeMap;

use millrace_tests::{Left, World};
use serde_json::{Value, json};

use super::{acts, dead};

/// More than two pages.
const MANY: usize = 1_100;

/// Letters of two tenants, three types and two queues, one a minute, the last of them now.
async fn seed(world: &World) {
    world
        .execute(&format!(
            "INSERT INTO engine.dead_letters
               (id, org_id, identity, publisher, message_id, message_type, queue, reason, attempts, fields, body, created_at)
             SELECT (lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000')::uuid,
               CASE n % 2 WHEN 0 THEN 'acme' ELSE 'globex' END, sha256(n::text::bytea), 'ingress', 'm' || n,
               CASE n % 3 WHEN 0 THEN 'projects.create' WHEN 1 THEN 'settings.update' END,
               CASE WHEN n % 3 = 2 THEN 'dead' ELSE 'work.projects.main' END,
               CASE WHEN n % 3 = 2 THEN 'unsealed' ELSE 'malformed' END, 1,
               jsonb_build_object('type', 'x', 'issued_at', CASE WHEN n < 10 THEN '2020-01-01T00:00:00.000000Z' ELSE
                 to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') END), 'secret',
               now() - make_interval(mins => {MANY} - n)
             FROM generate_series(1, {MANY}) AS n"
        ))
        .await;
}

async fn listed(world: &World, arguments: &[&str]) -> Vec<Value> {
    dead(world, &[&["list", "--json"], arguments].concat()).await.lines(0)
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().expect("an id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_pages_over_all_of_them_newest_first_and_filters_show_nothing_else() {
    let world = World::new().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    seed(&world).await;
    let all = listed(&world, &["--limit", "100000"]).await;
    let mut wanted: Vec<String> =
        (1..=MANY).map(|number| format!("{number:08x}-0000-7000-8000-000000000000")).collect();
    wanted.reverse();
    assert_eq!(ids(&all), wanted, "each once, newest first");
    let (mut paged, mut looks) = (Vec::new(), 1);
    for limit in ["7", "500", "501", "1000"] {
        let after = paged.last().map(|row: &Value| row["id"].as_str().expect("an id").to_owned());
        let after = after.iter().flat_map(|id| ["--after", id.as_str()]);
        let page = listed(&world, &["--limit", limit].into_iter().chain(after).collect::<Vec<_>>()).await;
        paged.extend(page);
        looks += 1;
    }
    assert_eq!(ids(&paged), wanted, "pages that follow each other");
    let text = dead(&world, &["list", "--limit", "500"]).await;
    assert_eq!(text.out.lines().count(), 502, "a heading, the letters, and where to go on");
    assert!(text.out.ends_with(&format!("there are more: --after {}\n", wanted[499])), "{}", &text.out[..200]);
    assert_eq!(dead(&world, &["list"]).await.out.lines().count(), 102, "a hundred without being asked");
    assert!(!text.out.contains("secret") && !text.out.contains('\u{1b}'), "a body or a colour");

    let count = |condition: fn(usize) -> bool| (1..=MANY).filter(|number| condition(*number)).count();
    for (filters, wanted) in [
        (vec!["--tenant", "acme"], count(|n| n % 2 == 0)),
        (vec!["--tenant", "nobody"], 0),
        (vec!["--type", "projects.create"], count(|n| n % 3 == 0)),
        (vec!["--reason", "unsealed"], count(|n| n % 3 == 2)),
        (vec!["--queue", "dead", "--tenant", "globex"], count(|n| n % 3 == 2 && n % 2 == 1)),
        (vec!["--tenant", "acme", "--type", "settings.update", "--reason", "malformed"], count(|n| n % 6 == 4)),
        (vec!["--newer-than", "1d", "--older-than", "0s"], MANY),
        (vec!["--older-than", "1d"], 0),
        (vec!["--state", "redriven"], 0),
    ] {
        let found = listed(&world, &[&["--limit", "5000"][..], &filters].concat()).await;
        assert_eq!(found.len(), wanted, "{filters:?}");
        let tenant = filters.iter().position(|word| *word == "--tenant").map(|place| filters[place + 1]);
        assert!(found.iter().all(|row| tenant.is_none_or(|tenant| row["org_id"] == tenant)), "{filters:?}");
        looks += 1;
    }
    let old = listed(&world, &["--older-than", "60m", "--newer-than", "2h", "--limit", "5000"]).await;
    assert!((58..=61).contains(&old.len()), "an hour's letters: {}", old.len());
    let lines = acts(&world, "dead.list", looks + 3).await;
    let narrow = json!({ "tenant": "globex", "queue": "dead", "state": "open" });
    assert_eq!(lines.iter().filter(|line| line["metadata"] == narrow).count(), 1, "a look says what was looked for");
    world.finish(Left { dead: MANY as i64, parked: 0 }).await;
    drop(others);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_by_tenant_type_and_reason_and_changes_nothing() {
    let world = World::new().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    seed(&world).await;
    // What dies after the beginning of a run is not part of it, or a message that dies again would be sent for ever.
    world
        .execute(
            "INSERT INTO engine.dead_letters (id, org_id, identity, queue, reason, attempts, fields, body, created_at)
             VALUES (gen_random_uuid(), 'acme', sha256('later'), 'work.projects.main', 'malformed', 0, '{}', 'x',
               now() + interval '1 hour')",
        )
        .await;
    let snapshot = "SELECT md5(string_agg(d::text, '' ORDER BY id)) FROM engine.dead_letters d";
    let before: String = sqlx::query_scalar(snapshot).fetch_one(world.superuser()).await.expect("the letters");

    let mut lines = dead(&world, &["redrive", "--all", "--dry-run", "--json"]).await.lines(65);
    let (unsealed, old) = ((1..=MANY).filter(|n| n % 3 == 2).count(), (1..10).filter(|n| n % 3 != 2).count());
    let redriven = MANY - unsealed - old;
    let refused = json!({ "too_old": old, "unsealed": unsealed });
    assert_eq!(lines.pop(), Some(json!({ "redriven": redriven, "refused": refused, "dry_run": true })));
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for line in &lines {
        *counted.entry(line["would_be"].as_str().expect("a fate").to_owned()).or_default() +=
            line["count"].as_i64().expect("a count");
    }
    assert_eq!(counted["redriven"], redriven as i64);
    let group = json!({ "count": 2, "org_id": "globex", "message_type": "projects.create", "reason": "malformed",
                        "would_be": "too_old" });
    assert!(lines.contains(&group), "letters 3 and 9: {lines:?}");

    let forced = ["redrive", "--tenant", "acme", "--dry-run", "--json", "--force", "--because", "x"];
    let last = dead(&world, &forced).await.lines(65).pop().expect("a line");
    assert_eq!(last["refused"].get("too_old"), None, "{last}");
    let discard = dead(&world, &["discard", "--reason", "unsealed", "--dry-run", "--because", "x"]).await;
    assert_eq!(discard.code, 0, "{discard:?}");
    assert!(discard.out.contains(&format!("it would be {unsealed} letter(s) discarded")), "{discard:?}");
    let named = ["redrive", "0000000c-0000-7000-8000-000000000000", "--dry-run"];
    assert_eq!(dead(&world, &named).await.code, 0);

    let after: String = sqlx::query_scalar(snapshot).fetch_one(world.superuser()).await.expect("the letters");
    assert_eq!(after, before, "a dry run changed something");
    assert_eq!(world.count("select count(*) from engine.outbox where exchange = 'millrace.work'").await, 0);
    let looks = acts(&world, "dead.preview", 4).await;
    assert!(looks.iter().all(|line| line["org_id"] == "millrace:operator"));
    let forced = json!({ "of": "dead.redrive", "tenant": "acme" });
    assert_eq!(looks.iter().filter(|line| line["metadata"] == forced).count(), 1, "a look says what was looked for");
    world.finish(Left { dead: MANY as i64 + 1, parked: 0 }).await;
    drop(others);
}
