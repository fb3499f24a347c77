//! `millrace breach scope`: which tenants, which subjects, which fields, since when. Read from the audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use millrace::config::{Process, StartFault, start};
use millrace::contract::{CheckedContract, Contract, TenantId, Timestamp};
use serde_json::{Map, Value, json};

use super::access_review::{resolve, span};
use super::catalogue::{Subjects, Tables, subjects, tables};
use super::log_lines::{self, Entry, Seen};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

const EXAMPLE: &str = "Example: millrace breach scope --from 2026-03-01 --to 2026-03-04 --actor service:crm\n\
    Answers from the audit log: lines say who acted on what and when. Fields are those of the message's schema and of the \
    table that holds the resource; personal ones are those that the catalogue tags. Reads through the API leave no line: \
    a principal that could read may have read everything its role shows.\n\
    --offline reads files alone and resolves no pseudonym; with --log it needs no configuration either.";

/// What to do when data may have got out.
#[derive(Debug, Subcommand)]
pub(crate) enum Breach {
    /// Which tenants, which subjects, which fields, since when: from the audit log's files.
    #[command(after_help = EXAMPLE)]
    Scope(Scope),
}

#[derive(Debug, Args)]
pub(crate) struct Scope {
    /// From this moment: a day, or RFC 3339.
    #[arg(long, value_parser = moment)]
    from: Timestamp,
    /// Up to this moment, which is not part of it any more.
    #[arg(long, value_parser = moment)]
    to: Timestamp,
    /// Only these tenants.
    #[arg(long)]
    org: Vec<String>,
    /// Only what this principal did, as lines name it or by the person's id: service:crm, user:ada.
    #[arg(long)]
    actor: Option<String>,
    /// Folder of the log [default: compliance.audit_log_path]
    #[arg(long, value_name = "FOLDER")]
    log: Option<PathBuf>,
    /// Ask no database.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// A day is its beginning in UTC.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    Timestamp::parse(&whole)
        .ok_or_else(|| "a day such as 2026-03-01, or RFC 3339 such as 2026-03-01T12:00:00Z".to_owned())
}

/// What the database knows; nothing without one.
#[derive(Debug, Default)]
struct Known {
    subjects: Subjects,
    tables: Tables,
}

/// A number of lines with their first and last moment.
#[derive(Debug, Clone, Copy)]
struct Span {
    since: Timestamp,
    until: Timestamp,
    lines: u64,
}

impl Span {
    fn add(found: &mut Option<Self>, at: Timestamp) {
        let span = found.get_or_insert(Self { since: at, until: at, lines: 0 });
        span.since = span.since.min(at);
        span.until = span.until.max(at);
        span.lines += 1;
    }

    fn facts(self) -> Map<String, Value> {
        let text = |at: Timestamp| Value::from(at.to_string());
        let facts = [("since", text(self.since)), ("until", text(self.until)), ("lines", self.lines.into())];
        facts.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}

#[derive(Debug, Default)]
struct Touched {
    span: Option<Span>,
    outcomes: BTreeMap<String, u64>,
    /// Who acted, as lines name them.
    principals: BTreeMap<String, Option<Span>>,
    /// People whom lines name as what was acted upon.
    people: BTreeMap<String, Option<Span>>,
    actions: BTreeMap<String, Option<Span>>,
    resources: BTreeMap<String, BTreeSet<String>>,
}

impl Touched {
    fn take(&mut self, at: Timestamp, entry: Entry) {
        Span::add(&mut self.span, at);
        *self.outcomes.entry(entry.outcome).or_default() += 1;
        Span::add(self.principals.entry(entry.actor_id).or_default(), at);
        Span::add(self.actions.entry(entry.action).or_default(), at);
        if entry.resource_type == "member" {
            Span::add(self.people.entry(format!("user:{}", entry.resource_id)).or_default(), at);
        }
        self.resources.entry(entry.resource_type).or_default().insert(entry.resource_id);
    }
}

impl Breach {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let Self::Scope(scope) = self;
        scope.run(contract, screen).await
    }
}

