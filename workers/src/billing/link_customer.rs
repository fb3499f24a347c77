//! `billing.link_customer`

use millrace::contract::payloads::{BillingLinkCustomer, CustomerLinked};
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

/// Says which provider's customer the tenant is, and releases what waits for that. A customer of another tenant stays
/// that one's.
#[derive(Debug, Clone, Copy)]
pub struct LinkCustomer;

impl Handler for LinkCustomer {
    type Payload = BillingLinkCustomer;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<BillingLinkCustomer>) -> Result<Changed, Fault> {
        let BillingLinkCustomer { provider, account, livemode, customer } = &message.payload;
        let linked = sqlx::query_scalar!(
            r#"SELECT engine.link_customer($1, $2, $3, $4) AS "linked!""#,
            provider,
            account,
            livemode,
            customer,
        )
        .fetch_one(tx.conn())
        .await?;
        match linked.as_str() {
            "linked" | "already" => {}
            _ => return Err(Fault::Reject { code: "customer_linked_elsewhere" }),
        }
        let event = CustomerLinked { provider: provider.clone(), customer: customer.clone() };
        Changed::resource("provider_link", customer).with_event(&event)
    }
}
