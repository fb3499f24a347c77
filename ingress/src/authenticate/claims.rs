//! The claims of a token: the registered ones as a struct, the configured ones by their paths. One thing has one
//! value: whatever stands twice, at any depth, is refused, since two readers could choose differently.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use millrace::config::ClaimPath;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Unauthenticated;
use super::token::{is_object, not_null};

/// Last second of the year 9999: no moment of a token lies beyond.
const LATEST: u64 = 253_402_300_799;

/// The registered claims that count. Dates are whole numbers, names are texts, and none may be null.
#[derive(Debug, Deserialize)]
pub(super) struct Registered {
    /// Who issued it: one text, never a list.
    pub(super) iss: String,
    /// For whom.
    aud: Audience,
    /// Not valid from then on.
    #[serde(deserialize_with = "moment")]
    pub(super) exp: i64,
    /// When it was issued.
    #[serde(deserialize_with = "moment")]
    pub(super) iat: i64,
    /// Not valid before.
    #[serde(default, deserialize_with = "optional_moment")]
    pub(super) nbf: Option<i64>,
    /// Its own id.
    #[serde(default, deserialize_with = "not_null")]
    pub(super) jti: Option<String>,
}

impl Registered {
    /// Reads claims that [`refuse_duplicates`] has let pass.
    pub(super) fn read(json: &str) -> Result<Self, Unauthenticated> {
        serde_json::from_str(json).map_err(|_| Unauthenticated::RegisteredClaim)
    }

    pub(super) fn is_for(&self, audience: &str) -> bool {
        self.aud.0.iter().any(|name| name == audience)
    }
}

fn moment<'de, D: Deserializer<'de>>(value: D) -> Result<i64, D::Error> {
    let seconds = u64::deserialize(value)?;
    if seconds > LATEST {
        return Err(D::Error::custom("out of range"));
    }
    i64::try_from(seconds).map_err(D::Error::custom)
}

fn optional_moment<'de, D: Deserializer<'de>>(value: D) -> Result<Option<i64>, D::Error> {
    moment(value).map(Some)
}

/// One text, or a list of texts.
#[derive(Debug)]
struct Audience(Vec<String>);

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Audience;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Audience, E> {
                Ok(Audience(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Audience, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Audience(names))
            }
        }

        value.deserialize_any(Names)
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// A text.
    Text(String),
    /// Anything else: null, a number, a list, an object, or the way there leads through such a thing.
    Other,
}

/// Makes sure that the claims are one object in which nothing stands twice.
pub(super) fn refuse_duplicates(json: &str) -> Result<(), Unauthenticated> {
    at_paths(json, []).map(|_| ())
}

/// What stands at each path. Fails when anything in the whole document stands twice.
pub(super) fn at_paths<const N: usize>(json: &str, paths: [&ClaimPath; N]) -> Result<[Found; N], Unauthenticated> {
    if !is_object(json) {
        return Err(Unauthenticated::Claims);
    }
    let mut found = [const { Found::Absent }; N];
    let duplicate = Cell::new(false);
    let wanted = paths.iter().enumerate().map(|(index, path)| Wanted { index, rest: path.segments() }).collect();
    let mut document = serde_json::Deserializer::from_str(json);
    let walk = Walk { wanted, found: &mut found, duplicate: &duplicate };
    match walk.deserialize(&mut document).and_then(|()| document.end()) {
        Ok(()) => Ok(found),
        Err(_) if duplicate.get() => Err(Unauthenticated::DuplicateClaim),
        Err(_) => Err(Unauthenticated::Claims),
    }
}

/// A path, less the steps taken already.
struct Wanted<'a> {
    index: usize,
    rest: &'a [String],
}

/// Goes through one value and everything inside it.
struct Walk<'a, 'b> {
    wanted: Vec<Wanted<'a>>,
    found: &'b mut [Found],
    duplicate: &'b Cell<bool>,
}

impl Walk<'_, '_> {
    /// The value here is no object: every path that leads here or further has come to its end.
    fn ends(self, text: Option<&str>) {
        for wanted in self.wanted {
            self.found[wanted.index] = match text {
                Some(text) if wanted.rest.is_empty() => Found::Text(text.to_owned()),
                _ => Found::Other,
            };
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        for wanted in self.wanted.iter().filter(|wanted| wanted.rest.is_empty()) {
            self.found[wanted.index] = Found::Other;
        }
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let next = self.wanted.iter().filter_map(|wanted| match wanted.rest.split_first() {
                Some((first, rest)) if *first == name => Some(Wanted { index: wanted.index, rest }),
                _ => None,
            });
            let inner = Walk { wanted: next.collect(), found: &mut *self.found, duplicate: self.duplicate };
            if !names.insert(name) {
                self.duplicate.set(true);
                return Err(A::Error::custom("a name stands twice"));
            }
            map.next_value_seed(inner)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let duplicate = self.duplicate;
        self.ends(None);
        while list.next_element_seed(Walk { wanted: Vec::new(), found: &mut [], duplicate })?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.ends(Some(text));
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.ends(None);
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.ends(None);
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.ends(None);
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.ends(None);
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.ends(None);
        Ok(())
    }
}
