//! The operator's side of a tenant's life: each act works at once, is audited under the operator's name, and a mistake
//! changes nothing and says what to do.

use std::collections::BTreeMap;

use millrace_tests::{Caller, Left, World, eventually, run_cli_fed};
use serde_json::{Value, json};

/// More than two pages of a list and two transactions of an import.
const MANY: usize = 1_200;

/// Exit code, standard output and standard error of `millrace tenants …`, fed with an input that is no terminal.
async fn tenants_fed(world: &World, arguments: &[&str], input: &str) -> (i32, String, String) {
    let arguments = [&["tenants"], arguments].concat();
    let output = run_cli_fed(&arguments, &world.environment(), input.as_bytes()).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

async fn tenants(world: &World, arguments: &[&str]) -> String {
    let (code, said, errors) = tenants_fed(world, arguments, "").await;
    assert_eq!(code, 0, "millrace tenants {arguments:?}: {said}{errors}");
    said
}

/// Runs a command that is a mistake; it says why.
async fn refused(world: &World, arguments: &[&str], because: &[&str]) {
    let before = snapshot(world).await;
    let (code, said, errors) = tenants_fed(world, arguments, "").await;
    assert_eq!((code, said.as_str()), (64, ""), "millrace tenants {arguments:?}: {errors}");
    for word in because {
        assert!(errors.contains(word), "millrace tenants {arguments:?} does not say {word:?}: {errors}");
    }
    assert_eq!(snapshot(world).await, before, "millrace tenants {arguments:?} changed something");
}

/// Every tenant as it is stored, and the links to customers.
async fn snapshot(world: &World) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT t::text FROM app.tenants t UNION ALL SELECT l::text FROM engine.provider_links l ORDER BY 1",
    )
    .fetch_all(world.superuser())
    .await
    .expect("the tenants")
}

