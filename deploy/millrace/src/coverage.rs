//! `millrace coverage`: what every column holds of people, and that erasure and export know it. It reads the catalogue, so an
//! adopter's tables are covered unasked.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use millrace::config::{Config, DatabaseUser, Process, start};
use millrace::contract::Contract;
use millrace::db::probe::ProbeTx;
use millrace::db::{ContextKey, DbFault, connect_options};
use millrace::lifecycle::exit;
use serde::Serialize;
use serde_json::json;

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::Usage;
use crate::screen::Screen;

#[derive(Debug, Args)]
#[command(after_help = "Each column of schemas app and engine has a comment that says what it holds of a person:\n  \
    pii: none, WHY\n  \
    pii: person; erase: row          a person's id: the row goes with the person\n  \
    pii: person; erase: column       the same in a row that stays: the column becomes NULL\n  \
    pii: about; erase: row|column    about the person whom another column of the row names\n  \
    pii: content; erase: kept, WHY   the tenant's own words\n\
    and '; export: no, WHY' where an export leaves it out; on org_id '; org: kept, WHY' where rows outlive the erasure of \
    the whole tenant. In a migration:\n  \
    SELECT millrace.tag('app.tickets', '{id,created_at}', 'pii: none, ids and times');\n\
    Exits 70 when a column has none, or one that cannot be done, and for what would stop an erasure: a foreign key that \
    holds on to rows which go, or rows that workers may not delete.")]
pub(crate) struct Coverage {
    #[command(flatten)]
    config: ConfigFile,
}

/// A column as its tag describes it.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    /// Schema, table and column.
    pub place: String,
    /// `none`, `person`, `about` or `content`; empty without a tag.
    pub kind: String,
    /// `row`, `column`, `kept` or `engine`; empty for what holds nothing.
    pub erase: String,
    /// Does an export of the tenant have it?
    pub exported: bool,
    /// The whole tag, with its reasons.
    pub tag: String,
    /// What is wrong with it.
    pub fault: Option<&'static str>,
}

/// A row of `app.personal_columns()`.
type Found = (String, String, Option<String>, Option<String>, bool, bool, String);

impl Coverage {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let (_, config) = start(contract, &self.config.path(), Process::Prover)?;
        let columns = columns(&config).await?;
        let mut faults = 0_usize;
        for column in &columns {
            let text = format!("{:<44} {}", column.place, if column.tag.is_empty() { "-" } else { &column.tag });
            match column.fault {
                None => screen.row(&text, &json!(column)),
                Some(fault) => {
                    faults += 1;
                    screen.row(&format!("red {text}: {fault}"), &json!(column));
                }
            }
        }
        if faults > 0 {
            screen.tell(&format!("{faults} of {} columns are not covered", columns.len()));
            return Ok(ExitCode::from(exit::SOFTWARE));
        }
        let text = format!("{} columns: erasure and export know each of them", columns.len());
        screen.done(&text, json!({ "columns": columns.len(), "faults": 0 }));
        Ok(ExitCode::SUCCESS)
    }
}

/// Every column with its tag, and what is wrong with it.
///
/// # Errors
/// The configuration lacks the workers' login, or the database is away.
pub async fn columns(config: &Config) -> Result<Vec<Column>, CommandFault> {
    let key = config.database.context_key.as_ref().map(ContextKey::new);
    let key = key.ok_or_else(|| Usage("database.context_key is missing".to_owned()))?;
    let app = connect_options(&config.database, DatabaseUser::App)?;
    let mut tx = ProbeTx::begin(&app, &key).await?;
    let found = read(&mut tx).await?;
    let obstacles: Vec<(String, String, String)> =
        tx.fetch("SELECT place, obstacle, stops FROM app.erasure_obstacles() ORDER BY 1, 2").await?;
    tx.end().await?;
    let mut tables: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for column in found {
        tables.entry(column.0.clone()).or_default().push(column);
    }
    let columns = tables.values().flat_map(|table| table.iter().map(|column| judged(column, table)));
    Ok(columns.chain(obstacles.iter().map(obstacle)).collect())
}

/// What is no column, and would stop an erasure all the same.
fn obstacle((place, name, stops): &(String, String, String)) -> Column {
    let fault = match stops.as_str() {
        "person" => {
            "this foreign key holds on to rows that go with a person: tag its column as one of a person, or let it go with \
             ON DELETE CASCADE or SET NULL"
        }
        "org" => {
            "this foreign key of a table that outlives its tenant holds on to rows that go with the tenant: let it go with \
             ON DELETE, or give both tables' org_id '; org: kept, WHY' or neither"
        }
        _ => "workers may not delete rows that go with their tenant: grant it, or tag org_id with '; org: kept, WHY'",
    };
    Column {
        place: format!("{place} ({name})"),
        kind: String::new(),
        erase: String::new(),
        exported: false,
        tag: String::new(),
        fault: Some(fault),
    }
}

async fn read(tx: &mut ProbeTx) -> Result<Vec<Found>, DbFault> {
    tx.fetch("SELECT place, name, kind, erasure, exported, nullable, tag FROM app.personal_columns() ORDER BY 1, 2")
        .await
}

