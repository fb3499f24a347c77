//! Signed notes (<https://c2sp.org/signed-note>) and checkpoints (<https://c2sp.org/tlog-checkpoint>), with keys as
//! Go's `golang.org/x/mod/sumdb/note` writes them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::tree::Hash;
use crate::contract::Timestamp;

/// Signature type of Ed25519 keys.
const ED25519: u8 = 0x01;
/// What begins a private key's text.
const PRIVATE: &str = "PRIVATE+KEY+";
/// What begins a signature line: an em dash and a space.
const SIGNATURE: &str = "\u{2014} ";
/// What begins the extension line with a checkpoint's time.
const TIME: &str = "time ";
/// What begins the one with the hash of the table of keys.
const KEYS: &str = "keys ";

/// A key is not readable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Another number of parts, or no base64.
    #[error("not a key: expected {0}")]
    Form(&'static str),
    /// A name that would break a signature line.
    #[error("a key's name must not be empty nor hold spaces or a plus sign")]
    Name,
    /// The key is not the one whose id the text gives: the text was cut or changed.
    #[error("the key's id does not belong to its name and bytes: copy the key again, whole")]
    Id,
    /// Another kind of signature.
    #[error("the key is not of type Ed25519 (0x01)")]
    Type,
}

/// What a valid name of a key is: no Unicode space and no plus sign.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// The first four bytes of SHA-256(name ‖ LF ‖ type ‖ public key).
pub(super) fn key_id(name: &str, kind: u8, public: &[u8]) -> [u8; 4] {
    let digest = Sha256::new().chain_update(name).chain_update([b'\n', kind]).chain_update(public).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

type Parts<'a> = (&'a str, [u8; 4], Zeroizing<Vec<u8>>);

/// Name, id and bytes of a key's text.
fn parts<'a>(text: &'a str, form: &'static str) -> Result<Parts<'a>, KeyFault> {
    let mut parts = text.trim().splitn(3, '+');
    let (Some(name), Some(id), Some(bytes)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyFault::Form(form));
    };
    let mut key_id = [0; 4];
    hex::decode_to_slice(id, &mut key_id).map_err(|_| KeyFault::Form(form))?;
    let bytes = Zeroizing::new(STANDARD.decode(bytes).map_err(|_| KeyFault::Form(form))?);
    if is_name(name) { Ok((name, key_id, bytes)) } else { Err(KeyFault::Name) }
}

/// Type and 32 bytes.
fn typed<'a>(bytes: &'a [u8], form: &'static str) -> Result<(u8, &'a [u8; 32]), KeyFault> {
    match bytes {
        [kind, key @ ..] => Ok((*kind, key.try_into().map_err(|_| KeyFault::Form(form))?)),
        [] => Err(KeyFault::Form(form)),
    }
}

/// The log's private key.
#[derive(Clone)]
pub struct SigningKey {
    name: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// A new key; `None` when the name is not one.
    pub fn generate(name: &str) -> Option<Self> {
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        is_name(name).then(|| Self { name: name.to_owned(), key: ed25519_dalek::SigningKey::from_bytes(&seed) })
    }

    /// Reads `PRIVATE+KEY+<name>+<id>+<base64>`.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn parse(text: &SecretString) -> Result<Self, KeyFault> {
        const FORM: &str = "PRIVATE+KEY+<name>+<id>+<base64>; millrace audit keygen makes one";
        let text = text.expose_secret().trim();
        let (name, id, bytes) = parts(text.strip_prefix(PRIVATE).ok_or(KeyFault::Form(FORM))?, FORM)?;
        let (kind, seed) = typed(&bytes, FORM)?;
        if kind != ED25519 {
            return Err(KeyFault::Type);
        }
        let key = Self { name: name.to_owned(), key: ed25519_dalek::SigningKey::from_bytes(seed) };
        if key.verifying().id() == id { Ok(key) } else { Err(KeyFault::Id) }
    }

    /// The text that [`SigningKey::parse`] reads.
    pub fn render(&self) -> SecretString {
        let bytes = Zeroizing::new([&[ED25519], self.key.as_bytes().as_slice()].concat());
        let encoded = Zeroizing::new(STANDARD.encode(&*bytes));
        format!("{PRIVATE}{}+{}+{}", self.name, hex::encode(self.verifying().id()), *encoded).into()
    }

    /// The name of key and log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public half.
    pub fn verifying(&self) -> VerifyingKey {
        VerifyingKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The whole signed note for a text, which ends with a line feed.
    pub fn sign(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let bytes = [self.verifying().id().as_slice(), &signature].concat();
        format!("{text}\n{SIGNATURE}{} {}\n", self.name, STANDARD.encode(bytes))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} [REDACTED])", self.name)
    }
}

