//! Defects made on purpose, one at a time, on the clone: a proof that stays green with one of them is worth nothing.

use std::collections::BTreeSet;

use millrace::db::DbFault;
use millrace::db::probe::{Outcome, ProbeTx, Refusal, Scope, UNSEALED, WITH_TRIGGERS, WITHOUT_TRIGGERS};

use super::catalogue::{Model, ORG, Reference, Table};
use super::checks;
use super::expected::CANONICAL;
use super::probes::{Bench, FORGED, Probe, duplicate_of, reference_by};
use super::report::{Failure, Proof};
use super::seed::{literal, quoted};

/// Types that no index of the usual kind takes.
const UNSORTED: [&str; 3] = ["json", "xml", "point"];

/// PostgreSQL's code for a unique index on a partitioned table that leaves out a column of the partition key.
const UNSUPPORTED: &str = "0A000";

/// A defect, and how to make it.
#[derive(Debug)]
struct Mutant {
    name: String,
    statements: Vec<String>,
    /// The catalogue has to show it; what only a probe can see has no mark there.
    in_catalogue: bool,
    /// The probe that has to see it, where the table has that probe.
    aimed: String,
}

impl Mutant {
    fn new(name: &str, aimed: &str, statements: &[String]) -> Self {
        Self { name: name.to_owned(), statements: statements.to_vec(), in_catalogue: true, aimed: aimed.to_owned() }
    }

    /// What is wrong with the proof, when this is what saw the mutant.
    fn survives(&self, by: &[String], in_catalogue: bool, probes: &[Probe]) -> Option<String> {
        if self.in_catalogue && !in_catalogue {
            return Some("the catalogue does not show it".to_owned());
        }
        let aimed = probes.iter().any(|probe| probe.name == self.aimed);
        let missed = aimed && !by.contains(&self.aimed);
        (missed || by.is_empty()).then(|| format!("probe {} does not see it", self.aimed))
    }
}

/// Every defect of a table of the engine that tenants read; how it is written, the list of its policies says.
fn reader_mutants(table: &Table) -> Vec<Mutant> {
    let t = &table.name;
    let disabled = [format!("ALTER TABLE {t} DISABLE ROW LEVEL SECURITY")];
    let unforced = [format!("ALTER TABLE {t} NO FORCE ROW LEVEL SECURITY")];
    let mut all = vec![
        Mutant::new("DISABLE ROW LEVEL SECURITY", "SELECT of reader", &disabled),
        Mutant::new("NO FORCE ROW LEVEL SECURITY", "", &unforced),
    ];
    if let Some(policy) = table.reader_policy.as_deref().map(quoted) {
        let open = [format!("ALTER POLICY {policy} ON {t} USING (true)")];
        all.push(Mutant::new("USING (true)", "SELECT of reader", &open));
        all.push(Mutant::new("policy dropped", "own SELECT of reader", &[format!("DROP POLICY {policy} ON {t}")]));
    }
    let extra = [format!("CREATE POLICY prove_extra ON {t} FOR SELECT TO millrace_reader USING (true)")];
    all.push(Mutant::new("additional permissive policy", "SELECT of reader", &extra));
    all
}