/// The operator's audit lines of one action, once there are so many.
async fn audited(world: &World, action: &str, wanted: usize) -> Vec<Value> {
    let found = || world.lines().into_iter().filter(|line| line["action"] == action).collect::<Vec<_>>();
    eventually(&format!("{wanted} lines of {action}"), async || (found().len() >= wanted).then_some(())).await;
    let lines = found();
    assert_eq!(lines.len(), wanted, "more lines of {action} than acts");
    for line in &lines {
        assert_eq!((&line["actor_id"], &line["outcome"]), (&json!("operator:tester"), &json!("applied")), "{line}");
        assert_eq!(line["resource_type"], "tenant", "{line}");
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_from_create_to_close_acts_on_commands_and_is_audited() {
    let world = World::new().await;
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let editor = Caller::user("acme", "u1", "editor");
    let command = async |key: &str| world.command(&url, &editor, "projects.create", key, &json!({ "name": "x" })).await;
    let outcome = async |key: &str| world.outcome("acme", &command(key).await).await;

    let early = command("k1").await;
    // Its own next attempt is seconds away; an hour away, only the create can wake it.
    let later = "UPDATE engine.parked SET not_before = now() + interval '1 hour' WHERE reason = 'tenant_unknown'";
    eventually("the command waits", async || {
        let put_off = sqlx::query(later).execute(world.superuser()).await.expect("an update");
        (put_off.rows_affected() == 1).then_some(())
    })
    .await;
    let said = tenants(&world, &["create", "acme", "--name", "Acme Ltd", "--plan", "pro"]).await;
    assert!(said.contains("tenant acme created"), "{said}");
    assert_eq!(world.outcome("acme", &early).await, "applied", "what waited for the tenant");
    let again = tenants(&world, &["create", "acme", "--name", "Other", "--plan", "free", "--json"]).await;
    assert_eq!(parsed(&again), [json!({ "org_id": "acme", "created": false })]);
    let kept = "select count(*) from app.tenants where org_id = 'acme' and name = 'Acme Ltd' and plan = 'pro'";
    assert_eq!(world.count(kept).await, 1, "a second create changed the tenant");

    tenants(&world, &["suspend", "acme"]).await;
    assert_eq!(outcome("k2").await, "rejected:tenant_suspended");
    refused(&world, &["suspend", "acme"], &["suspended already", "millrace tenants resume acme"]).await;
    tenants(&world, &["resume", "acme"]).await;
    assert_eq!(outcome("k3").await, "applied");
    refused(&world, &["resume", "acme"], &["active, not suspended"]).await;
    let closed = tenants(&world, &["close", "acme", "--yes", "--json"]).await;
    assert_eq!(parsed(&closed), [json!({ "org_id": "acme", "from": "active", "state": "closed" })]);
    assert_eq!(outcome("k4").await, "rejected:tenant_closed");

    let target = |line: &Value| (line["org_id"].clone(), line["resource_id"].clone(), line["metadata"].clone());
    for (action, metadata) in [
        ("tenants.create", json!({})),
        ("tenants.suspend", json!({ "from": "active" })),
        ("tenants.resume", json!({ "from": "suspended" })),
        ("tenants.close", json!({ "from": "active" })),
    ] {
        let lines = audited(&world, action, 1).await;
        assert_eq!(target(&lines[0]), (json!("acme"), json!("acme"), metadata), "{action}");
    }
    world.finish(Left::default()).await;
    drop((ingress, others));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_exits_64_says_why_and_changes_nothing() {
    let world = World::new().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let plans = ["\"gold\"", "enterprise", "free", "pro"];
    refused(&world, &["create", "acme", "--plan", "gold"], &plans).await;
    refused(&world, &["list", "--plan", "gold"], &plans).await;
    refused(&world, &["create", "millrace:operator"], &["reserved"]).await;
    refused(&world, &["create", "a tenant"], &["a tenant"]).await;
    refused(&world, &["create", "acme", "--name", "\u{1b}[2J"], &["--name", "control characters"]).await;
    for act in [&["suspend", "nobody"][..], &["resume", "nobody"], &["close", "nobody", "--yes"]] {
        refused(&world, act, &["there is no tenant nobody", "millrace tenants list"]).await;
    }
    refused(&world, &["import", "/nowhere/tenants.jsonl"], &["cannot read /nowhere/tenants.jsonl"]).await;

    tenants(&world, &["create", "acme"]).await;
    refused(&world, &["close", "acme"], &["final", "--yes"]).await;
    tenants(&world, &["suspend", "acme"]).await;
    tenants(&world, &["close", "acme", "--yes"]).await;
    for act in [&["resume", "acme"][..], &["suspend", "acme"], &["close", "acme", "--yes"]] {
        refused(&world, act, &["acme is closed, which is final"]).await;
    }
    let (code, said, _) = tenants_fed(&world, &["resume", "acme", "--json"], "").await;
    assert_eq!((code, &parsed(&said)[0]["exit"]), (64, &json!(64)), "{said}");
    for action in ["tenants.create", "tenants.suspend", "tenants.close"] {
        audited(&world, action, 1).await;
    }
    audited(&world, "tenants.resume", 0).await;
    world.finish(Left::default()).await;
    drop(others);
}

/// A file with every third tenant on the plan pro, and every hundredth linked to a customer.
fn file() -> String {
    let line = |number: usize| {
        let mut line = json!({ "org_id": format!("org_{number:04}"), "name": format!("Tenant {number}") });
        if number.is_multiple_of(3) {
            line["plan"] = json!("pro");
        }
        if number.is_multiple_of(100) {
            line["customer"] = json!({ "id": format!("cus_{number}") });
        }
        format!("{line}\n")
    };
    (0..MANY).map(line).collect()
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"))).collect()
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["org_id"].as_str().expect("an id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_many_is_whole_and_repeatable_and_the_list_pages_over_all() {
    let world = World::new().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let path = world.config_path().with_file_name("tenants.jsonl");
    std::fs::write(&path, file()).expect("a file");
    let path = path.to_str().expect("a path");
    let counts = |created: usize, linked: usize, dry_run: bool| {
        [json!({ "created": created, "present": MANY - created, "linked": linked, "released": 0, "dry_run": dry_run })]
    };

    assert_eq!(parsed(&tenants(&world, &["import", path, "--dry-run", "--json"]).await), counts(MANY, 12, true));
    let dry = tenants(&world, &["import", path, "--dry-run"]).await;
    assert!(dry.contains("nothing was changed; it would be 1200 created, 0 there already, 12 customer(s)"), "{dry}");
    assert!(snapshot(&world).await.is_empty(), "a dry run imported something");
    assert_eq!(parsed(&tenants(&world, &["import", path, "--json"]).await), counts(MANY, 12, false));
    let imported = snapshot(&world).await;
    assert_eq!(imported.len(), MANY + 12);
    assert_eq!(parsed(&tenants(&world, &["import", path, "--json"]).await), counts(0, 0, false));
    let again = tenants(&world, &["import", path]).await;
    assert!(again.contains("0 created, 1200 there already, 0 customer(s) linked"), "{again}");
    assert_eq!(snapshot(&world).await, imported, "a second import changed something");

    let created = audited(&world, "tenants.create", MANY).await;
    let orgs: BTreeMap<_, _> = created.iter().map(|line| (line["org_id"].as_str(), &line["resource_id"])).collect();
    assert!(orgs.len() == MANY && orgs.iter().all(|(org, target)| *org == target.as_str()), "one line a tenant");
    let links = world.lines().iter().filter(|line| line["action"] == "tenants.link").count();
    assert_eq!(links, 12);
    lists(&world).await;
    world.finish(Left::default()).await;
    drop(others);
}

/// What `list` shows of the imported tenants, and that every look is on record.
async fn lists(world: &World) {
    for org in ["org_0003", "org_0700"] {
        tenants(world, &["suspend", org]).await;
    }
    tenants(world, &["close", "org_1199", "--yes"]).await;
    world.execute("UPDATE app.tenants SET name = E'\\x1b[2Jx' WHERE org_id = 'org_0001'").await;
    let text = tenants(world, &["list"]).await;
    assert_eq!(text.lines().count(), 1 + MANY, "a heading and every tenant");
    assert!(!text.contains('\u{1b}'), "a name drives the terminal");
    let all = parsed(&tenants(world, &["list", "--json"]).await);
    let wanted: Vec<String> = (0..MANY).map(|number| format!("org_{number:04}")).collect();
    assert_eq!(ids(&all), wanted, "each once, in the order of their ids");
    let mut row = all[700].clone();
    assert!(row["created_at"].take().as_str().is_some_and(|at| at.ends_with('Z')), "{}", all[700]);
    assert_eq!(
        row,
        json!({ "org_id": "org_0700", "name": "Tenant 700", "plan": "free", "state": "suspended", "access": null,
                "created_at": null })
    );

    let suspended = parsed(&tenants(world, &["list", "--json", "--state", "suspended"]).await);
    assert_eq!(ids(&suspended), ["org_0003", "org_0700"]);
    let closed = parsed(&tenants(world, &["list", "--json", "--state", "closed"]).await);
    assert_eq!(ids(&closed), ["org_1199"]);
    let pro = parsed(&tenants(world, &["list", "--json", "--plan", "pro"]).await);
    assert_eq!(pro.len(), MANY / 3);
    assert!(pro.iter().all(|row| row["plan"] == "pro"));
    let both = parsed(&tenants(world, &["list", "--json", "--plan", "pro", "--state", "suspended"]).await);
    assert_eq!(ids(&both), ["org_0003"]);

    let mut looks: Vec<String> =
        audited(world, "tenants.list", 6).await.iter().map(|line| line["metadata"].to_string()).collect();
    looks.sort();
    assert_eq!(
        looks,
        [
            r#"{"plan":"pro","state":"suspended"}"#,
            r#"{"plan":"pro"}"#,
            r#"{"state":"closed"}"#,
            r#"{"state":"suspended"}"#,
            "{}",
            "{}"
        ]
    );
    assert!(
        world
            .lines()
            .iter()
            .filter(|line| line["action"] == "tenants.list")
            .all(|line| line["org_id"] == "millrace:operator")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_mistakes_imports_nothing_and_standard_input_is_a_file_too() {
    let world = World::new().await;
    let others = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let good = |org: &str| json!({ "org_id": org, "name": "x" }).to_string();
    let wrong = json!({ "org_id": "two", "name": "x", "plan": "gold" }).to_string();
    let file = [good("one"), wrong, good("three"), String::new(), "{\"org_id\":".to_owned(), good("six")].join("\n");
    let path = world.config_path().with_file_name("wrong.jsonl");
    std::fs::write(&path, &file).expect("a file");
    let path = path.to_str().expect("a path");
    refused(&world, &["import", path], &["nothing was imported", "line 2: there is no plan \"gold\"", "line 5: "])
        .await;
    let (code, said, errors) = tenants_fed(&world, &["import", "-"], &file).await;
    assert_eq!((code, said.as_str()), (64, ""), "{errors}");
    let named: Vec<&str> =
        errors.lines().filter_map(|line| line.trim().strip_prefix("line ")?.split(':').next()).collect();
    assert_eq!(named, ["2", "5"], "{errors}");
    let twice = [good("one"), good("one")].join("\n");
    let (code, _, errors) = tenants_fed(&world, &["import", "-"], &twice).await;
    assert!(code == 64 && errors.contains("line 2: \"one\" is in the file twice"), "{code}: {errors}");
    assert!(snapshot(&world).await.is_empty(), "a file with mistakes imported something");

    let (code, said, errors) = tenants_fed(&world, &["import", "-", "--json"], &good("one")).await;
    assert_eq!(code, 0, "{errors}");
    assert_eq!(parsed(&said)[0]["created"], 1);
    assert_eq!(audited(&world, "tenants.create", 1).await[0]["org_id"], "one");
    world.finish(Left::default()).await;
    drop(others);
}
