//! A token as it arrives: the bearer header, three segments, and the header of the token. Nothing is proven yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::Unauthenticated;

/// Most bytes of a token.
const LONGEST_TOKEN: usize = 8 << 10;
/// Most characters of a key id.
const LONGEST_KEY_ID: usize = 128;

/// The token of the one `Authorization: Bearer …` header.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Unauthenticated> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Unauthenticated::Missing)?;
    if values.next().is_some() {
        return Err(Unauthenticated::Repeated);
    }
    let text = value.to_str().map_err(|_| Unauthenticated::Scheme)?;
    let (scheme, token) = text.split_once(' ').ok_or(Unauthenticated::Scheme)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim_start_matches(' ')) } else { Err(Unauthenticated::Scheme) }
}

/// A token whose form is right.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// The first two segments with the full stop between them: what is signed.
    pub(super) signed: &'a str,
    /// The third segment, canonical base64url.
    pub(super) signature: &'a str,
    /// The first segment.
    pub(super) header: Header,
    /// The text of the second segment.
    pub(super) claims: String,
}

impl<'a> Token<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Unauthenticated> {
        if token.len() > LONGEST_TOKEN {
            return Err(Unauthenticated::Oversize);
        }
        let segments: Vec<&str> = token.splitn(4, '.').collect();
        let [header, claims, signature] = segments[..] else { return Err(Unauthenticated::Structure) };
        let signed = &token[..header.len() + 1 + claims.len()];
        let (header, claims) = (text(header)?, text(claims)?);
        decoded(signature)?;
        Ok(Self { signed, signature, header: Header::parse(&header)?, claims })
    }
}

/// The bytes of a segment that is not empty. The engine refuses padding, blanks and left-over bits, so that one token
/// has one spelling.
fn decoded(segment: &str) -> Result<Vec<u8>, Unauthenticated> {
    match URL_SAFE_NO_PAD.decode(segment) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Unauthenticated::Structure),
    }
}

fn text(segment: &str) -> Result<String, Unauthenticated> {
    String::from_utf8(decoded(segment)?).map_err(|_| Unauthenticated::Structure)
}

/// Serde would read a list as the fields of a struct in their order.
pub(super) fn is_object(json: &str) -> bool {
    json.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{')
}

/// What counts of a token's header.
#[derive(Debug)]
pub(super) struct Header {
    /// The algorithm by its exact name.
    pub(super) algorithm: String,
    /// The id of the key.
    pub(super) key_id: Option<String>,
    /// The type.
    pub(super) kind: Option<String>,
}

/// The header as JSON. Serde refuses a member that stands twice.
#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    #[serde(default, deserialize_with = "not_null")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
}

/// A plain `Option` would read null as absent.
pub(super) fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Whatever stands there, null included.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl Header {
    fn parse(json: &str) -> Result<Self, Unauthenticated> {
        if !is_object(json) {
            return Err(Unauthenticated::Header);
        }
        let raw: RawHeader = serde_json::from_str(json).map_err(|_| Unauthenticated::Header)?;
        // Keys and where to find them come from the configuration alone, and no extension is implemented.
        if raw.crit || raw.b64 || raw.jwk || raw.jku || raw.x5u || raw.x5c {
            return Err(Unauthenticated::HeaderMember);
        }
        if raw.kid.as_ref().is_some_and(|id| id.is_empty() || id.chars().count() > LONGEST_KEY_ID) {
            return Err(Unauthenticated::KeyId);
        }
        Ok(Self { algorithm: raw.alg, key_id: raw.kid, kind: raw.typ })
    }
}
