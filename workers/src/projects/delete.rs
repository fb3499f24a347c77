//! `projects.delete`

use millrace::contract::payloads::{ProjectDeleted, ProjectsDelete};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::row::{METRIC, PROJECT, lock};
use crate::limits;

/// Removes a project and makes room for another in the plan.
#[derive(Debug, Clone, Copy)]
pub struct DeleteProject;

impl Handler for DeleteProject {
    type Payload = ProjectsDelete;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<ProjectsDelete>) -> Result<Changed, Fault> {
        let id = message.payload.id;
        let project = lock(tx, id, message.expected_version).await?;
        let org = tx.tenant().to_string();
        let version =
            sqlx::query_scalar!("DELETE FROM app.projects WHERE org_id = $1 AND id = $2 RETURNING version", org, id)
                .fetch_one(tx.conn())
                .await?;
        limits::give_back(tx, METRIC, 1).await?;
        Changed::resource(PROJECT, id).with_event(&ProjectDeleted { id, name: project.name, version })
    }
}
