//! `millrace roles`: who may do what, written from the contract.

use std::fmt::Write;

use millrace::config::StartFault;
use millrace::contract::{Action, Callers, CheckedContract, Contract, Gate, PayloadEntry, Role};
use serde_json::{Value, json};

use crate::CommandFault;
use crate::screen::Screen;

/// Prints the table: Markdown for people, one JSON object for programs.
pub(crate) fn print(contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
    let contract = contract.check().map_err(StartFault::Contract)?;
    screen.row(roles_markdown(&contract).trim_end(), &roles_json(&contract));
    Ok(())
}

/// Strongest role first, as people look for it.
fn roles() -> impl Iterator<Item = Role> {
    Role::ALL.into_iter().rev()
}

fn allowed(contract: &CheckedContract, role: Role, resource: &str) -> Vec<&'static str> {
    contract.roles().actions(role, resource).into_iter().map(Action::as_str).collect()
}

/// The roles that a message's permission is granted to, strongest first.
fn granted(contract: &CheckedContract, entry: &PayloadEntry) -> Vec<&'static str> {
    roles().filter(|role| contract.roles().allows(*role, entry.permission)).map(Role::as_str).collect()
}

fn callers(callers: Callers) -> &'static str {
    match callers {
        Callers::Members => "users and services",
        Callers::Services => "services",
        Callers::Webhooks => "webhook sources",
        Callers::Edge => "the ingress",
        Callers::System => "workers",
    }
}

fn gate(gate: Gate) -> &'static str {
    match gate {
        Gate::GoodStanding => "in good standing",
        Gate::Open => "not closed",
        Gate::Always => "any, even none",
    }
}

fn permission(entry: &PayloadEntry) -> String {
    format!("{}:{}", entry.permission.resource, entry.permission.action.as_str())
}

/// The role table, and for each message who may send it, as Markdown.
pub fn roles_markdown(contract: &CheckedContract) -> String {
    let or_dash = |words: Vec<&str>| if words.is_empty() { "–".to_owned() } else { words.join(" ") };
    let mut text = "# Roles\n\nWhat is not listed is denied.\n\n| resource |".to_owned();
    let names: String = roles().map(|role| format!(" {role} |")).collect();
    let _ = writeln!(text, "{names}\n|---|{}", "---|".repeat(Role::ALL.len()));
    for resource in contract.resources() {
        let cells: String = roles().map(|role| format!(" {} |", or_dash(allowed(contract, role, resource)))).collect();
        let _ = writeln!(text, "| {resource} |{cells}");
    }
    text.push_str(
        "\n# Messages\n\nA role is asked of users and services. The others are bound by their publisher's grant.\n\n",
    );
    text.push_str("| message | from | permission | roles | tenant | worker |\n|---|---|---|---|---|---|\n");
    for entry in contract.payloads() {
        let roles = match entry.callers {
            Callers::Members => or_dash(granted(contract, entry)),
            Callers::Services | Callers::Webhooks | Callers::Edge | Callers::System => "–".to_owned(),
        };
        let (from, standing) = (callers(entry.callers), gate(entry.gate));
        let _ = writeln!(
            text,
            "| `{}` | {from} | {} | {roles} | {standing} | {} |",
            entry.name,
            permission(entry),
            entry.worker
        );
    }
    text
}

/// The same for programs. `version` is the role table's hash, which every audit line names as `policy_version`.
pub fn roles_json(contract: &CheckedContract) -> Value {
    let resources: Vec<Value> = contract
        .resources()
        .iter()
        .map(|resource| {
            let grants: serde_json::Map<String, Value> =
                roles().map(|role| (role.to_string(), json!(allowed(contract, role, resource)))).collect();
            json!({ "resource": resource, "grants": grants })
        })
        .collect();
    let messages: Vec<Value> = contract
        .payloads()
        .map(|entry| {
            let roles = if entry.callers == Callers::Members { granted(contract, entry) } else { Vec::new() };
            json!({ "message": entry.name.as_str(), "from": callers(entry.callers), "permission": permission(entry),
                "roles": roles, "tenant": gate(entry.gate), "worker": entry.worker.as_str() })
        })
        .collect();
    json!({ "version": contract.roles().version(), "resources": resources, "messages": messages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_and_json_agree_with_the_table() {
        let contract = millrace::builtin().check().unwrap();
        let (markdown, document) = (roles_markdown(&contract), roles_json(&contract));
        assert!(markdown.contains("| billing | read write delete export | read | read |"), "{markdown}");
        assert!(markdown.contains("| `projects.create` | users and services | project:write | admin editor |"));
        assert!(markdown.contains("| `tenants.create` | services | tenant:write | – |"), "{markdown}");
        assert_eq!(document["version"], contract.roles().version());
        assert_eq!(document["messages"].as_array().unwrap().len(), contract.payloads().count());
        let billing = document["resources"].as_array().unwrap().iter().find(|entry| entry["resource"] == "billing");
        assert_eq!(billing.unwrap()["grants"]["viewer"], json!(["read"]));
    }
}
