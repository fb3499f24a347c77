//! How far a long run is, on standard error: a line that is overwritten on a terminal, else a line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines that are kept.
const PAUSE: Duration = Duration::from_secs(5);

/// Progress of one run; one of no more than so many shows none.
#[derive(Debug)]
pub(crate) struct Progress {
    total: u64,
    least: u64,
    what: &'static str,
    terminal: bool,
    shown: Option<Instant>,
    open_line: bool,
}

impl Progress {
    /// Of a run over so many, that shows something when there are more than `least`.
    pub(crate) fn of(total: u64, what: &'static str, least: u64) -> Self {
        Self { total, least, what, terminal: std::io::stderr().is_terminal(), shown: None, open_line: false }
    }

    /// Says how many are behind us.
    pub(crate) fn show(&mut self, done: u64) {
        let (total, what) = (self.total.max(done), self.what);
        if total <= self.least {
            return;
        }
        // Without a standard error there is nobody to tell.
        if self.terminal {
            self.open_line = true;
            let _ = write!(std::io::stderr(), "\r{done} of {total} {what}");
        } else if self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
            self.shown = Some(Instant::now());
            let _ = writeln!(std::io::stderr(), "{done} of {total} {what}");
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
