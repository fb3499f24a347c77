//! `millrace erasures request`, `cancel` and `certificate`: the erasure of a closed tenant.

use std::io::Write;

use clap::Args;
use millrace::config::{Config, Process, start};
use millrace::contract::payloads::ErasureStage;
use millrace::contract::{CheckedContract, Contract, TenantId, Timestamp};
use millrace::db::ContextKey;
use millrace::pipeline::OperatorAct;
use serde_json::{Map, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ERASURE, leave};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;
use crate::tenants::tenant;

pub(super) const EXAMPLE: &str = "Example: millrace erasures request --org org_2abC\n\
    For a tenant that is closed: the administrators of others ask themselves, with POST /api/compliance/erase. It cools off as \
    theirs do (compliance.erasure_cooling_off_s), waits for legal holds, and is carried out by millrace-compliance in \
    bounded steps. Bookkeeping that the tags keep stays; the rest is gone. Then: millrace erasures certificate --org org_2abC";

#[derive(Debug, Args)]
pub(crate) struct Tenant {
    /// The tenant.
    #[arg(long)]
    org: String,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Tenant {
    pub(super) async fn request(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (org, contract, config) = self.start(contract)?;
        let key = config.database.context_key.as_ref().map(ContextKey::new);
        let key = key.ok_or_else(|| Usage("database.context_key is missing".to_owned()))?;
        let mut act = self.operator.act(&contract, &config).await?;
        act.take_turn(&org).await?;
        act.enter(&org, &key).await?;
        if let Some(why) = refusal(&mut act, &org).await? {
            return Err(Usage(why).into());
        }
        let id = Uuid::now_v7();
        let due_at = OffsetDateTime::now_utc() + config.compliance.erasure_cooling_off;
        plan(&mut act, &org, id, due_at).await?;
        act.commit(&org, "erasures.request", (ERASURE, &id.to_string()), Map::new()).await?;
        let due_at = Timestamp::new(due_at).to_string();
        let text =
            format!("{org} is erased after {due_at}; millrace erasures cancel --org {org} takes it back until then");
        screen.done(&text, json!({ "org_id": org.as_str(), "erasure_id": id, "due_at": due_at }));
        Ok(())
    }

    pub(super) async fn cancel(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (org, contract, config) = self.start(contract)?;
        let mut act = self.operator.act(&contract, &config).await?;
        act.take_turn(&org).await?;
        let id = sqlx::query_scalar!(
            "UPDATE app.erasures SET state = 'canceled', settled_at = now()
             WHERE org_id = $1 AND scope = 'org' AND state = 'planned' RETURNING id",
            org.as_str()
        )
        .fetch_optional(act.conn())
        .await?;
        let Some(id) = id else {
            return Err(
                Usage(format!("no erasure of {org} can be taken back: none is planned, or it has begun")).into()
            );
        };
        act.commit(&org, "erasures.cancel", (ERASURE, &id.to_string()), Map::new()).await?;
        screen
            .done(&format!("the erasure of {org} is taken back"), json!({ "org_id": org.as_str(), "erasure_id": id }));
        Ok(())
    }

    pub(super) async fn certificate(&self, contract: Contract) -> Result<(), CommandFault> {
        let (org, contract, config) = self.start(contract)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let row = sqlx::query!(
            "SELECT id, state, certificate FROM app.erasures WHERE org_id = $1 AND scope = 'org'
             ORDER BY created_at DESC LIMIT 1",
            org.as_str()
        )
        .fetch_optional(act.conn())
        .await?;
        let Some(row) = row else {
            let advice =
                format!("nobody has asked for the erasure of {org}: millrace erasures request --org {org} does");
            return Err(Usage(advice).into());
        };
        let Some(text) = row.certificate else {
            return Err(Usage(format!("the erasure of {org} is {}: there is no certificate yet", row.state)).into());
        };
        act.commit(&org, "erasures.certificate", (ERASURE, &row.id.to_string()), Map::new()).await?;
        // Byte for byte: its hash stands in the log.
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn start(&self, contract: Contract) -> Result<(TenantId, CheckedContract, Config), CommandFault> {
        let org = tenant(&self.org)?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        Ok((org, contract, config))
    }
}

/// Why the tenant cannot be erased now, and what to do instead.
async fn refusal(act: &mut OperatorAct, org: &TenantId) -> sqlx::Result<Option<String>> {
    let row = sqlx::query!(
        r#"SELECT t.state, t.erased_at, EXISTS (SELECT 1 FROM engine.holds h
               WHERE h.org_id = t.org_id AND h.released_at IS NULL) AS "held!",
             EXISTS (SELECT 1 FROM app.erasures e WHERE e.org_id = t.org_id AND e.scope = 'org'
               AND e.state IN ('planned', 'executing')) AS "planned!"
           FROM app.tenants t WHERE t.org_id = $1 FOR UPDATE OF t"#,
        org.as_str()
    )
    .fetch_optional(act.conn())
    .await?;
    let Some(row) = row else {
        return Ok(Some(format!("there is no tenant {org}: millrace tenants list shows those there are")));
    };
    Ok(if row.planned {
        Some(format!("the erasure of {org} is planned already; millrace erasures cancel --org {org} takes it back"))
    } else if row.erased_at.is_some() {
        Some(format!("{org} is erased already: millrace erasures certificate --org {org}"))
    } else if row.held {
        Some(format!(
            "{org} is under a legal hold, which suspends its erasure: millrace hold list says for which matter"
        ))
    } else if row.state != "closed" {
        Some(format!(
            "{org} is {}: its administrator asks for its erasure, or millrace tenants close comes first",
            row.state
        ))
    } else {
        None
    })
}

/// The plan, and the message that begins it when it is due.
async fn plan(act: &mut OperatorAct, org: &TenantId, id: Uuid, due_at: OffsetDateTime) -> Result<(), CommandFault> {
    sqlx::query!(
        "INSERT INTO app.erasures (org_id, id, scope, plan, due_at)
         SELECT $1::text, $2::uuid, 'org', coalesce(jsonb_object_agg(r.place, r.amount), '{}'), $3::timestamptz
         FROM app.org_rows() r WHERE r.kept IS NULL",
        org.as_str(),
        id,
        due_at,
    )
    .execute(act.conn())
    .await?;
    leave(act, org, id, ErasureStage::Begin, due_at).await
}
