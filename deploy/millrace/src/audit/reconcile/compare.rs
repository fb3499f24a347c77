//! The two sides next to each other, and what does not agree.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::sorter::{Key, Record, Side, Sorted};

/// Messages that are waited for; what lies beyond is a fault at once.
const MOST_AWAITED: usize = 100_000;

/// What can be wrong. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FaultName {
    /// A settled message or dead letter without its line.
    LineMissing,
    /// One settlement, two lines.
    LineDoubled,
    /// A line without its message.
    MessageMissing,
    /// A line whose event id is not that of what it says.
    LineForeign,
    /// No line of an audit log.
    LineUnreadable,
}

impl FaultName {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::LineMissing => "line_missing",
            Self::LineDoubled => "line_doubled",
            Self::MessageMissing => "message_missing",
            Self::LineForeign => "line_foreign",
            Self::LineUnreadable => "line_unreadable",
        }
    }
}

/// One thing that does not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) name: FaultName,
    /// What people read.
    pub(super) text: String,
    /// What programs read.
    pub(super) facts: Value,
}

impl Fault {
    /// About a line of the log: `text` is its record's.
    pub(super) fn of_line(name: FaultName, number: u64, text: Option<&str>) -> Self {
        let mut parts = text.unwrap_or_default().split('\t').skip(1);
        let (org, event) = (parts.next(), parts.next());
        let shown = format!("{:<16} line {number} {} {}", name.as_str(), org.unwrap_or("-"), event.unwrap_or("-"));
        let facts = json!({ "fault": name.as_str(), "line": number, "org_id": org, "event_id": event });
        Self { name, text: shown, facts }
    }

    fn of_record(name: FaultName, text: &str) -> Self {
        let number = text.split('\t').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        Self::of_line(name, number, Some(text))
    }

    /// About a message or dead letter without its line.
    pub(super) fn missing(text: &str) -> Self {
        let parts: Vec<&str> = text.split('\t').collect();
        let [org, publisher, message, redrives] =
            [0, 1, 2, 3].map(|place| parts.get(place).copied().unwrap_or_default());
        let redrives: Option<i32> = redrives.parse().ok();
        let kind = if redrives.is_some() { "dead letter" } else { "message" };
        let name = FaultName::LineMissing;
        let shown = format!("{:<16} {kind} {message} of {publisher} for {org}", name.as_str());
        let facts = json!({ "fault": name.as_str(), "kind": kind, "org_id": org, "publisher": publisher,
            "message_id": message, "redrives": redrives });
        Self { name, text: shown, facts }
    }
}

/// Messages whose lines may still come, with what a fault would show.
pub(super) type Awaited = HashMap<Key, String>;

/// Everything known of one settlement.
#[derive(Default)]
struct Group {
    message: Option<Record>,
    due: bool,
    lines: Vec<Record>,
    pending: bool,
}

/// Goes through all records in order, and returns what has to be waited for.
pub(super) fn compare(mut sorted: Sorted, found: &mut dyn FnMut(Fault)) -> std::io::Result<Awaited> {
    let (mut awaited, mut group, mut of) = (Awaited::new(), Group::default(), None);
    while let Some(record) = sorted.next()? {
        if of.replace(record.key).is_some_and(|key| key != record.key) {
            std::mem::take(&mut group).judge(&mut awaited, found);
        }
        group.add(record);
    }
    group.judge(&mut awaited, found);
    Ok(awaited)
}

impl Group {
    fn add(&mut self, record: Record) {
        match record.side {
            Side::Message => {
                self.due |= record.due;
                self.message = Some(record);
            }
            Side::Line => self.lines.push(record),
            Side::Pending => self.pending = true,
        }
    }

    fn judge(self, awaited: &mut Awaited, found: &mut dyn FnMut(Fault)) {
        for line in self.lines.iter().skip(1) {
            found(Fault::of_record(FaultName::LineDoubled, &line.text));
        }
        match self.message {
            None => {
                let lacking = self.lines.iter().take(1).filter(|line| line.due);
                lacking.for_each(|line| found(Fault::of_record(FaultName::MessageMissing, &line.text)));
            }
            Some(message) if self.lines.is_empty() && self.due && !self.pending => {
                if awaited.len() < MOST_AWAITED {
                    awaited.insert(message.key, message.text);
                } else {
                    found(Fault::missing(&message.text));
                }
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sorter::Sorter;
    use super::*;

    fn faults(records: &[(u8, Side, bool)]) -> (Vec<&'static str>, usize) {
        let mut sorter = Sorter::default();
        for (place, (key, side, due)) in records.iter().enumerate() {
            let text = match side {
                Side::Line => format!("{place}\tacme\tid"),
                _ => "acme\tingress\tm\t".to_owned(),
            };
            sorter.push(Record { key: [*key; 16], side: *side, due: *due, text }).unwrap();
        }
        let mut names = Vec::new();
        let awaited = compare(sorter.sorted().unwrap(), &mut |fault| names.push(fault.name.as_str())).unwrap();
        (names, awaited.len())
    }

    #[test]
    fn what_agrees_is_no_fault_and_what_does_not_is_one() {
        use Side::{Line, Message, Pending};
        assert_eq!(
            faults(&[(1, Message, true), (1, Line, true), (2, Message, true), (2, Pending, false)]),
            (vec![], 0)
        );
        assert_eq!(faults(&[(1, Message, true)]), (vec![], 1), "its line may be on its way");
        assert_eq!(faults(&[(1, Line, true)]), (vec!["message_missing"], 0));
        assert_eq!(faults(&[(1, Message, true), (1, Line, true), (1, Line, true)]), (vec!["line_doubled"], 0));
        assert_eq!(faults(&[(1, Line, true), (1, Line, true)]), (vec!["line_doubled", "message_missing"], 0));
        // Beyond the window either side may be gone.
        assert_eq!(faults(&[(1, Line, false), (2, Message, false)]), (vec![], 0));
        // One message that two generations remember.
        assert_eq!(faults(&[(1, Message, false), (1, Message, true), (1, Line, false)]), (vec![], 0));
        assert_eq!(faults(&[]), (vec![], 0));
    }
}
