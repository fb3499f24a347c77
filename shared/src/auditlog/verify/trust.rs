//! Whose signatures count: the log's keys with the time in which each is valid, as the checkpoints themselves sign it, and
//! witnesses.
//!
//! A policy file has the form of <https://c2sp.org/tlog-policy>: `log <vkey>`, `witness <name> <vkey>`,
//! `group <name> <all|any|number> <members…>` and `quorum <name|none>`, a line each.

use std::collections::HashMap;
use std::path::Path;

use ed25519_dalek::Signature;

use super::super::keys::{Validity, table_hash};
use super::super::layout::Layout;
use super::super::note::{Checkpoint, NoteFault, VerifyingKey, key_id, open_signed, split_note};
use super::super::tree::Hash;
use super::{Fault, Finding, VerifyFault};
use crate::contract::Timestamp;

/// Signature type of a witness's cosignature with its time.
const COSIGNATURE: u8 = 0x04;

/// What a policy file says.
#[derive(Debug, Default)]
pub struct Policy {
    logs: Vec<VerifyingKey>,
    witnesses: HashMap<String, Witness>,
    groups: HashMap<String, (usize, Vec<String>)>,
    quorum: Option<String>,
}

#[derive(Debug)]
struct Witness {
    name: String,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`VerifyFault::Policy`] with the line.
    pub fn parse(text: &str) -> Result<Self, VerifyFault> {
        let mut policy = Self::default();
        for (at, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let wrong = |what: &str| VerifyFault::Policy { line: at + 1, what: what.to_owned() };
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", key, ..] => {
                    policy.logs.push(VerifyingKey::parse(key).map_err(|fault| wrong(&fault.to_string()))?);
                }
                ["witness", name, key, ..] => {
                    let witness = Witness::parse(key).ok_or_else(|| wrong("not the key of a witness (type 0x04)"))?;
                    policy.witnesses.insert((*name).to_owned(), witness);
                }
                ["group", name, threshold, members @ ..] if !members.is_empty() => {
                    let needed = match *threshold {
                        "all" => Some(members.len()),
                        "any" => Some(1),
                        number => number.parse().ok(),
                    };
                    let needed =
                        needed.filter(|n| (1..=members.len()).contains(n)).ok_or_else(|| wrong("no such threshold"))?;
                    let known =
                        |member: &&str| policy.witnesses.contains_key(*member) || policy.groups.contains_key(*member);
                    if !members.iter().all(known) {
                        return Err(wrong("a member is not defined above"));
                    }
                    policy
                        .groups
                        .insert((*name).to_owned(), (needed, members.iter().map(|m| (*m).to_owned()).collect()));
                }
                ["quorum", "none"] => policy.quorum = None,
                ["quorum", name] if policy.witnesses.contains_key(*name) || policy.groups.contains_key(*name) => {
                    policy.quorum = Some((*name).to_owned());
                }
                _ => return Err(wrong("expected log, witness, group or quorum, after what they name")),
            }
        }
        Ok(policy)
    }

    fn holds(&self, name: &str, signed: &[&str]) -> bool {
        match self.groups.get(name) {
            Some((needed, members)) => members.iter().filter(|member| self.holds(member, signed)).count() >= *needed,
            None => signed.contains(&name),
        }
    }

    /// What the report's line about witnesses says, and whether that is enough.
    pub(super) fn witnesses(&self, note: Option<&str>) -> (String, bool) {
        let Some(quorum) = &self.quorum else { return ("none required by policy".to_owned(), true) };
        let (text, lines) = note.and_then(|note| split_note(note).ok()).unwrap_or_default();
        let mut newest = 0;
        let signed: Vec<&str> = self
            .witnesses
            .iter()
            .filter(|(_, witness)| {
                let line = lines.iter().find(|line| line.name == witness.name && line.id == witness.id);
                let time = line.and_then(|line| witness.verifies(text, &line.signature()));
                newest = newest.max(time.unwrap_or(0));
                time.is_some()
            })
            .map(|(name, _)| name.as_str())
            .collect();
        let time = i64::try_from(newest).ok().filter(|t| *t > 0).and_then(Timestamp::from_unix);
        let newest = time.map_or_else(String::new, |time| format!(", newest {time}"));
        let text = format!("{} of {} cosigned{newest}; quorum {quorum}", signed.len(), self.witnesses.len());
        (text, self.holds(quorum, &signed))
    }
}

