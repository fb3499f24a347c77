//! What providers post to.

use serde_json::{Value, json};

use super::answers::{Kind, answers, success};

pub(super) fn paths() -> [(String, Value); 2] {
    let billing = webhook("billing.webhook", "The billing provider's events; `billing.webhook_endpoint` may move it.");
    let mut named = webhook("webhook", "Events of a configured source, signed as its provider signs.");
    named["parameters"] = json!([{
        "name": "source", "in": "path", "required": true, "description": "Name of a section `[sources.…]`.",
        "schema": { "type": "string" },
    }]);
    [
        ("/api/billing/webhooks".to_owned(), json!({ "post": billing })),
        ("/api/webhooks/{source}".to_owned(), json!({ "post": named })),
    ]
}

fn webhook(id: &str, about: &str) -> Value {
    let received =
        success("The broker holds it. Exactly 200: some senders take another success for a failure.", "Received");
    json!({
        "operationId": id,
        "tags": ["webhooks"],
        "summary": about,
        "description": "The signature is checked over the body's bytes as they arrive; its header is the provider's.",
        "security": [],
        "requestBody": { "required": true, "content": { "application/json": { "schema": { "type": "object" } } } },
        "responses": answers(Kind::Webhook, "200", received),
    })
}
