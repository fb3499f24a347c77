//! `deploy/bench`: how fast, beside what, on this machine. One file a part; every figure is in [`catalogue`].

mod append;
mod audit_supply;
mod audit_watch;
mod bare;
mod bed;
mod catalogue;
mod ceiling;
mod commits;
mod control;
mod fairness;
mod history;
mod http_load;
mod ingress;
mod latency;
mod machine;
mod memory;
mod messages;
mod options;
mod percentiles;
mod publish;
mod report;
mod statements;
mod verify;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use millrace::lifecycle::exit;
use millrace_tests::{Servers, binary};

use history::Histories;
use machine::Machine;
use options::{Options, Part, Sizes};
use report::{Figures, Report};

/// Exit code when a figure misses its mark.
const MISSED: u8 = 1;

/// Programs that the parts start.
const PROGRAMS: [&str; 6] =
    ["millrace", "millrace-ingress", "millrace-billing", "millrace-projects", "millrace-relay", "millrace-audit"];

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error("{} is not there: run deploy/bench, which builds it, or name the folder in MILLRACE_PROGRAMS", .0.display())]
    Program(PathBuf),
    #[error(transparent)]
    Server(#[from] millrace_cli::local::LocalError),
    #[error("a process may open {0} files, and (h) needs {1}: raise the limit with ulimit -n")]
    Files(u64, u64),
    #[error(
        "(i) and (j) need {needed} MiB below {}, and {free} are free: free some, name a larger place in TMPDIR, or leave \
         these parts out", place.display()
    )]
    Room { place: PathBuf, needed: u64, free: u64 },
}

/// What all parts measure on.
struct Bench {
    servers: &'static Servers,
    sizes: Sizes,
    histories: Option<Histories>,
    /// The log that (i) has written last.
    audit_log: Option<tempfile::TempDir>,
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(answer) => {
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    // Before half an hour is spent on what cannot be written.
    if let Some(path) = &options.json
        && let Err(fault) = std::fs::write(path, "")
    {
        eprintln!("deploy/bench: cannot write {}: {fault}; choose another file", path.display());
        return ExitCode::from(exit::USAGE);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match catch_unwind(AssertUnwindSafe(|| runtime.block_on(measure(&options)))) {
        Ok(Ok(report)) => finish(&options, &report),
        Ok(Err(missing)) => {
            eprintln!("deploy/bench: {missing}");
            ExitCode::from(exit::UNAVAILABLE)
        }
        // The panic has said what happened.
        Err(_) => ExitCode::from(exit::SOFTWARE),
    }
}

fn finish(options: &Options, report: &Report) -> ExitCode {
    print!("{}", report.table(report::colours()));
    if let Some(path) = &options.json
        && let Err(fault) = std::fs::write(path, report.json())
    {
        eprintln!("deploy/bench: cannot write {}: {fault}", path.display());
        return ExitCode::from(exit::SOFTWARE);
    }
    if report.holds() { ExitCode::SUCCESS } else { ExitCode::from(MISSED) }
}

/// Says on standard error what is going on.
fn progress(text: impl std::fmt::Display) {
    eprintln!("bench: {text}");
}

async fn measure(options: &Options) -> Result<Report, Missing> {
    let parts = options.parts();
    let sizes = Sizes::of(options.quick);
    check(&parts, &sizes)?;
    let began = Instant::now();
    progress("starting a private PostgreSQL and a private RabbitMQ, both with fsync on");
    let servers: &'static Servers = Box::leak(Box::new(Servers::durable().await?));
    bed::with_commit_times(servers).await;
    let mut bench = Bench { servers, sizes, histories: None, audit_log: None };
    let machine = Machine::read(servers).await;
    let mut figures = Figures::default();
    for run in 1..=options.runs.get() {
        progress(format_args!("run {run} of {}", options.runs));
        machine::fsync(servers.data(), &mut figures);
        for part in &turns(&parts, sizes.turns) {
            let part_began = Instant::now();
            progress(format_args!("({}) {}", part.letter(), part.title()));
            run_part(*part, &mut bench, &mut figures).await;
            progress(format_args!("({}) took {:.0} s", part.letter(), part_began.elapsed().as_secs_f64()));
        }
        figures.end_run();
    }
    if let Some(histories) = bench.histories.take() {
        histories.discard().await;
    }
    Ok(Report { machine, figures, quick: options.quick, runs: options.runs.get(), parts, took: began.elapsed() })
}

/// The parts of one run. Ceiling and ingress take turns, since what one of them is beside the other must not depend on a
/// disk that was faster a minute ago.
fn turns(parts: &[Part], turns: usize) -> Vec<Part> {
    let (edge, rest): (Vec<Part>, Vec<Part>) =
        parts.iter().partition(|part| matches!(part, Part::Ceiling | Part::Ingress));
    [edge.repeat(turns), rest].concat()
}

async fn run_part(part: Part, bench: &mut Bench, figures: &mut Figures) {
    match part {
        Part::Ceiling => ceiling::measure(bench, figures).await,
        Part::Ingress => ingress::measure(bench, figures).await,
        Part::Control => control::measure(bench, figures).await,
        Part::Worker => worker::measure(bench, figures).await,
        Part::Latency => latency::measure(bench, figures).await,
        Part::Fairness => fairness::measure(bench, figures).await,
        Part::History => history::measure(bench, figures).await,
        Part::Append => append::measure(bench, figures).await,
        Part::Verify => verify::measure(bench, figures).await,
        Part::Memory => memory::measure(bench, figures).await,
    }
}

fn check(parts: &[Part], sizes: &Sizes) -> Result<(), Missing> {
    for program in PROGRAMS {
        let path = binary(program);
        if !path.is_file() {
            return Err(Missing::Program(path));
        }
    }
    let (open, needed) = (machine::open_files(), memory::files(sizes));
    if parts.contains(&Part::Memory) && open < needed {
        return Err(Missing::Files(open, needed));
    }
    if parts.iter().any(|part| matches!(part, Part::Append | Part::Verify)) {
        let place = std::env::temp_dir();
        let (free, needed) = (machine::free_mib(&place), audit_supply::needed_mib(sizes.lines));
        if free < needed {
            return Err(Missing::Room { place, needed, free });
        }
    }
    Ok(())
}