impl Witness {
    fn parse(text: &str) -> Option<Self> {
        use base64::Engine;
        let (name, rest) = text.split_once('+')?;
        let (id, bytes) = rest.split_once('+')?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).ok()?;
        let public: &[u8; 32] = bytes.strip_prefix(&[COSIGNATURE])?.try_into().ok()?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(public).ok()?;
        let expected = key_id(name, COSIGNATURE, public);
        (hex::encode(expected) == id).then(|| Self { name: name.to_owned(), id: expected, key })
    }

    /// The time of its cosignature, when it fits.
    fn verifies(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let message = format!("cosignature/v1\ntime {time}\n{text}");
        let signature = Signature::from_bytes(signature.try_into().ok()?);
        self.key.verify_strict(message.as_bytes(), &signature).is_ok().then_some(time)
    }
}

/// A key's time, and the hash of the table that checkpoints sign in it.
#[derive(Debug)]
struct Entry {
    vkey: String,
    from: Timestamp,
    until: Option<Timestamp>,
    table: Hash,
}

/// `None` when a time is none, or when a key that was replaced came back: whoever stole it could bring it back.
fn entries(table: &[Validity]) -> Option<Vec<Entry>> {
    if table.iter().enumerate().any(|(at, key)| table[..at].iter().any(|before| before.vkey == key.vkey)) {
        return None;
    }
    let entry = |(place, key): (usize, &Validity)| {
        let until = match &key.until {
            Some(until) => Some(Timestamp::parse(until)?),
            None => None,
        };
        let from = Timestamp::parse(&key.from)?;
        Some(Entry { vkey: key.vkey.clone(), from, until, table: table_hash(&table[..=place]) })
    };
    table.iter().enumerate().map(entry).collect()
}

/// The keys that count.
#[derive(Debug)]
pub(super) struct Trust {
    keys: Vec<VerifyingKey>,
    valid: Vec<Entry>,
    /// Do the keys come from outside the folder?
    pub(super) outside: bool,
}

