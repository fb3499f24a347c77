//! The key register: every secret key that a configuration names, found by walking it, so that a section added later is
//! covered unasked. It tells what an operator needs to rotate keys, and never a secret.

use std::path::Path;
use std::time::SystemTime;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::reader::{ConfigFault, Reader};

/// First bytes under the hash of a fingerprint, so that it is no plain hash of the key.
const FINGERPRINT_DOMAIN: &[u8] = b"millrace-key-fingerprint-v1\0";
/// Bytes of a fingerprint: enough to tell keys apart.
const FINGERPRINT_BYTES: usize = 8;
/// How a private key of the audit log begins; the name and the id after it are public.
const NOTE_KEY: &str = "PRIVATE+KEY+";

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// Seals messages of a publisher, operators included.
    Seal,
    /// Checks a sender's webhooks.
    Webhook,
    /// Checks an issuer's tokens.
    Issuer,
    /// Seals the tenant context that PostgreSQL checks.
    TenantContext,
    /// Makes the event ids of audit lines.
    AuditEventIds,
    /// Signs checkpoints of the audit log.
    AuditLog,
    /// Signs manifests of exports.
    Exports,
    /// Lets Millrace keep exports in an object store.
    ObjectStore,
    /// Lets Millrace ask the billing provider.
    ProviderApi,
    /// Something else.
    Other,
}

impl KeyKind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Webhook => "webhook",
            Self::Issuer => "token issuer",
            Self::TenantContext => "tenant context",
            Self::AuditEventIds => "audit event ids",
            Self::AuditLog => "audit log",
            Self::Exports => "exports",
            Self::ObjectStore => "object store",
            Self::ProviderApi => "provider api",
            Self::Other => "other",
        }
    }

    /// Is it kept for ever? Another key would give what it has named before another name.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::AuditEventIds)
    }
}

/// One key of the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredKey {
    /// Where the configuration names it: `publishers.ingress-1.secret`.
    pub place: String,
    /// What it is for.
    pub kind: KeyKind,
    /// Whose it is: the key id, or source and secret id, or the issuer.
    pub name: String,
    /// What is computed with it; empty where the configuration does not say.
    pub algorithm: String,
    /// Since when its file stands there; `None` for what comes from the environment or is somebody else's.
    pub since: Option<OffsetDateTime>,
    /// Tells keys apart without telling them; `None` where the key is not on this host.
    pub fingerprint: Option<String>,
}

/// Every key that the file and the environment name.
///
/// # Errors
/// The file cannot be read or is not TOML. What is wrong inside it `millrace check-config` says.
pub fn key_register(path: &Path) -> Result<Vec<RegisteredKey>, ConfigFault> {
    let mut reader = Reader::open(path, std::env::vars_os())?;
    let mut found = Vec::new();
    walk(&mut reader, &[], &mut found);
    found.sort_by(|a: &RegisteredKey, b| (a.kind, &a.place).cmp(&(b.kind, &b.place)));
    Ok(found)
}

fn walk(s: &mut Reader, trail: &[String], found: &mut Vec<RegisteredKey>) {
    let mut seen = Vec::new();
    for name in s.names() {
        let stem = name.strip_suffix("_file").unwrap_or(&name).to_owned();
        if name == "jwks_uri" {
            found.push(published(s, trail));
        } else if (stem == "secret" || stem.ends_with("_key")) && !seen.contains(&stem) {
            found.extend(entry(s, trail, &stem));
            seen.push(stem);
        } else {
            let inner = [trail, std::slice::from_ref(&name)].concat();
            s.section(&name, |s| walk(s, &inner, found));
        }
    }
}

/// Keys that an issuer publishes and rotates by itself.
fn published(s: &mut Reader, trail: &[String]) -> RegisteredKey {
    RegisteredKey {
        place: format!("{}.jwks_uri", trail.join(".")),
        kind: KeyKind::Issuer,
        name: trail.last().cloned().unwrap_or_default(),
        algorithm: s.list("algorithms").join(" "),
        since: None,
        fingerprint: None,
    }
}

/// `None` for a text that is called a key and is no secret: a secret stands in a file of its own or in the environment.
fn entry(s: &mut Reader, trail: &[String], stem: &str) -> Option<RegisteredKey> {
    let file = format!("{stem}_file");
    let secret = s.secret(stem, true);
    if secret.is_none() && !s.has(&file) {
        return None;
    }
    let written = s.path(&file).filter(|_| !s.has(stem)).and_then(|path| std::fs::metadata(path).ok()?.modified().ok());
    let (kind, algorithm) = kind(s, trail, stem);
    Some(RegisteredKey {
        place: [trail, &[stem.to_owned()]].concat().join("."),
        kind,
        name: name(kind, trail, stem),
        algorithm,
        since: written.map(|time: SystemTime| OffsetDateTime::from(time)),
        fingerprint: secret.map(|secret| fingerprint(secret.expose_secret())),
    })
}

