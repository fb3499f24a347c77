//! Times of lines and checkpoints: how far back a line steps, and how long nothing was signed.

use std::time::Duration;

use super::super::line;
use crate::contract::Timestamp;

/// Longer than the hourly heartbeat and a restart.
const SILENCE: Duration = Duration::from_secs(3_600 + 300);

/// What the times look like.
#[derive(Debug, Default)]
pub(super) struct Clock {
    oldest: [u8; 27],
    newest: [u8; 27],
    any: bool,
    back: Duration,
    signed: Option<Timestamp>,
    silences: u64,
}

impl Clock {
    /// The next line's timestamp, which has 27 bytes. Texts of this form sort like the times they name.
    pub(super) fn line(&mut self, timestamp: &[u8]) {
        let Ok(at) = <[u8; 27]>::try_from(timestamp) else { return };
        if !self.any {
            (self.oldest, self.newest, self.any) = (at, at, true);
        } else if at >= self.newest {
            self.newest = at;
        } else {
            self.oldest = self.oldest.min(at);
            if let (Some(newest), Some(at)) = (moment(&self.newest), moment(&at)) {
                let step = Duration::try_from(newest.moment() - at.moment()).unwrap_or_default();
                self.back = self.back.max(step);
            }
        }
    }

    /// The next checkpoint's time.
    pub(super) fn checkpoint(&mut self, at: Timestamp) {
        if let Some(before) = self.signed.replace(at)
            && Duration::try_from(at.moment() - before.moment()).is_ok_and(|silence| silence > SILENCE)
        {
            self.silences += 1;
        }
    }

    pub(super) fn range(&self) -> Option<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.any.then(|| (text(&self.oldest), text(&self.newest)))
    }

    pub(super) fn back(&self) -> Duration {
        self.back
    }

    pub(super) fn silences(&self) -> u64 {
        self.silences
    }
}

fn moment(bytes: &[u8]) -> Option<Timestamp> {
    std::str::from_utf8(bytes).ok().and_then(line::moment)
}
