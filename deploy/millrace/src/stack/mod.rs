//! `millrace up`, `down` and `scale`: a whole deployment on one machine, with servers of its own.

mod control;
mod files;
mod journey;
mod processes;
mod supervise;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use millrace::contract::Contract;
use serde_json::json;

use crate::local::{Place, stop_leftovers};
use crate::operator::Usage;
use crate::screen::Screen;
use crate::{App, CommandFault};

use control::StateDir;

/// Where a stack keeps its state.
#[derive(Debug, Args)]
struct State {
    /// Folder of the stack: configuration, keys, logs, audit log. Two folders are two stacks side by side.
    #[arg(long = "state", value_name = "DIR", default_value = ".millrace")]
    dir: PathBuf,
}

/// Arguments of `millrace up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    state: State,
    /// Return once everything is ready; `down` stops it.
    #[arg(long)]
    detach: bool,
    /// How many of each worker: billing=4. May be given several times.
    #[arg(long = "workers", value_name = "NAME=COUNT", value_parser = count)]
    workers: Vec<(String, usize)>,
    /// The detached half of `--detach`.
    #[arg(long, hide = true)]
    detached: bool,
}

/// Arguments of `millrace down`.
#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    state: State,
    /// Remove everything the stack wrote as well, the servers' data and the audit log included.
    #[arg(long)]
    purge: bool,
}

/// Arguments of `millrace scale`.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    state: State,
    /// How many of each worker: billing=4.
    #[arg(required = true, value_name = "NAME=COUNT", value_parser = count)]
    workers: Vec<(String, usize)>,
}

/// Most processes of one worker on one machine.
const MOST_WORKERS: usize = 64;
/// How long a stack may take to come up, or to go down.
const PATIENCE: Duration = Duration::from_secs(120);

fn count(text: &str) -> Result<(String, usize), String> {
    let form = || format!("write NAME=COUNT, such as billing=4, with at most {MOST_WORKERS}");
    let (name, number) = text.split_once('=').ok_or_else(form)?;
    let number: usize = number.parse().map_err(|_| form())?;
    if number > MOST_WORKERS { Err(form()) } else { Ok((name.to_owned(), number)) }
}

/// The wanted counts, checked against the contract.
fn wanted(pairs: &[(String, usize)], contract: &Contract) -> Result<BTreeMap<String, usize>, CommandFault> {
    let checked = contract.clone().check().map_err(millrace::config::StartFault::Contract)?;
    let known: Vec<String> = checked.workers().iter().map(ToString::to_string).collect();
    let mut counts: BTreeMap<String, usize> = known.iter().map(|name| (name.clone(), 1)).collect();
    for (name, number) in pairs {
        if !known.contains(name) {
            return Err(Usage(format!("there is no worker {name}; there are: {}", known.join(", "))).into());
        }
        counts.insert(name.clone(), *number);
    }
    Ok(counts)
}

/// Starts the stack, or finds it running.
pub(crate) async fn up(args: Up, app: App, screen: &Screen) -> Result<ExitCode, CommandFault> {
    let counts = wanted(&args.workers, &app.contract)?;
    let state = StateDir::create(&args.state.dir)?;
    let lock = match state.lock() {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            screen.tell(&format!("a stack runs already in {}", state.root().display()));
            addresses(&state, screen)?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(fault) => return Err(fault.into()),
    };
    if args.detach && !args.detached {
        drop(lock);
        return detach(&state, &args, screen).await;
    }
    supervise::run(app, state, counts, screen, args.detached).await?;
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

/// Starts this program again in a session of its own, and shows what it says until it is ready.
async fn detach(state: &StateDir, args: &Up, screen: &Screen) -> Result<ExitCode, CommandFault> {
    let log = state.logs().join("up.log");
    let mut child = processes::spawn_detached(state, &args.workers, &log)?;
    let mut shown = 0;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        shown += show(&log, shown, screen);
        if state.is_ready() {
            addresses(state, screen)?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(status) = child.try_wait()? {
            show(&log, shown, screen);
            return Err(format!("the stack did not start ({status}): read {}", log.display()).into());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("not ready within {} s: read {}", PATIENCE.as_secs(), log.display()).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Shows the log's whole lines beyond the first `from` bytes; returns how many bytes that were.
fn show(log: &Path, from: usize, screen: &Screen) -> usize {
    let text = std::fs::read(log).unwrap_or_default();
    let rest = text.get(from..).unwrap_or_default();
    let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    for line in String::from_utf8_lossy(&rest[..whole]).lines() {
        screen.tell(line);
    }
    whole
}

fn addresses(state: &StateDir, screen: &Screen) -> Result<(), CommandFault> {
    let env = state.read_env()?;
    for (name, value) in &env {
        if ["MILLRACE_HTTP_URL", "MILLRACE_ADMIN_URL", "MILLRACE_AUDIT_LOG", "MILLRACE_DEMO_ORG"]
            .contains(&name.as_str())
        {
            screen.tell(&format!("  {name}={value}"));
        }
    }
    let file = state.env_file();
    screen.done(&format!("ready; all addresses: . {}", file.display()), json!({ "ready": true, "env": file }));
    Ok(())
}

/// Drains and stops a stack, and whatever a killed supervisor left of it.
pub(crate) async fn down(args: Down, screen: &Screen) -> Result<(), CommandFault> {
    let Some(state) = StateDir::open(&args.state.dir)? else {
        screen.done(&format!("there is no stack in {}", args.state.dir.display()), json!({ "stopped": 0 }));
        return Ok(());
    };
    let lock = match state.lock()? {
        Some(lock) => lock,
        None => {
            screen.step("draining");
            state.signal_supervisor(rustix::process::Signal::TERM)?;
            state.wait_for_lock(PATIENCE).await?
        }
    };
    let place: Place = state.place()?;
    let stopped = stop_leftovers(&place.marker, &place).await?;
    if args.purge {
        state.purge()?;
    }
    drop(lock);
    let text = match stopped.len() {
        0 => "stopped".to_owned(),
        n => format!("stopped, with {n} leftover process(es) of a supervisor that was killed"),
    };
    screen.done(&text, json!({ "stopped": true, "leftovers": stopped.len(), "purged": args.purge }));
    Ok(())
}

/// Tells a running supervisor the new counts, and waits until they are true.
pub(crate) async fn scale(args: &Scale, screen: &Screen) -> Result<(), CommandFault> {
    let Some(state) = StateDir::open(&args.state.dir)?.filter(|state| matches!(state.lock(), Ok(None))) else {
        return Err(Usage(format!("no stack runs in {}: start it with up", args.state.dir.display())).into());
    };
    let mut counts = state.read_counts()?;
    for (name, number) in &args.workers {
        if !counts.contains_key(name) {
            let known: Vec<&str> = counts.keys().map(String::as_str).collect();
            return Err(Usage(format!("there is no worker {name}; there are: {}", known.join(", "))).into());
        }
        counts.insert(name.clone(), *number);
    }
    state.write_counts(&counts)?;
    state.signal_supervisor(rustix::process::Signal::USR1)?;
    state.wait_for_counts(&counts, PATIENCE).await?;
    let text: Vec<String> = counts.iter().map(|(name, number)| format!("{name}={number}")).collect();
    screen.done(&format!("running {}", text.join(" ")), json!({ "workers": counts }));
    Ok(())
}
