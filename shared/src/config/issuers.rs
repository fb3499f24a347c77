//! `[issuers.<name>]`: whose tokens the edge believes, and what they call a tenant, a user and a role.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::tenant::default_role;
use super::{ClaimPath, Process, Reader, TenantConfig};
use crate::contract::{ActorKind, Role, TenantId};

/// A local secret has at least as many bytes as the hash of HS256 (RFC 7518, 3.2).
const SHORTEST_SECRET: usize = 32;
/// Most bytes of an issuer's or an audience's name.
const LONGEST_NAME: usize = 512;
/// Word in `typ` for a token whose header has no type.
const ABSENT: &str = "absent";

/// Algorithms of public keys. A shared secret is none of them, so that no published key can become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicAlgorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
}

impl PublicAlgorithm {
    /// Every public-key algorithm.
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    /// The name in token headers and published keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// What an issuer's signatures are checked with.
#[derive(Debug, Clone)]
pub enum IssuerKeys {
    /// Public keys that the issuer publishes.
    Published {
        /// Where: `https`, or `http` on this host.
        jwks_uri: Url,
        /// The algorithms it signs with.
        algorithms: Vec<PublicAlgorithm>,
    },
    /// A secret that the issuer and the edge share; HS256. `None` in a process that needs none.
    Local(Option<SecretString>),
}

/// Which `typ` a token's header may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTypes {
    /// None at all.
    pub absent: bool,
    /// One of these, in any case of letters.
    pub named: Vec<String>,
}

/// One issuer of tokens.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// Name in this configuration and in logs.
    pub name: String,
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// Keys or secret.
    pub keys: IssuerKeys,
    /// What `aud` must be or contain.
    pub audience: String,
    /// Which `typ` its tokens may have.
    pub types: TokenTypes,
    /// Where the tenant stands.
    pub org_id_claim: ClaimPath,
    /// Where the user stands.
    pub user_id_claim: ClaimPath,
    /// Where the role stands.
    pub role_claim: ClaimPath,
    /// What its roles are here. Empty: it uses our names.
    pub roles: BTreeMap<String, Role>,
    /// The role of a token that names none; `None` denies it.
    pub default_role: Option<Role>,
    /// Most seconds from `iat` to `exp`.
    pub longest_lifetime: Duration,
    /// What its subjects are: users or services.
    pub actor_kind: ActorKind,
    /// May its services send what is for services alone, such as `tenants.close`? Not those of a tenant's own machines.
    pub service_commands: bool,
    /// The only tenants it may speak for. Empty: any.
    pub tenants: Vec<TenantId>,
}

pub(super) fn read(s: &mut Reader, process: Process, tenant: &TenantConfig) -> Vec<IssuerConfig> {
    let mut issuers = Vec::new();
    let mut named: Vec<(String, String)> = Vec::new();
    for name in s.names() {
        let (issuer, config) = s.section(&name, |s| issuer(s, &name, process, tenant));
        if let Some((other, _)) = named.iter().find(|(_, other)| *other == issuer && !issuer.is_empty()) {
            let problem = format!("[issuers.{other}] has the same: a token must have one issuer");
            s.mistake(&format!("{name}.issuer"), problem);
        }
        named.push((name, issuer));
        issuers.extend(config);
    }
    issuers
}

fn issuer(s: &mut Reader, name: &str, process: Process, tenant: &TenantConfig) -> (String, Option<IssuerConfig>) {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)) {
        s.mistake("", "an issuer's name must be of [a-z0-9_-]");
    }
    let lifetime = s.number("longest_lifetime_s", 86_400, 1..=31 * 86_400);
    let issuer = exact(s, "issuer");
    let audience = exact(s, "audience");
    let keys = keys(s, process);
    let (types, role_map) = (types(s), s.section("roles", roles));
    let org_id_claim = ClaimPath::read(s, "org_id_claim", &tenant.org_id_claim);
    let user_id_claim = ClaimPath::read(s, "user_id_claim", &tenant.user_id_claim);
    let role_claim = ClaimPath::read(s, "role_claim", &tenant.role_claim);
    let default_role = default_role(s, tenant.default_role);
    let kinds = [ActorKind::User, ActorKind::Service].map(|kind| (kind.as_str(), kind));
    let actor_kind = s.word("actor_kind", ActorKind::User, &kinds);
    let tenants = tenants(s);
    let config = keys.map(|keys| IssuerConfig {
        name: name.to_owned(),
        issuer: issuer.clone(),
        keys,
        audience,
        types,
        org_id_claim,
        user_id_claim,
        role_claim,
        roles: role_map,
        default_role,
        longest_lifetime: Duration::from_secs(lifetime),
        actor_kind,
        service_commands: s.word("service_commands", false, &[("true", true), ("false", false)]),
        tenants,
    });
    (issuer, config)
}

