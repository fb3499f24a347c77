use std::collections::BTreeSet;

use millrace::contract::{Action, Malformed, Payload, Permission, RoleTable};

use super::*;

fn builtin() -> CheckedContract {
    millrace::builtin().check().unwrap()
}

struct TicketsCreate;

impl Payload for TicketsCreate {
    const NAME: &'static str = "tickets.create";
    const PERMISSION: Permission = Permission::new("ticket", Action::Write);

    fn parse(_: &[u8]) -> Result<Self, Malformed> {
        Ok(Self)
    }

    fn schema() -> Value {
        json!({ "type": "object", "required": ["subject"] })
    }
}

#[test]
fn an_adopters_command_has_its_path_and_changes_no_other() {
    let contract = millrace::builtin().resource("ticket", RoleTable::default()).worker("tickets");
    let document = openapi(&contract.command::<TicketsCreate>().check().unwrap());
    let post = &document["paths"]["/api/commands/tickets.create"]["post"];
    assert_eq!(post["requestBody"]["content"]["application/json"]["schema"], TicketsCreate::schema());
    assert_eq!(post["x-permission"], "ticket:write");
    assert_eq!(post["tags"], json!(["tickets"]));
    let mut paths = document["paths"].as_object().unwrap().clone();
    paths.remove("/api/commands/tickets.create");
    assert_eq!(Value::Object(paths), openapi(&builtin())["paths"]);
}

#[test]
fn every_command_has_a_path_and_nothing_else_has() {
    let contract = builtin();
    let document = openapi(&contract);
    let paths = document["paths"].as_object().unwrap().keys();
    let served: BTreeSet<&str> = paths.filter_map(|path| path.strip_prefix("/api/commands/")).collect();
    assert_eq!(served, contract.commands().map(|entry| entry.name.as_str()).collect());
    assert!(!served.contains("stripe.event") && !served.contains("edge.refused"));
}

/// Every text under a `$ref`.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_part_is_referred_to() {
    let document = openapi(&builtin());
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for kind in ["parameters", "schemas", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/{kind}/{name}")), "nobody refers to {kind}/{name}");
        }
    }
}

#[test]
fn ids_of_operations_are_unique() {
    let document = openapi(&builtin());
    let methods = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let ids: Vec<&str> = methods.map(|method| method["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}
