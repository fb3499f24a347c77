//! `millrace audit keygen`

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use millrace::auditlog::SigningKey;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::CommandFault;
use crate::operator::Usage;
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = "Example: millrace audit keygen eu1.example/audit --out keys/audit-log\n\
    Name the file as compliance.audit_log_key_file and the log as compliance.audit_log_name. The verifier key that is \
    printed is public: give it to your auditors.";

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// The log's name, as compliance.audit_log_name says it; by default that is <deployment>/audit
    name: String,
    /// Write the key to this file, which must not be there and only you may read [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Keygen {
    pub(super) fn run(&self, screen: &Screen) -> Result<(), CommandFault> {
        let advice = || Usage(format!("{:?} is no name of a log: no white space and no plus signs", self.name));
        let key = SigningKey::generate(&self.name).ok_or_else(advice)?;
        let vkey = key.verifying().to_string();
        match &self.out {
            Some(path) => {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                writeln!(file, "{}", key.render().expose_secret())?;
                file.sync_all()?;
                let text = format!("key written to {}; its verifier key: {vkey}", path.display());
                screen.done(&text, json!({ "file": path, "vkey": vkey }));
            }
            None if screen.is_json() => {
                screen.done("", json!({ "key": key.render().expose_secret(), "vkey": vkey }));
            }
            // Nothing else, so that it can be piped to where secrets are kept; its end names the verifier key.
            None => screen.raw(key.render().expose_secret()),
        }
        Ok(())
    }
}
