//! Marking: page by page, each page's marks, messages and audit events in one transaction. What is broken off goes on
//! when it is run again, since what is marked is not chosen a second time.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use millrace::config::{Config, Process, start};
use millrace::contract::{CheckedContract, Contract, Route, TenantId};
use millrace::pipeline::{NotedAct, OperatorAct};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::filters::Filters;
use super::letter::Letter;
use super::tally::{Tally, tell};
use super::verdict::Refused;
use super::{DEAD_LETTER, PAGE, letter_id};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::{OperatorName, Usage};
use crate::progress::Progress;
use crate::screen::Screen;

/// Longest reason that an operator gives, in characters.
const LONGEST_REASON: usize = 500;

/// Why an operator does this. It stands on the letter and not in the audit line, which has its hash: a person's words
/// may have to be erased one day, and a line never is.
#[derive(Debug, Clone)]
pub(super) struct Because(String);

impl FromStr for Because {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if (1..=LONGEST_REASON).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("say why in 1 to {LONGEST_REASON} characters, in one line"))
        }
    }
}

/// What is made of the letters.
#[derive(Debug)]
pub(super) enum Marking {
    Redrive { force: bool, because: Option<Because> },
    Discard { because: Because },
}

impl Marking {
    pub(super) fn action(&self) -> &'static str {
        match self {
            Self::Redrive { .. } => "dead.redrive",
            Self::Discard { .. } => "dead.discard",
        }
    }

    /// The state that a letter has afterwards.
    pub(super) fn done(&self) -> &'static str {
        match self {
            Self::Redrive { .. } => "redriven",
            Self::Discard { .. } => "discarded",
        }
    }

    fn forced(&self) -> bool {
        matches!(self, Self::Redrive { force: true, .. })
    }

    fn because(&self) -> Option<&str> {
        match self {
            Self::Redrive { because, .. } => because.as_ref().map(|because| because.0.as_str()),
            Self::Discard { because } => Some(&because.0),
        }
    }

    /// Where the letter goes now, if anywhere, or why it stays.
    pub(super) fn decide(
        &self,
        letter: &Letter,
        contract: &CheckedContract,
        now: OffsetDateTime,
    ) -> Result<Option<Route>, Refused> {
        letter.still_open()?;
        match self {
            Self::Redrive { force, .. } => letter.route(contract, now, *force).map(Some),
            Self::Discard { .. } => Ok(None),
        }
    }

    /// Ids and codes of one letter for its audit line.
    fn facts(&self, letter: &Letter) -> Map<String, Value> {
        let because = self.because().map(|text| hex::encode(Sha256::digest(text)).into());
        [
            ("message_id", letter.message_id.clone().map(Value::from)),
            ("publisher", letter.publisher.clone().map(Value::from)),
            ("message_type", letter.message_type.clone().map(Value::from)),
            ("reason", Some(letter.reason.clone().into())),
            ("redrives", Some(letter.redrives.into())),
            ("forced", self.forced().then(|| true.into())),
            ("because_sha256", because),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

/// The letters that are meant. Nobody means everything without saying so.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// These letters, as `millrace dead list` shows them.
    #[arg(value_name = "ID", value_parser = letter_id)]
    pub(super) ids: Vec<Uuid>,
    #[command(flatten)]
    pub(super) filters: Filters,
    /// Every open letter of every tenant.
    #[arg(long)]
    all: bool,
    /// Show what would happen, counted by tenant, type and reason, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// A run over the chosen letters.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) target: &'a Target,
    pub(super) marking: &'a Marking,
    pub(super) contract: &'a CheckedContract,
    pub(super) config: &'a Config,
    pub(super) screen: &'a Screen,
}

impl Target {
    pub(super) async fn run(
        &self,
        marking: &Marking,
        contract: Contract,
        screen: &Screen,
    ) -> Result<ExitCode, CommandFault> {
        self.check()?;
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let run = Run { target: self, marking, contract: &contract, config: &config, screen };
        let mut tally = Tally::default();
        if self.dry_run {
            run.preview(&mut tally).await?;
        } else if let Err(fault) = run.mark(&mut tally).await {
            screen.step(&format!("stopped after {} letter(s); run it again to go on", tally.seen()));
            return Err(fault);
        }
        Ok(tally.show(marking, self.dry_run, screen))
    }

    fn check(&self) -> Result<(), Usage> {
        let ways = [!self.ids.is_empty(), !self.filters.is_empty(), self.all];
        match ways.into_iter().filter(|way| *way).count() {
            1 => Ok(()),
            0 => Err(Usage("say which letters: ids, filters such as --tenant, or --all for every open one".to_owned())),
            _ => Err(Usage("give ids, or filters, or --all, and not two of them".to_owned())),
        }
    }

    /// The ids in one order, so that two operators wait for each other and never deadlock; each once.
    pub(super) fn ids_once(&self) -> Vec<Uuid> {
        let mut ids = self.ids.clone();
        ids.sort();
        ids.dedup();
        ids
    }
}

impl Run<'_> {
    pub(super) async fn act(&self) -> Result<OperatorAct, CommandFault> {
        self.target.operator.act(self.contract, self.config).await
    }

    async fn mark(&self, tally: &mut Tally) -> Result<(), CommandFault> {
        if self.target.ids.is_empty() { self.mark_filtered(tally).await } else { self.mark_named(tally).await }
    }

    async fn mark_named(&self, tally: &mut Tally) -> Result<(), CommandFault> {
        let ids = self.target.ids_once();
        let mut progress = Progress::of(ids.len() as u64, "letters", u64::from(PAGE));
        for part in ids.chunks(usize::from(PAGE)) {
            let mut act = self.act().await?;
            let letters = Letter::by_ids(act.conn(), part).await?;
            for id in part.iter().filter(|id| letters.iter().all(|letter| letter.id != **id)) {
                tally.refused(&Refused::NotThere);
                tell(*id, &Refused::NotThere, self.screen);
            }
            self.mark_page(act, letters, tally).await?;
            progress.show(tally.seen());
        }
        Ok(())
    }

    async fn mark_filtered(&self, tally: &mut Tally) -> Result<(), CommandFault> {
        let mut act = self.act().await?;
        let chosen = self.target.filters.fixed(act.conn()).await?;
        let total = Letter::count_open(act.conn(), &chosen).await?;
        let mut progress = Progress::of(total.unsigned_abs(), "letters", u64::from(PAGE));
        let mut after = None;
        loop {
            let letters = Letter::oldest_open(act.conn(), &chosen, after, i64::from(PAGE)).await?;
            let Some(last) = letters.last() else { return Ok(()) };
            after = Some(last.id);
            self.mark_page(act, letters, tally).await?;
            progress.show(tally.seen());
            act = self.act().await?;
        }
    }

    /// Marks, sends and notes a page of locked letters, and commits.
    async fn mark_page(
        &self,
        mut act: OperatorAct,
        letters: Vec<Letter>,
        tally: &mut Tally,
    ) -> Result<(), CommandFault> {
        let now = OffsetDateTime::now_utc();
        let mut page = Page::default();
        for letter in letters {
            match self.marking.decide(&letter, self.contract, now) {
                Ok(route) => page.add(letter, route),
                Err(why) => {
                    tally.refused(&why);
                    if !self.target.ids.is_empty() {
                        tell(letter.id, &why, self.screen);
                    }
                }
            }
        }
        if page.letters.is_empty() {
            return Ok(());
        }
        let operator = act.operator().to_owned();
        self.write(act.conn(), &page, &operator).await?;
        if let Some(noted) = self.note(act, &page.letters)? {
            noted.commit_all().await?;
        }
        tally.marked(page.letters.len());
        Ok(())
    }

    async fn write(&self, connection: &mut PgConnection, page: &Page, operator: &str) -> sqlx::Result<()> {
        sqlx::query!(
            "UPDATE engine.dead_letters SET state = $2, marked_at = now(), marked_by = $3, because = $4, forced = $5
             WHERE id = ANY($1)",
            &page.ids,
            self.marking.done(),
            operator,
            self.marking.because(),
            self.marking.forced(),
        )
        .execute(&mut *connection)
        .await?;
        // Fields and body go from table to table: what is sent is what was kept, and no body is ever in this process.
        sqlx::query!(
            "INSERT INTO engine.outbox (id, exchange, routing_key, fields, body)
             SELECT r.outbox_id, r.exchange, r.routing_key, d.fields, d.body
             FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS r (id, outbox_id, exchange, routing_key)
             JOIN engine.dead_letters d ON d.id = r.id",
            &page.sent,
            &page.outbox_ids,
            &page.exchanges,
            &page.routing_keys,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// One audit event a letter, under the letter's tenant.
    fn note(&self, act: OperatorAct, letters: &[Letter]) -> Result<Option<NotedAct>, CommandFault> {
        let Some((first, others)) = letters.split_first() else { return Ok(None) };
        let target = |letter: &Letter| (TenantId::parse(&letter.org_id), letter.id.to_string());
        let (org, id) = target(first);
        let mut noted = act.note(&org?, self.marking.action(), (DEAD_LETTER, &id), self.marking.facts(first))?;
        for letter in others {
            let (org, id) = target(letter);
            noted.and_note(&org?, self.marking.action(), (DEAD_LETTER, &id), self.marking.facts(letter))?;
        }
        Ok(Some(noted))
    }
}

/// The letters of one transaction, and the columns of those that are sent.
#[derive(Debug, Default)]
struct Page {
    letters: Vec<Letter>,
    ids: Vec<Uuid>,
    sent: Vec<Uuid>,
    outbox_ids: Vec<Uuid>,
    exchanges: Vec<String>,
    routing_keys: Vec<String>,
}

impl Page {
    fn add(&mut self, letter: Letter, route: Option<Route>) {
        if let Some(route) = route {
            self.sent.push(letter.id);
            self.outbox_ids.push(Uuid::now_v7());
            self.exchanges.push(route.exchange);
            self.routing_keys.push(route.routing_key);
        }
        self.ids.push(letter.id);
        self.letters.push(letter);
    }
}
