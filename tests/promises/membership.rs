//! What a principal may do is decided when its command runs, with the role it has then; and a sealed message is what its
//! publisher sealed, or dead.

use millrace::contract::Field;
use millrace_tests::{Caller, Left, World, eventually, sign};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_demotion_or_a_removal_acts_on_commands_that_wait_in_the_queue() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, url) = world.start_all().await;
    let members = world.start("millrace-members");
    let (admin, bob) = (Caller::user("acme", "root", "admin"), Caller::user("acme", "bob", "editor"));
    let body = json!({ "name": "x" });

    // No worker for projects runs yet: bob's command is accepted and waits.
    let waiting = world.command(&url, &bob, "projects.create", "k1", &body).await;
    let demotion = json!({ "user_id": "bob", "role": "viewer" });
    let demoted = world.command(&url, &admin, "members.set_role", "m1", &demotion).await;
    assert_eq!(world.outcome("acme", &demoted).await, "applied");
    let projects = world.start("millrace-projects");
    assert!(world.outcome("acme", &waiting).await.starts_with("denied:"));

    let promotion = json!({ "user_id": "bob", "role": "admin" });
    let promoted = world.command(&url, &admin, "members.set_role", "m2", &promotion).await;
    assert_eq!(world.outcome("acme", &promoted).await, "applied");
    eventually("a token of the next second", async || {
        let id = world.command(&url, &bob, "projects.create", &uuid::Uuid::now_v7().to_string(), &body).await;
        (world.outcome("acme", &id).await == "applied").then_some(())
    })
    .await;

    // Removed: nothing that bob's token says counts any more, and nobody brings him back by a role.
    let removed = world.command(&url, &admin, "members.remove", "m3", &json!({ "user_id": "bob" })).await;
    assert_eq!(world.outcome("acme", &removed).await, "applied");
    let again = world.command(&url, &bob, "projects.create", "k9", &body).await;
    assert_eq!(world.outcome("acme", &again).await, "denied:member_removed");
    let back = world.command(&url, &admin, "members.set_role", "m4", &demotion).await;
    assert_eq!(world.outcome("acme", &back).await, "rejected:member_removed");
    // Whoever knows the id could find the person in a plain hash.
    let plain = "select count(*) from app.removed_members where subject in
        (sha256('bob'), sha256('acmebob'), sha256('acme:bob'), sha256('acme'::bytea || '\\x00' || 'bob'))";
    assert_eq!(world.count("select count(*) from app.removed_members").await, 1);
    assert_eq!(world.count(plain).await, 0, "the tombstone names the person");
    let bob = world.actor("acme", "bob").await;
    let by_bob = |line: &&Value| line["outcome"] == "denied" && line["actor_id"] == bob.as_str();
    eventually("bob's denials are audited", async || (world.lines().iter().filter(by_bob).count() >= 2).then_some(()))
        .await;
    world.finish(Left::default()).await;
    drop((programs, members, projects));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_message_is_dead_under_the_operator_and_the_victims_key_is_still_usable() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (programs, _) = world.start_all().await;
    let projects = world.start("millrace-projects");
    let victim = Caller::user("acme", "alice", "editor");
    let honest = world.sealed(&victim, "projects.create", "k1", &json!({ "name": "x" }));
    let mut changed = Vec::new();
    for (field, value) in [
        (Field::OrgId, "globex"),
        (Field::Role, "admin"),
        (Field::Type, "projects.delete"),
        (Field::KeyId, "worker-1"),
        (Field::ActorId, "mallory"),
        (Field::DedupeKey, "k2"),
    ] {
        let mut message = honest.clone();
        message.set(field, value).expect("a short value");
        changed.push(message);
    }
    let mut other_body = honest.clone();
    other_body.body = br#"{"name":"y"}"#.to_vec();
    changed.push(other_body);
    for message in &changed {
        world.enqueue("projects", message).await;
    }
    let dead = changed.len() as i64;
    world.until_count("select count(*) from engine.dead_letters where reason = 'forged'", dead).await;
    world.until_lines("dead", changed.len()).await;
    let lines = world.lines();
    let dead_lines = lines.iter().filter(|line| line["outcome"] == "dead");
    assert!(dead_lines.clone().all(|line| line["org_id"] == "millrace:operator"), "{lines:?}");
    assert!(dead_lines.clone().any(|line| line["metadata"]["claimed_org_id"] == "globex"));
    assert_eq!(world.count("select count(*) from engine.inbox_a").await, 0, "what is forged claims nothing");

    world.enqueue("projects", &honest).await;
    assert_eq!(world.outcome("acme", honest.get(Field::MessageId).expect("an id")).await, "applied");
    assert_eq!(world.count("select count(*) from app.projects where org_id = 'acme'").await, 1);
    assert_eq!(world.count("select count(*) from app.projects where org_id = 'globex'").await, 0);
    world.finish(Left { dead, parked: 0 }).await;
    drop((programs, projects));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_dead_and_is_sent_again_is_what_it_became_last() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, _) = world.start_all().await;
    let projects = world.start("millrace-projects");
    let command =
        world.sealed(&Caller::user("acme", "alice", "editor"), "projects.create", "k", &json!({ "name": "x" }));
    let id = command.get(Field::MessageId).expect("an id").to_owned();
    world.enqueue_to("millrace.dead", "", &command).await;
    eventually("the broker's dead letter is recorded", async || {
        (world.outcome("acme", &id).await == "dead:broker_gave_up").then_some(())
    })
    .await;
    world.enqueue("projects", &command).await;
    eventually("it is applied after all", async || (world.outcome("acme", &id).await == "applied").then_some(())).await;
    // A copy that the broker gives up on after that overturns nothing, whichever kind of worker comes by.
    let others = ["members", "settings", "tenants"].map(|kind| world.start(&format!("millrace-{kind}")));
    for _ in 0..20 {
        world.enqueue_to("millrace.dead", "", &command).await;
    }
    eventually("the dead-letter queue is empty", async || (world.depth("dead").await == 0).then_some(())).await;
    assert_eq!(world.outcome("acme", &id).await, "applied");
    world.until_lines("applied", 1).await;
    assert_eq!(world.lines_with("dead"), 1, "a settled command has a second line");
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop((programs, projects, others));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_of_a_tenants_administrator_leads_to_another_tenants_events() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    world.cli(&["tenants", "create", "mallory"]).await;
    let (programs, url) = world.start_all_workers().await;
    let admin = Caller::user("mallory", "m", "admin");
    let link = json!({ "provider": "stripe", "customer": "cus_1" });
    let refused =
        world.post_command(&url, &admin.token(), "billing.link_customer", "k1", &link).await.expect("an answer");
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"));
    let straight = world.sealed(&admin, "billing.link_customer", "k2", &link);
    world.enqueue("billing", &straight).await;
    let outcome = world.outcome("mallory", straight.get(Field::MessageId).expect("an id")).await;
    assert_eq!(outcome, "denied:services_only");
    // Nor does a machine of the tenant's own, whose issuer is not trusted with what is for services alone.
    let mut machine = Caller::service("mallory", "cron", "admin").claims();
    machine.insert("iss".to_owned(), json!("https://machines.test"));
    let machine = sign(&json!({ "alg": "HS256" }), &Value::Object(machine));
    for command in ["billing.link_customer", "tenants.resume", "tenants.close"] {
        let body = if command == "billing.link_customer" { link.clone() } else { json!({}) };
        let refused = world.post_command(&url, &machine, command, "k0", &body).await.expect("an answer");
        assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{command}");
    }
    let own = world.post_command(&url, &machine, "projects.create", "k0", &json!({ "name": "x" })).await;
    assert_eq!(own.expect("an answer").status, 202);
    // Not even a service takes a customer away from the tenant that has it.
    let service = Caller::service("mallory", "signup", "admin");
    let taken = world.command(&url, &service, "billing.link_customer", "k3", &link).await;
    assert_eq!(world.outcome("mallory", &taken).await, "rejected:customer_linked_elsewhere");
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_count("select count(*) from app.invoices where org_id = 'acme'", 1).await;
    assert_eq!(world.count("select count(*) from app.invoices where org_id = 'mallory'").await, 0);
    // Its own, unlinked one it gets, and what waited for that is applied.
    world.accept(&url, &world.invoice_event("cus_2")).await;
    world.until_count("select count(*) from engine.parked where reason = 'tenant_unresolved'", 1).await;
    let own = json!({ "provider": "stripe", "customer": "cus_2" });
    let linked = world.command(&url, &service, "billing.link_customer", "k4", &own).await;
    assert_eq!(world.outcome("mallory", &linked).await, "applied");
    world.until_count("select count(*) from app.invoices where org_id = 'mallory'", 1).await;
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_is_counted_once_however_many_set_its_role_or_remove_it_at_once() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, url) = world.start_all().await;
    let workers: Vec<_> = (0..3).map(|_| world.start("millrace-members")).collect();
    let admin = Caller::user("acme", "root", "admin");
    let mut sent = Vec::new();
    for n in 0..64 {
        let role = ["viewer", "editor", "admin"][n % 3];
        let body = json!({ "user_id": "bob", "role": role });
        sent.push(world.command(&url, &admin, "members.set_role", &format!("s{n}"), &body).await);
        if n == 40 {
            let body = json!({ "user_id": "bob" });
            sent.push(world.command(&url, &admin, "members.remove", "r", &body).await);
        }
    }
    for id in &sent {
        let outcome = world.outcome("acme", id).await;
        assert!(outcome == "applied" || outcome == "rejected:member_removed", "{outcome}");
    }
    assert_eq!(world.count("select count(*) from app.members").await, 0, "removed, and still a member");
    assert_eq!(world.count("select coalesce(sum(used), 0)::bigint from app.usage_counters").await, 0);
    world.finish(Left::default()).await;
    drop((programs, workers));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_over_two_publishers_is_one_effect() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let (programs, url) = world.start_all().await;
    let projects = world.start("millrace-projects");
    let crm = Caller::service("acme", "crm", "editor");
    let body = json!({ "name": "x" });
    let over_amqp = world.sealed_by("ledger", &crm, "projects.create", "k", &body);
    world.enqueue("projects", &over_amqp).await;
    let id = over_amqp.get(Field::MessageId).expect("an id").to_owned();
    assert_eq!(world.outcome("acme", &id).await, "applied");
    assert_eq!(world.command(&url, &crm, "projects.create", "k", &body).await, id);
    let other = world.command(&url, &crm, "projects.create", "k2", &body).await;
    assert_eq!(world.outcome("acme", &other).await, "applied");
    assert_eq!(world.count("select count(*) from app.projects").await, 2, "one for each key");
    assert_eq!(world.count("select count(*) from engine.operations where outcome = 'applied'").await, 2);
    world.until_lines("applied", 2).await;
    world.finish(Left::default()).await;
    drop((programs, projects));
}