impl Scope {
    async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        if self.from >= self.to {
            return Err(Usage("--from must be before --to".to_owned()).into());
        }
        let (contract, folder, known, unresolved) = self.prepare(contract).await?;
        if let Some(why) = &unresolved {
            screen.warn(&format!("pseudonyms and columns are not resolved: {why}"));
        }
        let (touched, seen) = self.read(&folder, &known.subjects)?;
        if seen.unreadable > 0 {
            screen.warn(&format!("{} line(s) are no audit lines: verify the log first", seen.unreadable));
        }
        if seen.first.is_some_and(|first| first > self.from) {
            screen.warn("the log on this host begins after --from: earlier lines are gone or elsewhere");
        }
        let tenants: Vec<Value> =
            touched.iter().map(|(org, touched)| tenant(org, touched, &contract, &known)).collect();
        if screen.is_json() {
            screen.raw(
                &json!({ "from": self.from.to_string(), "to": self.to.to_string(), "actor": self.actor,
                "log": span(&seen), "resolved": unresolved.is_none(), "why_unresolved": unresolved,
                "reads": "not logged", "tenants": tenants })
                .to_string(),
            );
        } else {
            tenants.iter().for_each(|tenant| show(tenant, screen));
            screen.tell(&format!(
                "{} tenant(s); {} line(s) of the log were read; reads leave no line",
                tenants.len(),
                seen.lines
            ));
        }
        Ok(())
    }

    /// The contract, the folder, and what the database knows, or why it was not asked.
    async fn prepare(
        &self,
        contract: Contract,
    ) -> Result<(CheckedContract, PathBuf, Known, Option<String>), CommandFault> {
        if let (true, Some(folder)) = (self.offline, &self.log) {
            let contract = contract.check().map_err(StartFault::Contract)?;
            return Ok((contract, folder.clone(), Known::default(), Some("--offline".to_owned())));
        }
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let folder = self.log.clone().unwrap_or_else(|| config.compliance.audit_log_path.clone());
        if self.offline {
            return Ok((contract, folder, Known::default(), Some("--offline".to_owned())));
        }
        match self.ask(&contract, &config).await {
            Ok(known) => Ok((contract, folder, known, None)),
            // A breach is no time to refuse an answer because a server is away.
            Err(fault) if !fault.is::<Usage>() => Ok((contract, folder, Known::default(), Some(fault.to_string()))),
            Err(fault) => Err(fault),
        }
    }

    async fn ask(&self, contract: &CheckedContract, config: &millrace::config::Config) -> Result<Known, CommandFault> {
        let facts = [("from", self.from.to_string()), ("to", self.to.to_string())];
        let facts = facts.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect();
        let act = self.operator.act(contract, config).await?;
        let mut read =
            act.note(&TenantId::operator(), "breach.scope", ("tenant", "*"), facts)?.commit_then_read().await?;
        let (subjects, tables) = (subjects(read.conn()).await?, tables(read.conn()).await?);
        Ok(Known { subjects, tables })
    }

    fn read(&self, folder: &Path, subjects: &Subjects) -> Result<(BTreeMap<String, Touched>, Seen), CommandFault> {
        let mut touched: BTreeMap<String, Touched> = BTreeMap::new();
        let seen = log_lines::read(folder, |at, entry| {
            let inside = self.from <= at && at < self.to;
            let named = self.org.is_empty() || self.org.contains(&entry.org_id);
            let acted = self.actor.as_ref().is_none_or(|actor| {
                *actor == entry.actor_id || *actor == resolve(&entry.org_id, &entry.actor_id, subjects)
            });
            if inside && named && acted {
                touched.entry(entry.org_id.clone()).or_default().take(at, entry);
            }
        })?;
        Ok((touched, seen))
    }
}

