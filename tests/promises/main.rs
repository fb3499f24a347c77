//! What Millrace promises, one file a promise, against real servers and as the real roles.

mod adopter;
mod applied_once;
mod audit_queue;
mod billing_state;
mod broker_restart;
mod commands;
mod configuration;
mod crash;
mod isolation;
mod membership;
mod openapi;
mod operations;
mod plan_limits;
mod poison;
mod postgres_away;
mod prove;
mod public_port;
mod reads;
mod role_matrix;
mod services;
mod signatures;
mod stack;
mod standing;
mod tenants;
mod tidy;
mod unresolved;
