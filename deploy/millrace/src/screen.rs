//! What people and programs read: text with a little colour, or JSON lines.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

/// Where a command writes. With `--json` every line on standard output is one JSON object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    json: bool,
    colour: bool,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        // https://no-color.org: present and not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { json, colour: !json && !plain && std::io::stdout().is_terminal() }
    }

    /// Do programs read, and not people?
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A step of long work; progress for people, so it goes to standard error with `--json`.
    pub(crate) fn step(&self, text: &str) {
        if self.json {
            let _ = writeln!(std::io::stderr(), "{text}");
        } else {
            self.line(&format!("{} {text}", self.paint("·", "2")));
        }
    }

    /// Something that is done now.
    pub(crate) fn done(&self, text: &str, facts: Value) {
        if self.json {
            self.line(&facts.to_string());
        } else {
            self.line(&format!("{} {text}", self.paint("✓", "32")));
        }
    }

    /// Something to look after; on standard error, so that it is never taken for a row.
    pub(crate) fn warn(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{} {text}", self.paint("!", "33"));
    }

    /// A line as it is, for programs that hash what they read.
    pub(crate) fn raw(&self, text: &str) {
        self.line(text);
    }

    /// A line for people only.
    pub(crate) fn tell(&self, text: &str) {
        if !self.json {
            self.line(text);
        }
    }

    /// A document that is the command's whole output.
    pub(crate) fn document(&self, document: &Value) {
        let text = if self.json { document.to_string() } else { format!("{document:#}") };
        self.line(&text);
    }

    /// One row of many: text for people, its facts for programs.
    pub(crate) fn row(&self, text: &str, facts: &Value) {
        if self.json { self.line(&facts.to_string()) } else { self.line(text) }
    }

    /// Ends a command that failed: what happened, why, and through the message what to do next.
    pub(crate) fn fail(&self, code: u8, fault: &dyn std::error::Error) -> ExitCode {
        let mut causes = Vec::new();
        let mut source = fault.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        if self.json {
            self.line(&json!({ "error": fault.to_string(), "because": causes, "exit": code }).to_string());
        } else {
            let mut text = format!("{} {fault}", self.paint("✗", "31"));
            for cause in causes {
                text.push_str(&format!("\n  because: {cause}"));
            }
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        ExitCode::from(code)
    }

    fn line(&self, text: &str) {
        // A closed pipe is no reason to fail: the reader has seen enough.
        let _ = writeln!(std::io::stdout(), "{text}");
        let _ = std::io::stdout().flush();
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
