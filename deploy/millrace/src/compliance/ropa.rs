//! `millrace ropa`: the record of processing activities, from configuration, contract and catalogue.

use std::fmt::Write;

use clap::Args;
use millrace::config::{Config, Process, start};
use millrace::contract::{CheckedContract, Contract, TenantId, Timestamp};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::catalogue::{Tables, tables};
use super::places::{PLACES, of_table, retention_schedule};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

const EXAMPLE: &str = "Example: millrace ropa > record-of-processing.md\n\
    It supports the record of Art. 30(1) and (2) GDPR. Names and contacts of the controller, legal bases and regions are in \
    no configuration: the record says where they are to be added. Personal columns are those that the catalogue tags \
    (COMMENT ON COLUMN … IS 'pii: …').";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Ropa {
    /// Print the retention schedule alone; needs neither configuration nor database.
    #[arg(long)]
    retention: bool,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// One activity: name, who the operator is in it, purpose, whose data, which data, tables.
type Activity = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const ACTIVITIES: &[Activity] = &[
    (
        "Content of tenants",
        "processor",
        "store and change what a tenant's members send as commands",
        "whoever the tenant stores data about",
        "content of the tenant",
        &["app.projects", "app.settings"],
    ),
    (
        "Members and access",
        "processor; controller for its own account security records",
        "decide what each principal may do",
        "members of tenants",
        "user id, role, time of changes",
        &["app.members", "app.removed_members", "app.subjects"],
    ),
    (
        "Contract and billing",
        "controller",
        "mirror subscriptions and invoices, take fees",
        "contacts of tenants, as far as a provider's ids lead to them",
        "ids, amounts, states of payment",
        &[
            "app.tenants",
            "app.subscriptions",
            "app.invoices",
            "app.invoice_payments",
            "app.refunds",
            "app.fee_ledger",
            "app.billing_history",
            "app.access",
            "app.entitlements",
            "app.usage_counters",
            "engine.provider_links",
        ],
    ),
    (
        "Messages on their way",
        "processor",
        "receive, keep and settle webhooks and commands once",
        "whoever a message is about",
        "bodies of messages, sealed",
        &["engine.outbox", "engine.parked", "engine.dead_letters", "engine.operations", "engine.inbox_a"],
    ),
    (
        "Audit log",
        "processor; controller for its own security duties",
        "prove who did what, and notice abuse",
        "members and services of tenants, operators",
        "pseudonyms, codes, ids, times",
        &["app.audit_index"],
    ),
];

const MEASURES: &[(&str, &str)] = &[
    ("isolation of tenants by forced row-level security, probed and mutated", "millrace prove"),
    ("roles and permissions as data, denied unless granted", "millrace roles"),
    ("least permissions on the broker", "millrace topology"),
    ("keys with their age and rotation", "millrace keys list"),
    ("regular review of access", "millrace access-review"),
    ("every operator's act in the audit log", "millrace breach scope"),
    ("limits of retention, and where there is none", "millrace ropa --retention"),
];

impl Ropa {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        if self.retention {
            let places: Vec<Value> = PLACES.iter().map(super::places::Place::facts).collect();
            screen.row(retention_schedule().trim_end(), &json!({ "places": places }));
            return Ok(());
        }
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let (tables, missing) = match self.catalogue(&contract, &config).await {
            Ok(tables) => (tables, None),
            Err(fault) if !fault.is::<Usage>() => (Tables::new(), Some(fault.to_string())),
            Err(fault) => return Err(fault),
        };
        if let Some(why) = &missing {
            screen.warn(&format!("the catalogue is not part of this record: {why}"));
        }
        let record = record(&contract, &config, &tables, missing);
        screen.row(markdown(&record).trim_end(), &record);
        Ok(())
    }

    async fn catalogue(&self, contract: &CheckedContract, config: &Config) -> Result<Tables, CommandFault> {
        let act = self.operator.act(contract, config).await?;
        let noted = act.note(&TenantId::operator(), "ropa.made", ("record", "ropa"), Map::new())?;
        Ok(tables(noted.commit_then_read().await?.conn()).await?)
    }
}

