//! The oracle: compares the producers' record with the effects, the answers, the dead letters and the audit log. It never
//! looks into the inbox.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::producers::{Kept, Record};
use super::schedule::{Message, ROOM, SMALL, What};
use crate::World;

/// So many findings are told in words.
const TOLD: usize = 12;

/// One audit line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose.
    pub org: String,
    /// What became of the message.
    pub outcome: String,
}

/// What is there at the end.
#[derive(Debug, Default)]
pub struct Found {
    /// Tenants of the effects, by event id or project name.
    pub effects: HashMap<String, Vec<String>>,
    /// Outcomes with their codes that senders of commands are told, by message id.
    pub answers: HashMap<String, Vec<String>>,
    /// Reasons, by message id.
    pub dead: HashMap<String, Vec<String>>,
    /// Audit lines, by message id.
    pub lines: HashMap<String, Vec<Line>>,
}

impl Found {
    /// Reads all of it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn read(world: &World) -> sqlx::Result<Self> {
        let mut found = Self::default();
        let effects =
            "SELECT event_id, org_id FROM app.billing_history UNION ALL SELECT name, org_id FROM app.projects";
        collect(world, effects, &mut found.effects).await?;
        let answers = "SELECT message_id, concat_ws(':', outcome, code) FROM engine.operations";
        collect(world, answers, &mut found.answers).await?;
        let dead = "SELECT coalesce(message_id, ''), reason FROM engine.dead_letters";
        collect(world, dead, &mut found.dead).await?;
        for line in world.lines() {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            if let Some(id) = line["metadata"]["message_id"].as_str() {
                let kept = Line { org: text(&line["org_id"]), outcome: text(&line["outcome"]) };
                found.lines.entry(id.to_owned()).or_default().push(kept);
            }
        }
        Ok(found)
    }
}

async fn collect(world: &World, statement: &'static str, into: &mut HashMap<String, Vec<String>>) -> sqlx::Result<()> {
    let rows: Vec<(String, String)> = sqlx::query_as(statement).fetch_all(world.superuser()).await?;
    for (key, value) in rows {
        into.entry(key).or_default().push(value);
    }
    Ok(())
}

/// The counts, and the first findings in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Messages that were begun to be sent.
    pub attempted: u64,
    /// Messages whose senders were told that they are safe.
    pub confirmed: u64,
    /// Applied once.
    pub applied: u64,
    /// Rejected or ignored once, as they should be.
    pub rejected: u64,
    /// Dead once, as they should be.
    pub dead: u64,
    /// Confirmed and without the end they should have.
    pub lost: u64,
    /// With more than one effect or more than one end.
    pub doubled: u64,
    /// Settled without a line.
    pub lines_missing: u64,
    /// Settled with more than one line, or one that says something else.
    pub lines_wrong: u64,
    /// Effects or lines under another tenant.
    pub crossed: u64,
    /// Effects that nobody attempted.
    pub unexplained: u64,
    /// What exactly, the first of each.
    pub findings: Vec<String>,
}

impl Verdict {
    /// Nothing lost, doubled, crossed, missing or invented.
    pub fn holds(&self) -> bool {
        let wrong = [self.lost, self.doubled, self.lines_missing, self.lines_wrong, self.crossed, self.unexplained];
        wrong.iter().all(|count| *count == 0)
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.findings.len() < TOLD {
            self.findings.push(what());
        }
    }
}

/// How a message should have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Applied,
    AppliedOrRejected,
    Rejected,
    Ignored,
    Dead(&'static str),
}

fn end(message: &Message) -> End {
    match message.what {
        What::Invoice | What::Project => End::Applied,
        What::LimitedProject => End::AppliedOrRejected,
        What::FrozenProject => End::Rejected,
        What::Unhandled => End::Ignored,
        What::Malformed => End::Dead("malformed"),
        What::Killer => End::Dead("crash_loop"),
    }
}

