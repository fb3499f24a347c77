//! `settings.update`

use millrace::contract::payloads::{SettingsUpdate, SettingsUpdated};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

/// Most settings of one tenant.
const MOST: i64 = 200;

/// Merges settings into the tenant's: null removes, what is not named stays.
#[derive(Debug, Clone, Copy)]
pub struct UpdateSettings;

impl Handler for UpdateSettings {
    type Payload = SettingsUpdate;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<SettingsUpdate>) -> Result<Changed, Fault> {
        let org = tx.tenant().to_string();
        sqlx::query!("INSERT INTO app.settings (org_id, version) VALUES ($1, 0) ON CONFLICT DO NOTHING", org)
            .execute(tx.conn())
            .await?;
        let version = sqlx::query_scalar!("SELECT version FROM app.settings WHERE org_id = $1 FOR UPDATE", org)
            .fetch_one(tx.conn())
            .await?;
        if message.expected_version.is_some_and(|expected| expected != version) {
            return Err(Fault::Reject { code: "version_conflict" });
        }
        let values = serde_json::Value::Object(message.payload.values.clone());
        let version = sqlx::query_scalar!(
            "UPDATE app.settings SET entries = jsonb_strip_nulls(entries || $2), version = version + 1, updated_at = now()
             WHERE org_id = $1 AND (SELECT count(*) FROM jsonb_object_keys(jsonb_strip_nulls(entries || $2))) <= $3
             RETURNING version",
            org,
            values,
            MOST,
        )
        .fetch_optional(tx.conn())
        .await?
        .ok_or(Fault::Reject { code: "too_many_settings" })?;
        let mut names: Vec<String> = message.payload.values.keys().cloned().collect();
        names.sort();
        Changed::resource("settings", org).with_event(&SettingsUpdated { names, version })
    }
}
