//! Faults at named points of the road, for tests only and never in a release: without the cargo feature `chaos` every
//! function here is empty, and the environment is not read.
//!
//! With the feature, `MILLRACE_CHAOS` is a comma list of
//! - `abort@<point>:<n>`: the process aborts when it passes the point for the nth time;
//! - `stop@<point>:<n>`: it stops itself with SIGSTOP there;
//! - `sabotage@no_inbox`: every message is taken as fresh, and none is remembered;
//! - `sabotage@ack_before_commit`: deliveries are acked when they are taken;
//! - `killer@<text>`: a message whose body contains the text aborts the process in its handler's place.

#[cfg(feature = "chaos")]
mod armed;

#[cfg(feature = "chaos")]
pub(crate) use armed::{in_handler, pass, sabotaged};

/// Where a process can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// The inbox rows are in the transaction, no effect is.
    AfterClaim,
    /// A message is about to be handled.
    #[cfg(feature = "chaos")]
    InHandler,
    /// Calls to the outside are answered, and nothing is settled.
    AfterCall,
    /// Everything is in the transaction.
    BeforeCommit,
    /// It is committed; the broker does not know.
    AfterCommit,
    /// The ack is the next thing to do.
    BeforeAck,
    /// Committed outbox rows are about to be published.
    BeforePublish,
    /// Audit lines are in the file and perhaps not on the disk.
    AfterWrite,
    /// Audit lines are durable; the broker does not know.
    AfterSync,
    /// A checkpoint of the audit log is about to be made.
    BeforeCheckpoint,
    /// It is in the history and not yet the newest.
    AfterHistory,
    /// The next segment is there; the one before it is not in the ledger.
    AfterRotation,
    /// The ledger has a closed segment; the tenants' heads do not.
    AfterLedger,
}

/// A guard that can be taken away, to see that its absence is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Duplicates are not told from fresh messages.
    NoInbox,
    /// The broker forgets a message before its effect is committed.
    #[cfg(feature = "chaos")]
    AckBeforeCommit,
}

/// A point is passed.
#[cfg(not(feature = "chaos"))]
#[inline(always)]
pub(crate) fn pass(_: Point) {}

/// A message with this body is about to be handled.
#[cfg(not(feature = "chaos"))]
#[inline(always)]
pub(crate) fn in_handler(_: &[u8]) {}

/// Is this guard taken away?
#[cfg(not(feature = "chaos"))]
#[inline(always)]
pub(crate) fn sabotaged(_: Sabotage) -> bool {
    false
}