fn record(contract: &CheckedContract, config: &Config, tables: &Tables, missing: Option<String>) -> Value {
    let activities = ACTIVITIES.iter().map(|(name, role, purpose, subjects, categories, tables)| {
        json!({ "activity": name, "operator_is": role, "purpose": purpose, "subjects": subjects, "categories": categories,
                "tables": tables })
    });
    let known: Vec<&str> = ACTIVITIES.iter().flat_map(|activity| activity.5.iter().copied()).collect();
    let table = |(name, columns): (&String, &Vec<super::catalogue::Column>)| {
        let personal: Vec<Value> = columns
            .iter()
            .filter_map(|column| Some(json!({ "column": column.name, "category": column.personal.as_ref()? })))
            .collect();
        let columns: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        json!({ "table": name, "columns": columns, "personal": personal, "retention": of_table(name).map(|p| p.facts()),
                "own": !known.contains(&name.as_str()) && name.starts_with("app.") })
    };
    json!({
        "deployment": config.deployment,
        "made_at": Timestamp::new(OffsetDateTime::now_utc()).to_string(),
        "supports": "Art. 30(1) and (2) GDPR",
        "to_be_added": ["name and contact of the controller and of its data protection officer", "legal basis of each activity",
                        "region of each host, and safeguards of transfers to third countries", "sub-processors.md of this folder"],
        "activities": activities.collect::<Vec<_>>(),
        "messages": contract.payloads().map(|entry| entry.name.as_str()).collect::<Vec<_>>(),
        "recipients": recipients(config),
        "tables": tables.iter().map(table).collect::<Vec<_>>(),
        "catalogue_missing": missing,
        "retention": PLACES.iter().map(super::places::Place::facts).collect::<Vec<_>>(),
        "measures": MEASURES.iter().map(|(what, command)| json!({ "measure": what, "command": command })).collect::<Vec<_>>(),
    })
}

/// Who gets or sends data, as far as the configuration names them.
fn recipients(config: &Config) -> Vec<Value> {
    let one = |kind: &str, name: &str, gets: String| json!({ "kind": kind, "name": name, "what": gets });
    let host = |url: &url::Url| url.host_str().unwrap_or_default().to_owned();
    let services = config.services.iter().map(|service| {
        let events: Vec<String> = service.consumes.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        one("service", service.name.as_str(), format!("events: {}", events.join(" ")))
    });
    let sources =
        config.sources.iter().map(|source| one("webhook source", &source.name, "sends signed events".to_owned()));
    let issuers =
        config.issuers.iter().map(|issuer| one("token issuer", &issuer.issuer, "says who a principal is".to_owned()));
    let broker = config.amqp.addresses.iter().map(|url| one("broker", &host(url), "messages on their way".to_owned()));
    let database = config.database.url.iter().map(|url| one("database", &host(url), "tables".to_owned()));
    services.chain(sources).chain(issuers).chain(broker).chain(database).collect()
}

fn markdown(record: &Value) -> String {
    let list = |key: &str| record.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    };
    let mut out = format!(
        "# Record of processing\n\nDeployment {}, made at {} by `millrace ropa`. Supports {}.\n\nTo be added by hand:\n\n",
        text(record, "deployment"),
        text(record, "made_at"),
        text(record, "supports")
    );
    for item in list("to_be_added") {
        let _ = writeln!(out, "- {}", item.as_str().unwrap_or_default());
    }
    let mut table = |title: &str, rows: &[Value], columns: &[(&str, &str)]| {
        let head: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
        let _ = write!(out, "\n## {title}\n\n| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        for row in rows {
            let cells: Vec<String> = columns.iter().map(|(_, key)| text(row, key)).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
    };
    table(
        "Activities",
        &list("activities"),
        &[
            ("activity", "activity"),
            ("operator is", "operator_is"),
            ("purpose", "purpose"),
            ("subjects", "subjects"),
            ("categories", "categories"),
            ("tables", "tables"),
        ],
    );
    table("Recipients and sources", &list("recipients"), &[("kind", "kind"), ("name", "name"), ("what", "what")]);
    let rows: Vec<Value> = list("tables")
        .into_iter()
        .map(|row| {
            let personal = row.get("personal").and_then(Value::as_array).cloned().unwrap_or_default();
            let personal: Vec<String> =
                personal.iter().map(|one| format!("{} ({})", text(one, "column"), text(one, "category"))).collect();
            let time = row.pointer("/retention/time").cloned().unwrap_or_default();
            json!({ "table": row.get("table"), "columns": row.get("columns"), "personal": personal, "time": time })
        })
        .collect();
    table("Tables", &rows, &[("table", "table"), ("columns", "columns"), ("personal", "personal"), ("kept", "time")]);
    table("Measures", &list("measures"), &[("measure", "measure"), ("evidence", "command")]);
    out.push('\n');
    out.push_str(&retention_schedule().replacen("# ", "## ", 1));
    out
}
