//! Values that a column may take, guessed from its type and from the literals of its constraints.

use sha2::{Digest, Sha256, Sha512};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::catalogue::{Column, Table};

/// What makes the values of one tenant its own.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Letters and digits, a letter first.
    pub(super) token: String,
    id: Uuid,
    now: OffsetDateTime,
}

impl Source {
    pub(super) fn new(id: Uuid) -> Self {
        // The end of a UUIDv7 is the random part.
        let text = id.simple().to_string();
        Self { token: format!("p{}", &text[text.len() - 11..]), id, now: OffsetDateTime::now_utc() }
    }

    fn at(&self, hours: i64) -> String {
        (self.now + Duration::hours(hours)).format(&Rfc3339).unwrap_or_default()
    }

    /// Small, and different for each tenant.
    fn number(&self) -> String {
        let hash = Sha256::digest(self.id.as_bytes());
        (2 + u16::from_be_bytes([hash[0], hash[1]]) % 30_000).to_string()
    }
}

/// The likeliest first.
pub(super) fn candidates(table: &Table, column: &Column, source: &Source) -> Vec<String> {
    let checks = table.checks.iter().filter(|check| check.columns.contains(&column.name));
    let mut values: Vec<String> = checks.flat_map(|check| literals(&check.text)).collect();
    values.extend(column.labels.iter().cloned());
    values.extend(by_type(&column.kind, source));
    if let Some(longest) = column.longest {
        values.iter_mut().for_each(|value| *value = value.chars().take(longest).collect());
    }
    let fits = fits(&column.kind);
    let mut seen = std::collections::BTreeSet::new();
    values.retain(|value| fits(value) && seen.insert(value.clone()));
    values
}

/// Literals that cannot be of the type would only end the search with another error.
fn fits(kind: &str) -> fn(&str) -> bool {
    match kind {
        "smallint" => |value| value.parse::<i16>().is_ok(),
        "integer" => |value| value.parse::<i32>().is_ok(),
        "bigint" => |value| value.parse::<i64>().is_ok(),
        "numeric" | "real" | "double precision" => |value| value.parse::<f64>().is_ok(),
        "boolean" => |value| matches!(value, "true" | "false"),
        "uuid" => |value| Uuid::parse_str(value).is_ok(),
        "json" | "jsonb" => |value| serde_json::from_str::<serde_json::Value>(value).is_ok(),
        "bytea" => |value| value.starts_with("\\x"),
        "date" | "timestamp with time zone" | "timestamp without time zone" => {
            |value| OffsetDateTime::parse(value, &Rfc3339).is_ok()
        }
        _ => |_| true,
    }
}

fn by_type(kind: &str, source: &Source) -> Vec<String> {
    let token = &source.token;
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    match kind {
        "smallint" | "integer" | "bigint" => texts(&[&source.number(), "1", "0", "2", "10", "100", "1000", "-1"]),
        "numeric" | "real" | "double precision" => texts(&[&source.number(), "1", "0", "0.5", "0.005", "100", "-1"]),
        "boolean" => texts(&["true", "false"]),
        "uuid" => vec![source.id.to_string()],
        "date" | "timestamp with time zone" | "timestamp without time zone" => {
            [0, 1, -1, 48, -48].map(|h| source.at(h)).into()
        }
        "time without time zone" | "time with time zone" => texts(&["12:00", "00:00"]),
        "interval" => texts(&["1 hour", "0", "30 days"]),
        "json" | "jsonb" => texts(&["{}", "[]", "\"x\"", "1", "{\"a\": 1}", "[\"a\"]"]),
        "bytea" => [32, 64, 16, 1, 12, 20, 24, 48, 0].map(|length| bytes(token, length)).into(),
        "inet" | "cidr" => texts(&["192.0.2.1", "2001:db8::1"]),
        kind if kind.ends_with("[]") => texts(&["{}", "{1}", &format!("{{{token}}}"), &format!("{{{}}}", source.id)]),
        kind if kind.ends_with("range") => texts(&["empty", "(,)"]),
        _ => words(source),
    }
}

/// Shapes that columns of text are usually bound to.
fn words(source: &Source) -> Vec<String> {
    let token = &source.token;
    vec![
        token.clone(),
        source.id.to_string(),
        hex::encode(Sha256::digest(token)),
        format!("sha256:{}", hex::encode(Sha256::digest(token))),
        "1".to_owned(),
        source.number(),
        "eur".to_owned(),
        "EUR".to_owned(),
        "de".to_owned(),
        "DE".to_owned(),
        "en-US".to_owned(),
        "Europe/Berlin".to_owned(),
        format!("{token}@example.com"),
        format!("https://{token}.example.com/"),
        format!("/{token}"),
        format!("{token}.{token}"),
        format!("user:{token}"),
        token.to_uppercase(),
        "0.005".to_owned(),
        "2026-01-01".to_owned(),
        source.at(0),
        "a".to_owned(),
        "aa".to_owned(),
        "aaaa".to_owned(),
        "{}".to_owned(),
        "true".to_owned(),
        String::new(),
    ]
}

fn bytes(token: &str, length: usize) -> String {
    let hash = Sha512::digest(token);
    format!("\\x{}", hex::encode(&hash[..length.min(hash.len())]))
}

/// Quoted literals and numbers of a constraint.
fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut plain = String::new();
    while let Some((before, quoted)) = rest.split_once('\'') {
        plain.push_str(before);
        plain.push(' ');
        let mut value = String::new();
        rest = quoted;
        while let Some((part, after)) = rest.split_once('\'') {
            value.push_str(part);
            rest = after;
            // Two quotes stand for one.
            let Some(next) = rest.strip_prefix('\'') else { break };
            value.push('\'');
            rest = next;
        }
        found.push(value);
    }
    plain.push_str(rest);
    let numbers = plain.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || c == '-'));
    found.extend(numbers.filter(|word| word.parse::<f64>().is_ok()).map(str::to_owned));
    found
}

#[cfg(test)]
mod tests {
    use super::literals;

    #[test]
    fn literals_are_taken_out_of_constraints() {
        let list = "CHECK ((status = ANY (ARRAY['open'::text, 'it''s'::text])))";
        assert_eq!(literals(list), ["open", "it's"]);
        assert_eq!(literals("CHECK (((length(x1) >= 3) AND (length(x1) <= 200)))"), ["3", "200"]);
    }
}
