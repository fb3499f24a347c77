//! Tickets for Millrace: one resource, one worker, one command, one webhook, one event and one table beside everything
//! built in.

mod create;
mod payloads;
mod webhook;

pub use create::CreateTicket;
pub use payloads::{HelpdeskEvent, TicketCreated, TicketsCreate};
pub use webhook::OpenFromHelpdesk;

use millrace::contract::Action::{Delete, Export, Read, Write};
use millrace::contract::Role::{Admin, Editor, Viewer};
use millrace::contract::{Contract, RoleTable};

/// Millrace's own contract, and what tickets add to it. Edge, worker and command line are all given this one.
pub fn contract() -> Contract {
    let grants = RoleTable::default()
        .grant("ticket", Admin, &[Read, Write, Delete, Export])
        .grant("ticket", Editor, &[Read, Write])
        .grant("ticket", Viewer, &[Read]);
    millrace::builtin()
        .resource("ticket", grants)
        .worker("tickets")
        .command::<TicketsCreate>()
        .command::<HelpdeskEvent>()
        .event::<TicketCreated>()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_contract_has_no_mistakes() {
        assert_eq!(super::contract().check().err(), None);
    }
}
