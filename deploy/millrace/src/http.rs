//! A small HTTPS client: the broker's management API and sample webhooks.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Bound of one exchange.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer.
const LONGEST: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpFault {
    #[error("cannot reach {0}")]
    Unreachable(String, #[source] hyper_util::client::legacy::Error),
    #[error("{0} did not answer within {seconds} s", seconds = TIMEOUT.as_secs())]
    TimedOut(String),
    #[error("{0} broke off its answer")]
    Broken(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot load the system's root certificates")]
    Roots(#[from] std::io::Error),
}

/// Keeps connections between requests.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    inner: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl HttpClient {
    pub(crate) fn new() -> Result<Self, HttpFault> {
        let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
        Ok(Self { inner: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), HttpFault> {
        let place = request.uri().to_string();
        let exchange = async {
            let response: Response<_> =
                self.inner.request(request).await.map_err(|e| HttpFault::Unreachable(place.clone(), e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST).collect().await;
            let body = body.map_err(|e| HttpFault::Broken(place.clone(), e))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| HttpFault::TimedOut(place.clone()))?
    }
}
