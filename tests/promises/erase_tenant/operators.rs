//! A closed tenant is erased for its operator, and stays erased in a database that is restored.

use millrace_tests::{Left, World, eventually, run_cli};
use sha2::{Digest, Sha256};

use super::{MARKER, lines_of, rows, seed};
use crate::erasure::tables_with;

/// What an operator is told instead.
async fn refused(world: &World, arguments: &[&str], words: &str) {
    let output = run_cli(arguments, &world.environment()).await;
    assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{arguments:?}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_erases_a_closed_tenant_and_a_restored_one_again() {
    let mut world = World::new().await;
    world.set("MILLRACE__COMPLIANCE__ERASURE_COOLING_OFF_S", "0");
    for org in ["acme", "globex"] {
        world.cli(&["tenants", "create", org]).await;
    }
    let (mut programs, _) = world.start_all().await;
    seed(&world, 10).await;
    let request = ["erasures", "request", "--org", "acme"];
    refused(&world, &request, "millrace tenants close comes first").await;
    refused(&world, &["erasures", "certificate", "--org", "acme"], "nobody has asked").await;
    world.cli(&["tenants", "close", "acme", "--yes"]).await;
    world.cli(&["hold", "place", "acme", "--matter", "m"]).await;
    refused(&world, &request, "under a legal hold").await;
    world.cli(&["hold", "release", "acme", "--matter", "m"]).await;
    // Taken back while nobody executes it yet.
    world.cli(&request).await;
    refused(&world, &request, "planned already").await;
    world.cli(&["erasures", "cancel", "--org", "acme"]).await;
    refused(&world, &["erasures", "cancel", "--org", "acme"], "none is planned").await;
    world.cli(&request).await;
    refused(&world, &["erasures", "certificate", "--org", "acme"], "there is no certificate yet").await;
    programs.push(world.start("millrace-compliance"));
    eventually("the line", async || (lines_of(&world, "erasure.executed") == 1).then_some(())).await;
    assert_eq!(rows(&world, "acme", "NULL").await, []);
    let certificate = world.cli(&["erasures", "certificate", "--org", "acme"]).await;
    let lines = world.lines();
    let line = lines.iter().find(|line| line["action"] == "erasure.executed").expect("a line");
    assert_eq!(line["metadata"]["certificate_sha256"], hex::encode(Sha256::digest(certificate)));
    refused(&world, &request, "erased already").await;

    // A backup from before brings it back, until the erasures of the log are applied to it.
    world
        .execute(&format!(
            "UPDATE app.tenants SET state = 'active', closed_at = NULL, erased_at = NULL, name = 'Acme' WHERE org_id = 'acme';
             DELETE FROM app.erasures;
             INSERT INTO app.projects (org_id, id, name) SELECT 'acme', gen_random_uuid(), '{MARKER}' FROM generate_series(1, 20)"
        ))
        .await;
    let said = world.cli(&["erasures", "apply"]).await;
    assert!(said.contains("acme: 20 rows erased again") && said.contains("1 of them applied again"), "{said}");
    assert_eq!(rows(&world, "acme", "NULL").await, []);
    assert_eq!(tables_with(&world, MARKER).await, Vec::<String>::new());
    assert_eq!(
        world.count("select count(*) from app.tenants where org_id = 'acme' and erased_at is not null").await,
        1
    );
    let said = world.cli(&["erasures", "apply"]).await;
    assert!(said.contains("0 of them applied again"), "{said}");
    assert!(rows(&world, "globex", "NULL").await.len() >= 3);
    world.finish(Left::default()).await;
    drop(programs);
}
