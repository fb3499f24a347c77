//! `millrace evidence`: everything that an auditor asks for, collected by the commands that make it, in one archive whose
//! index says where each file is from and what is missing and why.

mod archive;
mod items;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use millrace::config::{CONFIG_VARIABLE, Process, start};
use millrace::contract::{Contract, TenantId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::process::Command;

use super::breach::moment;
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OPERATOR_VARIABLE, OperatorName, Usage};
use crate::screen::Screen;

use archive::{digest, pack};
use items::{Item, files, items};

const EXAMPLE: &str = "Example: millrace evidence --from 2026-01-01 --to 2026-04-01 --out evidence-2026-q1.tar.gz\n\
    index.json in the archive names each file's SHA-256, the command that made it and its exit code, and what could not \
    be collected and why. A command that found something wrong is evidence too: its output is kept with its exit code.\n\
    The archive supports an audit; what it shows is for the auditor to judge. Its SHA-256 goes to the audit log.";

/// Most characters of a reason in the index.
const LONGEST_REASON: usize = 300;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Evidence {
    /// Beginning of the period: a day, or RFC 3339.
    #[arg(long, value_parser = moment)]
    from: Timestamp,
    /// Its end, which is not part of it any more.
    #[arg(long, value_parser = moment)]
    to: Timestamp,
    /// The archive to write (.tar.gz); one that is there already is not overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// `index.json`
#[derive(Debug, Serialize)]
struct Index {
    deployment: String,
    from: String,
    to: String,
    collected_at: String,
    collected_by: String,
    version: &'static str,
    files: Vec<Collected>,
    missing: Vec<Missing>,
}

#[derive(Debug, Clone, Serialize)]
struct Collected {
    file: String,
    sha256: String,
    bytes: u64,
    /// The command line that made it, or `copy` of a file.
    command: String,
    /// Null for a copy.
    exit: Option<i32>,
    supports: String,
}

#[derive(Debug, Clone, Serialize)]
struct Missing {
    file: String,
    command: String,
    why: String,
}

impl Evidence {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        if self.from >= self.to {
            return Err(Usage("--from must be before --to".to_owned()).into());
        }
        if self.out.exists() {
            return Err(Usage(format!("{} is there already: name another file", self.out.display())).into());
        }
        let by = self.operator.resolve()?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let folder = tempfile::tempdir()?;
        let mut index = Index {
            deployment: config.deployment.clone(),
            from: self.from.to_string(),
            to: self.to.to_string(),
            collected_at: Timestamp::new(OffsetDateTime::now_utc()).to_string(),
            collected_by: by.clone(),
            version: env!("CARGO_PKG_VERSION"),
            files: Vec::new(),
            missing: Vec::new(),
        };
        let log = &config.compliance.audit_log_path;
        let items = items(&index.from, &index.to, log);
        for (number, item) in items.iter().enumerate() {
            screen.step(&format!("{}/{} millrace {}", number + 1, items.len(), item.arguments.join(" ")));
            index.take(self.collect(folder.path(), item, &by).await?);
        }
        for (file, supports) in files() {
            index.take(copy(folder.path(), log, file, supports));
        }
        let digest = self.write(folder.path(), &index)?;
        self.record(&contract, &config, &index, &digest, screen).await?;
        show(&index, &self.out, &digest, screen);
        Ok(())
    }

    /// Runs one command as the operator would, its output in a file. A fault of the machine ends everything; one of the
    /// command is the reason why its file is missing.
    async fn collect(&self, folder: &Path, item: &Item, by: &str) -> Result<Result<Collected, Missing>, CommandFault> {
        let path = folder.join(item.file);
        let output = Command::new(std::env::current_exe()?)
            .args(&item.arguments)
            .env(CONFIG_VARIABLE, std::path::absolute(self.config.path())?)
            .env(OPERATOR_VARIABLE, by)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&path)?)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?
            .wait_with_output()
            .await?;
        let command = format!("millrace {}", item.arguments.join(" "));
        if let Some(why) = refused(&path, output.status.success(), &output.stderr)? {
            return Ok(Err(Missing { file: item.file.to_owned(), command, why }));
        }
        let (sha256, bytes) = digest(&path)?;
        let (file, supports) = (item.file.to_owned(), item.supports.to_owned());
        Ok(Ok(Collected { file, sha256, bytes, command, exit: output.status.code(), supports }))
    }

    fn write(&self, folder: &Path, index: &Index) -> Result<String, CommandFault> {
        std::fs::write(folder.join("index.json"), serde_json::to_string_pretty(index)?)?;
        let names = std::iter::once("index.json").chain(index.files.iter().map(|file| file.file.as_str()));
        pack(folder, names, &self.out)?;
        Ok(digest(&self.out)?.0)
    }

    /// A deployment without keys for operators has no audit log to write to.
    async fn record(
        &self,
        contract: &millrace::contract::CheckedContract,
        config: &millrace::config::Config,
        index: &Index,
        digest: &str,
        screen: &Screen,
    ) -> Result<(), CommandFault> {
        let facts = [
            ("sha256", Value::from(digest)),
            ("files", index.files.len().into()),
            ("missing", index.missing.len().into()),
            ("from", index.from.as_str().into()),
            ("to", index.to.as_str().into()),
        ];
        let facts: Map<String, Value> = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        match self.operator.act(contract, config).await {
            Ok(act) => act.commit(&TenantId::operator(), "evidence.collected", ("evidence", digest), facts).await?,
            Err(fault) => screen.warn(&format!("not in the audit log: {fault}")),
        }
        Ok(())
    }
}

impl Index {
    fn take(&mut self, found: Result<Collected, Missing>) {
        match found {
            Ok(collected) => self.files.push(collected),
            Err(missing) => self.missing.push(missing),
        }
    }
}

/// Why a command gave nothing; what it found wrong is something.
fn refused(path: &Path, success: bool, stderr: &[u8]) -> std::io::Result<Option<String>> {
    if success {
        return Ok(None);
    }
    let said = std::fs::read_to_string(path).unwrap_or_default();
    let error = said.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    if let Some(error) = error.as_ref().and_then(|line| line.get("error")?.as_str()) {
        return Ok(Some(error.chars().take(LONGEST_REASON).collect()));
    }
    if !said.trim().is_empty() {
        return Ok(None);
    }
    let stderr = String::from_utf8_lossy(stderr);
    let why = stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Ok(Some(why.trim().chars().take(LONGEST_REASON).collect()))
}

fn copy(folder: &Path, log: &Path, file: &str, supports: &str) -> Result<Collected, Missing> {
    let (from, to) = (log.join(file), folder.join(file));
    let command = format!("copy {}", from.display());
    let copied = std::fs::copy(&from, &to).and_then(|_| digest(&to));
    match copied {
        Ok((sha256, bytes)) => {
            Ok(Collected { file: file.to_owned(), sha256, bytes, command, exit: None, supports: supports.to_owned() })
        }
        Err(fault) => Err(Missing { file: file.to_owned(), command, why: fault.to_string() }),
    }
}

fn show(index: &Index, out: &Path, digest: &str, screen: &Screen) {
    for missing in &index.missing {
        screen.tell(&format!("  missing {}: {}", missing.file, missing.why));
    }
    let text =
        format!("{}: {} files, {} missing, sha256:{digest}", out.display(), index.files.len(), index.missing.len());
    screen.done(&text, json!({ "archive": out, "sha256": digest, "index": index }));
}