/// The public half of a log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    /// Reads `<name>+<id>+<base64>`.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        const FORM: &str = "<name>+<id>+<base64>, as vkeys.json has it";
        let (name, id, bytes) = parts(text, FORM)?;
        let (kind, public) = typed(&bytes, FORM)?;
        if kind != ED25519 {
            return Err(KeyFault::Type);
        }
        if id != key_id(name, kind, public) {
            return Err(KeyFault::Id);
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(public).map_err(|_| KeyFault::Form(FORM))?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// The name of key and log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What signature lines begin with.
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, ED25519, self.key.as_bytes())
    }

    /// Did this key sign the text?
    pub(super) fn verifies(&self, text: &str, signature: &[u8; 64]) -> bool {
        self.key.verify_strict(text.as_bytes(), &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(bytes))
    }
}

/// A note does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteFault {
    /// Not a signed note.
    #[error("not a signed note: {0}")]
    Form(&'static str),
    /// Signed, but its text is no checkpoint.
    #[error("not a checkpoint: {0}")]
    Text(&'static str),
    /// None of the keys that are known signed it.
    #[error("signed by unknown keys only ({0}): give the log's public keys, or distrust the note")]
    UnknownKey(String),
    /// A known key is named, and it did not sign this text.
    #[error("the signature of {0} does not fit the text: the note was changed after it was signed")]
    Signature(String),
    /// The note is of another log than its key.
    #[error("the note is of log {origin}, and the key that signed it of {key}")]
    Origin {
        /// The note's first line.
        origin: String,
        /// The key's name.
        key: String,
    },
}

/// One line below a note's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureLine<'a> {
    /// The key's name.
    pub name: &'a str,
    /// The key's id.
    pub id: [u8; 4],
    /// Where the signature's bytes stand, in base64 and behind the id.
    encoded: &'a str,
}

impl SignatureLine<'_> {
    /// The bytes behind the id.
    pub fn signature(&self) -> Vec<u8> {
        STANDARD.decode(self.encoded).map(|bytes| bytes.get(4..).unwrap_or_default().to_vec()).unwrap_or_default()
    }
}

/// Text and signatures of a note; nothing is verified.
///
/// # Errors
/// [`NoteFault::Form`].
pub fn split_note(note: &str) -> Result<(&str, Vec<SignatureLine<'_>>), NoteFault> {
    if note.contains(|c: char| c < ' ' && c != '\n') {
        return Err(NoteFault::Form("it holds control characters"));
    }
    let at = note.rfind("\n\n").ok_or(NoteFault::Form("no empty line stands before the signatures"))?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    let signatures = signatures.strip_suffix('\n').ok_or(NoteFault::Form("its last line is cut off"))?;
    let lines = signatures.split('\n').map(|line| {
        let (name, encoded) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok().filter(|bytes| bytes.len() > 4)?;
        Some(SignatureLine { name, id: [bytes[0], bytes[1], bytes[2], bytes[3]], encoded })
    });
    let lines: Option<Vec<SignatureLine<'_>>> = lines.collect();
    lines.map(|lines| (text, lines)).ok_or(NoteFault::Form("a signature line has another form"))
}

/// The text of a note and the key that signed it.
///
/// # Errors
/// [`NoteFault`].
pub fn open_text<'n, 'k>(note: &'n str, keys: &'k [VerifyingKey]) -> Result<(&'n str, &'k VerifyingKey), NoteFault> {
    let (text, lines) = split_note(note)?;
    for line in &lines {
        let Some(key) = keys.iter().find(|key| key.name == line.name && key.id() == line.id) else { continue };
        let signature: Option<[u8; 64]> = line.signature().try_into().ok();
        // A known key with a wrong signature condemns the note, whatever else is below it.
        return match signature {
            Some(signature) if key.verifies(text, &signature) => Ok((text, key)),
            _ => Err(NoteFault::Signature(key.name.clone())),
        };
    }
    let names: Vec<String> = lines.iter().map(|line| format!("{}+{}", line.name, hex::encode(line.id))).collect();
    Err(NoteFault::UnknownKey(names.join(", ")))
}

