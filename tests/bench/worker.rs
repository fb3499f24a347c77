//! (d) The worker: a full queue, then 1, 2 and 4 processes that empty it.

use millrace_tests::Program;

use super::bed::{Bed, TENANTS};
use super::commits::Applied;
use super::options::Part;
use super::publish::Prepared;
use super::report::Figures;
use super::{Bench, progress};

/// A workload of one kind of worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    worker: &'static str,
    applied: Applied,
}

/// `projects.create` on a plan without limits.
pub(crate) const COMMANDS: Work = Work { worker: "projects", applied: Applied::Projects };
/// `invoice.payment_succeeded` of linked customers.
const WEBHOOKS: Work = Work { worker: "billing", applied: Applied::History };

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    for (processes, key) in [(1, "d.1"), (2, "d.2"), (4, "d.4")] {
        let bed = Bed::new(bench.servers, TENANTS).await;
        let rate = rate(&bed, COMMANDS, bed.messages.commands("project", bench.sizes.backlog), processes).await;
        progress(format_args!("    {rate:.0}/s with {processes} process(es)"));
        figures.add(key, rate);
        bed.end(Vec::new()).await;
    }
    let bed = Bed::new(bench.servers, TENANTS).await;
    figures.add("d.stripe", rate(&bed, WEBHOOKS, bed.messages.webhooks(bench.sizes.backlog), 1).await);
    bed.end(Vec::new()).await;
    figures.note(
        Part::Worker,
        format!(
            "{} messages in the queue before the workers start; rate over the middle 80 % of the commits; neither relay nor \
             audit worker runs",
            bench.sizes.backlog
        ),
    );
}

/// Fills the queue, lets processes empty it, and says how fast the middle of it was applied.
pub(crate) async fn rate(bed: &Bed, work: Work, messages: Vec<Prepared>, processes: usize) -> f64 {
    let count = messages.len();
    bed.fill(work.worker, messages).await;
    bed.checkpoint().await;
    let program = format!("millrace-{}", work.worker);
    let workers: Vec<Program> = (0..processes).map(|_| bed.world.start(&program)).collect();
    let pool = bed.world.superuser();
    work.applied.wait(pool, count).await;
    for worker in workers {
        worker.terminate().await;
    }
    work.applied.rate(pool).await
}
