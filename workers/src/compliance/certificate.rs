//! The certificate of an erasure: what was done, and which line of the audit log vouches for it. The line has the SHA-256 of
//! these bytes, so whoever proves the line proves the certificate; the signature is that of the log's checkpoint.

use millrace::contract::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

const HOW_TO_CHECK: &str = "millrace audit prove AUDIT_EVENT gives the line of the audit log with its proof. The SHA-256 of \
    this file, byte for byte, stands in the line as metadata.certificate_sha256.";

/// What the erasure of a person did.
pub(super) struct Certificate {
    pub(super) org_id: String,
    pub(super) erasure_id: Uuid,
    /// The name that the person had in the audit log; nobody knows any more whose it was.
    pub(super) pseudonym: Uuid,
    pub(super) asked_at: OffsetDateTime,
    pub(super) executed_at: Timestamp,
    /// Rows by table.
    pub(super) erased: Value,
    /// Id of the line.
    pub(super) audit_event: Uuid,
}

impl Certificate {
    /// The bytes that are kept and hashed; `None` when they cannot be rendered.
    pub(super) fn render(&self) -> Option<String> {
        serde_json::to_string_pretty(&json!({
            "certificate": "erasure of a person's data",
            "org_id": self.org_id,
            "erasure_id": self.erasure_id,
            "pseudonym": self.pseudonym,
            "asked_at": Timestamp::new(self.asked_at).to_string(),
            "executed_at": self.executed_at.to_string(),
            "erased": self.erased,
            "audit_event": self.audit_event,
            "how_to_check": HOW_TO_CHECK,
        }))
        .ok()
    }
}

/// What the erasure of a tenant did.
pub(super) struct OrgCertificate {
    pub(super) org_id: String,
    pub(super) erasure_id: Uuid,
    pub(super) asked_at: OffsetDateTime,
    /// When the tombstone was placed.
    pub(super) begun_at: OffsetDateTime,
    pub(super) executed_at: Timestamp,
    /// Rows by table.
    pub(super) erased: Value,
    /// Why the rows that are left are kept, by table.
    pub(super) kept: Value,
    /// Id of the line.
    pub(super) audit_event: Uuid,
}

impl OrgCertificate {
    /// As [`Certificate::render`].
    pub(super) fn render(&self) -> Option<String> {
        serde_json::to_string_pretty(&json!({
            "certificate": "erasure of an organisation's data",
            "org_id": self.org_id,
            "erasure_id": self.erasure_id,
            "asked_at": Timestamp::new(self.asked_at).to_string(),
            "begun_at": Timestamp::new(self.begun_at).to_string(),
            "executed_at": self.executed_at.to_string(),
            "erased": self.erased,
            "kept": self.kept,
            "audit_event": self.audit_event,
            "how_to_check": HOW_TO_CHECK,
        }))
        .ok()
    }
}

/// What the audit line has of a certificate.
pub(super) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
