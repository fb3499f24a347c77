//! `projects.create`

use millrace::contract::payloads::{ProjectCreated, ProjectsCreate};
use millrace::db::{GroupTx, InTenant, TenantTx};
use millrace::pipeline::{Changed, Fault, Handler, Message, Together};
use uuid::Uuid;

use super::row::{METRIC, PROJECT};
use crate::limits;

/// Makes a project, if the tenant's plan has room for one.
#[derive(Debug, Clone, Copy)]
pub struct CreateProject;

impl Handler for CreateProject {
    type Payload = ProjectsCreate;

    const TOGETHER: bool = true;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<ProjectsCreate>) -> Result<Changed, Fault> {
        limits::take(tx, METRIC, 1).await?;
        let (org, id, name) = (tx.tenant().to_string(), tx.new_id(), &message.payload.name);
        sqlx::query!("INSERT INTO app.projects (org_id, id, name) VALUES ($1, $2, $3)", org, id, name)
            .execute(tx.conn())
            .await?;
        created(id, name)
    }

    async fn handle_together(
        &self,
        tx: &mut GroupTx<'_>,
        messages: &[&Message<ProjectsCreate>],
    ) -> Result<Together, Fault> {
        match limits::take(tx, METRIC, i64::try_from(messages.len()).unwrap_or(i64::MAX)).await {
            // Some may fit all the same.
            Err(Fault::Reject { .. }) => return Ok(Together::OneByOne),
            taken => taken?,
        }
        let org = tx.tenant().to_string();
        let ids: Vec<Uuid> = messages.iter().map(|_| Uuid::now_v7()).collect();
        let names: Vec<String> = messages.iter().map(|message| message.payload.name.clone()).collect();
        sqlx::query!(
            "INSERT INTO app.projects (org_id, id, name)
             SELECT $1, n.id, n.name FROM UNNEST($2::uuid[], $3::text[]) AS n (id, name)",
            org,
            &ids,
            &names,
        )
        .execute(tx.conn())
        .await?;
        ids.into_iter().zip(&names).map(|(id, name)| created(id, name)).collect::<Result<_, _>>().map(Together::All)
    }
}

fn created(id: Uuid, name: &str) -> Result<Changed, Fault> {
    Changed::resource(PROJECT, id).with_event(&ProjectCreated { id, name: name.to_owned(), version: 1 })
}
