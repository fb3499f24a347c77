//! What a tenant may look at: its operations, and its own rows.

use millrace::contract::{Outcome, Role};
use serde_json::{Map, Value, json};

use super::answers::{Kind, answers, success};
use super::part;

/// Most rows of one page.
const MOST_ROWS: u16 = 100;
/// Rows of a page where none are named.
const ROWS: u16 = 50;
/// Longest wait of a long poll, in seconds.
const LONGEST_WAIT: u32 = 10;

pub(super) fn paths() -> Vec<(String, Value)> {
    let operation = read("operation", "What became of a command", None, "Operation", &["OperationId", "Wait"]);
    let mut paths = vec![("/api/operations/{id}".to_owned(), operation)];
    let about = "The certificate of an erasure that is executed, byte for byte as its audit line has hashed it";
    let certificate = read("certificate", about, Some("compliance"), "Certificate", &["OperationId"]);
    paths.push(("/api/operations/{id}/certificate".to_owned(), certificate));
    paths.push(("/api/operations/{id}/export".to_owned(), archive()));
    for (name, schema) in [("projects", "Projects"), ("members", "Members")] {
        let about = format!("The tenant's {name}, newest first, a page at a time");
        let resource = name.trim_end_matches('s');
        paths.push((format!("/api/{name}"), read(name, &about, Some(resource), schema, &["Limit", "After"])));
    }
    for (name, resource, about, schema) in [
        ("settings", "settings", "The tenant's settings", "Settings"),
        ("billing", "billing", "What the tenant has subscribed to, and its access", "Billing"),
        ("limits", "billing", "What the plan allows, and how much of it is used", "Limits"),
    ] {
        paths.push((format!("/api/{name}"), read(name, about, Some(resource), schema, &[])));
    }
    let about =
        "The tenant's audit log, newest first, a page at a time: what its index has, which may be a little behind";
    let filters = ["Limit", "After", "Actor", "AuditAction", "Resource", "Outcome", "From", "To"];
    paths.push(("/api/audit".to_owned(), read("audit", about, Some("audit_log"), "AuditLines", &filters)));
    paths
}

/// The one answer that is no JSON.
fn archive() -> Value {
    let file = json!({ "type": "string", "contentMediaType": "application/x-tar" });
    let success = json!({
        "description": "A tar file: manifest.json, manifest.sig, and a file of JSON Lines for each page of a table.",
        "headers": { "Content-Disposition": { "description": "A name for the file.", "schema": text() } },
        "content": { "application/x-tar": { "schema": file } },
    });
    json!({
        "get": {
            "operationId": "export.read",
            "tags": ["reads"],
            "summary": "The archive of an export, for seven days",
            "description": "Users and services whose role has `compliance:export`.",
            "security": [{ "token": [] }],
            "parameters": [part("parameters", "OperationId")],
            "responses": answers(Kind::Download, "200", success),
        },
    })
}

fn read(id: &str, about: &str, resource: Option<&str>, schema: &str, parameters: &[&str]) -> Value {
    let whom = resource.map_or_else(
        || "Whoever belongs to the tenant.".to_owned(),
        |resource| format!("Users and services whose role has `{resource}:read`."),
    );
    json!({
        "get": {
            "operationId": format!("{id}.read"),
            "tags": ["reads"],
            "summary": about,
            "description": whom,
            "security": [{ "token": [] }],
            "parameters": parameters.iter().map(|name| part("parameters", name)).collect::<Vec<_>>(),
            "responses": answers(Kind::Read, "200", success(about, schema)),
        },
    })
}

pub(super) fn parameters() -> Map<String, Value> {
    let parameters = [
        (
            "OperationId",
            json!({ "name": "id", "in": "path", "required": true, "description": "As a command's answer gave it. Its outcome is told for at least 35 days; an id without one is not found after that.",
                "schema": { "type": "string" } }),
        ),
        (
            "Wait",
            json!({ "name": "wait", "in": "query", "description": "Seconds to wait for the end of `pending`.",
                "schema": { "type": "integer", "minimum": 0, "maximum": LONGEST_WAIT, "default": 0 } }),
        ),
        (
            "Limit",
            json!({ "name": "limit", "in": "query", "description": "Most rows of this page.",
                "schema": { "type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": ROWS } }),
        ),
        (
            "After",
            json!({ "name": "after", "in": "query", "description": "`next` of the page before this one.",
                "schema": { "type": "string" } }),
        ),
        ("Actor", filter("actor", "Only lines of this actor, kind and id: `user:u_1`.")),
        ("AuditAction", filter("action", "Only lines of this action, such as `projects.create`.")),
        ("Resource", filter("resource", "Only lines about this kind of target, `project`, or this one, `project:ID`.")),
        (
            "Outcome",
            json!({ "name": "outcome", "in": "query", "description": "Only lines with this end.",
                "schema": { "enum": outcomes() } }),
        ),
        ("From", time("from", "Only lines of this moment or later.")),
        ("To", time("to", "Only lines before this moment.")),
    ];
    parameters.into_iter().map(|(name, parameter)| (name.to_owned(), parameter)).collect()
}

fn filter(name: &str, about: &str) -> Value {
    json!({ "name": name, "in": "query", "description": about,
        "schema": { "type": "string", "minLength": 1, "maxLength": 512 } })
}

fn time(name: &str, about: &str) -> Value {
    json!({ "name": name, "in": "query", "description": about, "schema": moment() })
}

fn outcomes() -> [&'static str; 5] {
    Outcome::ALL.map(Outcome::as_str)
}