/// Judges what was found.
pub fn judge(record: &Record, found: &Found) -> Verdict {
    let [attempted, confirmed, ..] = record.counts();
    let mut verdict = Verdict { attempted, confirmed, ..Verdict::default() };
    let mut limited = 0;
    for (message, kept) in record.load.messages.iter().zip(&record.kept) {
        one(message, kept, found, &mut verdict);
        limited += usize::from(message.what == What::LimitedProject && found.effects.contains_key(&kept.effect));
    }
    let small = || record.load.messages.iter().zip(&record.kept).filter(|(message, _)| message.tenant == SMALL);
    let asked = small().filter(|(_, kept)| kept.confirmed.load(Ordering::SeqCst) > 0).count();
    if limited != asked.min(ROOM) {
        verdict.unexplained += 1;
        verdict.note(|| format!("{limited} projects in a plan of {ROOM}, asked for {asked}"));
    }
    let known: HashMap<&str, ()> = record
        .kept
        .iter()
        .filter(|kept| kept.attempted.load(Ordering::SeqCst) > 0)
        .map(|kept| (kept.effect.as_str(), ()))
        .collect();
    for effect in found.effects.keys().filter(|effect| !known.contains_key(effect.as_str())) {
        verdict.unexplained += 1;
        verdict.note(|| format!("{effect} has an effect, and nobody attempted it"));
    }
    verdict
}

/// One message: its effects, its answer, its dead letter, its lines.
fn one(message: &Message, kept: &Kept, found: &Found, verdict: &mut Verdict) {
    let none = Vec::new();
    let effects = found.effects.get(&kept.effect).unwrap_or(&none);
    let dead = found.dead.get(&kept.id).unwrap_or(&none);
    let answers = found.answers.get(&kept.id).unwrap_or(&none);
    let rejections = answers.iter().filter(|answer| answer.starts_with("rejected")).count();
    let no_lines = Vec::new();
    let lines = found.lines.get(&kept.id).unwrap_or(&no_lines);
    let confirmed = kept.confirmed.load(Ordering::SeqCst) > 0;
    if !confirmed && effects.is_empty() && dead.is_empty() && lines.is_empty() {
        return;
    }
    let told = |what: &str| {
        let tried = kept.attempted.load(Ordering::SeqCst);
        format!(
            "{what}: {:?} {} ({}), attempted {tried}, effects {effects:?}, answers {answers:?}, dead {dead:?}, lines {lines:?}",
            message.what, kept.id, kept.effect
        )
    };
    let ended = |outcome: &str| lines.iter().filter(|line| line.outcome == outcome).count();
    let (ends, wanted, counter): (usize, &[&str], &mut u64) = match end(message) {
        End::Applied => (effects.len(), &["applied"], &mut verdict.applied),
        End::AppliedOrRejected if effects.is_empty() => (rejections, &["rejected"], &mut verdict.rejected),
        End::AppliedOrRejected => (effects.len() + rejections, &["applied"], &mut verdict.applied),
        End::Rejected => (effects.len() + rejections, &["rejected"], &mut verdict.rejected),
        End::Ignored => (ended("ignored").min(1), &["ignored"], &mut verdict.rejected),
        End::Dead(reason) => {
            (effects.len() + dead.iter().filter(|why| *why == reason).count(), &["dead"], &mut verdict.dead)
        }
    };
    let astray = !matches!(end(message), End::Dead(_)) && !dead.is_empty()
        || matches!(end(message), End::Dead(_) | End::Rejected) && !effects.is_empty();
    match ends {
        1 if !astray => *counter += 1,
        0 => {
            verdict.lost += 1;
            verdict.note(|| told("lost"));
        }
        _ => {
            verdict.doubled += 1;
            verdict.note(|| told("doubled"));
        }
    }
    match lines.as_slice() {
        [] => {
            verdict.lines_missing += 1;
            verdict.note(|| told("no line"));
        }
        [one] if wanted.contains(&one.outcome.as_str()) => {}
        _ => {
            verdict.lines_wrong += 1;
            verdict.note(|| told("wrong lines"));
        }
    }
    let foreign = |org: &String| org != message.tenant;
    let elsewhere = lines.iter().filter(|line| ["applied", "rejected"].contains(&line.outcome.as_str()));
    let crossed =
        effects.iter().filter(|org| foreign(org)).count() + elsewhere.filter(|line| foreign(&line.org)).count();
    if crossed > 0 {
        verdict.crossed += crossed as u64;
        verdict.note(|| told("crossed"));
    }
}

