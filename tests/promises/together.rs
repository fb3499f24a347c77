//! A handler's form for several messages of one tenant has the results of its form for one.

use millrace_tests::{Caller, Left, World};
use serde_json::{Value, json};

/// What became of ten creates in a tenant whose plan has room for `limit`.
#[derive(Debug, PartialEq)]
struct Became {
    names: Vec<String>,
    used: i64,
    outcomes: Vec<String>,
    lines: Vec<(String, Value)>,
}

const CREATES: usize = 10;

async fn became(world: &World, org: &str, ids: &[String]) -> Became {
    let mut outcomes = Vec::new();
    for id in ids {
        outcomes.push(world.outcome(org, id).await);
    }
    let names = "SELECT name FROM app.projects WHERE org_id = $1 ORDER BY name";
    let names = sqlx::query_scalar(names).bind(org).fetch_all(world.superuser()).await.expect("names");
    let used = world.count(&format!("select used from app.usage_counters where org_id = '{org}'")).await;
    let mut lines: Vec<(String, Value)> = Vec::new();
    world
        .until_lines("applied", world.count("select count(*) from app.projects").await.try_into().expect("a count"))
        .await;
    for line in world.lines().iter().filter(|line| line["org_id"] == org && line["action"] == "projects.create") {
        lines.push((line["outcome"].to_string(), line["metadata"]["code"].clone()));
    }
    lines.sort_by_key(|(outcome, code)| (outcome.clone(), code.to_string()));
    Became { names, used, outcomes, lines }
}

async fn create(world: &World, org: &str, n: usize) -> String {
    let caller = Caller::user(org, &format!("u{}", n % 3), "editor");
    let message = world.sealed(&caller, "projects.create", &format!("k{n}"), &json!({ "name": format!("p{n}") }));
    world.enqueue("projects", &message).await;
    message.get(millrace::contract::Field::MessageId).expect("an id").to_owned()
}

/// The messages that a worker says it has applied together.
async fn applied_together(world: &World, admin: &str) -> u64 {
    let url = format!("{admin}/api/health/metrics");
    let answer = world.http().send(hyper::Method::GET, &url, &[], Vec::new()).await.expect("metrics");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line = text.lines().find(|line| line.starts_with("millrace_applied_together_total"));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_have_the_results_of_one_by_one() {
    let world = World::new().await;
    // Room for all of them, and for three alone.
    for (org, plan) in [("many-1", "pro"), ("single-1", "pro"), ("many-2", "free"), ("single-2", "free")] {
        world.cli(&["tenants", "create", org]).await;
        world.execute(&format!("UPDATE app.tenants SET plan = '{plan}' WHERE org_id = '{org}'")).await;
    }
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let (mut worker, admin) = started(&world).await;
    for org in ["single-1", "single-2"] {
        for n in 0..CREATES {
            let id = create(&world, org, n).await;
            world.outcome(org, &id).await;
        }
    }
    assert_eq!(applied_together(&world, &admin).await, 0, "one at a time, nothing goes together");
    assert_eq!(worker.terminate().await, 0);
    for org in ["many-1", "many-2"] {
        for n in 0..CREATES {
            create(&world, org, n).await;
        }
    }
    let admin;
    (worker, admin) = started(&world).await;
    for pair in ["1", "2"] {
        let ids = |org: &str| (0..CREATES).map(|n| id_of(&world, org, n)).collect::<Vec<_>>();
        let (many, single) = (format!("many-{pair}"), format!("single-{pair}"));
        let many = became(&world, &many, &ids(&many)).await;
        let mut single = became(&world, &single, &ids(&single)).await;
        // Which three of ten fit is the order of arrival, in both.
        assert_eq!(many.names.len(), single.names.len());
        single.names.sort();
        assert_eq!(many, single);
    }
    assert!(applied_together(&world, &admin).await >= CREATES as u64 / 2, "they were not taken together");
    world.finish(Left::default()).await;
    drop((others, worker));
}

fn id_of(world: &World, org: &str, n: usize) -> String {
    let caller = Caller::user(org, &format!("u{}", n % 3), "editor");
    let message = world.sealed(&caller, "projects.create", &format!("k{n}"), &json!({ "name": format!("p{n}") }));
    message.get(millrace::contract::Field::MessageId).expect("an id").to_owned()
}

async fn started(world: &World) -> (millrace_tests::Program, String) {
    let mut worker = world.start("millrace-projects");
    let line: Value = serde_json::from_str(&worker.first_line().await).expect("an address");
    let admin = format!("http://{}", line["admin"].as_str().expect("an address"));
    (worker, admin)
}
