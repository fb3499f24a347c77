//! `tickets.create`

use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};
use millrace_workers::limits;

use crate::payloads::{TicketCreated, TicketsCreate};

/// Opens a ticket, if the tenant's plan has room for one and includes what was asked for.
#[derive(Debug, Clone, Copy)]
pub struct CreateTicket;

impl Handler for CreateTicket {
    type Payload = TicketsCreate;

    async fn handle(&self, tx: &mut TenantTx<'_>, message: &Message<TicketsCreate>) -> Result<Changed, Fault> {
        let TicketsCreate { subject, urgent } = &message.payload;
        // Whatever rejects comes before whatever writes.
        if *urgent && !limits::includes(tx, "urgent_tickets").await? {
            return Err(Fault::Reject { code: limits::PLAN_LIMIT });
        }
        limits::take(tx, "tickets", 1).await?;
        let (org, id) = (tx.tenant().to_string(), tx.new_id());
        sqlx::query("INSERT INTO app.tickets (org_id, id, subject, urgent) VALUES ($1, $2, $3, $4)")
            .bind(org)
            .bind(id)
            .bind(subject)
            .bind(urgent)
            .execute(tx.conn())
            .await?;
        Changed::resource("ticket", id).with_event(&TicketCreated { id, urgent: *urgent })
    }
}
