//! Who calls: a bearer token of a configured issuer becomes a [`Caller`], or the request is refused.
//!
//! The rules follow RFC 8725. Structure, header, claims and times are judged here; the library verifies signatures
//! and decides nothing. A token can name neither its key nor its algorithm: both come from the issuer's configuration.

mod claims;
mod fetch;
mod issuer;
mod jwks;
mod keyset;
mod refusal;
mod token;

use std::collections::HashMap;

use hyper::HeaderMap;
use millrace::config::IssuerConfig;
use millrace::contract::{Principal, TenantId};
use time::OffsetDateTime;

use claims::{Registered, refuse_duplicates};
use issuer::Issuer;
pub use refusal::{Answer, Unauthenticated};
use token::{Token, bearer};

/// Why a configured issuer cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AuthFault {
    /// Nothing could be fetched over HTTPS.
    #[error("cannot load the system's root certificates")]
    Roots(#[source] std::io::Error),
    /// An address that HTTP cannot ask for.
    #[error("{0} is no address for HTTP")]
    Address(String),
    /// Read for a process that has no secrets of issuers.
    #[error("the secret of [issuers.{0}] was not read")]
    NoSecret(String),
}

/// Whoever holds an authentic token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The tenant it acts in.
    pub org: TenantId,
    /// The user or service, with its role.
    pub principal: Principal,
    /// The token's `jti`, or a hash of what it signs.
    pub token_id: String,
    /// The token's `iat`.
    pub token_iat: i64,
    /// Its issuer's services may send what is for services alone.
    pub service_commands: bool,
}

/// The configured issuers.
#[derive(Debug)]
pub struct Authenticator {
    issuers: HashMap<String, Issuer>,
}

impl Authenticator {
    /// Prepares keys and clients; fetches nothing yet.
    ///
    /// # Errors
    /// [`AuthFault`].
    pub fn new(issuers: &[IssuerConfig]) -> Result<Self, AuthFault> {
        // Named here, since the library cannot choose once another crate has switched on its other implementation.
        // It fails when it is installed already, by an authenticator before this one.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let issuers = issuers.iter().map(|config| Ok((config.issuer.clone(), Issuer::new(config)?)));
        Ok(Self { issuers: issuers.collect::<Result<_, AuthFault>>()? })
    }

    /// Who sends a request with these headers at the time `now`.
    ///
    /// # Errors
    /// [`Unauthenticated`]: the answer to give, and a reason that is only counted.
    pub async fn authenticate(&self, headers: &HeaderMap, now: OffsetDateTime) -> Result<Caller, Unauthenticated> {
        let token = Token::parse(bearer(headers)?)?;
        refuse_duplicates(&token.claims)?;
        let registered = Registered::read(&token.claims)?;
        let issuer = self.issuers.get(&registered.iss).ok_or(Unauthenticated::Issuer)?;
        issuer.admit(&token, registered, now.unix_timestamp()).await
    }
}

#[cfg(test)]
mod tests;
