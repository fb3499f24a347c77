//! Answers: the one success of each kind of request, and every problem with its codes.

use serde_json::{Map, Value, json};

use super::part;

/// Kinds of request that share their problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Webhook,
    Command,
    Read,
    /// A read of what is made first, and deleted in the end.
    Download,
}

/// A status with the codes it comes with, and the header that goes with it.
#[derive(Clone, Copy)]
struct Problem {
    status: u16,
    means: &'static str,
    codes: &'static [&'static str],
}

const fn problem(status: u16, means: &'static str, codes: &'static [&'static str]) -> Problem {
    Problem { status, means, codes }
}

const NOT_FOUND: Problem = problem(404, "There is no such path.", &["not_found"]);
const METHOD: Problem = problem(405, "The path has another method.", &["method_not_allowed"]);
const TIMEOUT: Problem = problem(408, "The body did not arrive in time.", &["body_timeout"]);
const TOO_LARGE: Problem = problem(413, "The body is larger than `http.max_body_bytes`.", &["body_too_large"]);
const UNAUTHENTICATED: Problem =
    problem(401, "No token that counts. It does not say which check failed.", &["unauthenticated"]);
const INTERNAL: Problem = problem(500, "A mistake of the deployment; operators see it.", &["internal_error"]);

const WEBHOOK: [Problem; 8] = [
    problem(
        400,
        "Nobody whom this source knows signed these bytes, or they are no event.",
        &["body_incomplete", "invalid_signature", "livemode_mismatch", "malformed_event"],
    ),
    NOT_FOUND,
    METHOD,
    TIMEOUT,
    TOO_LARGE,
    problem(429, "The source sends faster than `limits.source_hard_rate`, which is off by default.", &["rate_limited"]),
    INTERNAL,
    problem(503, "The broker did not confirm: nothing is lost if the sender tries again.", &["broker_unavailable"]),
];

const COMMAND: [Problem; 12] = [
    problem(
        400,
        "The head of the request is not as described, or the body broke off.",
        &["body_incomplete", "invalid_idempotency_key", "invalid_if_match"],
    ),
    UNAUTHENTICATED,
    problem(
        403,
        "The caller may not do this, or its token lacks a tenant or a known role.",
        &[
            "forbidden",
            "token_role_missing",
            "token_role_unknown",
            "token_tenant_malformed",
            "token_tenant_missing",
            "token_tenant_not_bound",
            "token_tenant_reserved",
        ],
    ),
    NOT_FOUND,
    METHOD,
    TIMEOUT,
    TOO_LARGE,
    problem(415, "The body has to be `application/json`.", &["unsupported_media_type"]),
    problem(422, "The body is not what this command takes; `field` says where.", &["invalid_payload"]),
    problem(429, "The tenant sends faster than it may.", &["rate_limited"]),
    INTERNAL,
    problem(
        503,
        "The broker did not confirm, or the issuer's keys are away. Send the same request again: the key makes it the \
         same command.",
        &["broker_unavailable", "issuer_unavailable"],
    ),
];

const READ: [Problem; 7] = [
    UNAUTHENTICATED,
    problem(
        403,
        "The caller may not look at this, its tenant's standing does not allow it, or its token lacks a tenant or a \
         known role.",
        &[
            "access_suspended",
            "callers",
            "member_removed",
            "role_table",
            "session_revoked",
            "tenant_closed",
            "tenant_suspended",
            "token_role_missing",
            "token_role_unknown",
            "token_tenant_malformed",
            "token_tenant_missing",
            "token_tenant_not_bound",
            "token_tenant_reserved",
        ],
    ),
    problem(
        404,
        "There is no such path, operation or tenant. One made a moment ago may take until a replica has heard of it.",
        &["audit_index_off", "not_found", "tenant_unknown"],
    ),
    METHOD,
    problem(
        422,
        "A parameter of the query is not as described.",
        &["invalid_cursor", "invalid_filter", "invalid_limit", "invalid_query", "invalid_wait"],
    ),
    INTERNAL,
    problem(503, "The database or the issuer's keys are away.", &["issuer_unavailable", "reads_unavailable"]),
];

const DOWNLOAD: [Problem; 9] = [
    READ[0],
    READ[1],
    READ[2],
    READ[3],
    problem(409, "The export is still being written: its operation says how far it is.", &["export_not_ready"]),
    problem(
        410,
        "The export is deleted: seven days are over, or somebody of the tenant was erased.",
        &["export_expired", "export_revoked"],
    ),
    READ[4],
    READ[5],
    problem(
        503,
        "The database, the store of exports or the issuer's keys are away.",
        &["export_store_unavailable", "issuer_unavailable", "reads_unavailable"],
    ),
];

impl Kind {
    const ALL: [Self; 4] = [Self::Webhook, Self::Command, Self::Read, Self::Download];

    fn name(self) -> &'static str {
        match self {
            Self::Webhook => "Webhook",
            Self::Command => "Command",
            Self::Read => "Read",
            Self::Download => "Download",
        }
    }

    fn problems(self) -> &'static [Problem] {
        match self {
            Self::Webhook => &WEBHOOK,
            Self::Command => &COMMAND,
            Self::Read => &READ,
            Self::Download => &DOWNLOAD,
        }
    }
}

