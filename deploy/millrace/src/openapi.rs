//! `millrace openapi`: the HTTP interface as an OpenAPI 3.1 document, written from the contract.

mod answers;
mod commands;
mod reads;
mod webhooks;

use millrace::config::StartFault;
use millrace::contract::{CheckedContract, Contract};
use serde_json::{Map, Value, json};

use crate::CommandFault;
use crate::screen::Screen;

/// What this document is about, for whoever reads it first.
const ABOUT: &str = "A small edge that verifies and enqueues. A command is answered with 202 once the broker holds it; \
    what became of it stands under its operation. A webhook is answered with exactly 200, likewise. Every other answer \
    is a problem (RFC 9457) with a stable code.";

/// Prints the document.
pub(crate) fn print(contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
    let contract = contract.check().map_err(StartFault::Contract)?;
    screen.document(&openapi(&contract));
    Ok(())
}

/// The document of a contract: every route of the public listener, and a path for each command.
pub fn openapi(contract: &CheckedContract) -> Value {
    let paths: Map<String, Value> =
        webhooks::paths().into_iter().chain(commands::paths(contract)).chain(reads::paths()).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millrace",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{ "url": "/" }],
        "tags": tags(contract),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "A token of one of the deployment's issuers. It names the tenant, the user or \
                        service, and its role.",
                },
            },
            "parameters": commands::parameters().into_iter().chain(reads::parameters()).collect::<Map<_, _>>(),
            "schemas": answers::schemas().into_iter().chain(reads::schemas()).collect::<Map<_, _>>(),
            "responses": answers::problems(),
        },
    })
}

/// Webhooks and reads, and one tag for each worker that takes commands.
fn tags(contract: &CheckedContract) -> Vec<Value> {
    let with_commands = |worker: &&millrace::contract::WorkerName| contract.commands().any(|c| &c.worker == *worker);
    let workers = contract.workers().iter().filter(with_commands);
    let workers =
        workers.map(|worker| json!({ "name": worker.as_str(), "description": format!("Commands of {worker}") }));
    let fixed = [("webhooks", "What providers send"), ("reads", "What a tenant may look at")];
    fixed
        .map(|(name, description)| json!({ "name": name, "description": description }))
        .into_iter()
        .chain(workers)
        .collect()
}

/// A reference to a named part of the document.
fn part(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

#[cfg(test)]
mod tests;