/// Every defect of a table.
fn mutants(model: &Model, table: &Table, tenant: &str) -> Vec<Mutant> {
    if !table.tenant {
        return reader_mutants(table);
    }
    let t = &table.name;
    let mut all = vec![
        Mutant::new("DISABLE ROW LEVEL SECURITY", "SELECT", &[format!("ALTER TABLE {t} DISABLE ROW LEVEL SECURITY")]),
        Mutant::new(
            "NO FORCE ROW LEVEL SECURITY",
            "SELECT of owner",
            &[format!("ALTER TABLE {t} NO FORCE ROW LEVEL SECURITY")],
        ),
    ];
    if let Some(policy) = table.policy.as_deref().map(quoted) {
        let dropped = format!("DROP POLICY {policy} ON {t}");
        let again = format!("CREATE POLICY {policy} ON {t} FOR ALL TO millrace_app USING {CANONICAL}");
        all.push(Mutant::new("policy dropped", "own SELECT", std::slice::from_ref(&dropped)));
        all.push(Mutant::new("USING (true)", "SELECT", &[format!("ALTER POLICY {policy} ON {t} USING (true)")]));
        all.push(Mutant::new("WITH CHECK dropped", "", &[dropped, again]));
        all.push(Mutant::new(
            "WITH CHECK (true)",
            "INSERT for another tenant",
            &[format!("ALTER POLICY {policy} ON {t} WITH CHECK (true)")],
        ));
    }
    let extra = format!("CREATE POLICY prove_extra ON {t} FOR SELECT TO millrace_app USING (true)");
    all.push(Mutant::new("additional permissive policy", "SELECT", &[extra]));
    let view = [format!("CREATE VIEW app.prove_view AS SELECT * FROM {t}"), grant("SELECT", "app.prove_view")];
    all.push(Mutant::new("view without security_invoker", "", &view));
    // Every child has row-level security of its own or none: a partition is made where there are partitions.
    let child = if table.partitioned { format!("(LIKE {t})") } else { format!("() INHERITS ({t})") };
    let child = [format!("CREATE TABLE app.prove_partition {child}"), grant("SELECT", "app.prove_partition")];
    all.push(Mutant::new("extra partition without row-level security", "", &child));
    all.push(Mutant::new("TRUNCATE granted", "TRUNCATE", &[grant("TRUNCATE", t)]));
    if table.readable {
        let granted = format!("GRANT UPDATE, DELETE ON {t} TO millrace_reader");
        all.push(Mutant::new("reader may write", "UPDATE of reader", &[granted]));
    }
    all.push(Mutant {
        in_catalogue: false,
        ..Mutant::new("cur_org() without its MAC", FORGED, &[UNSEALED.to_owned()])
    });
    all.extend(unique_mutants(table, tenant));
    all.extend(table.references.iter().filter_map(|reference| reference_mutant(model, table, reference, tenant)));
    all
}

fn grant(right: &str, table: &str) -> String {
    format!("GRANT {right} ON {table} TO millrace_app")
}

/// Two rows may share a value that is a tenant's own, so one of them makes way for the index.
fn without_rows(tables: &[&str], tenant: &str) -> Vec<String> {
    let deletes = tables.iter().map(|table| format!("DELETE FROM {table} WHERE {ORG} = {}", literal(tenant)));
    let all = std::iter::once(WITHOUT_TRIGGERS.to_owned()).chain(deletes);
    all.chain([WITH_TRIGGERS.to_owned()]).collect()
}

fn list(columns: &[&String]) -> String {
    columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ")
}

/// One for each key of more than the tenant; for a table without such a key, one on its first other column.
fn unique_mutants(table: &Table, tenant: &str) -> Vec<Mutant> {
    let rest = |key: &[String]| key.iter().filter(|column| *column != ORG).cloned().collect::<Vec<String>>();
    let keys = table.keys.iter().map(|key| (rest(key), duplicate_of(key)));
    let mut keys: Vec<(Vec<String>, String)> = keys.filter(|(rest, _)| !rest.is_empty()).collect();
    if keys.is_empty() {
        let mut others = table.columns.iter().filter(|column| column.name != ORG);
        let other = others.find(|column| !UNSORTED.contains(&column.kind.as_str()));
        keys.extend(other.map(|column| (vec![column.name.clone()], String::new())));
    }
    let mutants = keys.iter().map(|(key, aimed)| {
        let columns: Vec<&String> = key.iter().collect();
        let mut statements = without_rows(&[&table.name], tenant);
        statements.push(format!("CREATE UNIQUE INDEX prove_unique ON {} ({})", table.name, list(&columns)));
        Mutant::new(&format!("org_id removed from a unique index ({})", key.join(", ")), aimed, &statements)
    });
    mutants.collect()
}

