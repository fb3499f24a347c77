//! Private PostgreSQL and RabbitMQ servers for the demo stack and the tests.
//!
//! Every server listens on 127.0.0.1 only, on ports and in directories of its own, so any number of stacks can run
//! side by side, next to servers of the system that are never touched. RabbitMQ gets an `epmd` of its own as well:
//! the machine's shared one on port 4369 stays as it is.
//!
//! Every process carries two environment entries: [`MARKER`] says which stack it belongs to, so that leftovers of a
//! killed supervisor can be found without trusting a process id from a file, and [`SERVER`] says that it is one of
//! the servers rather than a program that uses them.
//!
//! Servers run in sessions of their own: Ctrl-C at the terminal reaches the supervisor, not them.

mod error;
mod guard;
mod identity;
mod leftovers;
mod place;
pub mod ports;
mod postgres;
mod processes;
mod programs;
mod rabbitmq;
mod server;

pub use error::LocalError;
pub use guard::Guard;
pub use leftovers::{Stopped, stop_leftovers};
pub use place::Place;
pub use postgres::{Durability, Postgres, Stop};
pub(crate) use programs::postgres_programs;
pub use rabbitmq::RabbitMq;

/// Name of the environment variable that says which stack a process belongs to; its value is [`Place::marker`].
///
/// A supervisor that also gives it to its own children (workers, ingress) has them found by [`stop_leftovers`] and
/// ended by [`Guard`] together with the servers.
pub const MARKER: &str = "MILLRACE_STATE";

/// Name of the environment variable that only servers started here carry; its value is the server's data directory.
pub const SERVER: &str = "MILLRACE_SERVER";
