//! Exports: a chain of messages, one page each. A page is read in the tenant's transaction, written when that is over, and
//! noted in the transaction that sends the next message. So what is noted is in the store, and a chain that was broken off goes on
//! behind the last page that was noted.

mod expire;
mod page;
mod request;
mod written;

pub use expire::{ExpireExport, NoteExpired};
pub use page::WritePage;
pub use request::RequestExport;
pub use written::NoteWritten;

use std::time::Duration;

use millrace::exports::{KEPT, StoreFault};
use millrace::pipeline::CallFault;

/// Kind of target in audit lines and operations.
const EXPORT: &str = "export";
/// How long reading a page may take: a person's rows may be few among many.
const READING: Duration = Duration::from_secs(60);
/// How long a chain waits for its store. It is no failure of a page; after that an operator redrives the dead letter.
const LONGEST_OUTAGE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A store that is away, full or refuses: the call waits, uncounted.
fn waits(fault: &StoreFault, window: Duration) -> CallFault {
    tracing::warn!(error = error_chain(fault), "the store of exports did not do what it should");
    CallFault::Wait { code: "export_store_away", window, after: None }
}

/// What went wrong and why, in one line.
fn error_chain(fault: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(fault), |fault| fault.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
