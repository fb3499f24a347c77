//! What a run did with the letters it came by.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};
use uuid::Uuid;

use super::SOME_STAY;
use super::marking::Marking;
use super::verdict::Refused;
use crate::screen::Screen;

/// Counts of one run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    marked: u64,
    /// By code, with the words of the first one.
    refused: BTreeMap<&'static str, (u64, String)>,
}

impl Tally {
    pub(super) fn marked(&mut self, letters: usize) {
        self.marked += u64::try_from(letters).unwrap_or(u64::MAX);
    }

    pub(super) fn refused(&mut self, why: &Refused) {
        self.refused.entry(why.code()).or_insert_with(|| (0, why.to_string())).0 += 1;
    }

    /// All letters so far.
    pub(super) fn seen(&self) -> u64 {
        self.marked + self.stay()
    }

    fn stay(&self) -> u64 {
        self.refused.values().map(|(count, _)| count).sum()
    }

    /// The end of a run.
    pub(super) fn show(&self, marking: &Marking, dry_run: bool, screen: &Screen) -> ExitCode {
        let would = if dry_run { "nothing was changed; it would be " } else { "" };
        let mut text = format!("{would}{} letter(s) {}, {} left as they are", self.marked, marking.done(), self.stay());
        for (code, (count, words)) in &self.refused {
            text.push_str(&format!("\n  {count} {code}: {words}"));
        }
        let refused: Value = self.refused.iter().map(|(code, (count, _))| ((*code).to_owned(), json!(count))).collect();
        screen.done(&text, json!({ marking.done(): self.marked, "refused": refused, "dry_run": dry_run }));
        if self.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(SOME_STAY) }
    }
}

/// Says of one letter that was named why it stays.
pub(super) fn tell(id: Uuid, why: &Refused, screen: &Screen) {
    screen.row(&format!("{id}: {why}"), &json!({ "id": id, "refused": why.code(), "because": why.to_string() }));
}
