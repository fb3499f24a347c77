//! Health and metrics, on a listener of their own in every process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use super::Drain;

/// Answers "may traffic come here?"; the text says what is missing.
pub type ReadyCheck = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The admin listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (http.admin_listen)")]
pub struct AdminFault {
    address: SocketAddr,
    source: std::io::Error,
}

#[derive(Clone)]
struct Admin {
    metrics: PrometheusHandle,
    metrics_path: String,
    ready: ReadyCheck,
    drain: Drain,
}

/// Opens the admin listener and serves it until the process ends. Returns the bound address.
///
/// # Errors
/// The address is taken or not ours.
pub async fn serve_admin(
    address: SocketAddr,
    metrics: PrometheusHandle,
    metrics_path: &str,
    ready: ReadyCheck,
    drain: Drain,
) -> Result<SocketAddr, AdminFault> {
    let fault = |source| AdminFault { address, source };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let bound = listener.local_addr().map_err(fault)?;
    let admin = Admin { metrics, metrics_path: metrics_path.to_owned(), ready, drain };
    tokio::spawn(accept(listener, admin));
    Ok(bound)
}

async fn accept(listener: TcpListener, admin: Admin) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &admin));
            // A client that breaks off is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, admin: &Admin) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(json(StatusCode::METHOD_NOT_ALLOWED, serde_json::json!({ "code": "method_not_allowed" })));
    }
    if path == admin.metrics_path {
        admin.metrics.run_upkeep();
        return Ok(plain(StatusCode::OK, "text/plain; version=0.0.4", admin.metrics.render()));
    }
    Ok(match path {
        "/api/health/live" => json(StatusCode::OK, serde_json::json!({ "status": "live" })),
        "/api/health/ready" => readiness(admin).await,
        _ => json(StatusCode::NOT_FOUND, serde_json::json!({ "code": "not_found" })),
    })
}

async fn readiness(admin: &Admin) -> Response<Full<Bytes>> {
    let state = if admin.drain.begun() { Err("draining".to_owned()) } else { (admin.ready)().await };
    match state {
        Ok(()) => json(StatusCode::OK, serde_json::json!({ "status": "ready" })),
        Err(missing) => {
            json(StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "status": "not_ready", "missing": missing }))
        }
    }
}

fn json(status: StatusCode, body: serde_json::Value) -> Response<Full<Bytes>> {
    plain(status, "application/json", body.to_string())
}

fn plain(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}
