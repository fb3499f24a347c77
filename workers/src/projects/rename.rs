//! `projects.rename`

use millrace::contract::payloads::{ProjectRenamed, ProjectsRename};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::row::{PROJECT, lock};

/// Gives a project another name. An archived one keeps its own.
#[derive(Debug, Clone, Copy)]
pub struct RenameProject;

impl Handler for RenameProject {
    type Payload = ProjectsRename;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<ProjectsRename>) -> Result<Changed, Fault> {
        let ProjectsRename { id, name } = &message.payload;
        if lock(tx, *id, message.expected_version).await?.archived {
            return Err(Fault::Reject { code: "project_archived" });
        }
        let org = tx.tenant().to_string();
        let version = sqlx::query_scalar!(
            "UPDATE app.projects SET name = $3, version = version + 1, updated_at = now()
             WHERE org_id = $1 AND id = $2 RETURNING version",
            org,
            id,
            name,
        )
        .fetch_one(tx.conn())
        .await?;
        Changed::resource(PROJECT, *id).with_event(&ProjectRenamed { id: *id, name: name.clone(), version })
    }
}
