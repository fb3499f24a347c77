//! Reads one TOML file with the environment laid over it, and gathers every mistake on the way.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::SecretString;
use toml::{Table, Value};

/// One mistake: where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// `section.key`.
    pub place: String,
    /// What is wrong and how to put it right.
    pub problem: String,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// No such file, or unreadable.
    #[error("cannot read {}; name the file with --config or MILLRACE_CONFIG", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML at all.
    #[error("{} is not TOML: {problem}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The parser's words: line and column.
        problem: String,
    },
    /// All mistakes of a file that is TOML.
    #[error("{}", Listed(.0))]
    Mistakes(Vec<Mistake>),
}

struct Listed<'a>(&'a [Mistake]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mistake(s) in the configuration:", self.0.len())?;
        for mistake in self.0 {
            write!(f, "\n  {}: {}", mistake.place, mistake.problem)?;
        }
        Ok(())
    }
}

/// One table of the configuration with the keys not yet asked for.
#[derive(Debug)]
pub struct Reader {
    place: String,
    folder: PathBuf,
    table: Table,
    asked: BTreeSet<String>,
    mistakes: Vec<Mistake>,
}

const PREFIX: &str = "MILLRACE__";

impl Reader {
    /// Opens the file and lays `MILLRACE__…` variables over it.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML.
    pub fn open(path: &Path, variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Self, ConfigFault> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigFault::Unreadable { path: path.to_owned(), source })?;
        let mut table: Table = text
            .parse()
            .map_err(|e: toml::de::Error| ConfigFault::NotToml { path: path.to_owned(), problem: place(&text, &e) })?;
        let mut mistakes = Vec::new();
        for (name, value) in variables {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            if let Some(key) = name.strip_prefix(PREFIX) {
                overlay(&mut table, &key.to_ascii_lowercase(), value, name, &mut mistakes);
            }
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { place: String::new(), folder: folder.to_owned(), table, asked: BTreeSet::new(), mistakes })
    }

    /// Reads a sub-table; an absent one reads like an empty one.
    pub fn section<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.asked.insert(name.to_owned());
        let table = match self.table.get(name) {
            Some(Value::Table(table)) => table.clone(),
            Some(_) => {
                self.mistake(name, "must be a table");
                Table::new()
            }
            None => Table::new(),
        };
        let mut inner = Self {
            place: self.place_of(name),
            folder: self.folder.clone(),
            table,
            asked: BTreeSet::new(),
            mistakes: Vec::new(),
        };
        let value = read(&mut inner);
        self.mistakes.append(&mut inner.leave());
        value
    }

    /// The names of the sub-tables, for sections whose keys are names.
    pub fn names(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    /// True when the key stands in file or environment.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// True when the key stands in the file as a list, for values that may be a text or a list of texts.
    pub fn is_list(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(Value::is_array)
    }

    /// Notes a mistake at `key`.
    pub fn mistake(&mut self, key: &str, problem: impl Into<String>) {
        let place = self.place_of(key);
        self.mistakes.push(Mistake { place, problem: problem.into() });
    }

    /// A text; without default it must be there.
    pub fn text(&mut self, key: &str, default: Option<&str>) -> String {
        match (self.scalar(key), default) {
            (Some(text), _) => text,
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                self.missing(key);
                String::new()
            }
        }
    }

    /// A value read by its own parser.
    pub fn parsed<T: FromStr>(&mut self, key: &str, default: Option<T>, form: &str) -> Option<T> {
        match self.scalar(key) {
            Some(text) => text.parse().map_err(|_| self.mistake(key, format!("must be {form}"))).ok(),
            None if default.is_some() => default,
            None => {
                self.missing(key);
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn number(&mut self, key: &str, default: u64, bounds: std::ops::RangeInclusive<u64>) -> u64 {
        let form = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let value = self.parsed(key, Some(default), &form).unwrap_or(default);
        if !bounds.contains(&value) {
            self.mistake(key, format!("must be {form}"));
        }
        value
    }

    /// One of a fixed set of words.
    pub fn word<T: Copy>(&mut self, key: &str, default: T, words: &[(&str, T)]) -> T {
        let Some(text) = self.scalar(key) else { return default };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => *value,
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.mistake(key, format!("must be one of: {}", known.join(", ")));
                default
            }
        }
    }

    /// A list of texts: a TOML array, or comma-separated in the environment. Absent is empty.
    pub fn list(&mut self, key: &str) -> Vec<String> {
        self.asked.insert(key.to_owned());
        match self.table.get(key) {
            None => Vec::new(),
            Some(Value::String(text)) if text.starts_with(FROM_ENVIRONMENT) => text[FROM_ENVIRONMENT.len()..]
                .split(',')
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect(),
            Some(Value::Array(items)) if items.iter().all(Value::is_str) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(_) => {
                self.mistake(key, "must be a list of texts");
                Vec::new()
            }
        }
    }

    /// A path, relative to the folder of the configuration file.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.scalar(key).map(|text| self.folder.join(text))
    }

    /// A path beside the configuration file.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A secret: from the environment as `key`, or from the file that `key_file` names (its last line feed is
    /// cut off). `needed` says whether this process must have it; else it is not even read.
    pub fn secret(&mut self, key: &str, needed: bool) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        self.asked.insert(key.to_owned());
        let file = self.path(&file_key);
        let value = match (self.table.get(key), file) {
            (Some(Value::String(text)), _) if text.starts_with(FROM_ENVIRONMENT) => {
                text[FROM_ENVIRONMENT.len()..].to_owned()
            }
            (Some(_), _) => {
                self.mistake(key, format!("a secret must not stand in the file; set {file_key} or the environment"));
                return None;
            }
            (None, Some(_)) if !needed => return None,
            (None, Some(file)) => match std::fs::read_to_string(&file) {
                Ok(text) => text.strip_suffix('\n').unwrap_or(&text).to_owned(),
                Err(e) => {
                    self.mistake(&file_key, format!("cannot read {}: {e}", file.display()));
                    return None;
                }
            },
            (None, None) => {
                if needed {
                    let variable = self.place_of(key).to_ascii_uppercase().replace('.', "__");
                    self.mistake(key, format!("is missing: set {file_key}, or {PREFIX}{variable}"));
                }
                return None;
            }
        };
        if value.is_empty() {
            self.mistake(key, "is empty");
            return None;
        }
        Some(value.into())
    }

    /// The value, unless there were mistakes.
    pub(super) fn finish<T>(self, value: T) -> Result<T, ConfigFault> {
        let mut mistakes = self.leave();
        if mistakes.is_empty() {
            return Ok(value);
        }
        mistakes.sort();
        mistakes.dedup();
        Err(ConfigFault::Mistakes(mistakes))
    }

    fn leave(mut self) -> Vec<Mistake> {
        for key in self.names() {
            if !self.asked.contains(&key) {
                self.mistake(&key, "unknown key");
            }
        }
        self.mistakes
    }

    fn scalar(&mut self, key: &str) -> Option<String> {
        self.asked.insert(key.to_owned());
        match self.table.get(key)? {
            Value::String(text) => Some(text.strip_prefix(FROM_ENVIRONMENT).unwrap_or(text).to_owned()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Boolean(truth) => Some(truth.to_string()),
            _ => {
                self.mistake(key, "must be a text, a whole number, true or false");
                None
            }
        }
    }

    fn missing(&mut self, key: &str) {
        let variable = self.place_of(key).to_ascii_uppercase().replace('.', "__");
        self.mistake(key, format!("is missing: set it, or {PREFIX}{variable}"));
    }

    fn place_of(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }
}

/// Line and reason of a syntax error, without the line itself, which may hold a secret.
fn place(text: &str, fault: &toml::de::Error) -> String {
    let before = fault.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, fault.message())
}

/// Marks a text that came from the environment, where secrets may stand. A NUL cannot occur in a variable, and
/// TOML forbids it in a file, so nobody else can write this mark.
const FROM_ENVIRONMENT: &str = "\0";

fn overlay(table: &mut Table, key: &str, value: &str, variable: &str, mistakes: &mut Vec<Mistake>) {
    match key.split_once("__") {
        None => {
            table.insert(key.to_owned(), Value::String(format!("{FROM_ENVIRONMENT}{value}")));
        }
        Some((section, rest)) => {
            let inner = table.entry(section.to_owned()).or_insert_with(|| Value::Table(Table::new()));
            match inner {
                Value::Table(inner) => overlay(inner, rest, value, variable, mistakes),
                _ => {
                    mistakes.push(Mistake { place: variable.to_owned(), problem: format!("{section} is not a table") })
                }
            }
        }
    }
}
