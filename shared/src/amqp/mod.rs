//! The only place where lapin is named: connections that are rebuilt whole, confirmed publishing, consuming,
//! and the declaration of the topology.
//!
//! Publishing and consuming use separate connections, because a resource alarm blocks a publishing connection
//! and in lapin a blocked connection also stops acks.

mod connect;
mod consumer;
mod declare;
mod dial;
mod lane;
mod loss;
mod properties;
mod publisher;
mod redial;

pub use connect::{AmqpFault, Dialer};
pub use consumer::{Batch, Consumer, Delivered, Redelivered, Session};
pub use declare::declare;
pub use publisher::{PublishFault, Publisher};
pub use redial::Redial;