/// A reference to another tenant table by what is not the tenant.
fn reference_mutant(model: &Model, table: &Table, reference: &Reference, tenant: &str) -> Option<Mutant> {
    let parent = model.tables.get(&reference.table).filter(|parent| parent.tenant)?;
    let pairs = reference.columns.iter().zip(&reference.table_columns).filter(|(column, _)| *column != ORG);
    let (own, other): (Vec<&String>, Vec<&String>) = pairs.unzip();
    if own.is_empty() {
        return None;
    }
    let mut statements = without_rows(&[&table.name, &parent.name], tenant);
    statements.push(format!("ALTER TABLE {} DROP CONSTRAINT {}", table.name, quoted(&reference.name)));
    statements.push(format!("CREATE UNIQUE INDEX prove_parent ON {} ({})", parent.name, list(&other)));
    statements.push(format!(
        "ALTER TABLE {} ADD CONSTRAINT prove_reference FOREIGN KEY ({}) REFERENCES {} ({})",
        table.name,
        list(&own),
        parent.name,
        list(&other)
    ));
    let name = format!("org_id removed from a foreign key ({})", reference.name);
    Some(Mutant::new(&name, &reference_by(reference), &statements))
}

/// Makes every defect of a table, one at a time, and undoes it; each must be seen, and each probe must see one.
pub(super) async fn hunt(
    tx: &mut ProbeTx,
    bench: &Bench<'_>,
    table: &Table,
    baseline: &BTreeSet<Failure>,
    proof: &mut Proof,
) -> Result<(), DbFault> {
    let probes = bench.probes(table);
    let mut seen_by = BTreeSet::new();
    for mutant in mutants(bench.model, table, bench.tenants.a.id.as_str()) {
        tx.restart().await?;
        if let Some(refusal) = make(tx, &mutant).await? {
            if table.partitioned && refusal.code == UNSUPPORTED {
                note(proof, table, mutant, vec!["PostgreSQL, which refuses it".to_owned()]);
            } else {
                let what = format!("mutant {} could not be made", mutant.name);
                let said = format!("{} {}", refusal.code, refusal.message);
                proof.failures.push(Failure::new(&table.name, &what, &said));
            }
            continue;
        }
        let in_catalogue = checks::defects(tx).await?.difference(baseline).next().is_some();
        let red = bench.run(tx, table, &probes).await?;
        proof.probes += probes.len() as u64;
        let mut by: Vec<String> = red.into_iter().map(|(name, _)| name).collect();
        seen_by.extend(by.iter().cloned());
        if in_catalogue {
            by.insert(0, "catalogue".to_owned());
        }
        if let Some(found) = mutant.survives(&by, in_catalogue, &probes) {
            proof.failures.push(Failure::new(&table.name, &format!("mutant {} survived", mutant.name), &found));
        } else {
            note(proof, table, mutant, by);
        }
    }
    tx.restart().await?;
    let blind = |probe: &&Probe| !probe.control && !seen_by.contains(&probe.name);
    proof.failures.extend(probes.iter().filter(blind).map(|probe| {
        Failure::new(&table.name, &format!("probe {} cannot turn red", probe.name), "no mutant changes its answer")
    }));
    Ok(())
}

fn note(proof: &mut Proof, table: &Table, mutant: Mutant, by: Vec<String>) {
    proof.mutants_killed.entry(table.name.clone()).or_default().insert(mutant.name, by);
}

/// Why it could not be made.
async fn make(tx: &mut ProbeTx, mutant: &Mutant) -> Result<Option<Refusal>, DbFault> {
    for statement in &mutant.statements {
        if let Outcome::Refused(refusal) = tx.keep(Scope::Untouched, statement).await? {
            return Ok(Some(refusal));
        }
    }
    Ok(None)
}