/// What is still on its way: rows, and messages by queue. Empty when everything has come to its end.
pub async fn on_the_way(world: &World, depths: Option<&serde_json::Value>) -> Option<BTreeMap<String, u64>> {
    let mut left = BTreeMap::new();
    for table in ["outbox", "parked"] {
        let statement = format!("SELECT count(*) FROM engine.{table}");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(world.superuser()).await.ok()?;
        left.insert(table.to_owned(), count.unsigned_abs());
    }
    for queue in depths?.as_array()? {
        let name = queue["name"].as_str()?;
        // Events are for services, which are none of this run's programs.
        if !name.starts_with("events.") {
            left.insert(name.to_owned(), queue["messages"].as_u64()?);
        }
    }
    left.retain(|_, count| *count > 0);
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{Load, OPEN, POISON, Send, Way};
    use super::*;

    fn record(what: What) -> Record {
        let way =
            if matches!(what, What::Invoice | What::Unhandled | What::Malformed) { Way::Webhook } else { Way::Http };
        let tenant = match what {
            What::LimitedProject => SMALL,
            _ => OPEN[0],
        };
        let load =
            Load { messages: vec![Message { what, tenant, ways: vec![way] }], sends: vec![Send { message: 0, way }] };
        let record = Record::new(load, 1, "demo");
        record.kept[0].attempted.store(2, Ordering::SeqCst);
        record.kept[0].confirmed.store(1, Ordering::SeqCst);
        record
    }

    fn put<T>(into: &mut HashMap<String, Vec<T>>, key: &str, value: T) {
        into.entry(key.to_owned()).or_default().push(value);
    }

    fn found(record: &Record, effect: bool, outcome: &str) -> Found {
        let (mut found, kept, message) = (Found::default(), &record.kept[0], &record.load.messages[0]);
        if effect {
            put(&mut found.effects, &kept.effect, message.tenant.to_owned());
        }
        put(&mut found.lines, &kept.id, Line { org: message.tenant.to_owned(), outcome: outcome.to_owned() });
        found
    }

    #[test]
    fn what_ended_once_as_it_should_holds() {
        for (what, effect, outcome) in [
            (What::Invoice, true, "applied"),
            (What::Unhandled, false, "ignored"),
            (What::LimitedProject, true, "applied"),
        ] {
            let record = record(what);
            let verdict = judge(&record, &found(&record, effect, outcome));
            assert!(verdict.holds(), "{verdict:?}");
            assert_eq!((verdict.attempted, verdict.confirmed, verdict.applied + verdict.rejected), (1, 1, 1));
        }
        let killer = record(What::Killer);
        let mut dead = found(&killer, false, "dead");
        put(&mut dead.dead, &killer.kept[0].id, "crash_loop".to_owned());
        assert!(judge(&killer, &dead).holds());
        assert!(killer.kept[0].effect.contains(POISON));
    }

    #[test]
    fn what_is_lost_doubled_crossed_or_without_a_line_is_found() {
        let record = record(What::Invoice);
        let kept = &record.kept[0];
        assert_eq!(judge(&record, &Found::default()).lost, 1);
        let mut doubled = found(&record, true, "applied");
        put(&mut doubled.effects, &kept.effect, OPEN[0].to_owned());
        assert_eq!(judge(&record, &doubled).doubled, 1);
        let mut crossed = found(&record, false, "applied");
        put(&mut crossed.effects, &kept.effect, OPEN[1].to_owned());
        assert_eq!(judge(&record, &crossed).crossed, 1);
        let mut silent = found(&record, true, "applied");
        silent.lines.clear();
        assert_eq!(judge(&record, &silent).lines_missing, 1);
        assert_eq!(judge(&record, &found(&record, true, "rejected")).lines_wrong, 1);
        let mut twice = found(&record, true, "applied");
        put(&mut twice.lines, &kept.id, Line { org: OPEN[0].to_owned(), outcome: "applied".to_owned() });
        assert_eq!(judge(&record, &twice).lines_wrong, 1);
    }

    #[test]
    fn a_neighbour_that_is_dead_is_lost_and_an_effect_from_nowhere_is_found() {
        let record = record(What::Project);
        let mut dead = found(&record, false, "dead");
        put(&mut dead.dead, &record.kept[0].id, "crash_loop".to_owned());
        let verdict = judge(&record, &dead);
        assert_eq!((verdict.lost, verdict.lines_wrong), (1, 1));
        let mut invented = found(&record, true, "applied");
        put(&mut invented.effects, "chaos 9 9", OPEN[0].to_owned());
        assert_eq!(judge(&record, &invented).unexplained, 1);
    }

    #[test]
    fn what_was_never_confirmed_may_be_lost() {
        let record = record(What::Invoice);
        record.kept[0].confirmed.store(0, Ordering::SeqCst);
        assert!(judge(&record, &Found::default()).holds());
        assert!(judge(&record, &found(&record, true, "applied")).holds());
    }
}
