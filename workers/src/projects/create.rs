//! `projects.create`

use millrace::contract::payloads::{ProjectCreated, ProjectsCreate};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

use super::row::{METRIC, PROJECT};
use crate::limits;

/// Makes a project, if the tenant's plan has room for one.
#[derive(Debug, Clone, Copy)]
pub struct CreateProject;

impl Handler for CreateProject {
    type Payload = ProjectsCreate;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<ProjectsCreate>) -> Result<Changed, Fault> {
        // Counter and rows are locked in whatever order a batch brings them: one tenant's batches take turns.
        tx.alone().await?;
        limits::take(tx, METRIC, 1).await?;
        let (org, id, name) = (tx.tenant().to_string(), tx.new_id(), &message.payload.name);
        sqlx::query!("INSERT INTO app.projects (org_id, id, name) VALUES ($1, $2, $3)", org, id, name)
            .execute(tx.conn())
            .await?;
        Changed::resource(PROJECT, id).with_event(&ProjectCreated { id, name: name.clone(), version: 1 })
    }
}
