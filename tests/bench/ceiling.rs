//! (a) What the broker can take: raw lapin, the same messages to the same queue under the same policy as the ingress.

use std::time::Instant;

use super::bed::{Bed, TENANTS};
use super::publish::{Broker, OURS, Prepared, Variation};
use super::report::Figures;
use super::{Bench, progress};

/// The best of these is the ceiling; the second is what the product's publisher does.
const VARIATIONS: [(&str, Variation); 6] = [
    ("a.1x1", Variation { connections: 1, channels: 1, window: 512 }),
    ("a.1x2", OURS),
    ("a.1x2.deep", Variation { connections: 1, channels: 2, window: 1_024 }),
    ("a.2x1", Variation { connections: 2, channels: 1, window: 512 }),
    ("a.2x2", Variation { connections: 2, channels: 2, window: 256 }),
    ("a.4x1", Variation { connections: 4, channels: 1, window: 256 }),
];

/// As many outstanding as (b) has connections: how much of the distance is that, and not the ingress.
const SAME: Variation = Variation { connections: 1, channels: 2, window: 32 };

const QUEUE: &str = "work.billing.main";
const KEY: &str = "billing.main";

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let bed = Bed::new(bench.servers, TENANTS).await;
    for (key, variation) in VARIATIONS {
        let rate = rate(&bed, variation, bed.messages.webhooks(bench.sizes.publishes)).await;
        progress(format_args!("    {rate:.0}/s with {variation}"));
        figures.add(key, rate);
    }
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