impl Trust {
    /// The policy's keys, else those of `vkeys.json`; and from there when each was valid.
    pub(super) fn of(layout: &Layout, policy: &Policy) -> Result<Self, VerifyFault> {
        let path = layout.vkeys();
        let table: Vec<Validity> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|fault| VerifyFault::Keys { path: path.clone(), what: fault.to_string() })?,
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(VerifyFault::Io { path, source }),
        };
        let valid = entries(&table).ok_or_else(|| VerifyFault::Keys {
            path,
            what: "a time is none, or a key that was replaced came back".to_owned(),
        })?;
        let outside = !policy.logs.is_empty();
        let keys = if outside {
            policy.logs.clone()
        } else {
            valid.iter().filter_map(|e| VerifyingKey::parse(&e.vkey).ok()).collect()
        };
        Ok(Self { keys, valid, outside })
    }

    /// Any key at all?
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// Opens a checkpoint under the key that was valid when it was signed.
    pub(super) fn open(&self, note: &str, place: &Path) -> Result<(Checkpoint, VerifyingKey), Box<Finding>> {
        let (checkpoint, key) = open_signed(note, &self.keys).map_err(|fault| {
            let name = match &fault {
                NoteFault::UnknownKey(_) | NoteFault::Origin { .. } => Fault::UnknownKey,
                NoteFault::Signature(_) => Fault::SignatureWrong,
                NoteFault::Form(_) | NoteFault::Text(_) => Fault::NoteMalformed,
            };
            Box::new(Finding::new(name, fault.to_string()).file(place))
        })?;
        let vkey = key.to_string();
        let entry = self.valid.iter().find(|entry| entry.vkey == vkey);
        let within =
            |entry: &Entry| entry.from <= checkpoint.time && entry.until.is_none_or(|until| checkpoint.time <= until);
        if entry.is_some_and(|entry| !within(entry)) {
            let text = format!(
                "the checkpoint of {} was signed at {}, when its key {} was not the log's: distrust it",
                checkpoint.size,
                checkpoint.time,
                hex::encode(key.id())
            );
            return Err(Box::new(Finding::new(Fault::KeyNotValid, text).file(place)));
        }
        if checkpoint.keys.is_some_and(|signed| entry.is_none_or(|entry| entry.table != signed)) {
            let text = format!(
                "the checkpoint of {} signs another table of keys than vkeys.json has: restore that file from a copy",
                checkpoint.size
            );
            return Err(Box::new(Finding::new(Fault::KeyNotValid, text).file(place)));
        }
        Ok((checkpoint, key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signer;

    use super::super::super::note::SigningKey;
    use super::*;

    fn witness(name: &str, seed: u8) -> (String, ed25519_dalek::SigningKey) {
        use base64::Engine;
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let public = key.verifying_key().to_bytes();
        let bytes = [&[COSIGNATURE], public.as_slice()].concat();
        let id = hex::encode(key_id(name, COSIGNATURE, &public));
        (format!("{name}+{id}+{}", base64::engine::general_purpose::STANDARD.encode(bytes)), key)
    }

    fn cosign(note: &str, name: &str, key: &ed25519_dalek::SigningKey) -> String {
        use base64::Engine;
        let (text, _) = split_note(note).unwrap();
        let time = 1_790_000_000_u64;
        let signature = key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes()).to_bytes();
        let id = key_id(name, COSIGNATURE, key.verifying_key().as_bytes());
        let bytes = [id.as_slice(), &time.to_be_bytes(), &signature].concat();
        format!("{note}\u{2014} {name} {}\n", base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    #[test]
    fn a_quorum_counts_only_cosignatures_that_fit() {
        let log = SigningKey::generate("log").unwrap();
        let time = Timestamp::from_unix(1_790_000_000).unwrap();
        let note = Checkpoint { origin: "log".to_owned(), size: 1, root: Hash([1; 32]), time, keys: None }.sign(&log);
        let ((w1, k1), (w2, k2)) = (witness("w1.example", 1), witness("w2.example", 2));
        let text = format!(
            "# ours\nlog {}\nwitness a {w1}\nwitness b {w2}\ngroup both all a b\nquorum both\n",
            log.verifying()
        );
        let policy = Policy::parse(&text).unwrap();
        assert!(!policy.witnesses(Some(&note)).1);
        let one = cosign(&note, "w1.example", &k1);
        let (said, enough) = policy.witnesses(Some(&one));
        assert!(!enough && said.starts_with("1 of 2 cosigned, newest 2026-"), "{said}");
        assert!(policy.witnesses(Some(&cosign(&one, "w2.example", &k2))).1);
        assert!(!policy.witnesses(Some(&cosign(&one, "w2.example", &k1))).1, "another's key");
        assert!(Policy::parse(&text.replace("all", "any")).unwrap().witnesses(Some(&one)).1);
        assert!(Policy::default().witnesses(None).1);
    }

    #[test]
    fn a_wrong_policy_names_its_line() {
        for (text, line) in [("log x", 1), ("\nwitness a b", 2), ("group g any w", 1), ("quorum g", 1), ("hello", 1)] {
            assert!(matches!(Policy::parse(text), Err(VerifyFault::Policy { line: at, .. }) if at == line), "{text}");
        }
    }
}
