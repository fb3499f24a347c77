//! Where data rests, for how long, and what ends it. One table behind the retention schedule, the record of processing and
//! the data flow; a test holds it against the catalogue, so that a new table cannot be forgotten.

use std::fmt::Write;

use serde_json::{Value, json};

/// What ends the time that data rests in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Something in Millrace does: where.
    Enforced(&'static str),
    /// Nothing in Millrace does: what the operator does instead.
    NotEnforced(&'static str),
    /// It holds nothing of anybody.
    Nothing,
}

/// One place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// A queue, a table, a file; `*` stands for the rest of a name.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) holds: &'static str,
    /// For how long, in words.
    pub(super) time: &'static str,
    pub(super) limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Queue,
    Table,
    File,
    Elsewhere,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Table => "table",
            Self::File => "file",
            Self::Elsewhere => "elsewhere",
        }
    }
}

use Kind::{Elsewhere, File, Queue, Table};
use Limit::{Enforced, NotEnforced, Nothing};

const fn place(kind: Kind, name: &'static str, holds: &'static str, time: &'static str, limit: Limit) -> Place {
    Place { name, kind, holds, time, limit }
}

const BOOKS: &str = "bookkeeping: the law of the operator's country says how long; rows are deleted by hand or not at all, and what the tags \
     keep outlives the tenant's erasure";
const CONTENT: &str =
    "the tenant is the controller: what it deletes is gone, and what it keeps stays until the tenant is erased";

/// Every place. An exact name wins over one with `*`.
pub(super) const PLACES: &[Place] = &[
    place(
        Queue,
        "work.*",
        "sealed messages with their bodies",
        "until they are settled",
        Enforced("acked after the commit; the broker sets a message aside after 200 deliveries (millrace topology)"),
    ),
    place(Queue, "audit", "sealed audit lines", "until they are in the log", Enforced("acked after fdatasync")),
    place(
        Queue,
        "dead",
        "messages that the broker gave up on",
        "until a worker has recorded them",
        Enforced("acked after the dead letter is committed"),
    ),
    place(
        Queue,
        "quarantine",
        "what no client can read off the wire",
        "until an operator has looked",
        NotEnforced("nobody consumes it: look and purge it by hand"),
    ),
    place(
        Queue,
        "queues of services",
        "events that a service consumes",
        "until it acks them",
        NotEnforced("they belong to the service: set a message TTL there"),
    ),
    place(
        Table,
        "engine.outbox",
        "sealed messages to publish",
        "seconds: until the broker confirms them",
        Enforced("workers and millrace-relay delete what is confirmed"),
    ),
    place(
        Table,
        "engine.parked",
        "messages that wait, with their bodies",
        "up to 5 attempts; 24 hours without a tenant; 7 days with an unknown type",
        Enforced("shared/src/pipeline/park.rs"),
    ),
    place(
        Table,
        "engine.dead_letters",
        "messages set aside, with their bodies and personal data",
        "no limit",
        NotEnforced(
            "a letter is marked and never deleted: redrive or discard it (millrace dead); the erasure of a person empties \
             the bodies that name it, that of a tenant all of its own; what dies after it is kept without a body",
        ),
    ),
    place(
        Table,
        "engine.due",
        "messages that come due later: ids of rows",
        "until they are due",
        Enforced("a worker seals what is due and deletes the row"),
    ),
    place(
        Table,
        "engine.operations",
        "what became of each command: ids and codes",
        "74 days, told for 35 at least; those of erasures stay, since they lead to a certificate",
        Enforced("the relay deletes older rows"),
    ),
    place(
        Table,
        "engine.inbox_*",
        "hashes and ids of settled messages",
        "36 to 72 days",
        Enforced("engine.turn_inbox, called by millrace-relay"),
    ),
    place(Table, "engine.inbox_turn", "which generation takes claims", "no limit", Nothing),
    place(Table, "engine.relay_turn", "whose turn it is to sweep", "no limit", Nothing),
    place(Table, "engine.audit_index_position", "how far the audit log is indexed", "no limit", Nothing),
    place(
        Table,
        "engine.holds",
        "which tenant is held for which file, which operator said so, and the hash of the evidence",
        "no limit",
        NotEnforced("the record of holds, kept as evidence"),
    ),
    place(
        Table,
        "engine.provider_links",
        "which tenant a provider's customer is",
        "no limit",
        NotEnforced("delete a link when the contract with the provider's customer ends"),
    ),
    place(
        Table,
        "app.tenants",
        "name, plan and state of each tenant",
        "no limit",
        NotEnforced(
            "millrace tenants close keeps the row for the law and the audit; erased, it is a tombstone without a name",
        ),
    ),
    place(
        Table,
        "app.members",
        "user ids and roles",
        "until the tenant removes the member",
        Enforced("members.remove, which leaves a tombstone"),
    ),
    place(
        Table,
        "app.removed_members",
        "keyed tags of people, from which nobody can read the person",
        "no limit",
        NotEnforced("kept on purpose: a tombstone denies for ever"),
    ),
    place(
        Table,
        "app.subjects",
        "which person a pseudonym of the audit log is",
        "until the person is erased",
        Enforced("the erasure of the person"),
    ),
    place(
        Table,
        "app.erasures",
        "plans and certificates of erasures, a tenant's own included; a person's id until the erasure is executed or canceled",
        "no limit",
        Enforced("the execution takes the id away; certificates are kept as evidence"),
    ),
    place(
        Table,
        "app.exports",
        "which exports there were, how far they are; the person of one until it is erased",
        "no limit",
        NotEnforced("kept as the record of requests; the data itself is in the store of exports"),
    ),
    place(
        Table,
        "app.export_files",
        "names, sizes and hashes of the files of exports",
        "no limit",
        NotEnforced("kept as the record of requests"),
    ),
    place(Table, "app.subscriptions", "mirror of the provider's subscriptions", "no limit", NotEnforced(BOOKS)),
    place(Table, "app.invoices", "mirror of the provider's invoices", "no limit", NotEnforced(BOOKS)),
    place(Table, "app.invoice_payments", "which payment paid which invoice", "no limit", NotEnforced(BOOKS)),
    place(Table, "app.refunds", "money that went back", "no limit", NotEnforced(BOOKS)),
    place(Table, "app.fee_ledger", "fees and what of them went back", "no limit", NotEnforced(BOOKS)),
    place(Table, "app.billing_history", "which billing event changed what", "no limit", NotEnforced(BOOKS)),
    place(
        Table,
        "app.audit_index*",
        "fields of audit lines, to search them",
        "compliance.audit_index_days, 90 by default, and up to a month more",
        Enforced("the indexer drops months by engine.tend_audit_index"),
    ),
    place(Table, "app.*", "content that a tenant stores", "until the tenant deletes it", NotEnforced(CONTENT)),
    place(Table, "ref.*", "plans, the same for everybody", "no limit", Nothing),
    place(
        File,
        "audit log",
        "lines with pseudonyms, codes and ids; no content",
        "compliance.retention_days, 365 by default",
        Enforced(
            "millrace audit prune, which an operator schedules: whole segments, after a signed record; a legal hold keeps its own copy",
        ),
    ),
    place(
        File,
        "exports of tenants' data",
        "what a tenant, or one person of it, has in the tables above, in compliance.export_store",
        "7 days; until anybody of the tenant is erased",
        Enforced("millrace-compliance deletes what is due"),
    ),
    place(
        File,
        "exports of the audit log",
        "one tenant's lines, or an event, with proofs: what millrace audit export and prove wrote",
        "no limit",
        NotEnforced("delete them when whoever asked has them"),
    ),
    place(
        File,
        "evidence of legal holds",
        "a held tenant's lines with proofs: what millrace hold place pinned",
        "until the matter is closed",
        NotEnforced(
            "the bundle outlives the log's segments on purpose: delete it when the hold is released and nobody needs it",
        ),
    ),
    place(
        File,
        "evidence archives",
        "what millrace evidence collected",
        "no limit",
        NotEnforced("delete them when the audit that they were made for is over"),
    ),
    place(
        File,
        "logs of processes",
        "counts, codes and ids; no bodies, no personal data",
        "what the host keeps",
        NotEnforced("processes write to standard output: rotate and expire it where it is collected"),
    ),
    place(Elsewhere, "metrics", "numbers; labels hold no personal data", "what the collector keeps", Nothing),
    place(
        Elsewhere,
        "backups of PostgreSQL",
        "everything in the tables above",
        "what the backup's own plan says",
        NotEnforced("expire them; a restored copy applies the list of erased people again before it opens"),
    ),
];