/// A name that is compared byte for byte.
fn exact(s: &mut Reader, key: &str) -> String {
    let text = s.text(key, None);
    if s.has(key) && (text.is_empty() || text.len() > LONGEST_NAME) {
        s.mistake(key, format!("must be 1 to {LONGEST_NAME} bytes"));
    }
    text
}

fn keys(s: &mut Reader, process: Process) -> Option<IssuerKeys> {
    let algorithms = s.list("algorithms");
    let local = s.has("secret") || s.has("secret_file");
    match (s.has("jwks_uri"), local) {
        (true, false) => {
            let algorithms = public_algorithms(s, &algorithms);
            let jwks_uri = jwks_uri(s)?;
            Some(IssuerKeys::Published { jwks_uri, algorithms })
        }
        (false, true) => {
            if !(algorithms.is_empty() || algorithms == ["HS256"]) {
                s.mistake("algorithms", "with a local secret there is HS256 alone");
            }
            Some(IssuerKeys::Local(local_secret(s, process)))
        }
        (true, true) => {
            s.text("jwks_uri", None);
            s.secret("secret", false);
            s.mistake("jwks_uri", "an issuer has published keys or a local secret, not both");
            None
        }
        (false, false) => {
            s.mistake("jwks_uri", "is missing: set it, or secret_file for an issuer of your own");
            None
        }
    }
}

fn public_algorithms(s: &mut Reader, named: &[String]) -> Vec<PublicAlgorithm> {
    if named.is_empty() {
        s.mistake("algorithms", "is missing: list what the issuer signs with, of EdDSA, ES256, RS256");
    }
    let mut algorithms = Vec::new();
    for name in named {
        match PublicAlgorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name) {
            Some(algorithm) => algorithms.push(algorithm),
            None if name == "HS256" => s.mistake("algorithms", "HS256 needs a local secret, never published keys"),
            None => s.mistake("algorithms", format!("{name:?} is none of EdDSA, ES256, RS256")),
        }
    }
    algorithms
}

fn jwks_uri(s: &mut Reader) -> Option<Url> {
    let text = s.text("jwks_uri", None);
    let problem = match Url::parse(&text) {
        Err(e) => format!("not a URL: {e}"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => "must not carry a user".to_owned(),
        Ok(url) if url.fragment().is_some() => "must not have a fragment".to_owned(),
        Ok(url) if url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url) => return Some(url),
        Ok(_) => "must begin with https:// (http:// on this host alone), or anybody on the way could replace the keys"
            .to_owned(),
    };
    s.mistake("jwks_uri", problem);
    None
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn local_secret(s: &mut Reader, process: Process) -> Option<SecretString> {
    let needed = process.is(Process::Ingress) || process.is(Process::Token);
    let secret = s.secret("secret", needed)?;
    if secret.expose_secret().len() < SHORTEST_SECRET {
        s.mistake("secret", format!("must be at least {SHORTEST_SECRET} bytes; make one with: openssl rand -hex 32"));
        return None;
    }
    Some(secret)
}

fn types(s: &mut Reader) -> TokenTypes {
    let mut named = s.list("typ");
    if !s.has("typ") {
        return TokenTypes { absent: true, named: vec!["JWT".to_owned(), "at+jwt".to_owned()] };
    }
    let all = named.len();
    named.retain(|name| name != ABSENT);
    let types = TokenTypes { absent: named.len() < all, named };
    if all == 0 || types.named.iter().any(String::is_empty) {
        s.mistake("typ", "must list types such as \"at+jwt\", or \"absent\"");
    }
    types
}

fn roles(s: &mut Reader) -> BTreeMap<String, Role> {
    let words = Role::ALL.map(|role| (role.as_str(), role));
    s.names().into_iter().map(|name| (name.clone(), s.word(&name, Role::Viewer, &words))).collect()
}

fn tenants(s: &mut Reader) -> Vec<TenantId> {
    let named = s.list("tenants");
    let mut tenants = Vec::new();
    for name in named {
        match TenantId::parse(&name) {
            Ok(tenant) if tenant.is_operator() => s.mistake("tenants", "the operator tenant is no issuer's"),
            Ok(tenant) => tenants.push(tenant),
            Err(e) => s.mistake("tenants", format!("{name:?}: {e}")),
        }
    }
    tenants
}

#[cfg(test)]
mod tests;
