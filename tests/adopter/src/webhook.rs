//! `helpdesk.event`

use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};
use millrace_workers::limits;

use crate::payloads::{HelpdeskEvent, TicketCreated};

/// Opens a ticket for what the helpdesk heard.
#[derive(Debug, Clone, Copy)]
pub struct OpenFromHelpdesk;

impl Handler for OpenFromHelpdesk {
    type Payload = HelpdeskEvent;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<HelpdeskEvent>) -> Result<Changed, Fault> {
        limits::take(tx, "tickets", 1).await?;
        let (org, id) = (tx.tenant().to_string(), tx.new_id());
        sqlx::query("INSERT INTO app.tickets (org_id, id, subject, urgent) VALUES ($1, $2, $3, false)")
            .bind(org)
            .bind(id)
            .bind(&message.payload.subject)
            .execute(tx.conn())
            .await?;
        Changed::resource("ticket", id).with_event(&TicketCreated { id, urgent: false })
    }
}