fn kind(s: &mut Reader, trail: &[String], stem: &str) -> (KeyKind, String) {
    let hmac = || "HMAC-SHA256".to_owned();
    match (trail.first().map_or("", String::as_str), stem) {
        ("publishers", _) => (KeyKind::Seal, hmac()),
        ("sources", _) => (KeyKind::Webhook, hmac()),
        ("issuers", _) => (KeyKind::Issuer, s.list("algorithms").join(" ")),
        ("database", "context_key") => (KeyKind::TenantContext, hmac()),
        ("compliance", "event_id_key") => (KeyKind::AuditEventIds, hmac()),
        ("compliance", "audit_log_key") => (KeyKind::AuditLog, "Ed25519".to_owned()),
        ("compliance", "export_signing_key") => (KeyKind::Exports, "Ed25519".to_owned()),
        ("compliance", "export_store_secret_key") => (KeyKind::ObjectStore, hmac()),
        ("billing", _) => (KeyKind::ProviderApi, "bearer".to_owned()),
        _ => (KeyKind::Other, String::new()),
    }
}

fn name(kind: KeyKind, trail: &[String], stem: &str) -> String {
    match kind {
        KeyKind::Webhook => {
            trail.iter().skip(1).filter(|part| *part != "secrets").cloned().collect::<Vec<_>>().join("/")
        }
        KeyKind::Seal | KeyKind::Issuer => trail.last().cloned().unwrap_or_default(),
        _ => stem.to_owned(),
    }
}

/// A key of the audit log is known by its public name and id, as checkpoints show them.
fn fingerprint(secret: &str) -> String {
    if let Some((name, id)) = secret.trim().strip_prefix(NOTE_KEY).and_then(|rest| rest.split_once('+'))
        && let Some(id) = id.split('+').next()
    {
        return format!("{name}+{id}");
    }
    let hash = Sha256::new().chain_update(FINGERPRINT_DOMAIN).chain_update(secret.trim()).finalize();
    hex::encode(&hash[..FINGERPRINT_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [deployment]
        name = "demo"
        [publishers.ingress-1]
        name = "ingress"
        secret_file = "seal"
        types = ["stripe.event"]
        [issuers.people]
        jwks_uri = "https://id.example/jwks"
        algorithms = ["EdDSA", "ES256"]
        [issuers.local]
        algorithms = ["HS256"]
        secret_file = "away"
        [sources.zendesk]
        signature_key = "sig"
        [sources.zendesk.secrets]
        first = { secret_file = "seal" }
        [compliance]
        event_id_key_file = "seal"
        audit_log_key_file = "note"
        [adopter.things]
        signing_key_file = "seal"
        [amqp.logins]
        worker = { password_file = "seal" }
    "#;

    #[test]
    fn every_key_is_found_and_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("seal"), "00112233445566778899aabbccddeeff\n").unwrap();
        std::fs::write(folder.path().join("note"), "PRIVATE+KEY+demo/audit+1a2b3c4d+AVeryPrivateSeed\n").unwrap();
        let file = folder.path().join("millrace.toml");
        std::fs::write(&file, FILE).unwrap();
        let keys = key_register(&file).unwrap();
        let places: Vec<(&str, &str)> = keys.iter().map(|key| (key.place.as_str(), key.kind.as_str())).collect();
        assert_eq!(
            places,
            [
                ("publishers.ingress-1.secret", "seal"),
                ("sources.zendesk.secrets.first.secret", "webhook"),
                ("issuers.local.secret", "token issuer"),
                ("issuers.people.jwks_uri", "token issuer"),
                ("compliance.event_id_key", "audit event ids"),
                ("compliance.audit_log_key", "audit log"),
                ("adopter.things.signing_key", "other"),
            ]
        );
        let by = |place: &str| keys.iter().find(|key| key.place == place).unwrap();
        assert_eq!(by("sources.zendesk.secrets.first.secret").name, "zendesk/first");
        assert_eq!(by("issuers.people.jwks_uri").algorithm, "EdDSA ES256");
        assert_eq!(by("issuers.local.secret").fingerprint, None, "it is not on this host");
        assert!(by("publishers.ingress-1.secret").since.is_some());
        assert_eq!(by("compliance.audit_log_key").fingerprint.as_deref(), Some("demo/audit+1a2b3c4d"));
        let said = format!("{keys:?}");
        assert!(!said.contains("00112233") && !said.contains("VeryPrivate"), "{said}");
        let print = by("publishers.ingress-1.secret").fingerprint.clone().unwrap();
        assert_eq!(print.len(), 2 * FINGERPRINT_BYTES);
        assert_ne!(print, hex::encode(&Sha256::digest("00112233445566778899aabbccddeeff")[..FINGERPRINT_BYTES]));
    }
}
