//! (h) Memory: the ingress with many open connections that have each sent commands, and the processes behind it.

use std::fs;

use millrace_tests::Program;
use tokio::sync::oneshot;

use super::Bench;
use super::bed::{Bed, TENANTS};
use super::commits::Applied;
use super::http_load::{Load, Pace};
use super::latency::accepted;
use super::messages::Messages;
use super::options::{Part, Sizes};
use super::report::Figures;

const SERIES: &str = "open";
/// Files that a process has open beside its connections.
const OTHER_FILES: u64 = 200;

/// How many open files the ingress, and this program, need.
pub(crate) fn files(sizes: &Sizes) -> u64 {
    sizes.open as u64 + OTHER_FILES
}

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let Sizes { open, commands_each, backlog, .. } = bench.sizes;
    let backlog = backlog / 2;
    let mut bed = Bed::new(bench.servers, TENANTS).await;
    // A closed loop over all connections is no polite tenant; everything is to be accepted.
    bed.world.set("MILLRACE__LIMITS__HARD_RATE", "1000000");
    let (ingress, address) = bed.start_ingress().await;
    let others = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| bed.world.start(program));

    let tokens: Vec<String> = (0..TENANTS).map(|n| Messages::caller(&bed.messages.org(n)).token()).collect();
    let count = open * commands_each;
    let requests = (0..count).map(|n| Messages::command_request(&tokens[n % TENANTS], SERIES, n)).collect();
    let (release, hold) = oneshot::channel();
    let load = Load { hold: Some(hold), ..Load::new(address, open, Pace::Closed) };
    let answers = load.send(requests).await;
    accepted(&answers);
    figures.add("h.connections", open as f64);
    figures.add("h.ingress", resident(&ingress, "VmRSS"));
    figures.add("h.ingress.peak", resident(&ingress, "VmHWM"));

    // The others get a backlog as in (d), to show what they need at most.
    bed.fill("projects", bed.messages.commands("project", backlog)).await;
    Applied::Projects.wait(bed.world.superuser(), count + backlog).await;
    bed.world.until_lines("applied", count + backlog).await;
    let keys = ["h.worker.peak", "h.relay.peak", "h.audit.peak"];
    for (program, key) in others.iter().zip(keys) {
        figures.add(key, resident(program, "VmHWM"));
    }
    figures.note(Part::Memory, format!("ingress: {count} commands over {open} connections, all of them still open"));
    figures.note(Part::Memory, format!("the others: those commands and {backlog} more that waited in the queue"));
    // The connections end with this program at the latest.
    let _ = release.send(());
    bed.end(std::iter::once(ingress).chain(others).collect::<Vec<Program>>()).await;
}

/// A line of `/proc/<pid>/status`, in MiB.
fn resident(program: &Program, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).expect("a running process");
    let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    let kib: f64 = value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).expect("a size");
    kib / 1024.0
}
