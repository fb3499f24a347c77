//! A stand-in for an object store that speaks S3: it takes objects by PUT and keeps them as long as the test's runtime
//! lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};

use crate::stand_in;

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, String>,
    signers: Vec<String>,
    refusal: Option<u16>,
}

/// See the module's words.
#[derive(Debug, Clone)]
pub struct ObjectStoreStandIn {
    url: String,
    state: Arc<Mutex<State>>,
}

impl ObjectStoreStandIn {
    /// Starts it on a port of its own.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Self {
        let (url, listener) = stand_in::open().await;
        let stand_in = Self { url, state: Arc::default() };
        let serving = stand_in.clone();
        stand_in::serve(listener, move |request| {
            let serving = serving.clone();
            async move { serving.answer(request).await }
        });
        stand_in
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on every object is refused with this status.
    pub fn refuse(&self, status: u16) {
        self.state().refusal = Some(status);
    }

    /// From now on objects are taken again.
    pub fn accept(&self) {
        self.state().refusal = None;
    }

    /// Path and text of every object.
    pub fn objects(&self) -> BTreeMap<String, String> {
        self.state().objects.clone()
    }

    /// Whoever has signed the requests so far.
    pub fn signers(&self) -> Vec<String> {
        self.state().signers.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let signer = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.state().signers.push(signer.to_owned());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let mut state = self.state();
        let status = match state.refusal {
            Some(status) => status,
            None if method == Method::PUT => {
                state.objects.insert(path, String::from_utf8_lossy(&body).into_owned());
                200
            }
            None => 405,
        };
        let response = Response::builder().status(status).header("etag", "\"made-by-the-test\"");
        response.body(Full::default()).expect("a response")
    }
}