/// The line for a table, an exact one before one with `*`.
pub(super) fn of_table(name: &str) -> Option<&'static Place> {
    let tables = || PLACES.iter().filter(|place| place.kind == Table);
    let wild = |place: &&Place| place.name.strip_suffix('*').is_some_and(|start| name.starts_with(start));
    tables().find(|place| place.name == name).or_else(|| tables().filter(wild).max_by_key(|place| place.name.len()))
}

impl Place {
    pub(super) fn facts(&self) -> Value {
        let (enforced, how) = match self.limit {
            Enforced(how) => (json!(true), how),
            NotEnforced(how) => (json!(false), how),
            Nothing => (Value::Null, ""),
        };
        json!({ "place": self.name, "kind": self.kind.as_str(), "holds": self.holds, "time": self.time,
                "enforced": enforced, "how": how })
    }
}

/// The schedule as Markdown.
pub fn retention_schedule() -> String {
    let mut text = "# Retention schedule\n\n\
        Written by `millrace ropa --retention`. Each line says where a limit is enforced, or that nothing in Millrace \
        enforces one and what the operator does instead.\n\n\
        | place | holds | for how long | enforced by |\n|---|---|---|---|\n"
        .to_owned();
    for place in PLACES {
        let limit = match place.limit {
            Enforced(how) => how.to_owned(),
            NotEnforced(how) => format!("**not enforced**: {how}"),
            Nothing => "holds nothing of anybody".to_owned(),
        };
        let _ =
            writeln!(text, "| {} `{}` | {} | {} | {limit} |", place.kind.as_str(), place.name, place.holds, place.time);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pattern_that_fits_is_the_line_of_a_table() {
        for (table, line) in [
            ("app.members", "app.members"),
            ("app.projects", "app.*"),
            ("app.audit_index", "app.audit_index*"),
            ("engine.inbox_b", "engine.inbox_*"),
            ("engine.inbox_turn", "engine.inbox_turn"),
            ("ref.plans", "ref.*"),
        ] {
            assert_eq!(of_table(table).map(|place| place.name), Some(line), "{table}");
        }
        assert!(of_table("priv.k").is_none());
    }
}
