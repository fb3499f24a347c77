//! `deploy/chaos`: see `--help`.

use std::io::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use millrace_tests::chaos::report::{End, Outcome, table};
use millrace_tests::chaos::run::{Options, run};
use millrace_tests::chaos::schedule::Kind;
use millrace_tests::chaos::stage::Sabotage;

const AFTER: &str = "\
What a run does: it starts PostgreSQL, a RabbitMQ cluster and every program of Millrace, sends signed webhooks, commands over
HTTP and commands of a service, each once to three times and out of order, until each is confirmed, and meanwhile kills,
stops, blocks and cuts whatever runs. Two of the messages kill every worker that handles them. Then it mends everything,
waits until nothing is on its way, and compares the senders' own record with the effects, the answers, the dead letters and
the audit log; it never asks the inbox.

The plan of a seed (messages, copies, order, faults) is always the same. How threads and processes meet is not, so a seed
that failed may have to run more than once.

Examples:
  deploy/chaos                                 seed 1
  deploy/chaos --seed 1..5 --json chaos.json   five worlds, one after the other
  deploy/chaos --only kill,abort --brokers 1   only workers die
  deploy/chaos --sabotage no_inbox             shows that the oracle sees doubled effects

Exit codes: 0 everything held (with --sabotage: the oracle noticed), 1 something lost, doubled, crossed or unaudited (with
--sabotage: not noticed), 2 something never came to its end, 64 wrong usage, 69 something is not installed, 101 a server
that was broken did not come back.";

/// Breaks every part of Millrace while it works, and counts what came of each message
#[derive(Parser)]
#[command(name = "deploy/chaos", bin_name = "deploy/chaos", after_help = AFTER)]
struct Arguments {
    /// One seed, or a range such as 1..5; each runs in a world of its own
    #[arg(long, default_value = "1", value_parser = seeds)]
    seed: RangeInclusive<u64>,
    /// How long things break, for each seed
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
    /// Messages a second, each sent once to three times
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(1..=2000))]
    rate: u64,
    /// Nodes of the RabbitMQ cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3))]
    brokers: u64,
    /// Only these kinds of fault
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULTS")]
    only: Vec<Kind>,
    /// Take a guard away; the run then has to show its absence
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// Write the result there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |text: &str| text.trim_start_matches('=').parse::<u64>().map_err(|fault| fault.to_string());
    let range = match text.split_once("..") {
        Some((first, last)) => number(first)?..=number(last)?,
        None => number(text)?..=number(text)?,
    };
    if range.is_empty() { Err("the range is empty".to_owned()) } else { Ok(range) }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() { 64 } else { 0 });
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut outcomes = Vec::new();
    for seed in arguments.seed.clone() {
        let began = Instant::now();
        let say = move |what: String| {
            let _ = writeln!(std::io::stderr(), "[seed {seed} {:6.1} s] {what}", began.elapsed().as_secs_f64());
        };
        let kinds = if arguments.only.is_empty() { Kind::ALL.to_vec() } else { arguments.only.clone() };
        let options = Options {
            seed,
            seconds: arguments.seconds,
            rate: arguments.rate,
            brokers: usize::try_from(arguments.brokers).unwrap_or(1),
            kinds,
            sabotage: arguments.sabotage,
            short: false,
        };
        let outcome = runtime.block_on(run(&options, &say));
        say(outcome.says());
        outcomes.push(outcome);
    }
    report(&arguments, &outcomes)
}

fn report(arguments: &Arguments, outcomes: &[Outcome]) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{}", table(outcomes));
    if let Some(path) = &arguments.json {
        let runs: Vec<_> = outcomes.iter().map(Outcome::json).collect();
        let text = serde_json::to_string_pretty(&serde_json::json!({ "runs": runs })).unwrap_or_default();
        if let Err(fault) = std::fs::write(path, text + "\n") {
            let _ = writeln!(std::io::stderr(), "cannot write {}: {fault}", path.display());
            return ExitCode::from(64);
        }
    }
    match outcomes.iter().map(Outcome::end).max() {
        Some(End::Broken) => ExitCode::from(1),
        Some(End::Unsettled) => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}
