//! Resolve: whose tenant a message belongs to, from verified content.

use std::time::Duration;

use super::fate::Fate;
use super::open::{Home, Parcel};
use super::road::Step;
use crate::contract::TenantId;
use crate::db::{BatchTx, DbFault};

/// How long a message waits for its tenant to be made, or its customer to be linked to one.
pub(super) const UNRESOLVED_WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// Fills in every step's tenant, all links in one round trip; an unknown one has to wait.
pub(super) async fn tenants(tx: &mut BatchTx, steps: &mut [Step<'_>]) -> Result<(), DbFault> {
    let (mut places, mut providers, mut accounts, mut modes, mut ids) = (vec![], vec![], vec![], vec![], vec![]);
    for (place, step) in steps.iter_mut().enumerate() {
        match &step.parcel.home {
            Home::Tenant(tenant) => step.tenant = Some(tenant.clone()),
            Home::Link(link) => {
                places.push(place);
                providers.push(link.provider.clone());
                accounts.push(link.account.clone());
                modes.push(link.livemode);
                ids.push(link.external_id.clone());
            }
        }
    }
    if places.is_empty() {
        return Ok(());
    }
    let found = sqlx::query_scalar!(
        r#"SELECT engine.resolve_link(l.provider, l.account, l.livemode, l.external_id) AS org
           FROM UNNEST($1::text[], $2::text[], $3::boolean[], $4::text[])
             WITH ORDINALITY AS l (provider, account, livemode, external_id, place) ORDER BY l.place"#,
        &providers,
        &accounts,
        &modes,
        &ids,
    )
    .fetch_all(tx.conn())
    .await?;
    for (place, org) in places.into_iter().zip(found) {
        let step = &mut steps[place];
        match org.and_then(|org| TenantId::parse(&org).ok()) {
            Some(tenant) if names_another(step.parcel, &tenant) => {
                step.tenant = Some(TenantId::operator());
                step.fate = Some(Fate::OutsideGrant { rule: "grant_tenant" });
            }
            Some(tenant) => step.tenant = Some(tenant),
            None => step.fate = Some(step.fate.take().unwrap_or_else(|| unresolved(step.condemned))),
        }
    }
    Ok(())
}

/// A sealed tenant bounds what a link may lead to: a grant for one tenant must not reach another through a customer.
fn names_another(parcel: &Parcel, resolved: &TenantId) -> bool {
    let sealed = parcel.opened.as_ref().and_then(|opened| opened.envelope.org_id.as_ref());
    sealed.is_some_and(|sealed| sealed != resolved)
}

fn unresolved(condemned: Option<(&'static str, i32)>) -> Fate {
    match condemned {
        Some((code, attempts)) => Fate::Dead { code, attempts },
        None => Fate::wait("tenant_unresolved", UNRESOLVED_WINDOW),
    }
}
