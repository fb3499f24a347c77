//! What Millrace promises, one file a promise, against real servers and as the real roles.

mod adopter;
mod applied_once;
mod audit_queue;
mod billing_state;
mod broker_restart;
mod configuration;
mod crash;
mod isolation;
mod poison;
mod postgres_away;
mod public_port;
mod signatures;
mod stack;
mod tidy;
mod unresolved;
