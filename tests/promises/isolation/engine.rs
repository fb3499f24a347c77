//! Tables of the engine that are written for many tenants: nobody reaches them but through functions that ask for each
//! tenant's sealed context. SQL that was injected into a handler can leave the scope, and gains nothing by it.

use millrace_tests::{Left, World};

use super::{REFUSED, connect, context, run, run_as, tag};

const OPERATOR: &str = "millrace:operator";
/// Deletes what is too old.
const PRUNE: &str = "SELECT engine.prune_operations(1000)";

/// Keeps one message for later.
fn keep(subject: &str) -> String {
    format!(
        "SELECT engine.keep_due('{{billing.review_access}}', '{{{subject}}}', '{{{}}}', '{{1}}', '{{\"\\\\x7b7d\"}}', '{{m}}',
           ARRAY[now()])",
        uuid::Uuid::now_v7()
    )
}

/// Writes what became of one command.
fn record(contexts: &[&str], outcome: &str, code: &str) -> String {
    let many = |text: &str| format!("ARRAY[{}]", vec![format!("'{text}'"); contexts.len()].join(", "));
    let contexts: Vec<String> = contexts.iter().map(|context| format!("'{context}'")).collect();
    format!(
        "SELECT engine.record_operations(ARRAY[{}], {}, {}, {}, {}, {}, array_fill(NULL::text, ARRAY[{n}]),
           array_fill(NULL::text, ARRAY[{n}]), now())",
        contexts.join(", "),
        many("ingress"),
        many("m_1"),
        many("projects.create"),
        many(outcome),
        many(code),
        n = contexts.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_touches_what_is_due_or_done_but_through_its_functions() {
    let world = World::new().await;
    let (acme, operator) = (context(&world, "acme"), context(&world, OPERATOR));
    for role in ["millrace_app", "millrace_relay", "millrace_indexer"] {
        let mut connection = connect(&world, role).await;
        for table in ["engine.due", "engine.operations"] {
            for statement in [
                format!("SELECT 1 FROM {table}"),
                format!("INSERT INTO {table} (org_id) VALUES ('globex')"),
                format!("UPDATE {table} SET org_id = 'acme'"),
                format!("DELETE FROM {table}"),
            ] {
                for context in ["", &acme, &operator] {
                    let done = run_as(&mut connection, context, &statement).await;
                    assert_eq!(done, Err(REFUSED.to_owned()), "{role} {context}: {statement}");
                }
            }
        }
    }
    for role in ["millrace_relay", "millrace_reader", "millrace_indexer"] {
        let mut connection = connect(&world, role).await;
        let record = record(&[&acme], "applied", "x");
        for statement in [keep("a"), record, "SELECT engine.take_due('{}', now(), 1)".to_owned()] {
            assert_eq!(run_as(&mut connection, &operator, &statement).await, Err(REFUSED.to_owned()), "{statement}");
        }
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_later_is_of_the_tenant_in_scope_and_taken_for_the_operator_alone() {
    let world = World::new().await;
    let mut app = connect(&world, "millrace_app").await;
    let (acme, globex) = (context(&world, "acme"), context(&world, "globex"));
    let forged = [
        format!("{}.{OPERATOR}", tag(&world, "acme")),
        format!("{}.{OPERATOR}", "0".repeat(64)),
        format!("{}.globex", tag(&world, "acme")),
    ];
    assert_eq!(run_as(&mut app, "", &keep("a")).await, Err(REFUSED.to_owned()), "without a tenant");
    assert_eq!(run_as(&mut app, &forged[2], &keep("a")).await, Err(REFUSED.to_owned()), "for another tenant");
    run_as(&mut app, &acme, &keep("a")).await.expect("the control");
    run_as(&mut app, &globex, &keep("a")).await.expect("the control");
    run_as(&mut app, &acme, &keep("a")).await.expect("a later word");
    let kept = "select count(*) from engine.due where subject = 'a' and org_id in ('acme', 'globex')";
    assert_eq!(world.count(kept).await, 2);
    let take = "SELECT 1 FROM engine.take_due('{billing.review_access}', now(), 10)";
    let settle = "SELECT engine.settle_due('{globex}', '{billing.review_access}', '{a}', '{t}')";
    for statement in [take, settle] {
        for context in ["", &acme, &globex].into_iter().chain(forged.iter().map(String::as_str)) {
            let done = run_as(&mut app, context, statement).await;
            assert_eq!(done, Err(REFUSED.to_owned()), "{context}: {statement}");
        }
    }
    assert_eq!(world.count(kept).await, 2);
    let operator = context(&world, OPERATOR);
    assert_eq!(run_as(&mut app, &operator, take).await, Ok(2), "the control");
    run_as(&mut app, &operator, settle).await.expect("the control");
    assert_eq!(world.count(kept).await, 1);
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_written_under_its_tenants_context_and_is_what_it_became_last() {
    let world = World::new().await;
    let mut app = connect(&world, "millrace_app").await;
    let (acme, globex) = (context(&world, "acme"), context(&world, "globex"));
    let forged = format!("{}.globex", tag(&world, "acme"));
    for contexts in [[acme.as_str(), ""], [acme.as_str(), &forged]] {
        assert_eq!(run(&mut app, &record(&contexts, "applied", "x")).await, Err(REFUSED.to_owned()), "{contexts:?}");
    }
    assert_eq!(world.count("select count(*) from engine.operations").await, 0);
    let is = |outcome: &str, code: &str| {
        format!("select count(*) from engine.operations where outcome = '{outcome}' and code = '{code}'")
    };
    // Two tenants at once, and a command twice in one batch.
    run(&mut app, &record(&[&globex, &acme, &acme], "dead", "first")).await.expect("the control");
    assert_eq!(world.count(&is("dead", "first")).await, 2);
    run(&mut app, &record(&[&acme], "dead", "second")).await.expect("another death");
    assert_eq!((world.count(&is("dead", "first")).await, world.count(&is("dead", "second")).await), (1, 1));
    run(&mut app, &record(&[&acme], "rejected", "third")).await.expect("an outcome");
    run(&mut app, &record(&[&acme], "dead", "fourth")).await.expect("a copy that somebody gave up on");
    assert_eq!(world.count(&is("rejected", "third")).await, 1);
    // Whoever calls it in a scope is in that scope still.
    let scope = format!("BEGIN; SET LOCAL app.ctx = '{acme}'");
    run(&mut app, &scope).await.expect("a scope");
    run(&mut app, &record(&[&globex], "dead", "fifth")).await.expect("an outcome");
    let same: bool = sqlx::query_scalar("SELECT app.cur_org() = 'acme'").fetch_one(&mut app).await.expect("a scope");
    assert!(same, "the scope is another one");
    run(&mut app, "COMMIT").await.expect("a commit");
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_deleted_after_74_days_and_not_before() {
    let world = World::new().await;
    world
        .execute(
            "INSERT INTO engine.operations (org_id, publisher, message_id, command, outcome, resource_type, settled_at)
             SELECT 'acme', 'ingress', 'm_' || days || kind, 'projects.create', 'applied', kind, now() - days * interval '1 day'
             FROM unnest('{0,73,75,400}'::int[]) AS days, unnest('{project,erasure}'::text[]) AS kind",
        )
        .await;
    for role in ["millrace_app", "millrace_reader", "millrace_indexer"] {
        assert_eq!(run(&mut connect(&world, role).await, PRUNE).await, Err(REFUSED.to_owned()), "{role}");
    }
    let mut relay = connect(&world, "millrace_relay").await;
    let once = "SELECT engine.prune_operations(1)";
    let mut prune = async |statement: &'static str| -> i64 {
        sqlx::query_scalar(statement).fetch_one(&mut relay).await.expect("a number")
    };
    assert_eq!((prune(once).await, prune(PRUNE).await, prune(PRUNE).await), (1, 1, 0));
    let left = "select count(*) from engine.operations where settled_at > now() - interval '74 days' or resource_type = 'erasure'";
    assert_eq!((world.count(left).await, world.count("select count(*) from engine.operations").await), (6, 6));
    world.finish(Left::default()).await;
}
