//! What a run says at its end: a table for people, JSON for machines.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::oracle::Verdict;
use super::stage::Sabotage;

/// Everything about one seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Of the plan.
    pub seed: u64,
    /// What the oracle says.
    pub verdict: Verdict,
    /// What was still on its way when patience ended; empty when all came to its end.
    pub unsettled: BTreeMap<String, u64>,
    /// Faults injected, by kind.
    pub faults: BTreeMap<&'static str, u32>,
    /// Programs that died by themselves.
    pub deaths: u32,
    /// Sends that were refused or not answered, and repeated.
    pub repeated: u32,
    /// Deliveries of the broker after the first, as far as its counters were seen.
    pub redelivered: u64,
    /// From the first send to the last effect, in seconds.
    pub seconds: f64,
    /// The guard that was taken away.
    pub sabotage: Option<Sabotage>,
}

/// How a run ended, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Everything as promised.
    Held,
    /// Something did not come to its end.
    Unsettled,
    /// Something is lost, doubled, crossed or unaudited.
    Broken,
}

impl Outcome {
    /// How it ended. With a guard taken away it has to be broken in the way that this guard prevents.
    pub fn end(&self) -> End {
        if let Some(sabotage) = self.sabotage {
            let caught = match sabotage {
                Sabotage::NoInbox => self.verdict.doubled > 0,
                Sabotage::AckBeforeCommit => self.verdict.lost > 0,
            };
            return if caught { End::Held } else { End::Broken };
        }
        if self.verdict.holds() && self.unsettled.is_empty() {
            return End::Held;
        }
        // What has no end yet may be on its way, and is not lost before nothing is.
        let waiting: u64 = self.unsettled.values().sum();
        let verdict = &self.verdict;
        let unended = Verdict { lost: 0, lines_missing: 0, ..verdict.clone() };
        if unended.holds() && verdict.lost.max(verdict.lines_missing) <= waiting { End::Unsettled } else { End::Broken }
    }

    /// One sentence.
    pub fn says(&self) -> String {
        let Some(sabotage) = self.sabotage else {
            return match self.end() {
                End::Held => "held: every confirmed message came to its end once".to_owned(),
                End::Unsettled => format!("did not settle: {:?}", self.unsettled),
                End::Broken => "BROKEN: see the findings".to_owned(),
            };
        };
        let (name, lost, doubled) = (sabotage.name(), self.verdict.lost, self.verdict.doubled);
        match self.end() {
            End::Held => {
                format!("caught: with {name} the oracle reports {lost} lost and {doubled} doubled, as it must")
            }
            _ => format!("NOT CAUGHT: with {name} the oracle reports {lost} lost and {doubled} doubled"),
        }
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "seed": self.seed,
            "held": self.end() == End::Held,
            "says": self.says(),
            "sabotage": self.sabotage.map(Sabotage::name),
            "oracle": self.verdict,
            "unsettled": self.unsettled,
            "faults": self.faults,
            "died_by_themselves": self.deaths,
            "sends_repeated": self.repeated,
            "redelivered": self.redelivered,
            "seconds": (self.seconds * 10.0).round() / 10.0,
        })
    }
}

/// A column a seed, a row a count.
pub fn table(outcomes: &[Outcome]) -> String {
    type Count = fn(&Outcome) -> u64;
    let rows: [(&str, Count); 16] = [
        ("messages attempted", |o| o.verdict.attempted),
        ("messages confirmed", |o| o.verdict.confirmed),
        ("applied once", |o| o.verdict.applied),
        ("rejected or ignored once", |o| o.verdict.rejected),
        ("dead once", |o| o.verdict.dead),
        ("lost", |o| o.verdict.lost),
        ("doubled", |o| o.verdict.doubled),
        ("audit lines missing", |o| o.verdict.lines_missing),
        ("audit lines wrong or doubled", |o| o.verdict.lines_wrong),
        ("crossed to another tenant", |o| o.verdict.crossed),
        ("effects that nobody sent", |o| o.verdict.unexplained),
        ("still on their way", |o| o.unsettled.values().sum()),
        ("faults injected", |o| o.faults.values().map(|count| u64::from(*count)).sum()),
        ("programs that died by themselves", |o| u64::from(o.deaths)),
        ("sends repeated", |o| u64::from(o.repeated)),
        ("redelivered by the broker, at least", |o| o.redelivered),
    ];
    let mut text = line("seed", outcomes.iter().map(|outcome| outcome.seed.to_string()));
    for (name, count) in rows {
        text += &line(name, outcomes.iter().map(|outcome| count(outcome).to_string()));
    }
    let kinds: std::collections::BTreeSet<&str> = outcomes.iter().flat_map(|o| o.faults.keys().copied()).collect();
    for kind in kinds {
        let count = |outcome: &Outcome| outcome.faults.get(kind).copied().unwrap_or_default().to_string();
        text += &line(&format!("  {kind}"), outcomes.iter().map(count));
    }
    text += &line("seconds", outcomes.iter().map(|outcome| format!("{:.0}", outcome.seconds)));
    for outcome in outcomes {
        text += &format!("\nseed {}: {}\n", outcome.seed, outcome.says());
        for finding in &outcome.verdict.findings {
            text += &format!("  {finding}\n");
        }
    }
    text
}

fn line(name: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("{cell:>9}")).collect();
    format!("{name:<38}{cells}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(sabotage: Option<Sabotage>, verdict: Verdict) -> Outcome {
        Outcome {
            seed: 1,
            verdict,
            unsettled: BTreeMap::new(),
            faults: [("kill", 3)].into(),
            deaths: 0,
            repeated: 0,
            redelivered: 0,
            seconds: 1.0,
            sabotage,
        }
    }

    #[test]
    fn a_run_is_judged_by_what_it_was_for() {
        let doubled = Verdict { doubled: 2, ..Verdict::default() };
        let lost = Verdict { lost: 1, ..Verdict::default() };
        assert_eq!(outcome(None, Verdict::default()).end(), End::Held);
        assert_eq!(outcome(None, doubled.clone()).end(), End::Broken);
        assert_eq!(outcome(None, lost.clone()).end(), End::Broken);
        assert_eq!(outcome(Some(Sabotage::NoInbox), doubled.clone()).end(), End::Held);
        assert_eq!(outcome(Some(Sabotage::NoInbox), lost.clone()).end(), End::Broken);
        assert_eq!(outcome(Some(Sabotage::AckBeforeCommit), lost).end(), End::Held);
        assert_eq!(outcome(Some(Sabotage::AckBeforeCommit), doubled).end(), End::Broken);
        let mut waiting = outcome(None, Verdict::default());
        waiting.unsettled.insert("parked".to_owned(), 1);
        assert_eq!(waiting.end(), End::Unsettled);
        waiting.verdict.lost = 1;
        assert_eq!(waiting.end(), End::Unsettled);
        waiting.verdict.lost = 2;
        assert_eq!(waiting.end(), End::Broken);
    }

    #[test]
    fn the_table_has_a_column_a_seed() {
        let text = table(&[outcome(None, Verdict::default()), outcome(None, Verdict::default())]);
        let first = text.lines().next().unwrap_or_default();
        assert_eq!(first.split_whitespace().collect::<Vec<_>>(), ["seed", "1", "1"]);
        assert!(text.contains("  kill"));
    }
}