/// The answers of a request: its success, and the problems of its kind.
pub(super) fn answers(kind: Kind, status: &str, success: Value) -> Map<String, Value> {
    let problems = kind
        .problems()
        .iter()
        .map(|problem| (problem.status.to_string(), part("responses", &format!("{}{}", kind.name(), problem.status))));
    std::iter::once((status.to_owned(), success)).chain(problems).collect()
}

/// Every problem by kind of request and status.
pub(super) fn problems() -> Map<String, Value> {
    let all = Kind::ALL.into_iter().flat_map(|kind| kind.problems().iter().map(move |problem| (kind, problem)));
    all.map(|(kind, problem)| (format!("{}{}", kind.name(), problem.status), problem.response())).collect()
}

impl Problem {
    fn response(&self) -> Value {
        let narrowed = json!({ "properties": { "status": { "const": self.status }, "code": { "enum": self.codes } } });
        let schema = json!({ "allOf": [part("schemas", "Problem"), narrowed] });
        let mut response = json!({
            "description": self.means,
            "content": { "application/problem+json": { "schema": schema } },
        });
        if let Some((name, description)) = self.header() {
            let header = json!({ "description": description, "schema": { "type": "string" } });
            response["headers"] = json!({ name: header });
        }
        response
    }

    fn header(&self) -> Option<(&'static str, &'static str)> {
        match self.status {
            401 => Some(("WWW-Authenticate", "Always `Bearer`.")),
            405 => Some(("Allow", "The method that fits.")),
            429 | 503 => Some(("Retry-After", "Whole seconds after which to try again.")),
            _ => None,
        }
    }
}

/// What is not about one command: problems, and what an accepted request is told.
pub(super) fn schemas() -> Map<String, Value> {
    let text = json!({ "type": "string" });
    let schemas = [
        (
            "Problem",
            json!({
                "type": "object",
                "description": "RFC 9457. Programs look at `code`, which never changes its meaning.",
                "required": ["type", "title", "status", "code"],
                "properties": {
                    "type": { "type": "string", "const": "about:blank" },
                    "title": text,
                    "status": { "type": "integer", "minimum": 400, "maximum": 599 },
                    "code": text,
                    "field": { "type": "string", "description": "The field of the body that is wrong." },
                    "detail": { "type": "string", "description": "What is wrong with it; never its value." },
                },
            }),
        ),
        (
            "Received",
            json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["received"],
                "properties": { "received": { "const": true } },
            }),
        ),
        (
            "Accepted",
            json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["operation", "status"],
                "properties": { "operation": text, "status": { "const": "pending" } },
            }),
        ),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// A success with a JSON body of a named schema.
pub(super) fn success(description: &str, schema: &str) -> Value {
    json!({ "description": description,
        "content": { "application/json": { "schema": part("schemas", schema) } } })
}