fn tenant(org: &str, touched: &Touched, contract: &CheckedContract, known: &Known) -> Value {
    let mut facts = Map::from_iter([("org_id".to_owned(), org.into())]);
    facts.extend(touched.span.into_iter().flat_map(Span::facts));
    facts.insert("outcomes".to_owned(), json!(touched.outcomes));
    let named = |found: &BTreeMap<String, Option<Span>>| -> Vec<Value> {
        let each = found.iter().map(|(actor, span)| {
            let resolved = resolve(org, actor, &known.subjects);
            let person = (resolved != *actor).then_some(resolved);
            let mut facts =
                Map::from_iter([("principal".to_owned(), actor.as_str().into()), ("person".to_owned(), json!(person))]);
            facts.extend(span.iter().flat_map(|span| span.facts()));
            facts.into()
        });
        each.collect()
    };
    facts.insert("principals".to_owned(), named(&touched.principals).into());
    facts.insert("subjects".to_owned(), named(&touched.people).into());
    let actions = touched.actions.iter().map(|(action, span)| {
        let mut facts = Map::from_iter([
            ("action".to_owned(), action.as_str().into()),
            ("fields".to_owned(), fields(contract, action)),
        ]);
        facts.extend(span.iter().flat_map(|span| span.facts()));
        Value::from(facts)
    });
    facts.insert("actions".to_owned(), actions.collect::<Vec<_>>().into());
    let resources = touched.resources.iter().map(|(kind, ids)| {
        let (table, columns, personal) = columns(&known.tables, kind);
        json!({ "resource_type": kind, "resources": ids.len(), "table": table, "columns": columns, "personal": personal })
    });
    facts.insert("resources".to_owned(), resources.collect::<Vec<_>>().into());
    facts.into()
}

/// The fields of a message, as its schema names them; null for what is no message of the contract.
fn fields(contract: &CheckedContract, action: &str) -> Value {
    let properties = contract.payload(action).and_then(|entry| entry.schema.get("properties")?.as_object().cloned());
    properties.map_or(Value::Null, |properties| properties.keys().cloned().collect::<Vec<_>>().into())
}

/// The table that holds a kind of resource, with its columns and those of them that hold personal data.
fn columns(tables: &Tables, kind: &str) -> (Option<String>, Vec<String>, Vec<String>) {
    let names = [format!("app.{kind}s"), format!("app.{kind}")];
    let Some((table, columns)) = names.iter().find_map(|name| tables.get_key_value(name)) else {
        return (None, Vec::new(), Vec::new());
    };
    let personal =
        columns.iter().filter(|column| column.personal.is_some()).map(|column| column.name.clone()).collect();
    (Some(table.clone()), columns.iter().map(|column| column.name.clone()).collect(), personal)
}

fn show(tenant: &Value, screen: &Screen) {
    let text = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let list = |key: &str| tenant.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    screen.tell(&format!(
        "{}: {} line(s) since {} until {}, {}",
        text(tenant, "org_id"),
        text(tenant, "lines"),
        text(tenant, "since"),
        text(tenant, "until"),
        text(tenant, "outcomes")
    ));
    for (what, key) in [("acted", "principals"), ("subject", "subjects")] {
        for one in list(key) {
            screen.tell(&format!(
                "  {what:<8} {} ({}) since {}, {} line(s)",
                text(&one, "principal"),
                text(&one, "person"),
                text(&one, "since"),
                text(&one, "lines")
            ));
        }
    }
    for one in list("actions") {
        screen.tell(&format!(
            "  action   {} since {}, fields {}",
            text(&one, "action"),
            text(&one, "since"),
            text(&one, "fields")
        ));
    }
    for one in list("resources") {
        screen.tell(&format!(
            "  resource {} x{}, table {}, personal {}",
            text(&one, "resource_type"),
            text(&one, "resources"),
            text(&one, "table"),
            text(&one, "personal")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_utc() {
        assert_eq!(moment("2026-03-01"), moment("2026-03-01T00:00:00Z"));
        assert_eq!(moment("2026-03-01T01:00:00+01:00"), moment("2026-03-01"));
        for wrong in ["", "2026-3-1", "yesterday", "2026-02-30"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_are_those_of_the_messages_schema() {
        let contract = millrace::builtin().check().unwrap();
        assert_eq!(fields(&contract, "projects.create"), json!(["name"]));
        assert_eq!(fields(&contract, "invoice.payment_succeeded"), Value::Null);
    }
}
