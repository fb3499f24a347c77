//! `millrace asyncapi`: what internal services publish and consume, as an AsyncAPI 3.0 document made of the contract.

use clap::Args;
use millrace::contract::{
    ActorKind, CheckedContract, Contract, EventEntry, Exchange, ExchangeKind, Field, Lane, PayloadEntry, Role, Route,
    SEAL_DOMAIN, SEALED_FIELDS,
};
use serde_json::{Map, Value, json};

use crate::CommandFault;
use crate::screen::Screen;

/// Version of the AMQP bindings that the document follows.
const BINDING_VERSION: &str = "0.3.0";
/// Characters of a seal: 32 bytes in hex.
const SEAL_LENGTH: usize = 64;

#[derive(Debug, Args)]
pub(crate) struct AsyncApi {}

impl AsyncApi {
    pub(crate) fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let contract = contract.check().map_err(millrace::config::StartFault::Contract)?;
        screen.document(&asyncapi(&contract));
        Ok(())
    }
}

/// The document: a channel for each worker's commands and one for each event, with headers, properties and bodies.
pub fn asyncapi(contract: &CheckedContract) -> Value {
    let commands: Vec<&PayloadEntry> = contract.commands().collect();
    let mut channels = Map::new();
    let mut operations = Map::new();
    for worker in contract.workers() {
        let names: Vec<&str> =
            commands.iter().filter(|entry| entry.worker == *worker).map(|entry| entry.name.as_str()).collect();
        if !names.is_empty() {
            let id = format!("commands.{worker}");
            operations.insert(id.clone(), operation("receive", &id, &names));
            channels.insert(id, channel(&Route::direct(worker).routing_key, Exchange::Direct, &names));
        }
    }
    let mut messages = Map::new();
    for entry in commands {
        messages.insert(entry.name.to_string(), command(entry));
    }
    for entry in contract.events() {
        let (id, names) = (format!("events.{}", entry.name), [entry.name.as_str()]);
        operations.insert(id.clone(), operation("send", &id, &names));
        channels.insert(id, channel(&Route::event(&entry.name).routing_key, Exchange::Events, &names));
        messages.insert(entry.name.to_string(), event(entry));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Millrace: commands and events of internal services",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Operations are those of Millrace: it receives commands and sends events. A channel's address is \
                the routing key. Headers are AMQP headers of type long string; x-amqp-properties are AMQP properties. \
                Every message is sealed: ARCHITECTURE.md, Seal.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas() },
        "x-seal": { "domain": SEAL_DOMAIN, "fields": SEALED_FIELDS.map(Field::name) },
    })
}

fn operation(action: &str, channel: &str, messages: &[&str]) -> Value {
    let messages: Vec<Value> =
        messages.iter().map(|name| refer(&format!("channels/{channel}/messages/{name}"))).collect();
    json!({ "action": action, "channel": refer(&format!("channels/{channel}")), "messages": messages })
}

fn channel(routing_key: &str, exchange: Exchange, messages: &[&str]) -> Value {
    let kind = match exchange.kind() {
        ExchangeKind::Direct => "direct",
        ExchangeKind::Topic => "topic",
        ExchangeKind::Fanout => "fanout",
    };
    let messages: Map<String, Value> =
        messages.iter().map(|name| ((*name).to_owned(), refer(&format!("components/messages/{name}")))).collect();
    json!({
        "address": routing_key,
        "messages": messages,
        "bindings": { "amqp": {
            "is": "routingKey",
            "exchange": { "name": exchange.name(), "type": kind, "durable": true, "autoDelete": false },
            "bindingVersion": BINDING_VERSION,
        } },
    })
}

fn refer(path: &str) -> Value {
    json!({ "$ref": format!("#/{path}") })
}

fn command(entry: &PayloadEntry) -> Value {
    let kinds: Vec<&str> = [ActorKind::User, ActorKind::Service]
        .into_iter()
        .filter(|kind| entry.callers.include(*kind))
        .map(ActorKind::as_str)
        .collect();
    message(entry.name.as_str(), entry.schema_version, &entry.schema, "command", &kinds)
}

fn event(entry: &EventEntry) -> Value {
    message(entry.name.as_str(), entry.schema_version, &entry.schema, "event", &[ActorKind::System.as_str()])
}

fn message(name: &str, schema_version: u32, payload: &Value, family: &str, kinds: &[&str]) -> Value {
    let versions: Vec<String> = (1..=schema_version).map(|version| version.to_string()).collect();
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let own = object(&[(Field::SchemaVersion, word(&versions)), (Field::ActorKind, word(kinds))], &[]);
    let named = object(&[(Field::Type, json!({ "type": "string", "const": name }))], &[]);
    json!({
        "name": name,
        "contentType": "application/json",
        "headers": { "type": "object", "allOf": [refer(&format!("components/schemas/{family}_headers")), own] },
        "x-amqp-properties": { "type": "object", "allOf": [refer("components/schemas/properties"), named] },
        "payload": payload,
        "bindings": { "amqp": { "messageType": name, "bindingVersion": BINDING_VERSION } },
    })
}

/// What the headers of all commands and of all events, and the properties of both, have in common.
fn schemas() -> Value {
    let every = [
        (Field::KeyId, text()),
        (Field::Seal, json!({ "type": "string", "minLength": SEAL_LENGTH, "maxLength": SEAL_LENGTH })),
        (Field::OrgId, text()),
        (Field::ActorId, text()),
        (Field::IssuedAt, json!({ "type": "string", "format": "date-time" })),
    ];
    let outside = [(Field::Lane, word(&Lane::ALL.map(Lane::as_str))), (Field::Traceparent, text())];
    let of_commands = [
        (Field::Role, word(&Role::ALL.map(Role::as_str))),
        (Field::DedupeKey, text()),
        (Field::CausationId, text()),
        (Field::ExpectedVersion, text()),
        (Field::TokenId, text()),
        (Field::TokenIat, text()),
    ];
    let caused = [every.as_slice(), &[(Field::CausationId, text())]].concat();
    let properties = [Field::MessageId, Field::Type, Field::ContentType].map(|field| (field, text()));
    json!({
        "command_headers": object(&every, &[of_commands.as_slice(), &outside].concat()),
        "event_headers": object(&caused, &outside),
        "properties": object(&properties, &[(Field::CorrelationId, text())]),
    })
}

/// Open, since a broker adds headers of its own.
fn object(required: &[(Field, Value)], optional: &[(Field, Value)]) -> Value {
    let properties: Map<String, Value> =
        required.iter().chain(optional).map(|(field, schema)| (field.name().to_owned(), schema.clone())).collect();
    let names: Vec<&str> = required.iter().map(|(field, _)| field.name()).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

fn text() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": Field::LONGEST })
}

fn word(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}
