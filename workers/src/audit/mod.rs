//! Audit: one writer that turns the audit queue into lines, durable before they are acked.

mod accept;
mod bucket;
mod copy;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace::amqp::{AmqpFault, Dialer, Redelivered, Redial, Session};
use millrace::auditlog::{AuditLog, LogFault, Settings};
use millrace::contract::{Keyring, Topology};
use millrace::lifecycle::Drain;
use millrace::telemetry::chain;

pub(crate) use copy::Copier;
pub(crate) use writer::Writer;

/// Most lines of one `fdatasync`.
const BATCH: usize = 512;
/// The batch in flight and the next.
const PREFETCH: u16 = 1_024;
/// How often a second writer looks whether the first is gone.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Opens the log, waiting while another process writes it; `None` when drained before that ends.
pub(crate) async fn open(
    folder: &std::path::Path,
    settings: &Settings,
    drain: &Drain,
) -> Result<Option<AuditLog>, LogFault> {
    let mut told = false;
    loop {
        let (folder, settings) = (folder.to_owned(), settings.clone());
        // A large log is read for seconds.
        let opening = tokio::task::spawn_blocking(move || AuditLog::open(&folder, settings));
        match opening.await.map_err(|_| LogFault::Died)? {
            Err(LogFault::Locked(folder)) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(log = %folder.display(), "another process writes this log; waiting for it to end");
                }
            }
            opened => return opened.map(Some),
        }
        tokio::select! {
            () = tokio::time::sleep(LOCK_PAUSE) => {}
            () = drain.started() => return Ok(None),
        }
    }
}

/// Consumes until drained; the broker may go and come back.
pub(crate) async fn consume(
    writer: &mut Writer,
    keyring: &Keyring,
    dialer: &Dialer,
    drain: &Drain,
    writing: &AtomicBool,
) -> Result<(), LogFault> {
    let mut redial = Redial::default();
    while !drain.begun() {
        let began = Instant::now();
        let ended = session(writer, keyring, dialer, drain, writing, redial.prefetch(PREFETCH)).await;
        writing.store(false, Ordering::Relaxed);
        let fault = match ended {
            Ok(()) => return Ok(()),
            Err(Ended::Log(fault)) => return Err(fault),
            Err(Ended::Lost(fault)) => fault,
        };
        tracing::warn!(error = chain(&fault), "not consuming");
        tokio::select! {
            () = tokio::time::sleep(redial.pause(began.elapsed(), &fault)) => {}
            () = drain.started() => {}
        }
    }
    Ok(())
}

enum Ended {
    Lost(AmqpFault),
    Log(LogFault),
}

impl From<AmqpFault> for Ended {
    fn from(fault: AmqpFault) -> Self {
        Self::Lost(fault)
    }
}

async fn session(
    writer: &mut Writer,
    keyring: &Keyring,
    dialer: &Dialer,
    drain: &Drain,
    writing: &AtomicBool,
    prefetch: u16,
) -> Result<(), Ended> {
    let session = Session::connect(dialer).await?;
    let mut consumer = session.consume(Topology::AUDIT_QUEUE, prefetch).await?;
    writing.store(true, Ordering::Relaxed);
    loop {
        let batch = tokio::select! {
            biased;
            () = drain.started() => break,
            batch = consumer.next_batch(|| BATCH, Redelivered::Together) => batch?,
        };
        let (entries, refused) = accept::accept(&batch.deliveries, keyring);
        if !writer.write(entries, drain).await.map_err(Ended::Log)? {
            break;
        }
        batch.ack_except(&refused).await?;
    }
    session.close().await;
    Ok(())
}
