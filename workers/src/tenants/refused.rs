//! `edge.refused`

use millrace::contract::payloads::EdgeRefused;
use millrace::db::TenantTx;
use millrace::pipeline::{Changed, Fault, Handler, Message};

/// Settles what the edge refused as denied, so that it has its audit line.
#[derive(Debug, Clone, Copy)]
pub struct AuditRefusal;

impl Handler for AuditRefusal {
    type Payload = EdgeRefused;

    async fn handle(&self, _: &mut TenantTx<'_>, message: &Message<EdgeRefused>) -> Result<Changed, Fault> {
        Err(Fault::Deny { rule: message.payload.rule.as_str() })
    }
}
