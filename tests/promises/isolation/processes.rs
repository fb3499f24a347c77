//! Isolation as the processes keep it.

use millrace_tests::{Left, Program, Sample, World, eventually};

use super::{connect, contents, context, run_as, tables};

/// Name and password of the cluster's superuser.
async fn superuser(world: &World) -> (String, String) {
    let url = world.servers().postgres.lock().await.superuser_url("postgres");
    let login = url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).expect("a login").0;
    let (user, password) = login.split_once(':').expect("a password");
    (user.to_owned(), password.to_owned())
}

/// Waits for the end of a process that must not work.
async fn refuses(mut program: Program, role: &str) {
    let code = tokio::time::timeout(std::time::Duration::from_secs(30), program.wait()).await;
    assert_eq!(code.unwrap_or_else(|_| panic!("it goes on as {role}: {}", program.log_text())), 70);
    let said = program.log_text();
    let named = format!("role {role} is superuser, may bypass row-level security, or owns tables");
    assert!(said.contains(&named), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_login_above_row_level_security_ends_and_settles_nothing() {
    let mut world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (ingress, url) = world.start_ingress().await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    let (user, password) = superuser(&world).await;
    for (role, password) in [(user.as_str(), password.as_str()), ("millrace_migrator", "only for tests")] {
        world.set("MILLRACE__DATABASE__LOGINS__APP__USER", role);
        world.set("MILLRACE__DATABASE__LOGINS__APP__PASSWORD", password);
        refuses(world.start("millrace-billing"), role).await;
        assert_eq!(world.count("select count(*) from engine.inbox").await, 0, "it worked as {role}");
        assert_eq!(world.count("select count(*) from app.billing_history").await, 0, "it worked as {role}");
    }
    world.set("MILLRACE__DATABASE__LOGINS__APP__USER", "millrace_app");
    world.set("MILLRACE__DATABASE__LOGINS__APP__PASSWORD", "only for tests");
    let programs = ["millrace-billing", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_lines("applied", 1).await;
    world.finish(Left::default()).await;
    drop((ingress, programs));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_a_login_above_row_level_security_ends_and_publishes_nothing() {
    let mut world = World::new().await;
    // The operator's act waits in the outbox for a relay.
    world.tenant("acme", "cus_1").await;
    let waiting = world.count("select count(*) from engine.outbox").await;
    assert!(waiting > 0);
    let (user, password) = superuser(&world).await;
    for (role, password) in [(user.as_str(), password.as_str()), ("millrace_migrator", "only for tests")] {
        world.set("MILLRACE__DATABASE__LOGINS__RELAY__USER", role);
        world.set("MILLRACE__DATABASE__LOGINS__RELAY__PASSWORD", password);
        refuses(world.start("millrace-relay"), role).await;
        assert_eq!(world.count("select count(*) from engine.outbox").await, waiting, "it worked as {role}");
    }
    world.set("MILLRACE__DATABASE__LOGINS__RELAY__USER", "millrace_relay");
    world.set("MILLRACE__DATABASE__LOGINS__RELAY__PASSWORD", "only for tests");
    let programs = ["millrace-relay", "millrace-audit"].map(|program| world.start(program));
    world.until_count("select count(*) from engine.outbox", 0).await;
    world.finish(Left::default()).await;
    drop(programs);
}

/// An event that claims another tenant wherever its customer could have put free text.
fn claiming(event: &Sample, org: &str) -> Vec<u8> {
    let mut body: serde_json::Value = serde_json::from_slice(&event.body()).expect("an event");
    body["org_id"] = org.into();
    let object = &mut body["data"]["object"];
    object["metadata"] = serde_json::json!({ "org_id": org, "tenant": org });
    object["client_reference_id"] = org.into();
    object["org_id"] = org.into();
    object["customer_name"] = org.into();
    body.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_tenants_customer_never_touch_another_tenant() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    world.tenant("globex", "cus_2").await;
    let (programs, url) = world.start_all().await;
    let second = world.start("millrace-billing");
    world.accept(&url, &world.invoice_event("cus_2")).await;
    world.until_lines("applied", 1).await;
    let all = tables(world.superuser()).await;
    let mut before = Vec::new();
    for table in &all {
        before.push(contents(&world, table, "globex").await);
    }

    let events: Vec<Sample> = (0..40).map(|_| world.invoice_event("cus_1")).collect();
    for (number, event) in events.iter().enumerate() {
        if number % 2 == 0 {
            world.accept(&url, event).await;
        } else {
            let answer = world.post(&url, claiming(event, "globex")).await.expect("an answer");
            assert_eq!(answer.status, 200);
        }
    }
    world.until_lines("applied", 41).await;
    for (table, before) in all.iter().zip(before) {
        assert_eq!(contents(&world, table, "globex").await, before, "{table}");
    }
    assert_eq!(world.count("select count(*) from app.invoices where org_id = 'acme'").await, 40);
    let mut app = connect(&world, "millrace_app").await;
    let invoices = "SELECT * FROM app.invoices";
    assert_eq!(run_as(&mut app, &context(&world, "globex"), invoices).await, Ok(1));
    assert_eq!(run_as(&mut app, &context(&world, "acme"), invoices).await, Ok(40));
    let of = |org: &str| world.lines().iter().filter(|l| l["org_id"] == org && l["outcome"] == "applied").count();
    eventually("the lines of both tenants", async || {
        let by_message = of("acme") >= 40 && of("globex") >= 1;
        by_message.then_some(())
    })
    .await;
    world.finish(Left::default()).await;
    drop((programs, second));
}
