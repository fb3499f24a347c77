//! The JSON object that a command's body is, read strictly: what two parsers could read differently is refused.
//!
//! Duplicate keys, nesting beyond eight levels, numbers that no integer holds, lone surrogates, NUL, and keys that nobody
//! asked for are all mistakes; so are control characters in a text that is taken out. Each names its field.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Malformed;

/// Deepest nesting of a body; no command needs more.
const DEEPEST: usize = 8;

/// An object whose fields are taken out one by one.
#[derive(Debug)]
pub struct Object(Map<String, Value>);

impl Object {
    /// Reads a body that has to be one JSON object.
    ///
    /// # Errors
    /// The body is something else, or breaks a rule of this module.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut text = serde_json::Deserializer::from_slice(body);
        let value = Strict { depth: DEEPEST }.deserialize(&mut text).map_err(|_| Malformed::new("body", STRICT))?;
        text.end().map_err(|_| Malformed::new("body", STRICT))?;
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Malformed::new("body", "must be a JSON object")),
        }
    }

    /// A text without control characters, of so many bytes.
    ///
    /// # Errors
    /// It is missing, or something else.
    pub fn text(&mut self, name: &'static str, bytes: RangeInclusive<usize>) -> Result<String, Malformed> {
        self.optional_text(name, bytes)?.ok_or(Malformed::new(name, "is missing"))
    }

    /// As [`Self::text`], for a field that may be absent.
    ///
    /// # Errors
    /// It is there, but something else.
    pub fn optional_text(
        &mut self,
        name: &'static str,
        bytes: RangeInclusive<usize>,
    ) -> Result<Option<String>, Malformed> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if is_clean(&text, bytes) => Ok(Some(text)),
            Some(_) => Err(Malformed::new(name, "must be a text of the documented length without control characters")),
        }
    }

    /// A UUID in its canonical form, hyphenated and lower-case.
    ///
    /// # Errors
    /// It is missing, or something else.
    pub fn uuid(&mut self, name: &'static str) -> Result<Uuid, Malformed> {
        let problem = Malformed::new(name, "must be a UUID, lower-case and hyphenated");
        let text = self.text(name, 36..=36).map_err(|_| problem.clone())?;
        Uuid::parse_str(&text).ok().filter(|id| id.to_string() == text).ok_or(problem)
    }

    /// A field read by the parser of its type.
    ///
    /// # Errors
    /// It is missing, no text, or not what `form` says.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        form: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Malformed> {
        let text = self.text(name, 1..=MOST_BYTES)?;
        parse(&text).ok_or(Malformed::new(name, form))
    }

    /// True or false; absent is false.
    ///
    /// # Errors
    /// It is something else.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Malformed> {
        match self.0.remove(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(Malformed::new(name, "must be true or false")),
        }
    }

    /// A nested object, whose content its reader checks.
    ///
    /// # Errors
    /// It is missing, or something else.
    pub fn object(&mut self, name: &'static str) -> Result<Map<String, Value>, Malformed> {
        match self.0.remove(name) {
            Some(Value::Object(fields)) => Ok(fields),
            Some(_) => Err(Malformed::new(name, "must be an object")),
            None => Err(Malformed::new(name, "is missing")),
        }
    }

    /// The end: nothing may be left that nobody asked for.
    ///
    /// # Errors
    /// Names a field that this command does not have.
    pub fn done(self) -> Result<(), Malformed> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Malformed::new(shown(&name), "is no field of this command")),
        }
    }
}

/// Longest text of a field that has a parser of its own.
const MOST_BYTES: usize = 255;
const STRICT: &str = "must be JSON without duplicate keys, deep nesting, fractions, numbers beyond 64 bits or NUL";

/// A text that can be stored and shown: of a sane length, without control characters.
pub fn is_clean(text: &str, bytes: RangeInclusive<usize>) -> bool {
    bytes.contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A caller's own word, cut to what an answer may repeat.
pub(in crate::contract) fn shown(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}

/// Deserializes any value within the module's rules.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(&self) -> Result<Self, E> {
        self.depth.checked_sub(1).map(|depth| Self { depth }).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON within bounds")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::from).map_err(|_| E::custom("a number beyond 64 bits"))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
        // Money is integer minor units, and no other command carries a fraction.
        Err(E::custom("a fraction, or a number beyond 64 bits"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        if text.contains('\0') { Err(E::custom("a NUL")) } else { Ok(text.into()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.deeper()?)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if name.contains('\0') {
                return Err(de::Error::custom("a NUL"));
            }
            let value = entries.next_value_seed(self.deeper()?)?;
            if fields.insert(name, value).is_some() {
                return Err(de::Error::custom("a key is there twice"));
            }
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fails(body: &str) -> Malformed {
        Object::read(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for body in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\u0000"}"#,
            r#"{"\u0000":1}"#,
            r#"{"a":1e999}"#,
            r#"{"a":1.5}"#,
            r#"{"a":99999999999999999999}"#,
            r#"{"a":1} {"b":2}"#,
            r#"{"a":1,}"#,
            "{'a':1}",
            "",
            "\u{feff}{}",
        ] {
            assert_eq!(fails(body).field, "body", "{body}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(DEEPEST + 2), "}".repeat(DEEPEST + 2));
        assert_eq!(fails(&deep).problem, STRICT);
        for body in ["[]", "1", "null", r#""a""#] {
            assert_eq!(fails(body).problem, "must be a JSON object");
        }
    }

    #[test]
    fn each_mistake_names_its_field() {
        let read = |body: &str| Object::read(body.as_bytes()).unwrap();
        assert_eq!(read("{}").text("name", 1..=3).unwrap_err(), Malformed::new("name", "is missing"));
        for name in [r#""""#, r#""abcd""#, r#""a\n""#, "1", "null", "[]"] {
            let mut object = read(&format!(r#"{{"name":{name}}}"#));
            assert_eq!(object.text("name", 1..=3).unwrap_err().field, "name", "{name}");
        }
        let upper = r#"{"id":"01890A5D-AC96-774B-BCCE-B302099A8057"}"#;
        assert_eq!(read(upper).uuid("id").unwrap_err().field, "id");
        assert!(read(&upper.to_lowercase()).uuid("id").is_ok());
        assert_eq!(read(r#"{"rôle":1}"#).done().unwrap_err().field, "rle");
        assert!(read("{}").done().is_ok());
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Object::read(&bytes);
        }

        #[test]
        fn a_clean_text_comes_back_as_it_was(text in "[a-zA-Zäöü€ ]{1,40}") {
            let body = serde_json::json!({ "name": text }).to_string();
            prop_assert_eq!(Object::read(body.as_bytes()).unwrap().text("name", 1..=200).unwrap(), text);
        }
    }
}
