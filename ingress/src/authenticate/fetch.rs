//! One GET to the one address that the configuration names for an issuer's keys. No redirect is followed.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::ACCEPT;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

use super::AuthFault;

/// Bound of one exchange, connecting included.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Most bytes of a set of keys.
const LONGEST: usize = 256 << 10;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchFault {
    #[error("the address cannot be asked for")]
    Request(#[from] hyper::http::Error),
    #[error("the issuer cannot be reached")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    #[error("the issuer's answer broke off or is longer than {LONGEST} bytes")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the issuer did not answer within {seconds} s", seconds = TIMEOUT.as_secs())]
    TimedOut,
}

/// Asks one address.
#[derive(Debug)]
pub(super) struct Fetcher {
    uri: Uri,
    client: Http,
}

/// Never both: what must come over TLS cannot come without.
#[derive(Debug)]
enum Http {
    Secure(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>),
    Loopback(Client<HttpConnector, Empty<Bytes>>),
}

impl Fetcher {
    pub(super) fn new(address: &Url) -> Result<Self, AuthFault> {
        // Fetches are minutes apart, so an idle connection would only be a broken one.
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_max_idle_per_host(0);
        let client = if address.scheme() == "https" {
            let connector = HttpsConnectorBuilder::new().with_native_roots().map_err(AuthFault::Roots)?;
            Http::Secure(client.build(connector.https_only().enable_http1().build()))
        } else {
            Http::Loopback(client.build(HttpConnector::new()))
        };
        let uri = address.as_str().parse().map_err(|_| AuthFault::Address(address.to_string()))?;
        Ok(Self { uri, client })
    }

    /// The whole document.
    pub(super) async fn fetch(&self) -> Result<Bytes, FetchFault> {
        tokio::time::timeout(TIMEOUT, self.exchange()).await.map_err(|_| FetchFault::TimedOut)?
    }

    async fn exchange(&self) -> Result<Bytes, FetchFault> {
        let request = Request::get(self.uri.clone()).header(ACCEPT, "application/json").body(Empty::new())?;
        let response: Response<Incoming> = match &self.client {
            Http::Secure(client) => client.request(request).await?,
            Http::Loopback(client) => client.request(request).await?,
        };
        if response.status() != StatusCode::OK {
            return Err(FetchFault::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(FetchFault::Broken)?;
        Ok(body.to_bytes())
    }
}
