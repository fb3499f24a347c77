//! The only place where a pool exists, a tenant context is set, or a role is entered.

mod authorize;
mod batch;
mod context;
mod fault;
mod operator;
mod pool;
pub mod probe;
mod pseudonyms;
mod read;

pub use authorize::{Refusal, Refused};
pub(crate) use authorize::{Request, user};
pub use batch::{BatchTx, GroupTx, InTenant, ScopedTx, TenantTx};
pub use context::ContextKey;
pub use fault::DbFault;
pub(crate) use fault::{is_contended, is_timeout};
pub use operator::OperatorTx;
pub use pool::{AppPool, IndexerPool, ReaderPool, RelayPool, connect_options};
pub use read::{ReadRequest, ReadTx, ScopedRead};
