//! An issuer's published keys, kept between requests. What a token says can make the edge ask the issuer again, but
//! no more often than once in [`PAUSE_S`], and it can never make the edge forget a key.

use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use millrace::config::PublicAlgorithm;
use millrace::telemetry::fields;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::Unauthenticated;
use super::fetch::{FetchFault, Fetcher};
use super::keyset::{KeySet, KeySetFault};

/// Keys older than this are fetched again before they are used.
const FRESH_S: u64 = 600;
/// Least seconds from one fetch to the next, whatever asks for it.
const PAUSE_S: u64 = 30;

#[derive(Debug, thiserror::Error)]
enum LoadFault {
    #[error(transparent)]
    Fetch(#[from] FetchFault),
    #[error(transparent)]
    KeySet(#[from] KeySetFault),
}

/// The keys as they were at one moment.
#[derive(Debug)]
struct Held {
    keys: KeySet,
    fetched: i64,
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct PublishedKeys {
    issuer: String,
    fetcher: Fetcher,
    algorithms: Vec<PublicAlgorithm>,
    held: watch::Sender<Option<Arc<Held>>>,
    /// Held during a fetch; what it guards is when the last one began.
    flight: Arc<Mutex<Option<i64>>>,
}

impl PublishedKeys {
    pub(super) fn new(issuer: &str, fetcher: Fetcher, algorithms: &[PublicAlgorithm]) -> Arc<Self> {
        Arc::new(Self {
            issuer: issuer.to_owned(),
            fetcher,
            algorithms: algorithms.to_vec(),
            held: watch::Sender::new(None),
            flight: Arc::default(),
        })
    }

    /// The algorithm of this exact name, if the issuer signs with it.
    pub(super) fn algorithm(&self, name: &str) -> Option<PublicAlgorithm> {
        self.algorithms.iter().copied().find(|algorithm| algorithm.as_str() == name)
    }

    /// The key that a token names. Keys that are stale, or do not have this one, are fetched again first; when that
    /// fails, those that are held stay in use.
    pub(super) async fn key(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: PublicAlgorithm,
        now: i64,
    ) -> Result<Arc<DecodingKey>, Unauthenticated> {
        let held = self.held();
        let found = held.as_ref().and_then(|held| held.keys.find(id, algorithm));
        let fresh = held.is_some_and(|held| held.fetched.abs_diff(now) < FRESH_S);
        let turn = match (found, fresh) {
            (Some(key), true) => return Ok(key),
            (Some(key), false) => match self.flight.clone().try_lock_owned() {
                Ok(turn) => turn,
                // Somebody is fetching already; an issuer that is slow must not stop all of its users.
                Err(_) => return Ok(key),
            },
            (None, _) => self.flight.clone().lock_owned().await,
        };
        self.refresh(turn, now).await;
        let held = self.held().ok_or(Unauthenticated::NoKeys)?;
        held.keys.find(id, algorithm).ok_or(Unauthenticated::UnknownKey)
    }

    fn held(&self) -> Option<Arc<Held>> {
        self.held.borrow().clone()
    }

    /// Fetches, unless that was done or tried a moment ago. The fetch is a task of its own: a caller who goes away
    /// must not break it off, or whoever asks and hangs up could keep new keys out for ever.
    async fn refresh(self: &Arc<Self>, mut turn: OwnedMutexGuard<Option<i64>>, now: i64) {
        // A clock that was set back must not stop fetches until it has caught up.
        if turn.is_some_and(|last| last.abs_diff(now) < PAUSE_S) {
            return;
        }
        *turn = Some(now);
        let this = self.clone();
        let fetch = tokio::spawn(async move {
            this.load(now).await;
            drop(turn);
        });
        // A fetch that died has changed nothing, as one that failed.
        let _ = fetch.await;
    }

    async fn load(&self, now: i64) {
        let result = match self.fetched().await {
            Ok(keys) => {
                self.held.send_replace(Some(Arc::new(Held { keys, fetched: now })));
                "ok"
            }
            Err(fault) => {
                let because = std::error::Error::source(&fault).map(ToString::to_string);
                tracing::warn!(issuer = %self.issuer, because, "keys not fetched, those held stay in use: {fault}");
                "failed"
            }
        };
        metrics::counter!(fields::KEYS_FETCHED, "issuer" => self.issuer.clone(), "result" => result).increment(1);
    }

    async fn fetched(&self) -> Result<KeySet, LoadFault> {
        let document = self.fetcher.fetch().await?;
        Ok(KeySet::parse(&document, &self.algorithms)?)
    }
}
