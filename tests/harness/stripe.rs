//! A stand-in for Stripe's API: its paths, its lists, its answers to what goes wrong. What it says is the test's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::stand_in;

/// What somebody has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Path and query.
    pub target: String,
    /// Its key.
    pub authorization: String,
    /// The version it speaks.
    pub version: String,
    /// The connected account; empty for one's own.
    pub account: String,
}

/// An answer instead of the object that was asked for.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// Status code.
    pub status: u16,
    /// A header with its value.
    pub header: Option<(&'static str, String)>,
}

#[derive(Debug, Default)]
struct State {
    subscriptions: Vec<Value>,
    events: Vec<(Value, bool)>,
    troubles: Vec<Trouble>,
    asked: Vec<Asked>,
}

/// See the module's words. It answers as long as the test's runtime lives.
#[derive(Debug, Clone)]
pub struct StripeStandIn {
    url: String,
    state: Arc<Mutex<State>>,
    open: watch::Sender<bool>,
}

impl StripeStandIn {
    /// Objects of a page, whatever is asked for: few, so that there are pages.
    const PAGE: usize = 3;

    /// Starts it on a port of its own.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Self {
        let (url, listener) = stand_in::open().await;
        let stand_in = Self { url, state: Arc::default(), open: watch::Sender::new(true) };
        let serving = stand_in.clone();
        stand_in::serve(listener, move |request| {
            let serving = serving.clone();
            async move { serving.answer(&request).await }
        });
        stand_in
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The variables that lead a process here.
    pub fn variables(&self) -> Vec<(String, String)> {
        vec![
            ("MILLRACE__BILLING__API__BASE_URL".to_owned(), self.url.clone()),
            ("MILLRACE__BILLING__API__SECRET_KEY".to_owned(), "rk_test_stand_in".to_owned()),
        ]
    }

    /// Adds a subscription, or puts another state in its place.
    pub fn has_subscription(&self, object: Value) {
        let mut state = self.state();
        state.subscriptions.retain(|known| known["id"] != object["id"]);
        state.subscriptions.push(object);
    }

    /// Adds an event, newest last, and says whether an endpoint has taken it.
    pub fn has_event(&self, event: Value, delivered: bool) {
        self.state().events.push((event, delivered));
    }

    /// The next question has this answer instead of its own.
    pub fn is_in_trouble(&self, status: u16, header: Option<(&'static str, String)>) {
        self.state().troubles.push(Trouble { status, header });
    }

    /// Lets questions wait, or answers them again.
    pub fn hold(&self, held: bool) {
        self.open.send_replace(!held);
    }

    /// Everything that was asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        self.state().asked.push(Asked {
            target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            authorization: header("authorization"),
            version: header("stripe-version"),
            account: header("stripe-account"),
        });
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
        let mut state = self.state();
        if !state.troubles.is_empty() {
            let Trouble { status, header } = state.troubles.remove(0);
            let mut response = Response::builder().status(status);
            if let Some((name, value)) = header {
                response = response.header(name, value);
            }
            let fault = json!({ "error": { "type": "api_error", "message": "made by the test" } });
            return response.body(Full::new(Bytes::from(fault.to_string()))).expect("a response");
        }
        let (status, body) = state.look_up(request.uri().path(), &query(request));
        let response = Response::builder().status(status).header("content-type", "application/json");
        response.body(Full::new(Bytes::from(body.to_string()))).expect("a response")
    }
}

impl State {
    fn look_up(&self, path: &str, query: &[(String, String)]) -> (u16, Value) {
        let missing = || (404, json!({ "error": { "code": "resource_missing", "type": "invalid_request_error" } }));
        match path.strip_prefix("/v1/") {
            Some("subscriptions") => (200, page("/v1/subscriptions", self.subscriptions.iter().rev(), query)),
            Some("events") => {
                let wanted = self.events.iter().rev().filter(|(event, delivered)| takes(query, event, *delivered));
                (200, page("/v1/events", wanted.map(|(event, _)| event), query))
            }
            Some(rest) => {
                let id = rest.strip_prefix("subscriptions/").unwrap_or_default();
                let found = self.subscriptions.iter().find(|known| known["id"] == id);
                found.map_or_else(missing, |found| (200, found.clone()))
            }
            None => missing(),
        }
    }
}

fn query(request: &Request<Incoming>) -> Vec<(String, String)> {
    let text = request.uri().query().unwrap_or_default();
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn of<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn takes(query: &[(String, String)], event: &Value, delivered: bool) -> bool {
    let since: i64 = of(query, "created[gte]").and_then(|text| text.parse().ok()).unwrap_or(0);
    event["created"].as_i64().is_some_and(|created| created >= since)
        && of(query, "type").is_none_or(|name| event["type"] == name)
        && of(query, "delivery_success").is_none_or(|wanted| wanted == delivered.to_string())
}

fn page<'v>(url: &str, newest_first: impl Iterator<Item = &'v Value>, query: &[(String, String)]) -> Value {
    let mut rest: Vec<&Value> = newest_first.collect();
    if let Some(after) = of(query, "starting_after") {
        let place = rest.iter().position(|known| known["id"] == after).map_or(rest.len(), |place| place + 1);
        rest.drain(..place);
    }
    let has_more = rest.len() > StripeStandIn::PAGE;
    rest.truncate(StripeStandIn::PAGE);
    json!({ "object": "list", "url": url, "has_more": has_more, "data": rest })
}
