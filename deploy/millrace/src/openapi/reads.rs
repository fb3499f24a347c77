//! What a tenant may look at: its operations, and its own rows.

use serde_json::{Map, Value, json};

use super::answers::{Kind, answers, success};
use super::part;

/// Most rows of one page.
const MOST_ROWS: u32 = 100;
/// Longest wait of a long poll, in seconds.
const LONGEST_WAIT: u32 = 10;

pub(super) fn paths() -> Vec<(String, Value)> {
    let operation = read("operation", "What became of a command", None, "Operation", &["OperationId", "Wait"]);
    let mut paths = vec![("/api/operations/{id}".to_owned(), operation)];
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
    paths
}

fn read(id: &str, about: &str, resource: Option<&str>, schema: &str, parameters: &[&str]) -> Value {
    let whom = resource.map_or_else(
        || "The principal that sent it, and its tenant.".to_owned(),
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
            json!({ "name": "id", "in": "path", "required": true, "description": "As a command's answer gave it.",
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
                "schema": { "type": "integer", "minimum": 1, "maximum": MOST_ROWS } }),
        ),
        (
            "After",
            json!({ "name": "after", "in": "query", "description": "`next` of the page before this one.",
                "schema": { "type": "string" } }),
        ),
    ];
    parameters.into_iter().map(|(name, parameter)| (name.to_owned(), parameter)).collect()
}

pub(super) fn schemas() -> Map<String, Value> {
    let schemas = [
        ("Operation", operation()),
        ("Projects", page(project())),
        ("Members", page(member())),
        ("Settings", settings()),
        ("Billing", json!({ "type": "object" })),
        ("Limits", json!({ "type": "object" })),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn operation() -> Value {
    json!({
        "type": "object",
        "required": ["operation", "status"],
        "properties": {
            "operation": { "type": "string" },
            "status": { "enum": ["pending", "applied", "rejected", "denied", "dead"] },
            "code": { "type": ["string", "null"], "description": "Why it was rejected, denied or set aside." },
        },
    })
}

/// Rows with the cursor of the page after them; none on the last page.
fn page(item: Value) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": { "items": { "type": "array", "items": item }, "next": { "type": ["string", "null"] } },
    })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn version() -> Value {
    json!({ "type": "integer", "minimum": 1, "description": "For `If-Match`." })
}

fn project() -> Value {
    json!({
        "type": "object",
        "required": ["id", "name", "version", "created_at"],
        "properties": {
            "id": { "type": "string", "format": "uuid" }, "name": { "type": "string" },
            "archived_at": { "type": ["string", "null"], "format": "date-time" },
            "version": version(), "created_at": moment(), "updated_at": moment(),
        },
    })
}

fn member() -> Value {
    json!({
        "type": "object",
        "required": ["user_id", "role"],
        "properties": {
            "user_id": { "type": "string" }, "role": { "enum": ["viewer", "editor", "admin"] },
            "version": version(), "created_at": moment(),
        },
    })
}

fn settings() -> Value {
    json!({
        "type": "object",
        "required": ["entries", "version"],
        "properties": { "entries": { "type": "object" }, "version": { "type": "integer", "minimum": 0 } },
    })
}
