//! Tokens, honest and not. Keys are made here and signed with directly, without the library under test.

mod attacks;
mod cache;
mod claims;
mod identity;
mod keys;
mod properties;
mod providers;
mod structure;

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use millrace::config::{Config, IssuerConfig, IssuerKeys, Process};
use millrace::contract::Role;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Authenticator, Caller, Unauthenticated};
use keys::KeyServer;

/// The time of every test.
const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://id.example/";
const AUDIENCE: &str = "millrace";
const SECRET: &str = "a local secret of more than 32 bytes";

/// Private keys.
enum Private {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A key pair with the id and the algorithm that it is published under.
struct Key {
    private: Private,
    id: &'static str,
}

static RSA: LazyLock<Key> = LazyLock::new(|| Key::rsa("rsa"));
static ED: LazyLock<Key> = LazyLock::new(|| Key::ed("ed"));
static EC: LazyLock<Key> = LazyLock::new(|| Key::ec("ec"));
/// A key that no issuer publishes.
static STRANGER: LazyLock<Key> = LazyLock::new(|| Key::ed("ed"));

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn rsa(id: &'static str) -> Self {
        Self { private: Private::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()), id }
    }

    fn ed(id: &'static str) -> Self {
        Self { private: Private::Ed(Ed25519KeyPair::generate().unwrap()), id }
    }

    fn ec(id: &'static str) -> Self {
        Self { private: Private::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()), id }
    }

    fn algorithm(&self) -> &'static str {
        match self.private {
            Private::Ed(_) => "EdDSA",
            Private::Ec(_) => "ES256",
            Private::Rsa(_) => "RS256",
        }
    }

    /// The public half as an issuer publishes it.
    fn jwk(&self) -> Value {
        let mut jwk = match &self.private {
            Private::Ed(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key()) }),
            Private::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]) })
            }
            Private::Rsa(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero().to_vec();
                let e = public.exponent().big_endian_without_leading_zero().to_vec();
                json!({ "kty": "RSA", "n": b64(n), "e": b64(e) })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "kid": self.id, "typ": "JWT" })
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Private::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token of exactly these texts.
    fn sign_texts(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = b64(self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }
}

/// HS256 with any bytes as the key.
fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let signature = b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// What an honest token says.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "org_id": "acme", "role": "editor",
        "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 600, "jti": "t1",
    })
}

/// The honest claims with one of them changed, or left out with `None`.
fn but(name: &str, value: impl Into<Option<Value>>) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    match value.into() {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
    claims
}

/// The issuers of a configuration, as the ingress reads it.
fn issuers(toml: &str) -> Vec<IssuerConfig> {
    let folder = tempfile::tempdir().unwrap();
    let secrets = [("password", "guest"), ("seal", &"07".repeat(32)), ("whsec", "whsec_test"), ("local", SECRET)];
    for (name, text) in secrets {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let file = folder.path().join("millrace.toml");
    let sound = r#"
        amqp.addresses = ["amqp://127.0.0.1:9"]
        amqp.logins.ingress.password_file = "password"
        publishers.ingress-1 = { name = "ingress", signs = true, types = ["stripe.event"], secret_file = "seal" }
        sources.stripe = { provider = "stripe", secrets.s1.secret_file = "whsec" }
    "#;
    std::fs::write(&file, format!("{sound}\n{toml}")).unwrap();
    let contract = millrace::builtin().check().unwrap();
    Config::load(&file, Process::Ingress, &contract).unwrap_or_else(|fault| panic!("{fault}")).issuers
}

/// One issuer with further lines in its section.
fn issuer_with(keys: &KeyServer, lines: &str) -> Vec<IssuerConfig> {
    let uri = keys.uri();
    issuers(&format!(
        r#"
        [issuers.main]
        issuer = "{ISSUER}"
        audience = "{AUDIENCE}"
        jwks_uri = "{uri}"
        algorithms = ["EdDSA", "ES256", "RS256"]
        {lines}
        "#
    ))
}

/// The issuer at [`ISSUER`] with one key of each algorithm.
struct World {
    keys: KeyServer,
    authenticator: Authenticator,
}

impl World {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(lines: &str) -> Self {
        let keys = KeyServer::start(json!({ "keys": [ED.jwk(), EC.jwk(), RSA.jwk()] })).await;
        let authenticator = Authenticator::new(&issuer_with(&keys, lines)).unwrap();
        Self { keys, authenticator }
    }

    async fn ask(&self, token: &str) -> Result<Caller, Unauthenticated> {
        ask(&self.authenticator, token, NOW).await
    }

    /// Refused for this reason, while the honest token goes on to pass.
    async fn refuses(&self, token: &str, reason: Unauthenticated) {
        assert_eq!(self.ask(token).await, Err(reason), "{token}");
        assert!(self.ask(&ED.sign(&claims())).await.is_ok());
    }
}

fn headers(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", authorization.parse().unwrap());
    headers
}

async fn ask(authenticator: &Authenticator, token: &str, now: i64) -> Result<Caller, Unauthenticated> {
    let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
    authenticator.authenticate(&headers(&format!("Bearer {token}")), now).await
}

/// The role in a caller's principal.
fn role(caller: Result<Caller, Unauthenticated>) -> Result<Option<Role>, Unauthenticated> {
    caller.map(|caller| caller.principal.role)
}

/// Replaces where the keys are: the fixtures name the addresses of real providers.
fn served_by(mut issuers: Vec<IssuerConfig>, keys: &KeyServer) -> Vec<IssuerConfig> {
    for issuer in &mut issuers {
        if let IssuerKeys::Published { jwks_uri, .. } = &mut issuer.keys {
            *jwks_uri = keys.uri().parse().unwrap();
        }
    }
    issuers
}
