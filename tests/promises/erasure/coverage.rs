//! Every column of every table says what it holds of people; one that does not is named.

use millrace::config::Process;
use millrace_cli::columns;
use millrace_tests::{Left, World, run_cli};

async fn faults(world: &World) -> Vec<(String, &'static str)> {
    let columns = columns(&world.config(Process::Prover)).await.expect("the catalogue");
    columns.into_iter().filter_map(|column| Some((column.place, column.fault?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_neither_erasure_nor_export_knows_is_named() {
    let world = World::new().await;
    assert_eq!(faults(&world).await, []);
    let all = columns(&world.config(Process::Prover)).await.expect("the catalogue");
    assert!(all.len() > 100, "the catalogue was not read");
    world.cli(&["coverage"]).await;
    for (statement, place) in [
        ("ALTER TABLE app.projects ADD COLUMN owner_mail text", "app.projects.owner_mail"),
        ("ALTER TABLE engine.parked ADD COLUMN note text", "engine.parked.note"),
        (
            "ALTER TABLE app.settings ADD COLUMN changed_by text NOT NULL DEFAULT '';
             COMMENT ON COLUMN app.settings.changed_by IS 'pii: person; erase: column'",
            "app.settings.changed_by",
        ),
        (
            "ALTER TABLE app.access ADD COLUMN phone text; COMMENT ON COLUMN app.access.phone IS 'pii: about; erase: row'",
            "app.access.phone",
        ),
        (
            "ALTER TABLE app.tenants ADD COLUMN note text; COMMENT ON COLUMN app.tenants.note IS 'pii: content; erase: kept'",
            "app.tenants.note",
        ),
        ("CREATE TABLE app.forgotten (org_id text COLLATE \"C\" PRIMARY KEY)", "app.forgotten.org_id"),
    ] {
        world.execute(statement).await;
        let found = faults(&world).await;
        assert!(found.iter().any(|(found, _)| found == place), "{place} is not among {found:?}");
    }
    assert_eq!(faults(&world).await.len(), 7, "and workers may not delete rows of the forgotten table");
    let output = run_cli(&["coverage"], &world.environment()).await;
    assert_eq!(output.status.code(), Some(70));
    assert!(String::from_utf8_lossy(&output.stdout).contains("red app.projects.owner_mail"));
    world.finish(Left::default()).await;
}
