//! (b) The ingress under signed, distinct events: every 200 is a message in the queue.

use super::Bench;
use super::bed::{Bed, TENANTS};
use super::http_load::{BROKEN, Load, Pace};
use super::options::Part;
use super::publish::{Broker, OURS};
use super::report::Figures;

const CONNECTIONS: usize = 64;
const QUEUE: &str = "work.billing.main";

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let bed = Bed::new(bench.servers, TENANTS).await;
    let (ingress, address) = bed.start_ingress().await;
    let requests = bed.messages.webhook_requests(&bed.world, bench.sizes.webhooks);
    let answers = Load::new(address, CONNECTIONS, Pace::Closed).send(requests).await;

    figures.add("b.rate", answers.per_second());
    figures.percentiles(["b.p50", "b.p99", "b.p999"], &answers.millis());
    figures.add("b.5xx", answers.count(|status| status == BROKEN || status >= 500) as f64);
    figures.add("b.other", answers.count(|status| status != 200) as f64);
    let accepted = answers.count(|status| status == 200);
    let queued = queued(&bed, accepted).await;
    figures
        .note(Part::Ingress, format!("answers of one turn: {}; messages in the queue: {queued}", answers.statuses()));
    figures.note(Part::Ingress, "bodies are signed before the clock starts; nobody consumes, as in (a)");
    bed.end(vec![ingress]).await;
}

/// Messages in the queue. The broker counts the last ones a little after it has confirmed them.
async fn queued(bed: &Bed, accepted: usize) -> usize {
    let broker = Broker::connect(&bed.world.broker_url().await, OURS).await;
    let queued = millrace_tests::eventually("every 200 is in the queue", async || {
        Some(broker.depth(QUEUE).await).filter(|depth| *depth >= accepted)
    })
    .await;
    broker.close().await;
    queued
}