pub(super) fn schemas() -> Map<String, Value> {
    let schemas = [
        ("Operation", operation()),
        ("Certificate", certificate()),
        ("Projects", page(project())),
        ("Members", page(member())),
        ("Settings", settings()),
        ("Billing", billing()),
        ("Limits", page(feature())),
        ("AuditLines", page(audit_line())),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// An object with all of these fields and no others.
fn object(fields: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> = fields.iter().map(|(n, schema)| ((*n).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "additionalProperties": false, "required": names, "properties": properties })
}

fn operation() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["operation", "status"],
        "properties": {
            "operation": text(),
            "status": { "enum": ["pending", "applied", "rejected", "denied", "dead"] },
            "settled_at": moment(),
            "code": { "type": ["string", "null"], "description": "Why it was rejected or denied." },
            "resource_type": { "type": ["string", "null"], "description": "What it changed, once it is applied." },
            "resource_id": { "type": ["string", "null"] },
            "export": object(&[
                ("scope", json!({ "enum": ["org", "subject"] })),
                ("state", json!({ "enum": ["running", "ready", "expired", "revoked"] })),
                ("files", json!({ "type": "integer", "minimum": 0 })),
                ("table", json!({ "type": ["string", "null"], "description": "Whose rows were written last." })),
                ("rows", json!({ "type": "integer", "minimum": 0 })),
                ("bytes", json!({ "type": "integer", "minimum": 0 })),
                ("requested_at", moment()),
                ("finished_at", maybe_moment()),
                ("expires_at", moment()),
            ]),
            "erasure": object(&[
                ("scope", json!({ "enum": ["subject", "org"] })),
                ("state", json!({ "enum": ["planned", "executing", "executed", "canceled"] })),
                ("plan", rows_by_table()),
                ("erased", rows_by_table()),
                ("due_at", moment()),
                ("settled_at", maybe_moment()),
            ]),
        },
    })
}

fn rows_by_table() -> Value {
    json!({ "type": "object", "description": "Rows by table.", "additionalProperties": { "type": "integer" } })
}

fn certificate() -> Value {
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let mut certificate = object(&[
        ("certificate", text()),
        ("org_id", text()),
        ("erasure_id", uuid()),
        ("asked_at", moment()),
        ("executed_at", moment()),
        ("erased", rows_by_table()),
        ("audit_event", uuid()),
        ("how_to_check", text()),
    ]);
    // The first for a person, the others for a whole tenant.
    certificate["properties"]["pseudonym"] = uuid();
    certificate["properties"]["begun_at"] = moment();
    certificate["properties"]["kept"] = json!({
        "type": "object", "description": "Why rows are kept, by table.", "additionalProperties": text(),
    });
    certificate
}

/// Rows with the cursor of the page after them; none on the last page.
fn page(item: Value) -> Value {
    object(&[("items", json!({ "type": "array", "items": item })), ("next", maybe("string"))])
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn maybe(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn maybe_moment() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

fn version(least: u32) -> Value {
    json!({ "type": "integer", "minimum": least, "description": "For `If-Match`." })
}

fn project() -> Value {
    object(&[
        ("id", json!({ "type": "string", "format": "uuid" })),
        ("name", text()),
        ("archived", json!({ "type": "boolean" })),
        ("version", version(1)),
        ("created_at", moment()),
        ("updated_at", moment()),
    ])
}

fn member() -> Value {
    object(&[
        ("user_id", text()),
        ("role", json!({ "enum": Role::ALL.map(Role::as_str) })),
        ("version", version(1)),
        ("created_at", moment()),
        ("updated_at", moment()),
    ])
}

fn settings() -> Value {
    object(&[("entries", json!({ "type": "object" })), ("version", version(0))])
}

fn billing() -> Value {
    let subscription = object(&[
        ("id", text()),
        ("status", json!({ "type": "string", "description": "As the provider says it." })),
        ("plan", maybe("string")),
        ("period_end", maybe_moment()),
    ]);
    let units = || json!({ "type": "integer", "description": "Whole minor units." });
    let fee = object(&[
        ("source", text()),
        ("kind", json!({ "enum": ["fee", "refund", "credit_note"] })),
        ("invoice", text()),
        ("amount", units()),
        ("fee", units()),
        ("currency", json!({ "type": "string", "description": "ISO 4217." })),
        ("created_at", moment()),
    ]);
    object(&[
        ("plan", text()),
        ("access", json!({ "enum": ["full", "grace", "read_only", "suspended"] })),
        ("unpaid_since", maybe_moment()),
        ("subscriptions", json!({ "type": "array", "items": subscription })),
        ("fees", json!({ "type": "array", "items": fee })),
    ])
}

/// What the tenant is entitled to; a limit also says how much of it is used.
fn feature() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["feature", "kind", "value", "source"],
        "properties": {
            "feature": text(),
            "kind": { "enum": ["bool", "limit", "config"] },
            "value": { "description": "True or false, a whole number or `\"unlimited\"`, anything; null without a plan's word." },
            "source": { "enum": ["plan", "trial", "override", null] },
            "used": { "type": "integer", "minimum": 0 },
            "over_limit": { "type": "boolean" },
        },
    })
}

/// A line as the index has it; the log itself has more.
fn audit_line() -> Value {
    object(&[
        ("timestamp", moment()),
        ("tenant_seq", json!({ "type": "integer", "minimum": 1, "description": "Gapless in the tenant's own log." })),
        ("event_id", json!({ "type": "string", "format": "uuid" })),
        ("actor", text()),
        ("action", text()),
        ("resource_type", text()),
        ("resource_id", text()),
        ("outcome", json!({ "enum": outcomes() })),
        ("code", json!({ "type": ["string", "null"], "description": "Why it was rejected, denied or set aside." })),
    ])
}
