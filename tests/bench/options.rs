//! What to measure, and how much of it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  deploy/bench --runs 3 --json bench.json   the figures of README: medians of three runs, half an hour
  deploy/bench --part c,d                   the worker beside one transaction a message
  deploy/bench --quick                      a minute or two: does every part work? Its numbers say nothing

Everything runs on this machine: private PostgreSQL and RabbitMQ servers with fsync on, release builds of every program,
and this client. Leave the machine alone meanwhile. The verdicts are ratios of two figures of the same run, so they mean
the same on another machine; the figures themselves depend on its disk, whose fsync latency stands beside them.

Exit codes: 0 every verdict holds, 1 one does not, 64 bad usage, 69 something is missing, 70 a part failed.";

/// Measures Millrace beside what it stands on, and says whether it keeps its marks.
#[derive(Debug, Parser)]
#[command(name = "deploy/bench", bin_name = "deploy/bench", after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Parts to measure, such as c,d [default: all]
    #[arg(long, value_delimiter = ',', value_enum, ignore_case = true)]
    part: Vec<Part>,
    /// How often everything is measured; the table shows medians
    #[arg(long, default_value = "1")]
    pub(crate) runs: NonZeroUsize,
    /// Small sizes, only to see that it works: no verdicts
    #[arg(long)]
    pub(crate) quick: bool,
    /// Writes every figure of every run to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    /// The parts in their order.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let all = Part::value_variants().iter().copied();
        all.filter(|part| self.part.is_empty() || self.part.contains(part)).collect()
    }
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// What the broker itself can take
    #[value(name = "a")]
    Ceiling,
    /// Signed webhooks through the ingress
    #[value(name = "b")]
    Ingress,
    /// The worker's statements, one transaction a message
    #[value(name = "c")]
    Control,
    /// The worker: 1, 2 and 4 processes
    #[value(name = "d")]
    Worker,
    /// Request to commit and to audit line at a steady rate, beside a bare loop
    #[value(name = "e")]
    Latency,
    /// A quiet tenant beside a flood
    #[value(name = "f")]
    Fairness,
    /// The worker with a long history
    #[value(name = "g")]
    History,
    /// Memory of each process
    #[value(name = "h")]
    Memory,
    /// The audit log's writer beside a plain append
    #[value(name = "i")]
    Append,
    /// The audit log's verifier beside openssl, on one processor
    #[value(name = "j")]
    Verify,
}

impl Part {
    /// Its name on the command line.
    pub(crate) fn letter(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it measures, in a few words.
    pub(crate) fn title(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }
}

/// How much each part does. One full run takes about ten minutes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// How often (a) and (b) take turns in one run.
    pub(crate) turns: usize,
    /// Messages of one variation of (a).
    pub(crate) publishes: usize,
    /// Webhooks of one turn of (b).
    pub(crate) webhooks: usize,
    /// How long each number of connections of (c) is measured, after as long a warm-up as [`Self::control_warm`].
    pub(crate) control: Duration,
    pub(crate) control_warm: Duration,
    /// Messages in the queue before the workers of (d) and (g) start.
    pub(crate) backlog: usize,
    /// Commands a second of (e), for how long, and how much of it is not counted.
    pub(crate) steady_rate: f64,
    pub(crate) steady: Duration,
    pub(crate) steady_warm: Duration,
    /// Commands of the flood of (f), and of the polite load.
    pub(crate) flood: usize,
    /// Polite tenants of (f).
    pub(crate) polite: usize,
    /// How long the quiet tenant of (f) sends before the others begin.
    pub(crate) alone: Duration,
    /// Rows in the inbox of (g).
    pub(crate) history: u64,
    /// Open connections of (h), and commands sent over each.
    pub(crate) open: usize,
    pub(crate) commands_each: usize,
    /// Lines of (i), and of the larger log of (j).
    pub(crate) lines: usize,
}

impl Sizes {
    pub(crate) fn of(quick: bool) -> Self {
        if quick { Self::quick() } else { Self::full() }
    }

    fn full() -> Self {
        Self {
            turns: 2,
            publishes: 50_000,
            webhooks: 50_000,
            control: Duration::from_secs(8),
            control_warm: Duration::from_secs(2),
            backlog: 20_000,
            steady_rate: 500.0,
            steady: Duration::from_secs(22),
            steady_warm: Duration::from_secs(2),
            flood: 50_000,
            polite: 1_000,
            alone: Duration::from_secs(5),
            history: 10_000_000,
            open: 1_000,
            commands_each: 10,
            lines: 10_240_000,
        }
    }

    fn quick() -> Self {
        Self {
            turns: 1,
            publishes: 1_000,
            webhooks: 1_000,
            control: Duration::from_secs(1),
            control_warm: Duration::from_millis(300),
            backlog: 1_000,
            steady_rate: 100.0,
            steady: Duration::from_secs(3),
            steady_warm: Duration::from_secs(1),
            flood: 2_000,
            polite: 100,
            alone: Duration::from_secs(1),
            history: 100_000,
            open: 100,
            commands_each: 3,
            lines: 102_400,
        }
    }
}
