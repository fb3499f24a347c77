//! Every answer of the public listener.

use futures_util::TryStreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use millrace::amqp::PublishFault;
use millrace::contract::{OperationId, WireFault};
use millrace::exports::{Archive, StoreFault};
use millrace::telemetry::fields;

use crate::authenticate::{Answer as Whom, Unauthenticated};
use crate::commands::CommandFault;
use crate::rates::TooFast;
use crate::reads::ReadFault;
use crate::webhooks::WebhookFault;

/// What hyper sends: nearly always a whole body, and an archive a piece at a time.
pub(crate) type Answer = Response<Either<Full<Bytes>, UnsyncBoxBody<Bytes, StoreFault>>>;

/// Seconds after which a sender may try again: longer than a reconnect to the broker, shorter than any sender's
/// patience.
const RETRY_AFTER_SECONDS: &str = "5";

/// Why a request gets no 200. The text and [`Refusal::reason`] are for operators; a sender sees [`Refusal::code`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no such path or source")]
    NotFound,
    #[error("only {fits} is served here")]
    MethodNotAllowed { fits: &'static str },
    #[error("the body is larger than http.max_body_bytes")]
    BodyTooLarge,
    #[error("the body did not arrive within http.body_timeout")]
    BodyTimeout,
    #[error("the body broke off or is badly encoded")]
    BodyBroken,
    #[error(transparent)]
    Webhook(#[from] WebhookFault),
    #[error("the source sends faster than limits.source_hard_rate")]
    SourceTooFast(TooFast),
    #[error(transparent)]
    Caller(#[from] Unauthenticated),
    #[error(transparent)]
    Command(#[from] CommandFault),
    #[error(transparent)]
    Read(#[from] ReadFault),
    #[error(transparent)]
    Store(#[from] StoreFault),
    #[error("the message cannot be sealed")]
    Seal(#[from] WireFault),
    #[error("the broker did not take the message")]
    Broker(#[from] PublishFault),
}

impl Refusal {
    /// Label of [`fields::EDGE_REFUSED`].
    fn reason(&self) -> &'static str {
        match self {
            Self::Webhook(fault) => fault.reason(),
            Self::SourceTooFast(_) => "source_rate_limited",
            Self::Caller(fault) => fault.reason(),
            Self::Command(CommandFault::Forbidden(rule)) => rule.as_str(),
            Self::Command(CommandFault::OutsideGrant) => "edge_outside_grant",
            other => other.code(),
        }
    }

    /// The stable code of the problem. All signature faults share one, so that a forger learns nothing.
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyBroken => "body_incomplete",
            Self::Webhook(WebhookFault::Signature(_)) => "invalid_signature",
            Self::Webhook(WebhookFault::Livemode) => "livemode_mismatch",
            Self::Webhook(WebhookFault::Malformed(_)) => "malformed_event",
            Self::SourceTooFast(_) => "rate_limited",
            Self::Caller(fault) => match fault.answer() {
                Whom::Unauthorized => "unauthenticated",
                // The token is authentic, so its bearer may know what it lacks.
                Whom::Forbidden => fault.reason(),
                Whom::Unavailable => "issuer_unavailable",
            },
            Self::Command(fault) => fault.code(),
            Self::Read(fault) => fault.code(),
            Self::Store(StoreFault::Missing(_)) => "export_expired",
            Self::Store(StoreFault::Away(_)) => "export_store_unavailable",
            Self::Seal(_) => "internal_error",
            Self::Broker(_) => "broker_unavailable",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken | Self::Webhook(_) => StatusCode::BAD_REQUEST,
            Self::SourceTooFast(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Caller(fault) => match fault.answer() {
                Whom::Unauthorized => StatusCode::UNAUTHORIZED,
                Whom::Forbidden => StatusCode::FORBIDDEN,
                Whom::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::Command(fault) => fault.status(),
            Self::Read(fault) => fault.status(),
            Self::Store(StoreFault::Missing(_)) => StatusCode::GONE,
            Self::Store(StoreFault::Away(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Seal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Broker(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// True when it was decided before the body's end. What follows on the connection is then not the next request.
    pub(crate) fn precedes_body(&self) -> bool {
        match self {
            Self::NotFound
            | Self::MethodNotAllowed { .. }
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::Caller(_) => true,
            Self::Command(fault) => fault.precedes_body(),
            Self::Webhook(_)
            | Self::SourceTooFast(_)
            | Self::Read(_)
            | Self::Store(_)
            | Self::Seal(_)
            | Self::Broker(_) => false,
        }
    }

    /// Counts the refusal and writes it as a problem (RFC 9457). `last` says that the connection ends with it.
    pub(crate) fn answer(&self, last: bool) -> Answer {
        count(self.reason());
        tracing::debug!(edge.reason = self.reason(), "refused");
        let (status, code) = (self.status(), self.code());
        let title = status.canonical_reason().unwrap_or_default();
        let mut problem =
            serde_json::json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "code": code });
        if let Self::Command(CommandFault::Invalid(malformed)) = self {
            problem["field"] = malformed.field.as_ref().into();
            problem["detail"] = malformed.problem.into();
        }
        let mut response = json(status, "application/problem+json", Bytes::from(problem.to_string()));
        let headers = response.headers_mut();
        match self {
            Self::MethodNotAllowed { fits } => drop(headers.insert(ALLOW, HeaderValue::from_static(fits))),
            Self::Caller(_) if status == StatusCode::UNAUTHORIZED => {
                drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
            Self::Caller(_) | Self::Read(_) | Self::Store(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
                drop(headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS)));
            }
            Self::SourceTooFast(too_fast) | Self::Command(CommandFault::TooFast(too_fast)) => {
                drop(headers.insert(RETRY_AFTER, HeaderValue::from(too_fast.retry_after)));
            }
            Self::Broker(_) => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))),
            _ => {}
        }
        if last {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Counts a request that gets no 2xx, or no answer at all.
pub(crate) fn count(reason: &'static str) {
    metrics::counter!(fields::EDGE_REFUSED, "reason" => reason).increment(1);
}

/// The one success of a webhook: exactly 200, since some senders take 202 and 204 for failures.
pub(crate) fn received() -> Answer {
    json(StatusCode::OK, "application/json", Bytes::from_static(br#"{"received":true}"#))
}

/// Rows of one tenant, for nobody else's cache.
pub(crate) fn read(body: &serde_json::Value) -> Answer {
    let mut response = json(StatusCode::OK, "application/json", Bytes::from(body.to_string()));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A document of one tenant as it is stored, byte for byte, for nobody else's cache.
pub(crate) fn document(text: String) -> Answer {
    let mut response = json(StatusCode::OK, "application/json", Bytes::from(text));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An archive of one tenant, a piece at a time. Should the store fail on the way the connection breaks, so that nobody takes a
/// part for the whole.
pub(crate) fn archive(archive: Archive) -> Answer {
    let (length, name) = (archive.length(), archive.file_name());
    let pieces = StreamBody::new(archive.stream().map_ok(Frame::data));
    let mut response = Response::new(Either::Right(BodyExt::boxed_unsync(pieces)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The name is made of a UUID.
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    response
}

/// A command that the broker holds: 202, and where to ask what became of it.
pub(crate) fn accepted(operation: &OperationId) -> Answer {
    let body = serde_json::json!({ "operation": operation.to_string(), "status": "pending" });
    let mut response = json(StatusCode::ACCEPTED, "application/json", Bytes::from(body.to_string()));
    // An operation id is of characters that every header takes.
    if let Ok(place) = HeaderValue::from_str(&format!("/api/operations/{operation}")) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

fn json(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::webhooks::SignatureFault;

    async fn problem(refusal: &Refusal) -> (Answer, serde_json::Value) {
        let (head, body) = refusal.answer(false).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let problem = serde_json::from_slice(&body).unwrap();
        (Response::from_parts(head, Either::Left(Full::new(body))), problem)
    }

    #[tokio::test]
    async fn all_signature_faults_look_alike_from_outside() {
        let all = [
            SignatureFault::Missing,
            SignatureFault::Repeated,
            SignatureFault::NoTime,
            SignatureFault::TimeRepeated,
            SignatureFault::Stale,
            SignatureFault::Future,
            SignatureFault::NoCandidate,
            SignatureFault::Mismatch,
        ];
        for fault in all {
            let (answer, problem) = problem(&Refusal::from(WebhookFault::from(fault))).await;
            assert_eq!(answer.status(), 400);
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
            let expected = serde_json::json!({ "type": "about:blank", "title": "Bad Request", "status": 400,
                "code": "invalid_signature" });
            assert_eq!(problem, expected);
        }
    }

    #[tokio::test]
    async fn whatever_the_broker_says_the_sender_is_told_to_come_back() {
        for fault in [PublishFault::Unavailable, PublishFault::Overloaded, PublishFault::Unknown] {
            let (answer, problem) = problem(&Refusal::from(fault)).await;
            assert_eq!(answer.status(), 503);
            assert!(answer.headers()[RETRY_AFTER].to_str().unwrap().parse::<u8>().unwrap() > 0);
            assert_eq!(problem["code"], "broker_unavailable");
        }
    }
}