fn judged(column: &Found, table: &[Found]) -> Column {
    let (place, name, kind, erase, exported, ..) = column;
    let fault = fault(column, table);
    Column {
        place: format!("{place}.{name}"),
        kind: kind.clone().unwrap_or_default(),
        erase: erase.clone().unwrap_or_default(),
        exported: *exported,
        tag: column.6.clone(),
        fault,
    }
}

/// What keeps a tag from being carried out, by the grammar that the migration gives.
fn fault((place, name, kind, erase, _, nullable, tag): &Found, table: &[Found]) -> Option<&'static str> {
    let engine = place.starts_with("engine.");
    let names_person = |how: &str| {
        let persons = table.iter().filter(|other| other.2.as_deref() == Some("person"));
        persons.filter_map(|other| other.3.as_deref()).any(|erase| erase == how)
    };
    let reason = |before: &str| {
        let rest = tag.split_once(before).map(|(_, rest)| rest);
        rest.is_some_and(|rest| !rest.trim_start().is_empty() && !rest.starts_with(';'))
    };
    if tag.contains("; export: no") && !reason("; export: no, ") {
        return Some("an export that leaves it out gives a reason");
    }
    if tag.contains("; org: ") && (name != "org_id" || !place.starts_with("app.") || !reason("; org: kept, ")) {
        return Some("'; org: kept, WHY' stands on org_id of a tenant's table and gives a reason");
    }
    match (kind.as_deref(), erase.as_deref()) {
        (None, _) => Some("it has no tag: see millrace coverage --help"),
        (Some("none"), None) if reason("pii: none, ") => None,
        (Some("none"), _) => Some("pii: none gives a reason and no erasure"),
        (Some("content"), Some("kept")) if reason("erase: kept, ") => None,
        (Some("person" | "content"), Some("engine")) if engine => None,
        (Some("person"), Some("row")) => None,
        (Some("person"), Some("column")) if *nullable => None,
        (Some("person"), Some("column")) => Some("it cannot become NULL"),
        (Some("about"), Some(how @ ("row" | "column"))) if !names_person(how) => {
            Some("no column of the table names a person with the same erasure")
        }
        (Some("about"), Some("column")) if !nullable => Some("it cannot become NULL"),
        (Some("about"), Some("row" | "column")) => None,
        _ => Some("the tag is not one of those of millrace coverage --help"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(tag: &str, nullable: bool) -> Found {
        let part = |before: &str| {
            let rest = tag.split_once(before)?.1;
            Some(rest.split(|c: char| !c.is_ascii_lowercase()).next()?.to_owned())
        };
        let kind = part("pii: ").filter(|_| tag.starts_with("pii: "));
        ("app.t".into(), "c".into(), kind, part("; erase: "), true, nullable, tag.into())
    }

    #[test]
    fn a_tag_that_can_be_carried_out_is_no_fault() {
        let person = column("pii: person; erase: row", false);
        let seldom = column("pii: person; erase: column", true);
        for (tag, nullable, table) in [
            ("pii: none, ids and times", false, &person),
            ("pii: none, a tag; export: no, nobody can read it", false, &person),
            ("pii: person; erase: row", false, &person),
            ("pii: person; erase: column", true, &person),
            ("pii: about; erase: row", false, &person),
            ("pii: about; erase: column", true, &seldom),
            ("pii: content; erase: kept, the tenant renames it", false, &person),
        ] {
            assert_eq!(fault(&column(tag, nullable), std::slice::from_ref(table)), None, "{tag}");
        }
    }

    #[test]
    fn a_table_outlives_its_tenant_for_a_reason_that_stands_on_its_org_id() {
        let of = |tag: &str, name: &str| {
            let mut found = column(tag, false);
            found.1 = name.into();
            fault(&found, &[]).is_none()
        };
        assert!(of("pii: none, x; org: kept, the law asks for it", "org_id"));
        assert!(!of("pii: none, x; org: kept, ", "org_id"));
        assert!(!of("pii: none, x; org: gone, why not", "org_id"));
        assert!(!of("pii: none, x; org: kept, the law asks for it", "id"));
    }

    #[test]
    fn everything_else_is() {
        let nobody = column("pii: none, x", false);
        let person = column("pii: person; erase: row", false);
        for (tag, nullable, table) in [
            ("", true, &nobody),
            ("the user's name", true, &nobody),
            ("pii: none", true, &nobody),
            ("pii: none, ", true, &nobody),
            ("pii: person", true, &nobody),
            ("pii: person; erase: column", false, &nobody),
            ("pii: person; erase: later", true, &nobody),
            ("pii: person; erase: engine", true, &nobody),
            ("pii: about; erase: row", true, &nobody),
            ("pii: about; erase: column", true, &person),
            ("pii: content; erase: kept", true, &nobody),
            ("pii: content; erase: row", true, &nobody),
            ("pii: person; erase: row; export: no", true, &nobody),
            ("pii: none, x; org: kept, it is the law", true, &nobody),
        ] {
            assert!(fault(&column(tag, nullable), std::slice::from_ref(table)).is_some(), "{tag}");
        }
    }
}
