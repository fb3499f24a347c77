//! A project's row, locked for a change.

use millrace::db::TenantTx;
use millrace::pipeline::Fault;
use uuid::Uuid;

/// Kind of target in audit lines and operations.
pub(super) const PROJECT: &str = "project";
/// The metric that each project uses one of.
pub(super) const METRIC: &str = "projects";

/// What a change has to know of a project.
pub(super) struct Project {
    pub(super) name: String,
    pub(super) archived: bool,
}

/// Locks a project of the tenant for a change by a caller that expects a version.
pub(super) async fn lock(tx: &mut TenantTx<'_>, id: Uuid, expected_version: Option<i64>) -> Result<Project, Fault> {
    let org = tx.tenant().to_string();
    let row = sqlx::query!(
        r#"SELECT name, archived_at IS NOT NULL AS "archived!", version FROM app.projects
           WHERE org_id = $1 AND id = $2 FOR UPDATE"#,
        org,
        id,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(Fault::Reject { code: "project_not_found" })?;
    match expected_version {
        Some(expected) if expected != row.version => Err(Fault::Reject { code: "version_conflict" }),
        _ => Ok(Project { name: row.name, archived: row.archived }),
    }
}
