//! Who may read what, in which standing.

use millrace::config::Process;
use millrace::contract::{Action, Principal, Role, RoleTable};
use millrace_ingress::reads::Reads;
use millrace_tests::{Left, World};

use super::super::isolation::context;
use super::{Asker, IAT, ROUTES, reads, seed, sql};

#[tokio::test(flavor = "multi_thread")]
async fn roles_read_what_the_table_says_and_no_role_reads_nothing() {
    let world = World::new().await;
    seed(&world, "acme").await;
    let reads = reads(&world);
    for route in ROUTES {
        for role in Role::ALL {
            assert_eq!(Asker::user("acme", "u", Some(role)).code(&reads, route).await, "ok", "{role}: {route}");
        }
        assert_eq!(Asker::user("acme", "u", None).code(&reads, route).await, "role_table", "{route}");
    }
    for (role, code) in [(Role::Admin, "ok"), (Role::Editor, "role_table"), (Role::Viewer, "role_table")] {
        assert_eq!(Asker::user("acme", "u", Some(role)).code(&reads, "audit").await, code, "{role}: audit");
    }
    assert_eq!(Asker::user("acme", "u", None).code(&reads, "audit").await, "role_table");
    // What became of a command may be known by whoever has its id; a service may have no role at all.
    assert_eq!(Asker::user("acme", "u", None).code(&reads, "operations").await, "ok");
    let mut webhook = Asker::admin("acme");
    webhook.principal = Principal::webhook("stripe");
    for route in ROUTES.into_iter().chain(["operations", "audit"]) {
        assert_eq!(webhook.code(&reads, route).await, "callers", "{route}");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_with_the_lesser_of_the_tokens_role_and_its_own() {
    let world = World::new().await;
    seed(&world, "acme").await;
    sql(
        &world,
        "INSERT INTO app.members (org_id, user_id, role) VALUES ('acme', 'demoted', 'viewer'), ('acme', 'promoted', 'admin')",
    )
    .await;
    let roles = RoleTable::default().grant("settings", Role::Admin, &[Action::Read]);
    let reads = Reads::new(&world.config(Process::Ingress).database, roles).expect("an address");
    for (user, role, code) in [
        ("nobody", Role::Admin, "ok"),
        ("demoted", Role::Admin, "role_table"),
        ("promoted", Role::Viewer, "role_table"),
        ("promoted", Role::Admin, "ok"),
    ] {
        assert_eq!(Asker::user("acme", user, Some(role)).code(&reads, "settings").await, code, "{user} as {role}");
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_and_a_session_that_was_ended_read_nothing() {
    let world = World::new().await;
    for org in ["acme", "globex"] {
        seed(&world, org).await;
    }
    let statement = format!(
        "SELECT set_config('app.ctx', '{}', false);
         INSERT INTO app.removed_members (org_id, subject) VALUES ('acme', app.subject_tag('gone'));
         SELECT set_config('app.ctx', '', false);
         INSERT INTO app.members (org_id, user_id, role, session_epoch) VALUES
           ('acme', 'ended', 'admin', to_timestamp({IAT} + 1)), ('acme', 'fresh', 'admin', to_timestamp({IAT}))",
        context(&world, "acme")
    );
    sql(&world, &statement).await;
    let reads = reads(&world);
    for route in ROUTES.into_iter().chain(["operations", "audit"]) {
        for (org, user, code) in [
            ("acme", "gone", "member_removed"),
            ("acme", "ended", "session_revoked"),
            ("acme", "fresh", "ok"),
            ("globex", "gone", "ok"),
        ] {
            let asker = Asker::user(org, user, Some(Role::Admin));
            assert_eq!(asker.code(&reads, route).await, code, "{user} of {org}: {route}");
        }
    }
    world.finish(Left::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_standing_opens_what_it_should() {
    let world = World::new().await;
    for org in ["good", "readonly", "unpaid", "suspended", "closed"] {
        seed(&world, org).await;
    }
    sql(
        &world,
        "INSERT INTO app.access (org_id, level, evaluated_at) VALUES ('readonly', 'read_only', now()), ('unpaid', 'suspended', now());
         UPDATE app.tenants SET state = 'suspended' WHERE org_id = 'suspended';
         UPDATE app.tenants SET state = 'closed', closed_at = now() WHERE org_id = 'closed'",
    )
    .await;
    let reads = reads(&world);
    for (org, rows, money) in [
        ("good", "ok", "ok"),
        ("readonly", "ok", "ok"),
        ("unpaid", "access_suspended", "ok"),
        ("suspended", "tenant_suspended", "ok"),
        ("closed", "tenant_closed", "tenant_closed"),
        ("nobody", "tenant_unknown", "tenant_unknown"),
    ] {
        let asker = Asker::admin(org);
        for route in ["projects", "members", "settings"] {
            assert_eq!(asker.code(&reads, route).await, rows, "{org}: {route}");
        }
        for route in ["billing", "limits", "audit"] {
            assert_eq!(asker.code(&reads, route).await, money, "{org}: {route}");
        }
        // Whoever made or closed a tenant can see that it did.
        assert_eq!(asker.code(&reads, "operations").await, "ok", "{org}: operations");
    }
    world.finish(Left::default()).await;
}
