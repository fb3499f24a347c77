//! What the workers' role sees and changes, row by row.

use millrace_tests::{Left, World};

use super::{REFUSED, WRITTEN_ONCE, connect, contents, context, insert, row_of, run, run_as, seed, tables, tag};

/// What is wanted of a statement, where its table is not written once: there a change is refused whoever's rows it names.
fn bounded(table: &str, statement: &str, wanted: Result<u64, String>) -> Result<u64, String> {
    let changes =
        ["UPDATE", "DELETE"].iter().any(|word| statement.starts_with(word)) || statement.ends_with("FOR UPDATE");
    if changes && WRITTEN_ONCE.contains(&table) { Err(REFUSED.to_owned()) } else { wanted }
}

/// Made from the audit log's files; workers look at it and change nothing.
const INDEX: &str = "app.audit_index";

#[tokio::test(flavor = "multi_thread")]
async fn the_index_of_the_audit_log_is_added_to_by_its_indexer_who_sees_none_of_it_and_changed_by_nobody() {
    let world = World::new().await;
    seed(&world).await;
    let (acme, row) = (context(&world, "acme"), row_of(&world, INDEX, "globex").await);
    let own = row_of(&world, INDEX, "acme").await;
    let partition = insert("app.audit_index_other", &row);
    let refused = Err(REFUSED.to_owned());
    let mut app = connect(&world, "millrace_app").await;
    assert_eq!(run_as(&mut app, &acme, "SELECT * FROM app.audit_index").await, Ok(1));
    assert_eq!(run(&mut app, "SELECT * FROM app.audit_index").await, Ok(0));
    let mut attempts = vec![
        ("millrace_app", insert(INDEX, &own)),
        ("millrace_indexer", "SELECT * FROM app.audit_index".to_owned()),
        ("millrace_indexer", "SELECT * FROM app.projects".to_owned()),
        ("millrace_indexer", "SELECT * FROM engine.outbox".to_owned()),
        ("millrace_indexer", "SELECT app.cur_org()".to_owned()),
        (
            "millrace_indexer",
            "INSERT INTO app.projects (org_id, id, name) VALUES ('acme', gen_random_uuid(), 'x')".to_owned(),
        ),
        ("millrace_reader", "SELECT * FROM engine.audit_index_position".to_owned()),
    ];
    for role in ["millrace_app", "millrace_indexer", "millrace_reader"] {
        for statement in [
            "UPDATE app.audit_index SET actor = 'x'",
            "DELETE FROM app.audit_index",
            "TRUNCATE app.audit_index",
            "SELECT * FROM app.audit_index_other",
            &partition,
        ] {
            attempts.push((role, statement.to_owned()));
        }
    }
    for role in ["millrace_app", "millrace_reader", "millrace_relay"] {
        for call in ["engine.reset_audit_index()", "engine.tend_audit_index(1, '{}')"] {
            attempts.push((role, format!("SELECT {call}")));
        }
    }
    for (role, statement) in attempts {
        let mut connection = connect(&world, role).await;
        assert_eq!(run_as(&mut connection, &acme, &statement).await, refused, "{role}: {statement}");
    }
    sqlx::raw_sql("DELETE FROM app.audit_index").execute(world.superuser()).await.expect("a change");
    let mut indexer = connect(&world, "millrace_indexer").await;
    assert_eq!(run(&mut indexer, &insert(INDEX, &row)).await, Ok(1), "the control");
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tenant_in_scope_every_tenant_table_is_empty_and_takes_no_row() {
    let world = World::new().await;
    seed(&world).await;
    let mut app = connect(&world, "millrace_app").await;
    for table in tables(world.superuser()).await.into_iter().filter(|table| table != INDEX) {
        let row = row_of(&world, &table, "acme").await;
        let before = contents(&world, &table, "acme").await;
        for statement in [
            format!("SELECT * FROM {table}"),
            format!("UPDATE {table} SET org_id = org_id"),
            format!("DELETE FROM {table}"),
        ] {
            let wanted = bounded(&table, &statement, Ok(0));
            assert_eq!(run(&mut app, &statement).await, wanted, "{statement}");
            assert_eq!(run_as(&mut app, "", &statement).await, wanted, "{statement}, after a scope was left");
        }
        assert_eq!(run(&mut app, &insert(&table, &row)).await, Err(REFUSED.to_owned()), "{table}");
        assert_eq!(contents(&world, &table, "acme").await, before, "{table}");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_tenant_context_ends_every_statement() {
    let world = World::new().await;
    seed(&world).await;
    let mut app = connect(&world, "millrace_app").await;
    let acme = tag(&world, "acme");
    let forged = [
        ("the tag of another tenant", format!("{acme}.globex")),
        ("no tag", ".globex".to_owned()),
        ("the id alone", "globex".to_owned()),
        ("zeros", format!("{}.globex", "0".repeat(64))),
        ("no hex", format!("{}.globex", "z".repeat(64))),
        ("a short tag", format!("{}.globex", &acme[..62])),
        ("another tenant behind its own", format!("{acme}.acme.globex")),
        ("no id", format!("{acme}.")),
    ];
    for table in tables(world.superuser()).await {
        let read = format!("SELECT * FROM {table}");
        for (what, context) in &forged {
            let code = run_as(&mut app, context, &read).await.expect_err(what);
            // A tag that is no hex fails while it is decoded.
            assert!(code == REFUSED || code == "22023", "{table}, {what}: {code}");
            let row = row_of(&world, &table, "globex").await;
            run_as(&mut app, context, &insert(&table, &row)).await.expect_err(what);
        }
        assert_eq!(run_as(&mut app, &context(&world, "globex"), &read).await, Ok(1), "{table}: the control");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_in_scope_sees_its_own_rows_and_changes_no_others() {
    let world = World::new().await;
    seed(&world).await;
    let mut app = connect(&world, "millrace_app").await;
    let acme = context(&world, "acme");
    for table in tables(world.superuser()).await.into_iter().filter(|table| table != INDEX) {
        let before = contents(&world, &table, "globex").await;
        let theirs = row_of(&world, &table, "globex").await;
        for (statement, wanted) in [
            (format!("SELECT * FROM {table}"), Ok(1)),
            (format!("SELECT * FROM {table} WHERE org_id = 'acme'"), Ok(1)),
            (format!("SELECT * FROM {table} WHERE org_id = 'acme' FOR UPDATE"), Ok(1)),
            (format!("SELECT * FROM {table} WHERE org_id = 'globex' FOR UPDATE"), Ok(0)),
            (format!("UPDATE {table} SET org_id = org_id WHERE org_id = 'globex'"), Ok(0)),
            (format!("UPDATE {table} SET org_id = 'acme' WHERE org_id = 'globex'"), Ok(0)),
            (format!("UPDATE {table} SET org_id = 'globex'"), Err(REFUSED.to_owned())),
            (format!("DELETE FROM {table} WHERE org_id = 'globex'"), Ok(0)),
            (insert(&table, &theirs), Err(REFUSED.to_owned())),
            (format!("{} ON CONFLICT DO NOTHING", insert(&table, &theirs)), Err(REFUSED.to_owned())),
            (format!("UPDATE {table} SET org_id = org_id"), Ok(1)),
        ] {
            let wanted = bounded(&table, &statement, wanted);
            assert_eq!(run_as(&mut app, &acme, &statement).await, wanted, "{statement}");
        }
        assert_eq!(run(&mut app, &format!("TRUNCATE {table} CASCADE")).await, Err(REFUSED.to_owned()), "{table}");
        assert_eq!(contents(&world, &table, "globex").await, before, "{table}");
        assert_eq!(run(&mut app, &format!("SELECT * FROM {table}")).await, Ok(0), "the context outlived its scope");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_refused_what_is_not_its_part() {
    let world = World::new().await;
    seed(&world).await;
    let mut attempts = vec![
        ("millrace_app", "SELECT * FROM priv.k".to_owned()),
        ("millrace_app", "INSERT INTO priv.k VALUES (sha256('')||sha256(''), sha256('')||sha256(''))".to_owned()),
        ("millrace_app", "CREATE TABLE app.own (x int)".to_owned()),
        ("millrace_app", "ALTER TABLE app.invoices DISABLE ROW LEVEL SECURITY".to_owned()),
        ("millrace_app", "DROP POLICY tenant ON app.invoices".to_owned()),
        ("millrace_app", "SET ROLE millrace_owner".to_owned()),
        ("millrace_app", "SET ROLE millrace_maintenance".to_owned()),
        ("millrace_app", "SELECT millrace.protect('invoices')".to_owned()),
        ("millrace_app", "SELECT message_id FROM engine.inbox".to_owned()),
        ("millrace_app", "SELECT engine.claim('{}', '{}', '{}', '{}')".to_owned()),
        ("millrace_app", "SELECT engine.turn_inbox()".to_owned()),
        ("millrace_app", "SELECT engine.clear_spare_inbox()".to_owned()),
        ("millrace_app", "SELECT body FROM engine.dead_letters".to_owned()),
        ("millrace_app", "TRUNCATE engine.parked".to_owned()),
        ("millrace_app", "SELECT * FROM engine.provider_links".to_owned()),
        ("millrace_app", "INSERT INTO engine.provider_links VALUES ('stripe', '', false, 'cus_9', 'acme')".to_owned()),
        ("millrace_relay", "UPDATE engine.parked SET body = ''".to_owned()),
        ("millrace_relay", "INSERT INTO engine.outbox VALUES (gen_random_uuid(), '', '', '{}', '')".to_owned()),
        ("millrace_relay", "UPDATE engine.outbox SET body = ''".to_owned()),
        ("millrace_relay", "SELECT app.cur_org()".to_owned()),
        ("millrace_relay", "SELECT engine.resolve_link('stripe', '', false, 'cus_1')".to_owned()),
        ("millrace_reader", "SELECT * FROM engine.outbox".to_owned()),
        ("millrace_reader", "SELECT * FROM engine.parked".to_owned()),
        ("millrace_reader", "SELECT * FROM engine.provider_links".to_owned()),
    ];
    for statement in ["SELECT * FROM", "UPDATE", "DELETE FROM"] {
        let changes = if statement == "UPDATE" { " SET created_at = now()" } else { "" };
        attempts.push(("millrace_app", format!("{statement} engine.outbox{changes}")));
    }
    for statement in ["DELETE FROM engine.dead_letters", "UPDATE engine.dead_letters SET redrives = 1"] {
        attempts.extend(["millrace_app", "millrace_reader", "millrace_relay"].map(|role| (role, statement.to_owned())));
    }
    for statement in
        ["DELETE FROM engine.inbox_a", "UPDATE engine.inbox_a SET org_id = ''", "SELECT * FROM engine.inbox_a"]
    {
        attempts.extend(["millrace_app", "millrace_reader", "millrace_relay"].map(|role| (role, statement.to_owned())));
    }
    attempts.extend(["inbox", "dead_letters"].map(|t| ("millrace_relay", format!("SELECT * FROM engine.{t}"))));
    for table in tables(world.superuser()).await {
        attempts.push(("millrace_relay", format!("SELECT * FROM {table}")));
        let row = row_of(&world, &table, "acme").await;
        let delete = format!("DELETE FROM {table}");
        let update = format!("UPDATE {table} SET org_id = org_id");
        attempts.extend([delete, update, insert(&table, &row)].map(|statement| ("millrace_reader", statement)));
    }
    let acme = context(&world, "acme");
    for role in ["millrace_app", "millrace_reader", "millrace_relay"] {
        let mut connection = connect(&world, role).await;
        for (_, statement) in attempts.iter().filter(|(who, _)| *who == role) {
            let done = run_as(&mut connection, &acme, statement).await;
            assert_eq!(done, Err(REFUSED.to_owned()), "{role}: {statement}");
        }
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_one_tenant_and_only_reads() {
    let world = World::new().await;
    seed(&world).await;
    let mut reader = connect(&world, "millrace_reader").await;
    for table in tables(world.superuser()).await {
        let read = format!("SELECT * FROM {table}");
        assert_eq!(run(&mut reader, &read).await, Ok(0), "{table}");
        assert_eq!(run_as(&mut reader, &context(&world, "globex"), &read).await, Ok(1), "{table}");
        let theirs = format!("{read} WHERE org_id = 'acme'");
        assert_eq!(run_as(&mut reader, &context(&world, "globex"), &theirs).await, Ok(0), "{table}");
    }
    world.finish(Left::default()).await;
}
