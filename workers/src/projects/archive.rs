//! `projects.archive`

use millrace::contract::payloads::{ProjectArchived, ProjectsArchive};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::row::{PROJECT, lock};

/// Keeps a project to be read, and no longer changed. It still counts against the plan.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveProject;

impl Handler for ArchiveProject {
    type Payload = ProjectsArchive;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<ProjectsArchive>) -> Result<Changed, Fault> {
        let id = message.payload.id;
        let project = lock(tx, id, message.expected_version).await?;
        if project.archived {
            return Err(Fault::Reject { code: "project_archived" });
        }
        let org = tx.tenant().to_string();
        let version = sqlx::query_scalar!(
            "UPDATE app.projects SET archived_at = $3, version = version + 1, updated_at = now()
             WHERE org_id = $1 AND id = $2 RETURNING version",
            org,
            id,
            message.decided_at.moment(),
        )
        .fetch_one(tx.conn())
        .await?;
        Changed::resource(PROJECT, id).with_event(&ProjectArchived { id, name: project.name, version })
    }
}
