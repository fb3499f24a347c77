//! Why nobody is let in.

/// What a refusal is over HTTP. The body never says more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 401: no token, or none that proves anything.
    Unauthorized,
    /// 403: the token is authentic, and what it says is not allowed here.
    Forbidden,
    /// 503: the issuer's keys have never been loaded, so that nothing can be said about the token.
    Unavailable,
}

/// Which check a request failed. Counted, never told to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// No `Authorization` header.
    #[error("there is no Authorization header")]
    Missing,
    /// More than one `Authorization` header.
    #[error("there is more than one Authorization header")]
    Repeated,
    /// Another scheme than `Bearer`, or no text.
    #[error("the Authorization header is no bearer token")]
    Scheme,
    /// Longer than any honest token.
    #[error("the token is too long")]
    Oversize,
    /// Not three non-empty segments of canonical base64url.
    #[error("the token does not have three segments of canonical base64url")]
    Structure,
    /// The header is no JSON object of the known types, or names something twice.
    #[error("the token's header cannot be read")]
    Header,
    /// The header brings keys along, or asks for what nobody implements.
    #[error("the token's header has a member that is not accepted")]
    HeaderMember,
    /// A key id of no plausible length.
    #[error("the key id is empty or too long")]
    KeyId,
    /// An algorithm that the issuer does not sign with, `none` included.
    #[error("the algorithm is not one of the issuer's")]
    Algorithm,
    /// A `typ` that the issuer's tokens do not have.
    #[error("the type of the token is not one of the issuer's")]
    Type,
    /// The claims are no JSON object, or nest too deep.
    #[error("the claims cannot be read")]
    Claims,
    /// The claims name one thing twice, at any depth.
    #[error("the claims name something twice")]
    DuplicateClaim,
    /// A registered claim is missing, or of another type than it must be.
    #[error("a registered claim is missing or of the wrong type")]
    RegisteredClaim,
    /// No issuer of that name is configured.
    #[error("the issuer is not configured")]
    Issuer,
    /// The issuer has no such key.
    #[error("the issuer has no key that fits")]
    UnknownKey,
    /// The issuer's keys could not be loaded yet.
    #[error("the issuer's keys have not been loaded yet")]
    NoKeys,
    /// Not signed by the issuer.
    #[error("the signature is not the issuer's")]
    Signature,
    /// Meant for another service.
    #[error("the token is for another audience")]
    Audience,
    /// Past its `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before its `nbf`.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Issued in the future.
    #[error("the token was issued in the future")]
    IssuedLater,
    /// Valid for longer than the issuer's tokens may be, or for no time at all.
    #[error("the token's lifetime is not accepted")]
    Lifetime,
    /// No user id, or none that can be recorded.
    #[error("the token names no usable user")]
    User,
    /// Authentic, but nothing says for which tenant.
    #[error("the token names no tenant")]
    TenantMissing,
    /// Authentic, but what names the tenant is no tenant id.
    #[error("the token's tenant is no tenant id")]
    TenantMalformed,
    /// Authentic, but for the tenant that the deployment keeps for itself.
    #[error("the token names the operator tenant")]
    TenantReserved,
    /// Authentic, but the issuer may not speak for this tenant.
    #[error("the issuer is not bound to the token's tenant")]
    TenantNotBound,
    /// Authentic, but it has no role, and this issuer's tokens must have one.
    #[error("the token names no role")]
    RoleMissing,
    /// Authentic, but its role is none of ours.
    #[error("the token's role is not known")]
    RoleUnknown,
}

impl Unauthenticated {
    /// What to answer.
    pub fn answer(self) -> Answer {
        match self {
            Self::TenantMissing
            | Self::TenantMalformed
            | Self::TenantReserved
            | Self::TenantNotBound
            | Self::RoleMissing
            | Self::RoleUnknown => Answer::Forbidden,
            Self::NoKeys => Answer::Unavailable,
            _ => Answer::Unauthorized,
        }
    }

    /// Label of [`millrace::telemetry::fields::EDGE_REFUSED`].
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Repeated => "token_repeated",
            Self::Scheme => "token_scheme",
            Self::Oversize => "token_oversize",
            Self::Structure => "token_structure",
            Self::Header => "token_header",
            Self::HeaderMember => "token_header_member",
            Self::KeyId => "token_key_id",
            Self::Algorithm => "token_algorithm",
            Self::Type => "token_type",
            Self::Claims => "token_claims",
            Self::DuplicateClaim => "token_duplicate_claim",
            Self::RegisteredClaim => "token_registered_claim",
            Self::Issuer => "token_issuer",
            Self::UnknownKey => "token_unknown_key",
            Self::NoKeys => "token_no_keys",
            Self::Signature => "token_signature",
            Self::Audience => "token_audience",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::IssuedLater => "token_issued_later",
            Self::Lifetime => "token_lifetime",
            Self::User => "token_user",
            Self::TenantMissing => "token_tenant_missing",
            Self::TenantMalformed => "token_tenant_malformed",
            Self::TenantReserved => "token_tenant_reserved",
            Self::TenantNotBound => "token_tenant_not_bound",
            Self::RoleMissing => "token_role_missing",
            Self::RoleUnknown => "token_role_unknown",
        }
    }
}
