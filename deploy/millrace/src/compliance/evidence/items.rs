//! What is collected, and by which command.

use std::path::Path;

use crate::migrate::ADMIN_URL;

/// One file, made by one command.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) file: &'static str,
    pub(super) arguments: Vec<String>,
    /// Criteria and articles that it supports.
    pub(super) supports: &'static str,
}

/// File, arguments, what it supports. `{from}`, `{to}` and `{log}` stand for the period and the log's folder.
const ITEMS: &[(&str, &str, &str)] = &[
    ("check-config.jsonl", "check-config --for operator --json", "CC8.1"),
    ("roles.md", "roles", "CC6.1, CC6.3"),
    ("roles.json", "roles --json", "CC6.1, CC6.3"),
    ("openapi.json", "openapi", "CC2.3"),
    ("asyncapi.json", "asyncapi", "CC2.3"),
    ("data-flow.md", "data-flow", "CC3.2; Art. 30"),
    ("record-of-processing.md", "ropa", "CC2.1; Art. 30"),
    ("record-of-processing.json", "ropa --json", "CC2.1; Art. 30"),
    ("retention.md", "ropa --retention", "C1.2; Art. 5(1)(e)"),
    ("keys.jsonl", "keys list --json", "CC6.1, CC6.7"),
    ("access-review.json", "access-review --json", "CC6.2, CC6.3; Art. 32"),
    ("tenants.jsonl", "tenants list --json", "CC6.2"),
    ("dead-letters.jsonl", "dead list --json", "PI1.3, CC7.3"),
    ("scope.json", "breach scope --from {from} --to {to} --json", "CC7.3, CC7.4; Art. 33"),
    ("isolation.json", "prove --json", "CC6.1; Art. 25, 32"),
    ("audit-verify.jsonl", "audit verify {log} --json", "CC4.1, CC7.2, PI1.5"),
    ("audit-reconcile.jsonl", "audit reconcile --json", "CC4.1, PI1.5"),
];

/// Files of the audit log that are copied as they stand: what an outsider needs to check a line against.
pub(super) fn files() -> [(&'static str, &'static str); 5] {
    [
        ("checkpoint", "CC7.2"),
        ("checkpoints.log", "CC7.2"),
        ("vkeys.json", "CC7.2"),
        ("segments.jsonl", "CC7.2"),
        ("retention.jsonl", "C1.2"),
    ]
}

pub(super) fn items(from: &str, to: &str, log: &Path) -> Vec<Item> {
    let log = log.to_string_lossy();
    let word = |word: &str| match word {
        "{from}" => from.to_owned(),
        "{to}" => to.to_owned(),
        "{log}" => log.clone().into_owned(),
        word => word.to_owned(),
    };
    let has_admin = std::env::var(ADMIN_URL).is_ok_and(|url| !url.is_empty());
    let item = |(file, line, supports): &(&'static str, &str, &'static str)| {
        let mut arguments: Vec<String> = line.split(' ').map(word).collect();
        // Without a superuser there is no clone to make defects on.
        if *file == "isolation.json" && !has_admin {
            arguments.push("--live-only".to_owned());
        }
        Item { file, arguments, supports }
    };
    ITEMS.iter().map(item).collect()
}
