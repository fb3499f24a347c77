//! Who may import whom, as data.

/// Everything in `shared`; a new module needs a line in [`TABLE`] first.
pub(super) const SHARED: [&str; 14] = [
    "amqp",
    "auditlog",
    "chaos",
    "client",
    "config",
    "contract",
    "db",
    "exports",
    "lifecycle",
    "pipeline",
    "rates",
    "retry",
    "stripe",
    "telemetry",
];

/// One part of the program.
pub(super) struct Part {
    /// Folder, or file without `.rs`.
    pub(super) folder: &'static str,
    /// What it may name of `shared`: whole modules, or single items of one.
    pub(super) may: &'static [&'static str],
    /// What it may name of its own crate, where that is bounded.
    pub(super) own: Option<&'static [&'static str]>,
}

const fn part(folder: &'static str, may: &'static [&'static str]) -> Part {
    Part { folder, may, own: None }
}

/// Handlers of one domain: its own files and the plan limits, no sibling.
const fn domain(folder: &'static str, own: &'static [&'static str]) -> Part {
    Part { folder, may: HANDLERS, own: Some(own) }
}

const HANDLERS: &[&str] = &[
    "contract",
    "db::GroupTx",
    "db::InTenant",
    "db::TenantTx",
    "pipeline::Answered",
    "pipeline::CallFault",
    "pipeline::Changed",
    "pipeline::Egress",
    "pipeline::Fault",
    "pipeline::Handler",
    "pipeline::Message",
    "pipeline::Together",
];
/// A call to the outside: no handler, and a client.
const CALLS: &[&str] = &[
    "contract",
    "db::TenantTx",
    "pipeline::Answered",
    "pipeline::CallFault",
    "pipeline::Egress",
    "pipeline::Fault",
    "pipeline::Message",
    "stripe::StripeClient",
];
/// Handlers and calls side by side: the store is the call's.
const EXPORTS: &[&str] = &[
    "auditlog::SigningKey",
    "contract",
    "db::TenantTx",
    "exports",
    "pipeline::Answered",
    "pipeline::CallFault",
    "pipeline::Changed",
    "pipeline::Egress",
    "pipeline::Fault",
    "pipeline::Handler",
    "pipeline::Message",
];
const PLAIN: &[&str] = &["contract", "config", "telemetry", "lifecycle", "retry", "auditlog"];

/// The most exact folder counts. Boot files stand for themselves: they put everything together.
pub(super) const TABLE: &[Part] = &[
    part("shared/src/lib", &SHARED),
    part("shared/src/contract", &["contract"]),
    part("shared/src/config", PLAIN),
    part("shared/src/telemetry", PLAIN),
    part("shared/src/lifecycle", PLAIN),
    part("shared/src/retry", PLAIN),
    part("shared/src/auditlog", &["contract", "telemetry", "auditlog", "chaos"]),
    part("shared/src/rates", &["contract", "telemetry", "rates"]),
    part("shared/src/chaos", &["chaos", "lifecycle::exit"]),
    part("shared/src/db", &["contract", "config", "telemetry", "lifecycle", "retry", "auditlog", "db"]),
    part("shared/src/amqp", &["contract", "config", "telemetry", "lifecycle", "retry", "auditlog", "chaos", "amqp"]),
    part("shared/src/client", &["contract", "telemetry", "rates", "amqp", "client", "config::Login"]),
    part(
        "shared/src/exports",
        &["contract", "config::ExportStoreConfig", "auditlog::note", "auditlog::SigningKey", "exports"],
    ),
    part("shared/examples", &["client", "contract"]),
    part("shared/src/stripe", &["contract", "config::ProviderApi", "stripe"]),
    part("shared/src/pipeline", &SHARED),
    part("ingress/src", INGRESS),
    part("ingress/src/reads", &["contract", "config", "telemetry", "lifecycle", "db", "exports"]),
    part("workers/src/lib", &[]),
    part("workers/src/bin", &[]),
    part("workers/src/audit_worker", &SHARED),
    part("workers/src/billing_workers", &SHARED),
    part("workers/src/compliance_worker", &SHARED),
    part("workers/src/worker", &SHARED),
    part("workers/src/relay", &SHARED),
    part("workers/src/limits", HANDLERS),
    domain("workers/src/billing", &["billing", "limits"]),
    // The one that asks the provider has a client for it.
    Part { folder: "workers/src/billing/refetch", may: CALLS, own: Some(&["billing"]) },
    domain("workers/src/compliance", &["compliance"]),
    // Exports are written to a store.
    Part { folder: "workers/src/compliance/export", may: EXPORTS, own: Some(&["compliance"]) },
    domain("workers/src/members", &["members", "limits"]),
    domain("workers/src/projects", &["projects", "limits"]),
    domain("workers/src/settings", &["settings", "limits"]),
    domain("workers/src/tenants", &["tenants", "limits"]),
    Part { folder: "workers/src/audit", may: AUDIT, own: Some(&["audit"]) },
];

/// Of the broker the edge has the publisher alone.
const INGRESS: &[&str] = &[
    "contract",
    "config",
    "telemetry",
    "lifecycle",
    "rates",
    "exports",
    "amqp::AmqpFault",
    "amqp::Dialer",
    "amqp::PublishFault",
    "amqp::Publisher",
];
/// One writer that consumes by itself: it has no handlers and no database.
const AUDIT: &[&str] =
    &["contract", "telemetry", "lifecycle", "retry", "amqp", "auditlog", "config::Bucket", "config::CheckpointCopy"];

/// The line of the table for a file.
pub(super) fn part_of(path: &str) -> Option<&'static Part> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    TABLE.iter().filter(|part| super::tree::is_below(path, part.folder)).max_by_key(|part| part.folder.len())
}

/// Does one of the entries, such as `contract` or `db::TenantTx`, lead to this path?
pub(super) fn allows(entries: &[&str], path: &[String]) -> bool {
    entries.iter().any(|entry| {
        let entry: Vec<&str> = entry.split("::").collect();
        path.len() >= entry.len() && entry.iter().zip(path).all(|(a, b)| a == b)
    })
}

/// What `contract` must not touch: it is pure, so that any language can imitate it.
pub(super) const IMPURE_PATHS: &[&[&str]] = &[
    &["sqlx"],
    &["lapin"],
    &["tokio"],
    &["tokio_util"],
    &["hyper"],
    &["backoff"],
    &["rand"],
    &["metrics"],
    &["tracing"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "net"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time"],
];
/// Likewise, wherever the name comes from.
pub(super) const IMPURE_WORDS: &[&str] =
    &["SystemTime", "Instant", "now_utc", "now_local", "now_v7", "new_v4", "async", "println", "eprintln"];
