//! `millrace erasures`: what was erased stays erased, also in a system that is restored from a backup; and a closed tenant, which
//! cannot ask any more, is erased for it.

mod apply;
mod closed;
mod logged;

use std::process::ExitCode;

use clap::Subcommand;
use millrace::contract::payloads::{ComplianceEraseOrg, ErasureStage};
use millrace::contract::{Contract, Payload, TenantId};
use millrace::pipeline::OperatorAct;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::CommandFault;
use crate::screen::Screen;

/// Kind of target in audit lines.
const ERASURE: &str = "erasure";

#[derive(Debug, Subcommand)]
pub(crate) enum Erasures {
    /// Erase again whom the audit log says was erased, in a database that was restored.
    #[command(after_help = apply::EXAMPLE)]
    Apply(apply::Apply),
    /// Plan the erasure of a closed tenant, which cannot ask for it any more.
    #[command(after_help = closed::EXAMPLE)]
    Request(closed::Tenant),
    /// Take the planned erasure of a tenant back, before its first step.
    Cancel(closed::Tenant),
    /// Print the certificate of a tenant's erasure, byte for byte as its audit line has hashed it.
    Certificate(closed::Tenant),
}

impl Erasures {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        match self {
            Self::Apply(apply) => return apply.run(contract, screen).await,
            Self::Request(tenant) => tenant.request(contract, screen).await?,
            Self::Cancel(tenant) => tenant.cancel(contract, screen).await?,
            Self::Certificate(tenant) => tenant.certificate(contract).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Leaves a step of a tenant's erasure for later, unless there is one: a worker seals it when it is due.
async fn leave(
    act: &mut OperatorAct,
    org: &TenantId,
    erasure_id: Uuid,
    stage: ErasureStage,
    due_at: OffsetDateTime,
) -> Result<(), CommandFault> {
    let step = ComplianceEraseOrg { erasure_id, stage };
    sqlx::query!(
        "INSERT INTO engine.due (org_id, message_type, subject, id, schema_version, body, cause, due_at)
         VALUES ($1, $2, $3::text, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        org.as_str(),
        ComplianceEraseOrg::NAME,
        erasure_id.to_string(),
        Uuid::now_v7(),
        i32::try_from(ComplianceEraseOrg::SCHEMA_VERSION)?,
        serde_json::to_vec(&step)?,
        Uuid::now_v7().to_string(),
        due_at,
    )
    .execute(act.conn())
    .await?;
    Ok(())
}
