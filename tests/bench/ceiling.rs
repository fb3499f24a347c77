//! (a) What the broker can take: raw lapin, the same messages to the same queue under the same policy as the ingress.

use std::time::Instant;

use super::bed::{Bed, TENANTS};
use super::options::Part;
use super::publish::{Broker, OURS, Prepared, Variation};
use super::report::Figures;
use super::{Bench, progress};

/// The best of these is the ceiling; the first is what the product's publisher does.
const VARIATIONS: [Variation; 6] = [
    OURS,
    Variation { connections: 1, channels: 1, window: 512 },
    Variation { connections: 1, channels: 2, window: 1_024 },
    Variation { connections: 2, channels: 1, window: 512 },
    Variation { connections: 2, channels: 2, window: 256 },
    Variation { connections: 4, channels: 1, window: 256 },
];

/// As many outstanding as (b) has connections: how much of the distance is that, and not the ingress.
const SAME: Variation = Variation { connections: 1, channels: 2, window: 32 };

const QUEUE: &str = "work.billing.main";
const KEY: &str = "billing.main";

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let bed = Bed::new(bench.servers, TENANTS).await;
    let mut best = (0.0, OURS);
    for variation in VARIATIONS {
        let rate = rate(&bed, variation, bed.messages.webhooks(bench.sizes.publishes)).await;
        progress(format_args!("    {rate:.0}/s with {variation}"));
        if rate > best.0 {
            best = (rate, variation);
        }
    }
    figures.add("a.rate", best.0);
    figures.note(Part::Ceiling, format!("best of {} variations: {:.0}/s with {}", VARIATIONS.len(), best.0, best.1));
    let same = rate(&bed, SAME, bed.messages.webhooks(bench.sizes.publishes)).await;
    figures.add("a.same", same);
    bed.end(Vec::new()).await;
}

async fn rate(bed: &Bed, variation: Variation, messages: Vec<Prepared>) -> f64 {
    let broker = Broker::connect(&bed.world.broker_url().await, variation).await;
    let count = messages.len();
    let began = Instant::now();
    broker.publish(KEY, messages).await;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    broker.purge(QUEUE).await;
    broker.close().await;
    rate
}
