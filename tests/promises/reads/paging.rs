//! Pages.

use std::collections::BTreeSet;

use millrace_tests::{Left, World};
use sqlx::Row;

use super::{Asker, reads, sql};

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_together_show_each_row_once_while_others_are_added() {
    let world = World::new().await;
    // Many rows of one moment, so that the order within it matters.
    sql(
        &world,
        "INSERT INTO app.tenants (org_id, name) VALUES ('acme', 'Acme'), ('globex', 'Globex');
         INSERT INTO app.projects (org_id, id, name, created_at)
           SELECT org_id, gen_random_uuid(), 'p' || n, timestamptz '2026-01-01Z' + (n / 40) * interval '1 microsecond'
           FROM app.tenants, generate_series(1, 250) n;
         INSERT INTO app.members (org_id, user_id, role, created_at)
           SELECT org_id, 'ü' || n, 'viewer', timestamptz '2026-01-01Z' + (n / 40) * interval '1 microsecond'
           FROM app.tenants, generate_series(1, 250) n;",
    )
    .await;
    let (reads, acme) = (reads(&world), Asker::admin("acme"));
    for (route, key, table) in [("projects", "id", "app.projects"), ("members", "user_id", "app.members")] {
        let order = format!("SELECT {key}::text FROM {table} WHERE org_id = 'acme' ORDER BY created_at DESC, {key}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(order)).fetch_all(world.superuser()).await.expect("rows");
        let wanted: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let (mut seen, mut query, mut pages) = (Vec::new(), "limit=37".to_owned(), 0);
        loop {
            let page = match route {
                "projects" => reads.projects(acme.reader(), Some(&query)).await,
                _ => reads.members(acme.reader(), Some(&query)).await,
            };
            let page = page.expect("a page");
            let items = page["items"].as_array().expect("items");
            seen.extend(items.iter().map(|item| item[key].as_str().expect("an id").to_owned()));
            pages += 1;
            sql(&world, "INSERT INTO app.projects (org_id, id, name) VALUES ('acme', gen_random_uuid(), 'late')").await;
            let late = format!(
                "INSERT INTO app.members (org_id, user_id, role) VALUES ('acme', 'late{route}{pages}', 'viewer')"
            );
            if route == "members" {
                sql(&world, &late).await;
            }
            let Some(next) = page["next"].as_str() else { break };
            query = format!("limit=37&after={next}");
        }
        assert_eq!(pages, 7, "{route}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 250, "{route}: repeats");
        assert_eq!(seen, wanted, "{route}");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_means_nothing_is_refused() {
    let world = World::new().await;
    sql(&world, "INSERT INTO app.tenants (org_id, name) VALUES ('acme', 'Acme')").await;
    let (reads, acme) = (reads(&world), Asker::admin("acme"));
    // The cursor of a member is none of a project: "u" is no id of one.
    for (query, code) in [
        ("limit=0", "invalid_limit"),
        ("after=nonsense", "invalid_cursor"),
        ("after=AAAAAAAAAAF1", "invalid_cursor"),
        ("sort=name", "invalid_query"),
    ] {
        let fault = reads.projects(acme.reader(), Some(query)).await.expect_err(query);
        assert_eq!((fault.code(), fault.status().as_u16()), (code, 422), "{query}");
    }
    reads.members(acme.reader(), Some("after=AAAAAAAAAAF1")).await.expect("the control: a cursor of a member");
    let one = Some("limit=1");
    let refused = [
        reads.settings(acme.reader(), one).await,
        reads.billing(acme.reader(), one).await,
        reads.limits(acme.reader(), one).await,
    ];
    for answer in refused {
        assert_eq!(answer.expect_err("no parameters").code(), "invalid_query");
    }
    world.finish(Left::default()).await;
}
