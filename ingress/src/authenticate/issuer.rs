//! One configured issuer: whether a token is its own, valid now and meant for us, and who the caller is then.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};
use millrace::config::{ClaimPath, IssuerConfig, IssuerKeys, PublicAlgorithm, TokenTypes};
use millrace::contract::{ActorKind, Principal, Role, TenantId};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::claims::{Found, Registered, at_paths};
use super::fetch::Fetcher;
use super::jwks::PublishedKeys;
use super::token::Token;
use super::{AuthFault, Caller, Unauthenticated};

/// How far two clocks may lie apart.
const LEEWAY_S: i64 = 5;
/// Most bytes of a user id or a token id, so that envelopes have room for them.
const LONGEST_ID: usize = 128;
/// Bytes of the hash that stands for a token without an id.
const DERIVED_ID: usize = 16;

/// An issuer, ready to verify.
#[derive(Debug)]
pub(super) struct Issuer {
    keys: Keys,
    audience: String,
    types: TokenTypes,
    longest_lifetime: i64,
    org_id: ClaimPath,
    user_id: ClaimPath,
    role: ClaimPath,
    roles: BTreeMap<String, Role>,
    default_role: Option<Role>,
    kind: ActorKind,
    service_commands: bool,
    tenants: Vec<TenantId>,
}

#[derive(Debug)]
enum Keys {
    Published(Arc<PublishedKeys>),
    Local(Arc<DecodingKey>),
}

impl Issuer {
    pub(super) fn new(config: &IssuerConfig) -> Result<Self, AuthFault> {
        let keys = match &config.keys {
            IssuerKeys::Published { jwks_uri, algorithms } => {
                Keys::Published(PublishedKeys::new(&config.name, Fetcher::new(jwks_uri)?, algorithms))
            }
            IssuerKeys::Local(secret) => {
                let secret = secret.as_ref().ok_or_else(|| AuthFault::NoSecret(config.name.clone()))?;
                Keys::Local(Arc::new(DecodingKey::from_secret(secret.expose_secret().as_bytes())))
            }
        };
        Ok(Self {
            keys,
            audience: config.audience.clone(),
            types: config.types.clone(),
            longest_lifetime: i64::try_from(config.longest_lifetime.as_secs()).unwrap_or(i64::MAX),
            org_id: config.org_id_claim.clone(),
            user_id: config.user_id_claim.clone(),
            role: config.role_claim.clone(),
            roles: config.roles.clone(),
            default_role: config.default_role,
            kind: config.actor_kind,
            service_commands: config.service_commands,
            tenants: config.tenants.clone(),
        })
    }

    /// Everything that can fail without the signature comes first, so that a stale token costs no verification.
    pub(super) async fn admit(
        &self,
        token: &Token<'_>,
        registered: Registered,
        now: i64,
    ) -> Result<Caller, Unauthenticated> {
        self.check_type(token.header.kind.as_deref())?;
        if !registered.is_for(&self.audience) {
            return Err(Unauthenticated::Audience);
        }
        self.check_times(&registered, now)?;
        self.check_signature(token, now).await?;
        self.caller(token, registered)
    }

    fn check_type(&self, kind: Option<&str>) -> Result<(), Unauthenticated> {
        let accepted = match kind {
            None => self.types.absent,
            Some(kind) => self.types.named.iter().any(|named| named.eq_ignore_ascii_case(kind)),
        };
        if accepted { Ok(()) } else { Err(Unauthenticated::Type) }
    }

    fn check_times(&self, registered: &Registered, now: i64) -> Result<(), Unauthenticated> {
        if now >= registered.exp.saturating_add(LEEWAY_S) {
            return Err(Unauthenticated::Expired);
        }
        let horizon = now.saturating_add(LEEWAY_S);
        if registered.nbf.is_some_and(|nbf| nbf > horizon) {
            return Err(Unauthenticated::NotYetValid);
        }
        if registered.iat > horizon {
            return Err(Unauthenticated::IssuedLater);
        }
        let lifetime = registered.exp.saturating_sub(registered.iat);
        if (1..=self.longest_lifetime).contains(&lifetime) { Ok(()) } else { Err(Unauthenticated::Lifetime) }
    }

    /// The algorithm comes from the configuration; the token's header only has to agree.
    async fn check_signature(&self, token: &Token<'_>, now: i64) -> Result<(), Unauthenticated> {
        let header = &token.header;
        let (algorithm, key) = match &self.keys {
            Keys::Local(secret) if header.algorithm == "HS256" => (Algorithm::HS256, secret.clone()),
            Keys::Local(_) => return Err(Unauthenticated::Algorithm),
            Keys::Published(keys) => {
                let algorithm = keys.algorithm(&header.algorithm).ok_or(Unauthenticated::Algorithm)?;
                (library_name(algorithm), keys.key(header.key_id.as_deref(), algorithm, now).await?)
            }
        };
        match jsonwebtoken::crypto::verify(token.signature, token.signed.as_bytes(), &key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Unauthenticated::Signature),
        }
    }

    fn caller(&self, token: &Token<'_>, registered: Registered) -> Result<Caller, Unauthenticated> {
        let [org, user, role] = at_paths(&token.claims, [&self.org_id, &self.user_id, &self.role])?;
        let id = match user {
            Found::Text(id) if is_id(&id) => id,
            _ => return Err(Unauthenticated::User),
        };
        let org = self.tenant(org)?;
        let role = self.role(role)?;
        Ok(Caller {
            org,
            principal: Principal { kind: self.kind, id, role: Some(role) },
            token_id: registered.jti.filter(|id| is_id(id)).unwrap_or_else(|| derived_id(token.signed)),
            token_iat: registered.iat,
            service_commands: self.service_commands,
        })
    }

    fn tenant(&self, found: Found) -> Result<TenantId, Unauthenticated> {
        let text = match found {
            Found::Absent => return Err(Unauthenticated::TenantMissing),
            Found::Other => return Err(Unauthenticated::TenantMalformed),
            Found::Text(text) => text,
        };
        let tenant = TenantId::parse(&text).map_err(|_| Unauthenticated::TenantMalformed)?;
        if tenant.is_operator() {
            return Err(Unauthenticated::TenantReserved);
        }
        let bound = self.tenants.is_empty() || self.tenants.contains(&tenant);
        if bound { Ok(tenant) } else { Err(Unauthenticated::TenantNotBound) }
    }

    /// Only where nothing stands does the default count: a role that nobody knows must not become one that somebody has.
    fn role(&self, found: Found) -> Result<Role, Unauthenticated> {
        match found {
            Found::Absent => self.default_role.ok_or(Unauthenticated::RoleMissing),
            Found::Text(name) if self.roles.is_empty() => Role::parse(&name).ok_or(Unauthenticated::RoleUnknown),
            Found::Text(name) => self.roles.get(&name).copied().ok_or(Unauthenticated::RoleUnknown),
            Found::Other => Err(Unauthenticated::RoleUnknown),
        }
    }
}

fn library_name(algorithm: PublicAlgorithm) -> Algorithm {
    match algorithm {
        PublicAlgorithm::EdDsa => Algorithm::EdDSA,
        PublicAlgorithm::Es256 => Algorithm::ES256,
        PublicAlgorithm::Rs256 => Algorithm::RS256,
    }
}

fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Of what is signed, not of the whole token: some signatures can be written in more than one way.
fn derived_id(signed: &str) -> String {
    hex::encode(&Sha256::digest(signed)[..DERIVED_ID])
}
