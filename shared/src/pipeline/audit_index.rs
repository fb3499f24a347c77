//! Index: follows the audit log's files and keeps the fields of its lines where they can be searched. It reads what is
//! durable and shares nothing with the writer, which it can neither slow nor stop: without a database the index lags.

mod rows;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::postgres::PgTransaction;
use time::{Date, OffsetDateTime};
use tokio::task::spawn_blocking;

use self::rows::Rows;
use crate::auditlog::{Place, Placed, Tail, TailFault, covered};
use crate::db::{DbFault, IndexerPool};
use crate::lifecycle::Drain;
use crate::retry::RetrySchedule;
use crate::telemetry::{chain, fields};

/// Most lines of one transaction.
const BATCH: usize = 2_000;
/// Pause when nothing is new.
const PAUSE: Duration = Duration::from_millis(250);
/// How often months are made and dropped.
const TEND: Duration = Duration::from_secs(3_600);
/// Longest step; one that takes longer has a silent peer.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// Where an index without a size begins.
const NOTHING: Place = Place { lines: 0, segment: 0, offset: 0 };

/// Why the index does not go on.
#[derive(Debug, thiserror::Error)]
pub enum IndexFault {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbFault),
    /// The files.
    #[error(transparent)]
    Log(#[from] TailFault),
    /// The thread that read the files died.
    #[error("the reader of the audit log died")]
    Died,
    /// More is indexed than the log has.
    #[error(
        "the index has {indexed} lines of the audit log and the log only {lines}: it is another log, or an older copy; \
         check it with millrace audit verify, then run millrace audit reindex"
    )]
    Behind {
        /// Lines that are indexed.
        indexed: u64,
        /// Lines of the log.
        lines: u64,
    },
}

impl From<sqlx::Error> for IndexFault {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// How far the index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Lines of the log that are indexed.
    pub indexed: u64,
    /// Lines of the log that are durable.
    pub lines: u64,
}

/// The indexer. Several may run; one indexes at a time.
#[derive(Debug)]
pub struct AuditIndexer {
    pool: IndexerPool,
    folder: PathBuf,
    days: Option<u16>,
    tail: Option<Tail>,
    tended: Option<Instant>,
    months: Vec<Date>,
    /// As far as this process knows.
    indexed: u64,
    /// When the newest line of them arose.
    newest: Option<OffsetDateTime>,
}

impl AuditIndexer {
    /// Over the log in a folder, for so many days; without days the index is emptied once.
    pub fn new(pool: IndexerPool, folder: PathBuf, days: Option<u16>) -> Self {
        Self { pool, folder, days, tail: None, tended: None, months: Vec::new(), indexed: 0, newest: None }
    }

