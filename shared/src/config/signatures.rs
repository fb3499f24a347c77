//! How a source signs, for providers that are configuration: header grammar, signed parts, key, time and dedupe key.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::Reader;

/// Where a signature stands, over what it is, and which signed value tells one event from another. All of them are
/// HMAC-SHA256 over the raw body and what [`SignatureConfig::signed`] names beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureConfig {
    /// The header with the signature, lower-case.
    pub header: String,
    /// How the signature stands in it.
    pub grammar: Grammar,
    /// How its bytes are written.
    pub encoding: Encoding,
    /// How a secret becomes a key.
    pub key: KeyForm,
    /// What is signed, in order.
    pub signed: Vec<SignedPart>,
    /// Where the time of signing stands, and how it is written; one of the signed parts.
    pub timestamp: Option<(Value, TimeFormat)>,
    /// The event's id within its source.
    pub dedupe: Dedupe,
}

/// How signatures stand in their header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grammar {
    /// One signature after a fixed text, which may be empty: `sha256=…`.
    Bare {
        /// The text before it.
        prefix: String,
    },
    /// `t=…,v1=…`: pairs, of which every one with this key is a signature.
    Pairs {
        /// The key of signatures.
        key: String,
        /// Between two pairs.
        separator: char,
    },
    /// `v1,… v1,…`: as Standard Webhooks has it, each with its version.
    Versions {
        /// The version that counts.
        version: String,
    },
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// Seconds since 1970, in digits.
    Unix,
    /// RFC 3339.
    Rfc3339,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Two digits a byte.
    Hex,
    /// RFC 4648, with padding.
    Base64,
}

/// How a secret becomes a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyForm {
    /// A text before the key proper, such as `whsec_`.
    pub prefix: String,
    /// `None`: the text's own bytes are the key.
    pub encoding: Option<Encoding>,
}

/// A value beside the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of the header of this name.
    Header(String),
    /// Of the pair of this key in the signature's own header.
    Pair(String),
}

/// A part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedPart {
    /// The raw body.
    Body,
    /// A value as transmitted.
    Value(Value),
    /// A fixed text.
    Text(String),
}

/// What tells one event from another. Only what is signed can: whoever captured a delivery can change the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dedupe {
    /// A signed header.
    Header(String),
    /// A text or whole number in the JSON body, by its path.
    Body(Vec<String>),
    /// SHA-256 of the body: two deliveries with equal bodies are one event.
    BodyHash,
}

impl Encoding {
    /// Reads bytes; `None` for what is not written like this.
    pub fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => BASE64_STANDARD.decode(text).ok(),
        }
    }
}

impl KeyForm {
    /// The key in a secret; `None` when it has another form.
    pub fn key(&self, secret: &SecretString) -> Option<SecretSlice<u8>> {
        let text = secret.expose_secret().strip_prefix(self.prefix.as_str())?;
        let key = match self.encoding {
            None => text.as_bytes().to_vec(),
            Some(encoding) => encoding.decode(text.as_bytes())?,
        };
        (!key.is_empty()).then(|| key.into())
    }
}

impl SignatureConfig {
    pub(super) fn read(s: &mut Reader) -> Self {
        let encodings = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];
        let header = header_name(s, "signature_header");
        let grammar = grammar(s);
        let config = Self {
            header,
            grammar,
            encoding: s.word("encoding", Encoding::Hex, &encodings),
            key: KeyForm {
                prefix: s.text("key_prefix", Some("")),
                encoding: s.word(
                    "key_encoding",
                    None,
                    &[("text", None), ("hex", Some(Encoding::Hex)), ("base64", Some(Encoding::Base64))],
                ),
            },
            signed: signed(s),
            timestamp: timestamp(s),
            dedupe: dedupe(s),
        };
        config.check(s);
        config
    }

    /// What is not signed proves nothing: neither the time, nor which event it is, nor the body.
    fn check(&self, s: &mut Reader) {
        let signs = |value: &Value| self.signed.contains(&SignedPart::Value(value.clone()));
        if !self.signed.contains(&SignedPart::Body) {
            s.mistake("signed", "must hold \"body\": an unsigned body could be anybody's");
        }
        if self.timestamp.as_ref().is_some_and(|(timestamp, _)| !signs(timestamp)) {
            s.mistake("timestamp", "must be one of the signed parts, or anybody could renew an old delivery");
        }
        if let Dedupe::Header(name) = &self.dedupe
            && !signs(&Value::Header(name.clone()))
        {
            s.mistake("dedupe", "must be signed, or a copy with another id would be another event; use \"body-hash\"");
        }
        if self.signed.windows(2).any(|next| self.runs_into(&next[0], &next[1])) {
            s.mistake("signed", "needs a \"text:…\" between two parts, or one could take bytes of the other");
        }
        let pairs = self.signed.iter().any(|part| matches!(part, SignedPart::Value(Value::Pair(_))));
        if pairs && !matches!(self.grammar, Grammar::Pairs { .. }) {
            s.mistake("signed", "\"pair:…\" needs grammar = \"pairs\"");
        }
    }
}

