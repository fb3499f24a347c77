//! What a dry run shows: the chosen letters counted by tenant, type and reason, and what would become of them.

use std::collections::BTreeMap;

use millrace::contract::TenantId;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::letter::Letter;
use super::marking::Run;
use super::tally::{Tally, tell};
use super::verdict::Refused;
use super::{DEAD_LETTER, PAGE};
use crate::CommandFault;

/// Letters of one tenant, type and reason with one fate.
type Groups = BTreeMap<(String, Option<String>, String, &'static str), u64>;

impl Run<'_> {
    /// Counts and shows; a look like any other, so it is audited first.
    pub(super) async fn preview(&self, tally: &mut Tally) -> Result<(), CommandFault> {
        let groups = if self.target.ids.is_empty() {
            self.preview_filtered(tally).await?
        } else {
            self.preview_named(tally).await?
        };
        self.screen.tell(&columns("COUNT", "TENANT", "TYPE", "REASON", "WOULD BE"));
        for ((org, message_type, reason, fate), count) in &groups {
            let text = columns(&count.to_string(), org, message_type.as_deref().unwrap_or("-"), reason, fate);
            let facts = json!({ "count": count, "org_id": org, "message_type": message_type, "reason": reason,
                                "would_be": fate });
            self.screen.row(&text, &facts);
        }
        Ok(())
    }

    async fn preview_filtered(&self, tally: &mut Tally) -> Result<Groups, CommandFault> {
        let mut act = self.act().await?;
        let chosen = self.target.filters.fixed(act.conn()).await?;
        let noted = act.note(&TenantId::operator(), "dead.preview", (DEAD_LETTER, "*"), self.looked_at())?;
        let mut read = noted.commit_then_read().await?;
        let (mut groups, mut after) = (Groups::new(), None);
        loop {
            let page = Letter::newest_first(read.conn(), &chosen, "open", after, i64::from(PAGE)).await?;
            let Some(last) = page.last() else { return Ok(groups) };
            after = Some(last.id);
            page.iter().for_each(|letter| self.count(letter, &mut groups, tally));
        }
    }

    async fn preview_named(&self, tally: &mut Tally) -> Result<Groups, CommandFault> {
        let ids = self.target.ids_once();
        let mut act = self.act().await?;
        let mut letters = Vec::with_capacity(ids.len());
        for part in ids.chunks(usize::from(PAGE)) {
            letters.extend(Letter::by_ids(act.conn(), part).await?);
        }
        act.commit(&TenantId::operator(), "dead.preview", (DEAD_LETTER, "*"), self.looked_at()).await?;
        let mut groups = Groups::new();
        letters.iter().for_each(|letter| self.count(letter, &mut groups, tally));
        let there: Vec<Uuid> = letters.iter().map(|letter| letter.id).collect();
        for id in ids.iter().filter(|id| there.binary_search(id).is_err()) {
            tally.refused(&Refused::NotThere);
            tell(*id, &Refused::NotThere, self.screen);
        }
        Ok(groups)
    }

    fn count(&self, letter: &Letter, groups: &mut Groups, tally: &mut Tally) {
        let fate = match self.marking.decide(letter, self.contract, OffsetDateTime::now_utc()) {
            Ok(_) => {
                tally.marked(1);
                self.marking.done()
            }
            Err(why) => {
                tally.refused(&why);
                if !self.target.ids.is_empty() {
                    tell(letter.id, &why, self.screen);
                }
                why.code()
            }
        };
        let group = (letter.org_id.clone(), letter.message_type.clone(), letter.reason.clone(), fate);
        *groups.entry(group).or_default() += 1;
    }

    fn looked_at(&self) -> Map<String, Value> {
        let mut facts = self.target.filters.facts();
        facts.insert("of".to_owned(), self.marking.action().into());
        if !self.target.ids.is_empty() {
            facts.insert("letters".to_owned(), self.target.ids.len().into());
        }
        facts
    }
}

fn columns(count: &str, tenant: &str, message_type: &str, reason: &str, fate: &str) -> String {
    format!("{count:>8} {tenant:<20} {message_type:<20} {reason:<18} {fate}")
}