    /// Runs until the drain begins. Nothing else ends it: what fails is told and tried again.
    pub async fn run(mut self, drain: &Drain) {
        let mut delays = RetrySchedule::connections().delays();
        while !drain.begun() {
            let stepped = tokio::select! {
                stepped = self.step() => stepped,
                // What is not committed is indexed by the next process.
                () = drain.started() => return,
            };
            let pause = match stepped {
                Ok(progress) if self.days.is_none() && progress.indexed == 0 => return,
                Ok(progress) => {
                    delays.reset();
                    if progress.indexed < progress.lines { Duration::ZERO } else { PAUSE }
                }
                Err(fault) => {
                    tracing::warn!(error = chain(&fault), "the index of the audit log waits");
                    delays.next_delay()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = drain.started() => {}
            }
        }
    }

    /// Indexes the next lines, or waits while another process does.
    ///
    /// # Errors
    /// [`IndexFault`]; the same call may be made again.
    pub async fn step(&mut self) -> Result<Progress, IndexFault> {
        let folder = self.folder.clone();
        let lines = spawn_blocking(move || covered(&folder)).await.map_err(|_| IndexFault::Died)??;
        let stepped = tokio::time::timeout(STEP_TIMEOUT, self.advance(lines)).await;
        let stepped = stepped.unwrap_or_else(|_| Err(DbFault::silent().into()));
        // Told whether or not it went on: while the database is away the log grows.
        let lag = lines.saturating_sub(self.indexed);
        metrics::gauge!(fields::AUDIT_INDEX_LAG).set(lag as f64);
        let age = self.newest.filter(|_| lag > 0).map_or(0.0, |at| (OffsetDateTime::now_utc() - at).as_seconds_f64());
        metrics::gauge!(fields::AUDIT_INDEX_LAG_SECONDS).set(age.max(0.0));
        stepped.map(|()| Progress { indexed: self.indexed, lines })
    }

    async fn advance(&mut self, lines: u64) -> Result<(), IndexFault> {
        let Some(days) = self.days else { return self.empty().await };
        self.tend(days, &[]).await?;
        let mut tx = self.pool.begin().await?;
        let Some(place) = turn(&mut tx).await? else {
            // Another process is at it; where it is can be seen all the same.
            self.indexed = position(&mut tx).await?.lines;
            drop(tx);
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        };
        self.indexed = place.lines;
        if place.lines > lines {
            return Err(IndexFault::Behind { indexed: place.lines, lines });
        }
        if place.lines == lines {
            return Ok(tx.rollback().await?);
        }
        let (read, next) = self.read(place, lines).await?;
        let rows = Rows::of(&read, OffsetDateTime::now_utc(), days);
        let missing: Vec<Date> = rows.months.iter().filter(|month| !self.months.contains(month)).copied().collect();
        if !missing.is_empty() {
            tx.rollback().await?;
            self.tail = None;
            return self.tend(days, &missing).await;
        }
        rows.insert(&mut tx).await?;
        keep(&mut tx, next).await?;
        tx.commit().await?;
        metrics::counter!(fields::AUDIT_INDEXED).increment(rows.len() as u64);
        metrics::counter!(fields::AUDIT_INDEX_SKIPPED, "reason" => "old").increment(rows.old);
        metrics::counter!(fields::AUDIT_INDEX_SKIPPED, "reason" => "unreadable").increment(rows.unreadable);
        self.newest = rows.newest.or(self.newest);
        self.indexed = next.lines;
        Ok(())
    }

    /// The next lines from a place, and the place behind them.
    async fn read(&mut self, place: Place, until: u64) -> Result<(Vec<Placed>, Place), IndexFault> {
        let kept = self.tail.take().filter(|tail| tail.place() == place);
        let mut tail = kept.unwrap_or_else(|| Tail::at(&self.folder, place));
        let reading = spawn_blocking(move || {
            let read = tail.read(until, BATCH);
            (tail, read)
        });
        let (tail, read) = reading.await.map_err(|_| IndexFault::Died)?;
        let next = tail.place();
        self.tail = Some(tail);
        Ok((read?, next))
    }

    /// Makes months, the present one and the next among them, and drops those that are too old.
    async fn tend(&mut self, days: u16, missing: &[Date]) -> Result<(), IndexFault> {
        if missing.is_empty() && self.tended.is_some_and(|at| at.elapsed() < TEND) {
            return Ok(());
        }
        let mut months = rows::around(OffsetDateTime::now_utc());
        months.extend_from_slice(missing);
        let mut tx = self.pool.begin().await?;
        sqlx::query!("SELECT engine.tend_audit_index($1, $2)", i32::from(days), &months).execute(&mut *tx).await?;
        tx.commit().await?;
        if missing.is_empty() {
            self.months.clear();
        }
        self.months.extend(months);
        self.tended = Some(Instant::now());
        Ok(())
    }

    /// The index is off: what it still holds goes.
    async fn empty(&mut self) -> Result<(), IndexFault> {
        let mut tx = self.pool.begin().await?;
        if position(&mut tx).await? != NOTHING {
            sqlx::query!("SELECT engine.reset_audit_index()").execute(&mut *tx).await?;
            tracing::info!("the audit log is not indexed any more; its index is empty");
        }
        self.indexed = 0;
        Ok(tx.commit().await?)
    }
}

/// Takes the turn with the position, unless another process has it.
async fn turn(tx: &mut PgTransaction<'static>) -> Result<Option<Place>, IndexFault> {
    let row = sqlx::query!(
        "SELECT lines, segment, byte_offset FROM engine.audit_index_position WHERE one FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| place(row.lines, row.segment, row.byte_offset)))
}

async fn position(tx: &mut PgTransaction<'static>) -> Result<Place, IndexFault> {
    let row = sqlx::query!("SELECT lines, segment, byte_offset FROM engine.audit_index_position WHERE one")
        .fetch_one(&mut **tx)
        .await?;
    Ok(place(row.lines, row.segment, row.byte_offset))
}

async fn keep(tx: &mut PgTransaction<'static>, next: Place) -> Result<(), IndexFault> {
    let [lines, segment, offset] = [next.lines, next.segment, next.offset].map(rows::signed);
    sqlx::query!(
        "UPDATE engine.audit_index_position SET lines = $1, segment = $2, byte_offset = $3",
        lines,
        segment,
        offset
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Checked by the table not to be negative.
fn place(lines: i64, segment: i64, offset: i64) -> Place {
    let [lines, segment, offset] = [lines, segment, offset].map(|number| u64::try_from(number).unwrap_or_default());
    Place { lines, segment, offset }
}
