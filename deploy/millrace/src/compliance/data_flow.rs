//! `millrace data-flow`: queues, tables and sinks of a contract as a diagram, drawn from the contract itself.

use std::collections::BTreeSet;
use std::fmt::Write;

use clap::Args;
use millrace::config::StartFault;
use millrace::contract::{BrokerUser, CheckedContract, Contract, Exchange, Topology};
use serde_json::{Value, json};

use super::places::{Kind, PLACES};
use crate::CommandFault;
use crate::screen::Screen;

/// Print where data goes, as Markdown with a Mermaid diagram.
#[derive(Debug, Args)]
pub(crate) struct DataFlow {}

impl DataFlow {
    pub(crate) fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let contract = contract.check().map_err(StartFault::Contract)?;
        screen.row(data_flow(&contract).trim_end(), &facts(&contract));
        Ok(())
    }
}

/// A name that a diagram takes as an id.
fn id(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn tables() -> impl Iterator<Item = &'static str> {
    PLACES.iter().filter(|place| place.kind == Kind::Table).map(|place| place.name)
}

/// The arrows between what stands in the diagram, with what goes along.
fn arrows(contract: &CheckedContract) -> Vec<(String, String, &'static str)> {
    let mut arrows: Vec<(String, String, &'static str)> = vec![
        ("senders".into(), "ingress".into(), "signed webhooks"),
        ("clients".into(), "ingress".into(), "commands with tokens"),
        ("services".into(), Exchange::Direct.name().into(), "sealed commands"),
        ("ingress".into(), Exchange::Work.name().into(), "sealed messages"),
        ("clients".into(), "reader".into(), "reads"),
        ("reader".into(), "app".into(), "under the tenant's RLS"),
        ("relay".into(), Exchange::Work.name().into(), "parked messages"),
        ("relay".into(), Exchange::Audit.name().into(), "audit lines left over"),
        ("relay".into(), Exchange::Events.name().into(), "events left over"),
        ("relay".into(), "engine".into(), "outbox and parked rows"),
        (Exchange::Events.name().into(), "services".into(), "events that a grant names"),
        ("audit worker".into(), "audit log".into(), "lines"),
        ("audit log".into(), "checkpoint copies".into(), "signed checkpoints, off the host"),
        ("audit log".into(), "log shippers".into(), "lines, where configured"),
        ("compliance worker".into(), "store of exports".into(), "pages of one tenant, a manifest"),
        ("store of exports".into(), "clients".into(), "archives, through the ingress, for seven days"),
        ("operators".into(), "engine".into(), "audited acts"),
    ];
    for queue in Topology::of(contract).queues {
        for (exchange, _) in &queue.bindings {
            arrows.push((exchange.name().to_owned(), queue.name.clone(), ""));
        }
        let taker = match queue.name.as_str() {
            Topology::AUDIT_QUEUE => "audit worker".to_owned(),
            Topology::DEAD_QUEUE => "workers".to_owned(),
            Topology::QUARANTINE_QUEUE => "operators".to_owned(),
            work => worker(work),
        };
        arrows.push((queue.name.clone(), taker, ""));
        if queue.name != Topology::QUARANTINE_QUEUE {
            arrows.push((queue.name, Exchange::Dead.name().to_owned(), "given up"));
        }
    }
    for worker in contract.workers() {
        let name = format!("{worker} worker");
        arrows.push((name.clone(), "app".into(), "one tenant at a time"));
        arrows.push((name.clone(), "engine".into(), "inbox, outbox, parked, dead letters"));
        arrows.push((name.clone(), Exchange::Audit.name().into(), "one line a settlement"));
        arrows.push((name, Exchange::Events.name().into(), "what was applied"));
    }
    arrows
}

/// `work.billing.main` is the billing worker's.
fn worker(queue: &str) -> String {
    format!("{} worker", queue.split('.').nth(1).unwrap_or(queue))
}

/// The diagram as Markdown.
pub fn data_flow(contract: &CheckedContract) -> String {
    let mut text = "# Data flow\n\n\
        Written by `millrace data-flow` from the contract: every exchange, every queue, every table and every sink. What \
        rests where for how long says `millrace ropa --retention`; in which region each part runs, the operator adds.\n\n\
        ```mermaid\nflowchart LR\n"
        .to_owned();
    let queues: Vec<String> = Topology::of(contract).queues.into_iter().map(|queue| queue.name).collect();
    group(&mut text, "RabbitMQ: exchanges", Exchange::ALL.iter().map(|exchange| exchange.name()));
    group(&mut text, "RabbitMQ: queues", queues.iter().map(String::as_str));
    for (schema, about) in [("app", "of tenants, under RLS"), ("engine", "of the engine"), ("ref", "of everybody")] {
        let tables: Vec<&str> = tables().filter(|name| name.starts_with(&format!("{schema}."))).collect();
        let _ = writeln!(text, "  {schema}[(\"PostgreSQL {about}<br/>{}\")]", tables.join("<br/>"));
    }
    let arrows = arrows(contract);
    let inside: BTreeSet<&str> = queues
        .iter()
        .map(String::as_str)
        .chain(Exchange::ALL.iter().map(|e| e.name()))
        .chain(["app", "engine"])
        .collect();
    let parts: BTreeSet<&str> = arrows.iter().flat_map(|(from, to, _)| [from.as_str(), to.as_str()]).collect();
    for part in parts.difference(&inside) {
        let _ = writeln!(text, "  {}[\"{part}\"]", id(part));
    }
    for (from, to, what) in &arrows {
        let label = if what.is_empty() { String::new() } else { format!("|{what}|") };
        let _ = writeln!(text, "  {} -->{label} {}", id(from), id(to));
    }
    text.push_str("```\n\n| login of the broker | may publish to | may consume from |\n|---|---|---|\n");
    for user in BrokerUser::ALL {
        let permissions = user.permissions();
        let (write, read) = (permissions.write.replace('|', "\\|"), permissions.read.replace('|', "\\|"));
        let _ = writeln!(text, "| {} | `{write}` | `{read}` |", user.as_str());
    }
    text
}

fn group<'a>(text: &mut String, title: &str, names: impl Iterator<Item = &'a str>) {
    let _ = writeln!(text, "  subgraph {}[\"{title}\"]", id(title));
    for name in names {
        let _ = writeln!(text, "    {}[\"{name}\"]", id(name));
    }
    text.push_str("  end\n");
}

fn facts(contract: &CheckedContract) -> Value {
    let queues: Vec<String> = Topology::of(contract).queues.into_iter().map(|queue| queue.name).collect();
    let exchanges: Vec<&str> = Exchange::ALL.iter().map(|exchange| exchange.name()).collect();
    let arrows: Vec<Value> =
        arrows(contract).into_iter().map(|(from, to, what)| json!({ "from": from, "to": to, "what": what })).collect();
    json!({ "exchanges": exchanges, "queues": queues, "tables": tables().collect::<Vec<_>>(), "flows": arrows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_and_exchange_is_drawn() {
        let contract = millrace::builtin().check().unwrap();
        let text = data_flow(&contract);
        for queue in Topology::of(&contract).queues {
            assert!(text.contains(&format!("[\"{}\"]", queue.name)), "{}", queue.name);
        }
        for exchange in Exchange::ALL {
            assert!(text.contains(&format!("[\"{}\"]", exchange.name())), "{}", exchange.name());
        }
    }
}