impl SignatureConfig {
    /// Could a signature be kept while the border between these parts moves? Not where a fixed text is, and not after a
    /// time, which has one form.
    fn runs_into(&self, part: &SignedPart, next: &SignedPart) -> bool {
        let is_time = |part: &SignedPart| {
            self.timestamp.as_ref().is_some_and(|(time, _)| *part == SignedPart::Value(time.clone()))
        };
        let fixed = |part: &SignedPart| matches!(part, SignedPart::Text(text) if !text.is_empty());
        !fixed(part) && !fixed(next) && !is_time(part)
    }
}

fn timestamp(s: &mut Reader) -> Option<(Value, TimeFormat)> {
    let formats = [("unix", TimeFormat::Unix), ("rfc3339", TimeFormat::Rfc3339)];
    let format = s.word("timestamp_format", TimeFormat::Unix, &formats);
    let text = s.has("timestamp").then(|| s.text("timestamp", None))?;
    value(s, "timestamp", &text).map(|place| (place, format))
}

fn grammar(s: &mut Reader) -> Grammar {
    let words = [("bare", 0), ("pairs", 1), ("versions", 2)];
    match s.word("grammar", 0, &words) {
        1 => Grammar::Pairs {
            key: s.text("signature_key", None),
            separator: s.word("separator", ',', &[(",", ','), (";", ';')]),
        },
        2 => Grammar::Versions { version: s.text("version", Some("v1")) },
        _ => Grammar::Bare { prefix: s.text("prefix", Some("")) },
    }
}

fn signed(s: &mut Reader) -> Vec<SignedPart> {
    let listed = s.list("signed");
    let listed = if listed.is_empty() { vec!["body".to_owned()] } else { listed };
    let part = |text: &String| match text.as_str() {
        "body" => Some(SignedPart::Body),
        text => match text.strip_prefix("text:") {
            Some(literal) => Some(SignedPart::Text(literal.to_owned())),
            None => value(s, "signed", text).map(SignedPart::Value),
        },
    };
    listed.iter().filter_map(part).collect()
}

fn value(s: &mut Reader, key: &str, text: &str) -> Option<Value> {
    if let Some(name) = text.strip_prefix("header:").filter(|name| is_header(name)) {
        return Some(Value::Header(name.to_ascii_lowercase()));
    }
    if let Some(pair) = text.strip_prefix("pair:").filter(|pair| !pair.is_empty()) {
        return Some(Value::Pair(pair.to_owned()));
    }
    s.mistake(
        key,
        format!("{text:?} is none of \"header:NAME\", \"pair:KEY\"; signed parts are also \"body\", \"text:…\""),
    );
    None
}

fn dedupe(s: &mut Reader) -> Dedupe {
    let text = s.text("dedupe", Some("body-hash"));
    if let Some(name) = text.strip_prefix("header:").filter(|name| is_header(name)) {
        return Dedupe::Header(name.to_ascii_lowercase());
    }
    match text.strip_prefix("body:").filter(|path| !path.is_empty()) {
        Some(path) => return Dedupe::Body(path.split('.').map(str::to_owned).collect()),
        None if text == "body-hash" => {}
        None => s.mistake("dedupe", "must be \"header:NAME\", \"body:PATH\" or \"body-hash\""),
    }
    Dedupe::BodyHash
}

fn header_name(s: &mut Reader, key: &str) -> String {
    let name = s.text(key, None).to_ascii_lowercase();
    if !name.is_empty() && !is_header(&name) {
        s.mistake(key, "must be the name of a header");
    }
    name
}

fn is_header(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
