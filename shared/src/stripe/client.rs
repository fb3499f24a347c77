//! The client: one exchange at a time, bounded in time and bytes, over TLS, without redirects.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::{API_VERSION, StripeFault};
use crate::config::ProviderApi;
use crate::contract::payloads::SubscriptionObject;

/// Most bytes of an answer: a page of 100 events with large objects.
const LONGEST: usize = 16 << 20;
/// Objects of a page, the most that Stripe gives.
const PAGE: &str = "100";

/// Asks Stripe. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct StripeClient {
    inner: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    base: Url,
    /// `Bearer` and the key, marked as sensitive, so that nothing prints it.
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// Some of many, as they stand.
#[derive(Debug)]
pub struct Page<T> {
    /// In Stripe's order: newest first.
    pub items: Vec<T>,
    /// There are more, after the last of these.
    pub has_more: bool,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventsAfter {
    /// Made at this second or later, in unix seconds.
    pub since: i64,
    /// Those alone that no endpoint has taken.
    pub undelivered: bool,
    /// Of this type alone.
    pub event_type: Option<String>,
    /// Behind this one, the last of the page before.
    pub after: Option<String>,
}

/// Which subscriptions to list.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionsAfter {
    /// The connected account; empty for one's own.
    pub account: String,
    /// Behind this one, the last of the page before.
    pub after: Option<String>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Box<RawValue>>,
    #[serde(default)]
    has_more: bool,
}

impl StripeClient {
    /// Prepares; nothing is dialed. Without a key every question fails as [`StripeFault::NoKey`].
    ///
    /// # Errors
    /// There is no address, the key cannot be sent, or the system has no certificates.
    pub fn new(api: &ProviderApi) -> Result<Self, StripeFault> {
        let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
        let bearer = |key: &secrecy::SecretString| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).map_err(|_| StripeFault::Key)?;
            value.set_sensitive(true);
            Ok::<_, StripeFault>(value)
        };
        Ok(Self {
            inner: Client::builder(TokioExecutor::new()).build(connector),
            base: api.base_url.clone().ok_or(StripeFault::NoAddress)?,
            authorization: api.secret_key.as_ref().map(bearer).transpose()?,
            timeout: api.timeout,
        })
    }

    /// One subscription, in the state it is in now.
    ///
    /// # Errors
    /// [`StripeFault`].
    pub async fn subscription(&self, account: &str, id: &str) -> Result<SubscriptionObject, StripeFault> {
        let url = self.url(&["v1", "subscriptions", id], &[])?;
        let object = SubscriptionObject::read(&self.get(url, account).await?);
        object.map_err(|_| StripeFault::Shape("a subscription"))
    }

    /// A page of subscriptions in whatever state, ended ones included.
    ///
    /// # Errors
    /// [`StripeFault`].
    pub async fn subscriptions(&self, wanted: &SubscriptionsAfter) -> Result<Page<SubscriptionObject>, StripeFault> {
        let mut query = vec![("limit", PAGE), ("status", "all")];
        query.extend(wanted.after.as_deref().map(|after| ("starting_after", after)));
        let list = self.list(self.url(&["v1", "subscriptions"], &query)?, &wanted.account).await?;
        let read = |raw: &RawValue| SubscriptionObject::read(raw.get().as_bytes());
        let items: Result<Vec<_>, _> = list.data.iter().map(|raw| read(raw)).collect();
        Ok(Page { items: items.map_err(|_| StripeFault::Shape("subscriptions"))?, has_more: list.has_more })
    }

    /// A page of events, each as the bytes of its JSON.
    ///
    /// # Errors
    /// [`StripeFault`].
    pub async fn events(&self, wanted: &EventsAfter) -> Result<Page<Box<RawValue>>, StripeFault> {
        let since = wanted.since.to_string();
        let mut query = vec![("limit", PAGE), ("created[gte]", since.as_str())];
        query.extend(wanted.undelivered.then_some(("delivery_success", "false")));
        query.extend(wanted.event_type.as_deref().map(|name| ("type", name)));
        query.extend(wanted.after.as_deref().map(|after| ("starting_after", after)));
        let list = self.list(self.url(&["v1", "events"], &query)?, "").await?;
        Ok(Page { items: list.data, has_more: list.has_more })
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, StripeFault> {
        let mut url = self.base.clone();
        // An id from an event is a segment and never more, whatever it contains.
        url.path_segments_mut().map_err(|()| StripeFault::Shape("billing.api.base_url"))?.pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn list(&self, url: Url, account: &str) -> Result<List, StripeFault> {
        serde_json::from_slice(&self.get(url, account).await?).map_err(|_| StripeFault::Shape("a list"))
    }

    async fn get(&self, url: Url, account: &str) -> Result<Bytes, StripeFault> {
        let authorization = self.authorization.as_ref().ok_or(StripeFault::NoKey)?;
        let mut request = Request::get(url.as_str()).header("stripe-version", API_VERSION);
        request = request.header(AUTHORIZATION, authorization);
        if !account.is_empty() {
            request = request.header("stripe-account", account);
        }
        let request = request.body(Empty::new())?;
        tokio::time::timeout(self.timeout, self.exchange(request)).await.map_err(|_| StripeFault::TimedOut)?
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<Bytes, StripeFault> {
        let response = self.inner.request(request).await.map_err(|fault| StripeFault::Unreachable(fault.into()))?;
        judge(&response)?;
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(StripeFault::Unreachable)?;
        Ok(body.to_bytes())
    }
}

fn judge(response: &Response<Incoming>) -> Result<(), StripeFault> {
    let status = response.status();
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(StripeFault::Unauthorized(status)),
        StatusCode::NOT_FOUND => Err(StripeFault::NotFound),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT => {
            Err(StripeFault::Later { status, after: retry_after(response.headers()) })
        }
        _ if status.is_server_error() => Err(StripeFault::Later { status, after: retry_after(response.headers()) }),
        _ => Err(StripeFault::Refused(status)),
    }
}

/// Seconds; the form with a date is nothing that Stripe sends.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
