//! (g) The worker with an empty inbox, and with years of claims in it, on a server whose buffers hold a fraction of them.

use super::bed::{Bed, TENANTS, configure};
use super::options::Part;
use super::report::Figures;
use super::worker::{COMMANDS, rate};
use super::{Bench, progress};

/// Far less than the indexes of ten million claims.
const SHARED_BUFFERS: &str = "64MB";
/// The table that claims go to at present.
const INBOX: &str = "engine.inbox_a";
/// A claim of the past: a tenant, a publisher and a key, as random as the real ones.
const CLAIMS: &str = "INSERT INTO engine.inbox_a (key, holder, org_id, publisher)
  SELECT gen_random_uuid(), gen_random_uuid()::text, 'org_' || lpad((n % 100)::text, 4, '0'), 'ingress'
  FROM generate_series(1, $rows) AS n";

/// Two worlds that live through all runs, because filling one takes a minute.
pub(crate) struct Histories {
    empty: Bed,
    full: Bed,
    /// Commands of each run have names of their own.
    runs: usize,
}

impl Histories {
    async fn make(bench: &Bench) -> Self {
        configure(bench.servers, &format!("shared_buffers = '{SHARED_BUFFERS}'")).await;
        let (empty, full) = (Bed::new(bench.servers, TENANTS).await, Bed::new(bench.servers, TENANTS).await);
        progress(format_args!("    filling an inbox with {} claims", bench.sizes.history));
        fill(&full, bench.sizes.history).await;
        Self { empty, full, runs: 0 }
    }

    pub(crate) async fn discard(self) {
        self.empty.end(Vec::new()).await;
        self.full.end(Vec::new()).await;
    }
}

pub(crate) async fn measure(bench: &mut Bench, figures: &mut Figures) {
    let mut histories = match bench.histories.take() {
        Some(histories) => histories,
        None => Histories::make(bench).await,
    };
    configure(bench.servers, &format!("shared_buffers = '{SHARED_BUFFERS}'")).await;
    let mut order = [(&histories.empty, "g.empty"), (&histories.full, "g.full")];
    // Whatever the first one leaves in caches is the second one's, so they take turns.
    if histories.runs % 2 == 1 {
        order.reverse();
    }
    for (bed, key) in order {
        forget(bed, bed.world.name() == histories.empty.world.name()).await;
        let messages = bed.messages.commands(&format!("run{}", histories.runs), bench.sizes.backlog);
        let rate = rate(bed, COMMANDS, messages, 1).await;
        progress(format_args!("    {rate:.0}/s, {key}"));
        figures.add(key, rate);
    }
    let full = &histories.full.world;
    let size = |of: &str| format!("SELECT {of}('{INBOX}')");
    figures.add("g.rows", full.count(&format!("SELECT count(*) FROM {INBOX}")).await as f64);
    figures.add("g.index", full.count(&size("pg_indexes_size")).await as f64 / MIB);
    let buffers = "SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers'";
    figures.add("g.buffers", full.count(buffers).await as f64 / MIB);
    figures.note(Part::History, "as (d), after ANALYZE and CHECKPOINT; the two take turns at being first");
    histories.runs += 1;
    bench.histories = Some(histories);
    configure(bench.servers, "shared_buffers TO DEFAULT").await;
}

const MIB: f64 = 1024.0 * 1024.0;

/// Takes away what the run before applied, so that only the inbox differs.
async fn forget(bed: &Bed, inbox_too: bool) {
    let inbox = if inbox_too { format!(", {INBOX}") } else { String::new() };
    let tables = "app.projects, app.usage_counters, engine.operations, engine.outbox";
    bed.world.execute(&format!("TRUNCATE {tables}{inbox}")).await;
    bed.world.execute("VACUUM ANALYZE").await;
}

/// Claims without their indexes first, which are made afterwards: random keys into a large index would take an hour.
async fn fill(bed: &Bed, rows: u64) {
    let constraints: Vec<(String, String)> = sqlx::query_as(
        "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE conrelid = $1::regclass AND contype IN ('p', 'u')",
    )
    .bind(INBOX)
    .fetch_all(bed.world.superuser())
    .await
    .expect("constraints");
    for (name, _) in &constraints {
        bed.world.execute(&format!("ALTER TABLE {INBOX} DROP CONSTRAINT {name}")).await;
    }
    bed.world.execute(&CLAIMS.replace("$rows", &rows.to_string())).await;
    for (name, definition) in &constraints {
        let make = format!("ALTER TABLE {INBOX} ADD CONSTRAINT {name} {definition}");
        bed.world.execute(&format!("SET maintenance_work_mem = '512MB'; {make}; RESET maintenance_work_mem")).await;
    }
}
