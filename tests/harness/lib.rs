//! The harness: private servers for the whole run, and a world of its own (database, vhost, keys, processes) for each
//! test. What a test starts dies with the test process, even if that is killed.

mod audit_copy;
mod audit_files;
mod await_until;
mod broker;
mod caller;
#[path = "../chaos/mod.rs"]
pub mod chaos;
mod golden;
mod http;
mod json_schema;
mod object_store;
mod orders;
mod outage;
mod people;
mod pooler;
mod programs;
mod raw_amqp;
mod relay;
mod servers;
mod service;
mod sql;
mod stand_in;
mod stripe;
mod world;

pub use audit_copy::AuditCopy;
pub use audit_files::{audit_holds, audit_text};
pub use await_until::eventually;
pub use broker::properties;
pub use caller::{Caller, sealed, sign};
pub use golden::golden;
pub use http::{Answer, HttpClient, raw_exchange};
pub use json_schema::schema_faults;
pub use millrace_cli::sample::{Sample, Shape, signature};
pub use object_store::ObjectStoreStandIn;
pub use orders::reorder;
pub use pooler::PgBouncer;
pub use programs::{Program, binary, run_cli, run_cli_fed, send_signal};
pub use raw_amqp::RawProperties;
pub use relay::{Side, TcpRelay};
pub use servers::{Servers, shared_servers};
pub use stripe::{Asked, StripeStandIn, Trouble};
pub use world::{Left, World};
