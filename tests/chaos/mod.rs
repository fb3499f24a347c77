//! The fault run: real processes, seeded faults, and an oracle that compares with the producers' own record. `deploy/chaos`
//! runs it whole, a promise runs it short.

pub mod faults;
pub mod oracle;
pub mod producers;
pub mod report;
pub mod run;
pub mod schedule;
pub mod stage;
