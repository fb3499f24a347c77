//! The committed OpenAPI document says what the running server does: every path and method, every answer it gives.

use std::collections::BTreeSet;

use hyper::Method;
use millrace_tests::{Answer, Caller, HttpClient, Left, World, schema_faults};
use serde_json::{Value, json};

/// One request, and how it is meant.
struct Asked {
    path: String,
    method: Method,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// Every way in which an answer differs from what the document says of its path and method.
fn faults(document: &Value, template: &str, method: &Method, answer: &Answer) -> Vec<String> {
    let place = format!("{method} {template} {}", answer.status);
    let operation = &document["paths"][template][method.as_str().to_lowercase()];
    let response = &operation["responses"][answer.status.to_string()];
    let response = match response["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null),
        None => response,
    };
    let Some(kinds) = response["content"].as_object() else {
        return vec![format!("{place}: {} is not in the document", answer.code())];
    };
    let kind = answer.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let Some(content) = kinds.get(kind) else { return vec![format!("{place}: {kind:?} is not in the document")] };
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let mut found = schema_faults(document, &place, &content["schema"], &body);
    let headers = response["headers"].as_object().into_iter().flatten();
    let missing = headers.filter(|(name, _)| !answer.headers.contains_key(name.as_str()));
    found.extend(missing.map(|(name, _)| format!("{place}: header {name} is missing")));
    found
}

/// A body that the command takes, and its tenant may apply or not.
fn body(command: &str) -> Value {
    let id = uuid::Uuid::nil();
    match command {
        "projects.create" => json!({ "name": "x" }),
        "projects.rename" => json!({ "id": id, "name": "y" }),
        "projects.archive" | "projects.delete" => json!({ "id": id }),
        "settings.update" => json!({ "values": { "theme": "dark" } }),
        "members.set_role" => json!({ "user_id": "other", "role": "viewer" }),
        "members.remove" => json!({ "user_id": "other" }),
        "billing.change_plan" => json!({ "plan": "pro" }),
        "billing.override_access" => json!({ "level": "rule" }),
        "billing.link_customer" => json!({ "provider": "stripe", "customer": "cus_1" }),
        "tenants.create" => json!({ "name": "Acme" }),
        "compliance.erase" => json!({ "user_id": "nobody we know" }),
        "compliance.export" => json!({ "scope": "org" }),
        "compliance.cancel_erasure" => json!({ "erasure_id": id }),
        _ => json!({}),
    }
}

/// What is asked of one path: as it is meant, without a token, with a viewer's, and with everything wrong in turn.
fn asked(path: &str, method: &Method, operation: &str) -> Vec<Asked> {
    let named = path.strip_prefix("/api/compliance/").map(|name| format!("compliance.{name}"));
    let command = path.strip_prefix("/api/commands/").or(named.as_deref());
    let plain = |headers: Vec<(&'static str, String)>, body: &[u8], path: &str| Asked {
        path: path.to_owned(),
        method: method.clone(),
        headers,
        body: body.to_vec(),
    };
    let bearer = |caller: &Caller| ("authorization", format!("Bearer {}", caller.token()));
    let callers = [
        Caller::user("acme", "u1", "admin"),
        Caller::user("acme", "u2", "viewer"),
        Caller::user("acme", "u3", "owner"),
        Caller::service("acme", "s", "admin"),
        Caller::user("nowhere", "u1", "admin"),
    ];
    let real = path.replace("{id}", operation).replace("{source}", "stripe");
    let mut all = vec![plain(vec![], b"", &real), plain(vec![("authorization", "Bearer x".into())], b"", &real)];
    if let Some(command) = command {
        let good = body(command).to_string().into_bytes();
        let key = || ("idempotency-key", uuid::Uuid::now_v7().to_string());
        let json = || ("content-type", "application/json".to_owned());
        for caller in &callers {
            all.push(plain(vec![bearer(caller), key(), json()], &good, &real));
        }
        let service = || bearer(&callers[3]);
        all.push(plain(vec![service(), json()], &good, &real));
        all.push(plain(vec![service(), key()], &good, &real));
        all.push(plain(vec![service(), key(), json(), ("if-match", "3".into())], &good, &real));
        all.push(plain(vec![service(), key(), json()], br#"{"nonsense":1}"#, &real));
        all.push(plain(vec![service(), key(), json()], &vec![b' '; (1 << 20) + 1], &real));
    } else if *method == Method::GET {
        for caller in &callers {
            all.push(plain(vec![bearer(caller)], b"", &real));
        }
        for query in ["?limit=1", "?limit=0", "?after=x", "?wait=0", "?wait=99", "?other=1", "?outcome=x", "?actor=a"] {
            all.push(plain(vec![bearer(&callers[0])], b"", &format!("{real}{query}")));
        }
        all.push(plain(vec![bearer(&callers[0])], b"", &real.replace(operation, "op_x")));
    } else {
        all.push(plain(vec![("stripe-signature", "t=1,v1=00".into())], b"{}", &real));
    }
    all
}

async fn send(client: &HttpClient, base: &str, asked: &Asked) -> Answer {
    let headers: Vec<(&str, &str)> = asked.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let url = format!("{base}{}", asked.path);
    client.send(asked.method.clone(), &url, &headers, asked.body.clone()).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_running_server_is_in_the_document() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all_workers().await;
    let document: Value = serde_json::from_str(include_str!("../../deploy/openapi.json")).expect("JSON");
    let editor = Caller::user("acme", "u1", "editor");
    let accepted = world.post_command(&url, &editor.token(), "projects.create", "k", &body("projects.create")).await;
    let accepted: Value = serde_json::from_slice(&accepted.expect("an answer").body).expect("JSON");
    let operation = accepted["operation"].as_str().expect("an operation").to_owned();
    world.outcome("acme", operation.trim_start_matches("op_").rsplit_once('_').expect("a tag").0).await;
    world.accept(&url, &world.invoice_event("cus_1")).await;

    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 15, "the document was not read");
    // What ends the tenant comes last.
    let (closing, others): (Vec<_>, Vec<_>) = paths.iter().partition(|(path, _)| path.contains("/tenants."));
    for (path, methods) in others.into_iter().chain(closing) {
        for method in methods.as_object().expect("methods").keys().filter(|name| *name != "parameters") {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            for request in asked(path, &method, &operation) {
                let answer = send(world.http(), &url, &request).await;
                found.extend(faults(&document, path, &method, &answer));
                seen.insert(answer.status);
            }
            let wrong = Asked {
                path: path.replace("{id}", &operation).replace("{source}", "stripe"),
                method: Method::DELETE,
                headers: vec![],
                body: vec![],
            };
            assert_eq!(send(world.http(), &url, &wrong).await.status, 405, "{path}");
        }
    }
    assert_eq!(found, Vec::<String>::new());
    for status in [200, 202, 400, 401, 403, 404, 413, 415, 422] {
        assert!(seen.contains(&status), "no request was answered with {status}: {seen:?}");
    }
    // What was accepted for a tenant that is not there waits for it.
    let waiting = "select count(*) from engine.parked where reason = 'tenant_unknown'";
    let parked = document["paths"].as_object().expect("paths").keys();
    let members = parked.filter(|path| is_command(path) && !is_for_services(path)).count() as i64;
    world.until_count(waiting, members).await;
    world.finish(Left { dead: 0, parked: members }).await;
    drop(programs);
}

fn is_command(path: &str) -> bool {
    path.starts_with("/api/commands/") || path.starts_with("/api/compliance/")
}

fn is_for_services(path: &str) -> bool {
    path.contains("/tenants.") || path.ends_with("/billing.link_customer") || path.ends_with("/billing.override_access")
}