/// The head of a log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// Number of lines.
    pub size: u64,
    /// Root of their tree.
    pub root: Hash,
    /// When it was signed.
    pub time: Timestamp,
    /// Hash of what `vkeys.json` said then; logs of an older version do not sign it.
    pub keys: Option<Hash>,
}

impl Checkpoint {
    /// The note's text: origin, size, root, time and keys, a line each.
    pub fn text(&self) -> String {
        let keys = self.keys.map_or_else(String::new, |keys| format!("{KEYS}{}\n", keys.to_base64()));
        format!("{}\n{}\n{}\n{TIME}{}\n{keys}", self.origin, self.size, self.root.to_base64(), self.time)
    }

    /// The whole note.
    pub fn sign(&self, key: &SigningKey) -> String {
        key.sign(&self.text())
    }

    /// Reads a note's text; the signature is another matter.
    ///
    /// # Errors
    /// [`NoteFault::Text`].
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let mut lines = text.strip_suffix('\n').ok_or(NoteFault::Text("it ends inside a line"))?.split('\n');
        let mut line = |what| lines.next().filter(|line| !line.is_empty()).ok_or(NoteFault::Text(what));
        let origin = line("it has no origin")?.to_owned();
        let size = line("it has no size")?;
        let root = line("it has no root")?;
        let number = size.parse().ok().filter(|number: &u64| number.to_string() == size);
        let size = number.ok_or(NoteFault::Text("its size is no number"))?;
        let root = Hash::from_base64(root).ok_or(NoteFault::Text("its root is no hash"))?;
        let extensions: Vec<&str> = lines.collect();
        let extension = |name| extensions.iter().find_map(|line| line.strip_prefix(name));
        let time = extension(TIME).and_then(Timestamp::parse);
        let time = time.ok_or(NoteFault::Text("it has no line with its time"))?;
        let keys = match extension(KEYS) {
            Some(keys) => Some(Hash::from_base64(keys).ok_or(NoteFault::Text("its hash of keys is no hash"))?),
            None => None,
        };
        Ok(Self { origin, size, root, time, keys })
    }
}

/// Reads and verifies a checkpoint.
///
/// # Errors
/// [`NoteFault`].
pub fn open_note(note: &str, keys: &[VerifyingKey]) -> Result<Checkpoint, NoteFault> {
    open_signed(note, keys).map(|(checkpoint, _)| checkpoint)
}

/// Reads and verifies a checkpoint, and says which key signed it.
///
/// # Errors
/// [`NoteFault`].
pub fn open_signed<'k>(note: &str, keys: &'k [VerifyingKey]) -> Result<(Checkpoint, &'k VerifyingKey), NoteFault> {
    let (text, key) = open_text(note, keys)?;
    let checkpoint = Checkpoint::parse(text)?;
    if checkpoint.origin != key.name {
        return Err(NoteFault::Origin { origin: checkpoint.origin, key: key.name.clone() });
    }
    Ok((checkpoint, key))
}

/// The notes of `checkpoints.log`, where each is followed by an empty line. What a crash cut off comes last, as it is.
pub fn history(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // The first empty line stands inside the note, before its signatures.
        let body = rest.find("\n\n").map_or(rest.len(), |at| at + 2);
        let end = rest[body..].find("\n\n").map(|at| body + at + 1);
        let (note, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after.strip_prefix('\n').unwrap_or(after);
        Some(note)
    })
}

/// Where the first note ends of which these bytes have the end, and the next one begins: behind the empty line that follows
/// a signature. `None` when there is none.
pub(super) fn first_end(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    for feed in memchr::memchr_iter(b'\n', bytes) {
        if feed == line && line > 0 && is_signature(&bytes[..line - 1]) {
            return Some(feed + 1);
        }
        line = feed + 1;
    }
    None
}

/// Is the last of these lines a signature? One whose beginning is cut off is none.
fn is_signature(bytes: &[u8]) -> bool {
    let last = memchr::memrchr(b'\n', bytes).map_or(0, |feed| feed + 1);
    bytes[last..].starts_with(SIGNATURE.as_bytes())
}

#[cfg(test)]
mod tests;
