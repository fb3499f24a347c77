//! One path for each command of the contract.

use millrace::contract::payloads::{ComplianceErase, ComplianceExport};
use millrace::contract::{Callers, CheckedContract, Payload, PayloadEntry};
use serde_json::{Map, Value, json};

use super::answers::{Kind, answers, success};
use super::part;

/// Longest idempotency key.
const KEY_CHARACTERS: usize = 128;

/// Commands with a path of their own; `compliance.gdpr_data_export_endpoint` may move that of exports.
const NAMED: [(&str, &str); 2] =
    [(ComplianceErase::NAME, "/api/compliance/erase"), (ComplianceExport::NAME, "/api/compliance/export")];

pub(super) fn paths(contract: &CheckedContract) -> impl Iterator<Item = (String, Value)> {
    let named = contract.commands().filter_map(|entry| {
        let (_, path) = NAMED.iter().find(|(name, _)| *name == entry.name.as_str())?;
        let mut post = command(entry);
        post["operationId"] = format!("{}.named", entry.name).into();
        Some(((*path).to_owned(), json!({ "post": post })))
    });
    let all =
        contract.commands().map(|entry| (format!("/api/commands/{}", entry.name), json!({ "post": command(entry) })));
    all.chain(named)
}

fn command(entry: &PayloadEntry) -> Value {
    let permission = format!("{}:{}", entry.permission.resource, entry.permission.action.as_str());
    let whom = match entry.callers {
        Callers::Services => "Services alone, of an issuer with `service_commands`.".to_owned(),
        _ => format!("Users and services whose role has `{permission}`."),
    };
    let mut accepted = success("The broker holds it. It is not applied yet: ask its operation.", "Accepted");
    accepted["headers"] = json!({ "Location": { "description": "The operation's path.", "schema": { "type": "string", "format": "uri-reference" } } });
    json!({
        "operationId": entry.name.as_str(),
        "tags": [entry.worker.as_str()],
        "summary": format!("Send {}", entry.name),
        "description": whom,
        "security": [{ "token": [] }],
        "parameters": headers(entry),
        "requestBody": { "required": true, "content": { "application/json": { "schema": entry.schema } } },
        "responses": answers(Kind::Command, "202", accepted),
        "x-permission": permission,
        "x-schema-version": entry.schema_version,
    })
}

/// What a command's head has to say, or may.
fn headers(entry: &PayloadEntry) -> Vec<Value> {
    let version = entry.versioned.then(|| part("parameters", "IfMatch"));
    std::iter::once(part("parameters", "IdempotencyKey")).chain(version).collect()
}

/// The headers of commands, by name.
pub(super) fn parameters() -> Map<String, Value> {
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": true,
        "description": "Sent again with the same body it is the same command and is applied once; with another body it \
            is rejected. The version is no part of it: after `version_conflict` take a new key.",
        "schema": { "type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS, "pattern": "^[!-~]+$" },
    });
    let version = json!({
        "name": "If-Match", "in": "header", "required": false,
        "description": "The version that the caller has seen, in quotes. With another one the command is rejected with \
            `version_conflict`.",
        "schema": { "type": "string", "pattern": "^\"(0|[1-9][0-9]{0,18})\"$" },
        "example": "\"3\"",
    });
    Map::from_iter([("IdempotencyKey".to_owned(), key), ("IfMatch".to_owned(), version)])
}
