//! What Millrace promises, one file a promise, against real servers and as the real roles.

mod applied_once;
mod audit_queue;
mod broker_restart;
mod crash;
mod poison;
mod postgres_away;
mod signatures;
mod unresolved;
