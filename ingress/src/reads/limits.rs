//! `GET /api/limits`

use millrace::db::ReadTx;
use serde_json::{Value, json};

use super::ReadFault;

/// Most features shown; plans name a few.
const MOST_FEATURES: i64 = 500;

struct Feature {
    feature: String,
    kind: String,
    value: Option<Value>,
    source: Option<String>,
    used: i64,
    over_limit: bool,
}

/// Every feature that the plan, a trial or an override names, or that is used without any. The value in force is the
/// workers' own function's, so that what is shown is what they hold a tenant to.
pub(super) async fn read(tx: &mut ReadTx) -> Result<Value, ReadFault> {
    let org = tx.tenant().to_string();
    let rows = sqlx::query_as!(
        Feature,
        r#"WITH own AS (
             SELECT DISTINCT ON (feature) feature, kind, source FROM app.entitlements
             WHERE org_id = $1 AND valid_from <= now() AND (valid_to IS NULL OR valid_to > now())
             ORDER BY feature, source = 'override' DESC, valid_from DESC, id),
           planned AS (
             SELECT p.feature, p.kind, 'plan' AS source FROM app.tenants t JOIN ref.plan_entitlements p ON p.plan = t.plan
             WHERE t.org_id = $1),
           counted AS (SELECT metric AS feature, used FROM app.usage_counters WHERE org_id = $1),
           named AS (SELECT feature FROM own UNION SELECT feature FROM planned UNION SELECT feature FROM counted)
           SELECT n.feature AS "feature!", coalesce(o.kind, p.kind, 'limit') AS "kind!",
             app.entitlement(n.feature) AS value, coalesce(o.source, p.source) AS source,
             coalesce(c.used, 0) AS "used!", coalesce(c.used > app.limit_of(n.feature), false) AS "over_limit!"
           FROM named n LEFT JOIN own o ON o.feature = n.feature LEFT JOIN planned p ON p.feature = n.feature
             LEFT JOIN counted c ON c.feature = n.feature
           ORDER BY n.feature LIMIT $2"#,
        org,
        MOST_FEATURES,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(json!({ "items": rows.iter().map(shape).collect::<Vec<_>>(), "next": null }))
}

/// Only a limit is used up.
fn shape(row: &Feature) -> Value {
    let mut shaped = json!({ "feature": row.feature, "kind": row.kind, "value": row.value, "source": row.source });
    if row.kind == "limit" {
        shaped["used"] = row.used.into();
        shaped["over_limit"] = row.over_limit.into();
    }
    shaped
}
