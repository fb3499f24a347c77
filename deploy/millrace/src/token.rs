//! `millrace token`

use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use millrace::config::{ClaimPath, IssuerConfig, IssuerKeys, Process, start};
use millrace::contract::{Contract, Role, TenantId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::Usage;
use crate::screen::Screen;

/// Most bytes of a user id, as the ingress takes it.
const LONGEST_USER: usize = 128;

#[derive(Debug, Args)]
#[command(after_help = "Only for an issuer with a local secret: nobody can sign for an identity provider.\n\
    Example: curl -H \"Authorization: Bearer $(millrace token --org acme --user u1 --role admin)\" …")]
pub(crate) struct Token {
    /// The tenant.
    #[arg(long)]
    org: String,
    /// The user, or the service if the issuer makes services.
    #[arg(long)]
    user: String,
    /// The role: viewer, editor or admin [default: none, so that the issuer's default role counts]
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// The issuer in the configuration [default: the only one with a local secret]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Seconds until the token expires.
    #[arg(long, value_name = "N", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..))]
    lifetime_s: u32,
    #[command(flatten)]
    config: ConfigFile,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "is none of viewer, editor, admin".to_owned())
}

impl Token {
    pub(crate) fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (_, config) = start(contract, &self.config.path(), Process::Token)?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let (token, issuer) = self.mint(&config.issuers, now)?;
        if screen.is_json() {
            let expires = now + i64::from(self.lifetime_s);
            screen.done("", json!({ "token": token, "issuer": issuer, "expires": expires }));
        } else {
            screen.tell(&token);
        }
        Ok(())
    }

    /// A token issued at `now`, and the name of its issuer.
    fn mint<'a>(&self, issuers: &'a [IssuerConfig], now: i64) -> Result<(String, &'a str), CommandFault> {
        let (issuer, secret) = chosen(issuers, self.issuer.as_deref())?;
        let claims = self.claims(issuer, now)?;
        // Named here, since the library cannot choose once another crate has switched on its other implementation.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let mut header = Header::new(Algorithm::HS256);
        header.typ = issuer.types.named.first().cloned();
        let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
        Ok((encode(&header, &claims, &key)?, &issuer.name))
    }

    /// The claims where the issuer's paths look for them.
    fn claims(&self, issuer: &IssuerConfig, now: i64) -> Result<Map<String, Value>, Usage> {
        let org = TenantId::parse(&self.org).map_err(|fault| Usage(format!("--org: {fault}")))?;
        if org.is_operator() || !(issuer.tenants.is_empty() || issuer.tenants.contains(&org)) {
            return Err(Usage(format!("--org: [issuers.{}] must not speak for {org}", issuer.name)));
        }
        if !(1..=LONGEST_USER).contains(&self.user.len()) || self.user.chars().any(char::is_control) {
            return Err(Usage(format!("--user must be 1 to {LONGEST_USER} bytes without control characters")));
        }
        let longest = issuer.longest_lifetime.as_secs();
        if u64::from(self.lifetime_s) > longest {
            return Err(Usage(format!(
                "--lifetime-s: tokens of [issuers.{}] live for {longest} s at most",
                issuer.name
            )));
        }
        let registered = json!({
            "iss": issuer.issuer, "aud": issuer.audience, "jti": Uuid::now_v7().to_string(),
            "iat": now, "exp": now + i64::from(self.lifetime_s),
        });
        let mut claims = match registered {
            Value::Object(claims) => claims,
            _ => Map::new(),
        };
        let role = self.role.map(|role| role_name(issuer, role)).transpose()?;
        place(&mut claims, &issuer.org_id_claim, org.as_str())?;
        place(&mut claims, &issuer.user_id_claim, &self.user)?;
        role.map(|role| place(&mut claims, &issuer.role_claim, &role)).transpose()?;
        Ok(claims)
    }
}

/// The issuer of that name, or the only one that has a local secret.
fn chosen<'a>(issuers: &'a [IssuerConfig], name: Option<&str>) -> Result<(&'a IssuerConfig, &'a SecretString), Usage> {
    let with_secret = |issuer: &'a IssuerConfig| match &issuer.keys {
        IssuerKeys::Local(Some(secret)) => Some((issuer, secret)),
        IssuerKeys::Local(None) | IssuerKeys::Published { .. } => None,
    };
    if let Some(name) = name {
        let issuer = issuers.iter().find(|issuer| issuer.name == name);
        let issuer = issuer.ok_or_else(|| Usage(format!("there is no [issuers.{name}] in the configuration")))?;
        return with_secret(issuer).ok_or_else(|| {
            Usage(format!("[issuers.{name}] publishes its keys: only the issuer itself can sign, ask it for a token"))
        });
    }
    let local: Vec<_> = issuers.iter().filter_map(with_secret).collect();
    match local[..] {
        [only] => Ok(only),
        [] => Err(Usage("no issuer has a local secret: add [issuers.NAME] with secret_file".to_owned())),
        _ => {
            let names: Vec<_> = local.iter().map(|(issuer, _)| issuer.name.as_str()).collect();
            Err(Usage(format!("several issuers have a local secret: give --issuer, one of {}", names.join(", "))))
        }
    }
}

/// What the issuer calls a role of ours.
fn role_name(issuer: &IssuerConfig, role: Role) -> Result<String, Usage> {
    if issuer.roles.is_empty() {
        return Ok(role.as_str().to_owned());
    }
    let named = issuer.roles.iter().find(|(_, ours)| **ours == role).map(|(name, _)| name.clone());
    named.ok_or_else(|| Usage(format!("--role: nothing in [issuers.{}.roles] means {role}", issuer.name)))
}

/// Puts a text at a path, with the objects on the way.
fn place(claims: &mut Map<String, Value>, path: &ClaimPath, text: &str) -> Result<(), Usage> {
    let clash = || Usage(format!("the claim path {path} leads through another claim"));
    let (last, way) = path.segments().split_last().ok_or_else(clash)?;
    let mut at = claims;
    for name in way {
        let next = at.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
        at = next.as_object_mut().ok_or_else(clash)?;
    }
    match at.insert(last.clone(), text.into()) {
        None => Ok(()),
        Some(_) => Err(clash()),
    }
}

#[cfg(test)]
mod tests;
