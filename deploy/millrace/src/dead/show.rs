//! `millrace dead show`

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;

use clap::Args;
use millrace::config::{Process, start};
use millrace::contract::{CheckedContract, Contract, TenantId};
use millrace::pipeline::OperatorRead;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::letter::{Letter, moment};
use super::{DEAD_LETTER, letter_id, printable};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = r"Examples:
  millrace dead show 0192f0c1-…
  millrace dead show 0192f0c1-… --body body.json
A body may hold personal data, so it is written only where you ask for it, and the audit event under the
letter's tenant says that you did. FILE must not exist yet; - is standard output, and then nothing else is
written there.";

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The letter, as `millrace dead list` shows it.
    #[arg(value_parser = letter_id)]
    id: Uuid,
    /// Write the body to this new file, or with - to standard output.
    #[arg(long, value_name = "FILE")]
    body: Option<String>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// What a letter has beside what a list shows.
struct Details {
    fields: Value,
    because: Option<String>,
    forced: bool,
    body_bytes: i32,
    body_sha256: String,
}

impl Show {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        let org = sqlx::query_scalar!("SELECT org_id FROM engine.dead_letters WHERE id = $1", self.id)
            .fetch_optional(act.conn())
            .await?;
        let Some(org) = org else {
            let text = format!("there is no dead letter {}: millrace dead list shows those there are", self.id);
            return Err(Usage(text).into());
        };
        // Opened before the look is on record: an operator who has no place for the body has not seen it.
        let target = self.body.as_deref().filter(|target| *target != "-").map(create).transpose()?;
        let facts = Map::from_iter([("body".to_owned(), self.body.is_some().into())]);
        let noted = act.note(&TenantId::parse(&org)?, "dead.show", (DEAD_LETTER, &self.id.to_string()), facts)?;
        let mut read = noted.commit_then_read().await?;
        if self.body.is_some() {
            let body = sqlx::query_scalar!("SELECT body FROM engine.dead_letters WHERE id = $1", self.id)
                .fetch_one(read.conn())
                .await?;
            match target {
                Some(mut file) => file.write_all(&body)?,
                None => return print(&body),
            }
        }
        self.tell(&mut read, &contract, screen).await
    }

    async fn tell(
        &self,
        read: &mut OperatorRead,
        contract: &CheckedContract,
        screen: &Screen,
    ) -> Result<(), CommandFault> {
        let letter = sqlx::query_as!(
            Letter,
            "SELECT id, org_id, publisher, message_id, message_type, queue, reason, attempts, redrives, created_at,
               state, marked_at, marked_by, fields->>'type' AS wire_type, fields->>'issued_at' AS issued_at
             FROM engine.dead_letters WHERE id = $1",
            self.id,
        )
        .fetch_one(read.conn())
        .await?;
        let details = sqlx::query_as!(
            Details,
            r#"SELECT fields, because, forced, octet_length(body) AS "body_bytes!",
                 encode(sha256(body), 'hex') AS "body_sha256!"
               FROM engine.dead_letters WHERE id = $1"#,
            self.id,
        )
        .fetch_one(read.conn())
        .await?;
        let redrive = match letter.still_open().and_then(|()| letter.route(contract, OffsetDateTime::now_utc(), false))
        {
            Ok(route) => format!("to {} with key {}", route.exchange, route.routing_key),
            Err(why) => format!("no: {why}"),
        };
        show(&letter, &details, &redrive, screen);
        Ok(())
    }
}

fn create(path: &str) -> Result<File, Usage> {
    let mut options = File::options();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(|fault| Usage(format!("cannot make {path}: {fault}")))
}

/// Bytes as they are, unless a terminal would obey some of them.
fn print(body: &[u8]) -> Result<(), CommandFault> {
    let mut out = std::io::stdout();
    let harmless = |text: &str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    if out.is_terminal() && !std::str::from_utf8(body).is_ok_and(harmless) {
        return Err(Usage("the body is no plain text for a terminal: give --body a file".to_owned()).into());
    }
    out.write_all(body)?;
    Ok(out.flush()?)
}

fn show(letter: &Letter, details: &Details, redrive: &str, screen: &Screen) {
    let mut facts = letter.facts();
    for (name, value) in [
        ("because", json!(details.because)),
        ("forced", json!(details.forced)),
        ("fields", details.fields.clone()),
        ("body_bytes", json!(details.body_bytes)),
        ("body_sha256", json!(details.body_sha256)),
        ("redrive", json!(redrive)),
    ] {
        facts[name] = value;
    }
    let dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    let mut lines = vec![
        ("id", letter.id.to_string()),
        ("tenant", letter.org_id.clone()),
        ("state", letter.state.clone()),
        ("reason", letter.reason.clone()),
        ("attempts", letter.attempts.to_string()),
        ("redrives", letter.redrives.to_string()),
        ("queue", letter.queue.clone()),
        ("publisher", dash(&letter.publisher)),
        ("died", moment(letter.created_at)),
        ("marked by", dash(&letter.marked_by)),
        ("marked at", dash(&letter.marked_at.map(moment))),
        ("because", dash(&details.because)),
        ("redrive", redrive.to_owned()),
        ("body", format!("{} bytes, SHA-256 {}", details.body_bytes, details.body_sha256)),
    ];
    for (name, value) in details.fields.as_object().into_iter().flatten() {
        lines.push((name, value.as_str().map_or_else(|| value.to_string(), printable)));
    }
    let text: Vec<String> = lines.into_iter().map(|(name, value)| format!("{name:<16} {value}")).collect();
    screen.row(&text.join("\n"), &facts);
}
