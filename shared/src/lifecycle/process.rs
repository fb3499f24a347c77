//! What every binary does before and after its own work.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, Command};
use metrics_exporter_prometheus::PrometheusHandle;

use super::Drain;
use crate::config::{self, Config, Process, StartFault};
use crate::contract::{CheckedContract, Contract};

/// Exit codes, after `sysexits.h`.
pub mod exit {
    /// Bad configuration or usage: nothing was started.
    pub const USAGE: u8 = 64;
    /// Something this process needs is not installed or not there.
    pub const UNAVAILABLE: u8 = 69;
    /// A part of the process ended by itself.
    pub const SOFTWARE: u8 = 70;
}

/// Errors of a whole process; logged once, by [`run_process`].
pub type ProcessFault = Box<dyn std::error::Error + Send + Sync>;

/// A process whose configuration is sound.
#[derive(Debug)]
pub struct Booted {
    /// The contract without mistakes.
    pub contract: CheckedContract,
    /// Its configuration.
    pub config: Config,
    /// When to stop.
    pub drain: Drain,
    /// The metrics it collects.
    pub metrics: PrometheusHandle,
}

/// Reads arguments and configuration, starts telemetry, runs `work` until it ends or a signal drains it.
/// Mistakes exit with 64 before a port opens; a part that dies by itself exits with 70.
pub fn run_process<W, F>(
    name: &'static str,
    about: &'static str,
    contract: Contract,
    process: Process,
    work: W,
) -> ExitCode
where
    W: FnOnce(Booted) -> F + Send,
    F: Future<Output = Result<(), ProcessFault>>,
{
    deepen_stacks();
    let path = match config_argument(name, about) {
        Ok(path) => path,
        Err(answer) => {
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    let (contract, config) = match config::start(contract, &path, process) {
        Ok(started) => started,
        Err(fault) => return fail(name, exit::USAGE, &fault),
    };
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build();
    let runtime = match threads {
        Ok(runtime) => runtime,
        Err(fault) => return fail(name, exit::SOFTWARE, &fault),
    };
    let whole = || {
        runtime.block_on(async {
            let metrics = crate::telemetry::start(&config.observability)?;
            let drain = Drain::on_signals()?;
            let (ending, limit) = (drain.clone(), drain_limit(&config, process));
            tokio::select! {
                ended = work(Booted { contract, config, drain, metrics }) => ended,
                () = ending.expired(limit) => {
                    tracing::warn!("the drain ended before the work did; the broker delivers again what was in flight");
                    Ok(())
                }
            }
        })
    };
    // Not on the main thread, whose stack is not ours to choose.
    let ended = std::thread::scope(|scope| {
        let main = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, whole);
        main?.join().map_err(|_| ProcessFault::from("the process panicked"))?
    });
    runtime.shutdown_timeout(FAREWELL);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) if fault.is::<StartFault>() => fail(name, exit::USAGE, fault.as_ref()),
        Err(fault) => fail(name, exit::SOFTWARE, fault.as_ref()),
    }
}

/// Longest drain of a process that consumes: three seconds for the COMMIT in flight and one to close connections. A peer
/// that does not answer must not hold the process up any longer.
const DRAIN_LIMIT: Duration = Duration::from_secs(4);
/// How long the end of a process waits for a file that is being written.
const FAREWELL: Duration = Duration::from_millis(500);

/// When a drain that is not done is over all the same. The ingress has its own bound, and half a second to log it.
fn drain_limit(config: &Config, process: Process) -> Duration {
    if process == Process::Ingress { config.http.drain_timeout + FAREWELL } else { DRAIN_LIMIT }
}

/// Stack of every thread, mapped but not used until it is needed.
const STACK_BYTES: usize = 256 << 20;
/// The standard library reads the stack size of threads from here, once.
const STACK_VARIABLE: &str = "RUST_MIN_STACK";

/// Starts this program again with deeper stacks, in the same process. lapin parses header tables by recursion, and one
/// frame of a hostile publisher nests them deep enough to overflow the two MiB that threads get otherwise, which would
/// end the process.
fn deepen_stacks() {
    if std::env::var_os(STACK_VARIABLE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut again = std::process::Command::new(program);
    let fault = again.args(std::env::args_os().skip(1)).env(STACK_VARIABLE, STACK_BYTES.to_string()).exec();
    // The program goes on with the stacks it has.
    let _ = writeln!(std::io::stderr(), "cannot start again with deeper stacks: {fault}");
}

/// Says where a process listens: one JSON line on standard output for whoever started it with port 0, whatever the log
/// level.
pub fn announce(public: Option<SocketAddr>, admin: SocketAddr) {
    let line = match public {
        Some(public) => serde_json::json!({ "listening": public, "admin": admin }),
        None => serde_json::json!({ "admin": admin }),
    };
    let mut out = std::io::stdout().lock();
    // Whoever closed our standard output does not want the line; that is no reason not to serve.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn config_argument(name: &'static str, about: &'static str) -> Result<PathBuf, clap::Error> {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("Configuration file [default: $MILLRACE_CONFIG, else ./millrace.toml]");
    let after = "Every key of the file can be overridden by MILLRACE__SECTION__KEY.\n\
        Exit codes: 0 drained, 64 bad configuration (all mistakes are listed), 70 a part died by itself.";
    let matches = Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .after_help(after)
        .arg(config)
        .try_get_matches()?;
    Ok(matches.get_one::<String>("config").map_or_else(config::default_path, PathBuf::from))
}

fn fail(name: &str, code: u8, fault: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("{name}: {fault}");
    let mut source = fault.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n  because: {cause}"));
        source = cause.source();
    }
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
