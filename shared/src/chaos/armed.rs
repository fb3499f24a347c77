//! The same with the feature on.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use super::{Point, Sabotage};
use crate::lifecycle::exit;

/// What is to go wrong.
const VARIABLE: &str = "MILLRACE_CHAOS";

/// What is to go wrong in this process.
#[derive(Debug, Default)]
struct Plan {
    breaks: Vec<Break>,
    sabotages: Vec<Sabotage>,
    killers: Vec<String>,
}

#[derive(Debug)]
struct Break {
    act: Act,
    point: Point,
    on: u64,
    passed: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Abort,
    Stop,
}

/// An entry of the list that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE} has an entry that means nothing: {0:?}")]
struct Meaningless(String);

/// A point is passed.
pub(crate) fn pass(point: Point) {
    for planned in plan().breaks.iter().filter(|planned| planned.point == point) {
        if planned.passed.fetch_add(1, Ordering::Relaxed) + 1 == planned.on {
            match planned.act {
                Act::Abort => std::process::abort(),
                // A process that cannot stop itself goes on, and whoever waits for the stop notices.
                Act::Stop => drop(kill_process(getpid(), Signal::STOP)),
            }
        }
    }
}

/// A message with this body is about to be handled.
pub(crate) fn in_handler(body: &[u8]) {
    let holds = |text: &String| body.windows(text.len()).any(|window| window == text.as_bytes());
    if plan().killers.iter().any(holds) {
        std::process::abort();
    }
    pass(Point::InHandler);
}

/// Is this guard taken away?
pub(crate) fn sabotaged(sabotage: Sabotage) -> bool {
    plan().sabotages.contains(&sabotage)
}

/// A list with a mistake ends the process: a run without its faults would show nothing.
fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        Plan::parse(&text).unwrap_or_else(|fault| {
            let _ = writeln!(std::io::stderr(), "{fault}");
            std::process::exit(exit::USAGE.into())
        })
    })
}

impl Plan {
    fn parse(text: &str) -> Result<Self, Meaningless> {
        let mut plan = Self::default();
        for entry in text.split(',').filter(|entry| !entry.is_empty()) {
            plan.add(entry).ok_or_else(|| Meaningless(entry.to_owned()))?;
        }
        Ok(plan)
    }

    fn add(&mut self, entry: &str) -> Option<()> {
        match entry.split_once('@')? {
            ("abort", place) => self.breaks.push(Break::parse(Act::Abort, place)?),
            ("stop", place) => self.breaks.push(Break::parse(Act::Stop, place)?),
            ("sabotage", "no_inbox") => self.sabotages.push(Sabotage::NoInbox),
            ("sabotage", "ack_before_commit") => self.sabotages.push(Sabotage::AckBeforeCommit),
            ("killer", text) if !text.is_empty() => self.killers.push(text.to_owned()),
            _ => return None,
        }
        Some(())
    }
}

impl Break {
    fn parse(act: Act, place: &str) -> Option<Self> {
        let (point, on) = place.split_once(':')?;
        let on = on.parse().ok().filter(|on| *on > 0)?;
        Some(Self { act, point: point_of(point)?, on, passed: AtomicU64::new(0) })
    }
}

fn point_of(name: &str) -> Option<Point> {
    Some(match name {
        "after_claim" => Point::AfterClaim,
        "in_handler" => Point::InHandler,
        "after_call" => Point::AfterCall,
        "before_commit" => Point::BeforeCommit,
        "after_commit" => Point::AfterCommit,
        "before_ack" => Point::BeforeAck,
        "before_publish" => Point::BeforePublish,
        "after_write" => Point::AfterWrite,
        "after_sync" => Point::AfterSync,
        "before_checkpoint" => Point::BeforeCheckpoint,
        "after_history" => Point::AfterHistory,
        "after_rotation" => Point::AfterRotation,
        "after_ledger" => Point::AfterLedger,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whole() {
        let plan = Plan::parse("abort@after_claim:7,stop@before_ack:3,sabotage@no_inbox,killer@evil").unwrap();
        let breaks: Vec<_> = plan.breaks.iter().map(|found| (found.act, found.point, found.on)).collect();
        assert_eq!(breaks, [(Act::Abort, Point::AfterClaim, 7), (Act::Stop, Point::BeforeAck, 3)]);
        assert_eq!((plan.sabotages, plan.killers), (vec![Sabotage::NoInbox], vec!["evil".to_owned()]));
        assert!(Plan::parse("").unwrap().breaks.is_empty());
    }

    #[test]
    fn an_entry_that_means_nothing_is_named() {
        for entry in ["abort", "abort@after_claim", "abort@nowhere:1", "stop@before_ack:0", "sabotage@x", "killer@"] {
            assert_eq!(Plan::parse(&format!("killer@x,{entry}")).unwrap_err(), Meaningless(entry.to_owned()));
        }
    }
}
