//! The audit log's files. No database, no broker: what stands here can be read without a running deployment.

mod abreast;
mod closer;
mod closing;
mod durable;
mod entry;
pub mod export;
mod fault;
mod growing;
mod heads;
mod keys;
mod known;
pub mod layout;
pub mod line;
mod log;
pub mod note;
mod packing;
mod planning;
pub mod proof;
mod recover;
mod replay;
mod retention;
mod sealer;
pub mod segments;
mod stager;
mod stored;
mod tail;
#[cfg(test)]
mod tests;
pub mod tile;
pub mod tree;
pub mod verify;

pub use entry::{Entry, RETENTION_PRUNED};
pub use fault::LogFault;
pub use log::{Appender, AuditLog};
pub use note::SigningKey;
pub use planning::{newest_checkpoint, plan_prune};
pub use retention::PruneRecord;
pub use sealer::{Sealed, Settings};
pub use stager::{Block, Stager};
pub use stored::StoredLine;
pub use tail::{Place, Placed, Tail, TailFault, covered};
