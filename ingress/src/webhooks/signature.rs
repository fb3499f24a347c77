//! What every signature scheme shares: one header, a bounded time, and candidates that are all compared.

use std::time::Duration;

use hmac::Mac;
use hyper::HeaderMap;
use subtle::{Choice, ConstantTimeEq};

use super::Secret;

/// Which check a signature failed. Counted, never told to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// No header.
    #[error("there is no signature header")]
    Missing,
    /// More than one header. Joining them could pair one's time with another's signature.
    #[error("there is more than one signature header")]
    Repeated,
    /// No time of decimal digits.
    #[error("the header has no time")]
    NoTime,
    /// More than one time.
    #[error("the header has more than one time")]
    TimeRepeated,
    /// Signed longer ago than the tolerance: perhaps a replay.
    #[error("the signature is too old")]
    Stale,
    /// Signed further ahead than the tolerance, so that it could be replayed for as long.
    #[error("the signature is from the future")]
    Future,
    /// No candidate of 32 bytes in the source's encoding.
    #[error("the header has no signature that could fit")]
    NoCandidate,
    /// Something that is signed beside the body is missing, or there twice.
    #[error("a signed header is missing or repeated")]
    PartMissing,
    /// No candidate fits any secret.
    #[error("no signature fits any secret")]
    Mismatch,
}

impl SignatureFault {
    /// Label of [`millrace::telemetry::fields::EDGE_REFUSED`].
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Repeated => "signature_repeated",
            Self::NoTime => "signature_no_time",
            Self::TimeRepeated => "signature_time_repeated",
            Self::Stale => "signature_stale",
            Self::Future => "signature_future",
            Self::NoCandidate => "signature_no_candidate",
            Self::PartMissing => "signature_part_missing",
            Self::Mismatch => "signature_mismatch",
        }
    }
}

/// The one value of a header.
pub(super) fn the_one<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h [u8], SignatureFault> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(SignatureFault::Missing)?;
    if values.next().is_some() { Err(SignatureFault::Repeated) } else { Ok(value.as_bytes()) }
}

/// The tolerance holds on both sides, although official libraries often bound only the past.
pub(super) fn check_time(seconds: i64, now: i64, tolerance: Duration) -> Result<(), SignatureFault> {
    if seconds.abs_diff(now) <= tolerance.as_secs() {
        Ok(())
    } else if seconds < now {
        Err(SignatureFault::Stale)
    } else {
        Err(SignatureFault::Future)
    }
}

/// Compares every secret with every candidate in constant time. Counts each secret that matches, since during a rotation
/// both do; the first one is returned.
pub(super) fn matching(secrets: &[Secret], signed: &[&[u8]], candidates: &[[u8; 32]]) -> Result<usize, SignatureFault> {
    if candidates.is_empty() {
        return Err(SignatureFault::NoCandidate);
    }
    let mut first = Err(SignatureFault::Mismatch);
    for (index, secret) in secrets.iter().enumerate() {
        let mut mac = secret.key.clone();
        signed.iter().for_each(|part| mac.update(part));
        let expected = mac.finalize().into_bytes();
        let hit = candidates.iter().fold(Choice::from(0), |hit, candidate| hit | expected.ct_eq(candidate));
        if bool::from(hit) {
            secret.matched.increment(1);
            first = first.or(Ok(index));
        }
    }
    first
}

/// Digits only: the standard parser would take a sign as well.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}
