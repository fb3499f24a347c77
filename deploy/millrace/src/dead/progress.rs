//! How far a long run is, on standard error: a line that is overwritten on a terminal, else a line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::PAGE;

/// Between two lines that are kept.
const PAUSE: Duration = Duration::from_secs(5);

/// Progress of one run; a short one shows none.
#[derive(Debug)]
pub(super) struct Progress {
    total: u64,
    terminal: bool,
    shown: Option<Instant>,
    open_line: bool,
}

impl Progress {
    pub(super) fn of(total: u64) -> Self {
        Self { total, terminal: std::io::stderr().is_terminal(), shown: None, open_line: false }
    }

    /// Says how many letters are behind us.
    pub(super) fn show(&mut self, done: u64) {
        if self.total <= u64::from(PAGE) {
            return;
        }
        // Without a standard error there is nobody to tell.
        if self.terminal {
            self.open_line = true;
            let _ = write!(std::io::stderr(), "\r{done} of {} letters", self.total.max(done));
        } else if self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
            self.shown = Some(Instant::now());
            let _ = writeln!(std::io::stderr(), "{done} of {} letters", self.total.max(done));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.open_line {
            let _ = writeln!(std::io::stderr());
        }
    }
}
