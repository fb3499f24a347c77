//! The road of a message through a worker, one verb a file. No domain word in it.

mod audit_index;
mod bridge;
mod bury;
mod claim;
mod dispatch;
mod due;
mod egress;
mod emit;
mod erased;
mod fate;
mod generations;
mod handler;
mod lanes;
mod open;
mod operations;
mod operator;
mod outbox;
mod park;
mod prune;
mod relay;
mod resolve;
mod road;
mod turns;

pub use audit_index::{AuditIndexer, IndexFault, Progress as IndexProgress};
pub use claim::WINDOW;
pub use egress::{Answered, CallFault, Egress};
pub use fate::{Changed, Fault};
pub use handler::{Handler, Handlers, Message, Together};
pub use lanes::{Lanes, LanesFault};
pub use open::TOO_OLD;
pub use operator::{NotedAct, OperatorAct, OperatorRead};
pub use outbox::Outbox;
pub use relay::Relay;
pub use road::{Progress, Road, RoadFault, Suspects};
