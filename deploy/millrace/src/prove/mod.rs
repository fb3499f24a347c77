//! `millrace prove`: shows that no tenant reaches another, and that the showing could have failed.
//!
//! Driven by the catalogue alone, so that an adopter's tables are covered unasked. The live database is read, and
//! probed in transactions that roll back; every deliberate defect is made on a clone of its schema.

mod candidates;
mod catalogue;
mod checks;
mod clone;
mod command;
mod expected;
mod guarded;
mod mutants;
mod probes;
mod report;
mod seed;

use std::collections::BTreeSet;

use millrace::config::{Config, DatabaseUser};
use millrace::contract::IdFault;
use millrace::db::probe::{ProbeTx, Scope};
use millrace::db::{ContextKey, DbFault, connect_options};
use rand::Rng;
use sqlx::postgres::PgConnectOptions;

use catalogue::{Model, Table};
use clone::Scratch;
use probes::{Bench, Ground, Tenants};
use seed::{Cast, Planter, Seeder};

pub(crate) use command::Prove;
pub use report::{Exception, Failure, Proof};

/// Why a proof could not be made at all; what it finds is no fault but its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveFault {
    /// The configuration lacks something.
    #[error("{0} is missing")]
    Config(&'static str),
    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] DbFault),
    /// Another statement failed.
    #[error(transparent)]
    Statement(#[from] sqlx::Error),
    /// The administrator's URL is none.
    #[error("$MILLRACE_ADMIN_DATABASE_URL is no URL")]
    Url(#[from] url::ParseError),
    /// The administrator's server has no such database.
    #[error("there is no database {0} on the server of $MILLRACE_ADMIN_DATABASE_URL: run millrace migrate")]
    NoDatabase(String),
    /// A program of PostgreSQL's is not installed.
    #[error(
        "cannot run {program}, which makes the clone: install PostgreSQL's client programs, or prove with --live-only"
    )]
    Missing {
        /// The program.
        program: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A program of PostgreSQL's failed.
    #[error("{program} failed: {said}")]
    Client {
        /// The program.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// A made-up tenant has no valid id.
    #[error(transparent)]
    Id(#[from] IdFault),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; the scratch database is gone")]
    Interrupted,
}

/// Proves the isolation of the configured database. Without the URL of a superuser there is no clone, and no mutant
/// runs. `progress` hears of each step.
///
/// # Errors
/// The proof could not be made; a proof that is made may still be red, see [`Proof::is_green`].
pub async fn prove(
    config: &Config,
    admin_url: Option<&str>,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Proof, ProveFault> {
    let key = config.database.context_key.as_ref().map(ContextKey::new);
    let key = key.ok_or(ProveFault::Config("database.context_key"))?;
    if !config.database.logins.contains_key(&DatabaseUser::App) {
        return Err(ProveFault::Config("database.logins.app.password"));
    }
    let app = connect_options(&config.database, DatabaseUser::App)?;
    let url = config.database.url.as_ref().ok_or(ProveFault::Config("database.url"))?;
    let live = url.path().trim_start_matches('/').to_owned();
    let mut proof = Proof::new(&live, admin_url.is_none());
    let tenants = Tenants { a: Cast::new("a")?, b: Cast::new("b")?, c: Cast::new("c")? };
    prove_live(&app, &key, &tenants, &mut proof, progress).await?;
    if let Some(admin_url) = admin_url {
        let scratch = Scratch::create(admin_url, &live).await?;
        let work = prove_clone(&scratch, (admin_url, &live), &app, &tenants, &mut proof, progress);
        let done = tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => Err(ProveFault::Interrupted),
        };
        scratch.drop_database().await?;
        done?;
    }
    proof.failures.sort();
    proof.failures.dedup();
    Ok(proof)
}

fn tenant_tables(model: &Model) -> Vec<&Table> {
    model.tables.values().filter(|table| table.tenant).collect()
}

/// Role, catalogue, and probes as the workers' own login.
async fn prove_live(
    app: &PgConnectOptions,
    key: &ContextKey,
    tenants: &Tenants,
    proof: &mut Proof,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), ProveFault> {
    progress("reading the catalogue of the live database");
    let mut tx = ProbeTx::begin(app, key).await?;
    proof.failures.extend(checks::role_defects(&mut tx).await?);
    proof.failures.extend(checks::defects(&mut tx).await?);
    let (exceptions, unexplained) = checks::exceptions(&mut tx).await?;
    proof.exceptions = exceptions;
    proof.failures.extend(unexplained);
    let model = Model::read(&mut tx).await?;
    let tables = tenant_tables(&model);
    for table in tables.iter().filter(|table| !table.may("SELECT")) {
        proof
            .exceptions
            .push(Exception::new(&table.name, "the workers may not SELECT: no probe reads it in their place"));
    }
    proof.tables = tables.iter().map(|table| table.name.clone()).collect();
    progress(&format!("probing {} tables of the live database; everything is rolled back", tables.len()));
    note_unscoped(&mut tx, &tables, "on a new connection", proof).await?;
    let mut seeder = Seeder::new(&model);
    let planted = seeder.plant(&mut tx, Planter::Workers, &[&tenants.a, &tenants.b]).await?;
    proof.failures.extend(planted.failures.iter().cloned());
    for (table, reason) in planted.bare.iter().filter(|(table, _)| table.starts_with("app.")) {
        proof.exceptions.push(Exception::new(table, reason));
    }
    let bench = Bench { ground: Ground::Live, model: &model, seeder: &seeder, planted: &planted, tenants };
    for table in &tables {
        let probes = bench.probes(table);
        proof.probes += probes.len() as u64;
        let red = bench.run(&mut tx, table, &probes).await?;
        proof.failures.extend(red.into_iter().map(|(_, failure)| failure));
    }
    note_guarded(&mut tx, Ground::Live, tenants, proof).await?;
    tx.restart().await?;
    note_unscoped(&mut tx, &tables, "after a rollback", proof).await?;
    tx.end().await?;
    Ok(())
}

/// Whether every function that writes for many tenants was guarded.
async fn note_guarded(
    tx: &mut ProbeTx,
    ground: Ground,
    tenants: &Tenants,
    proof: &mut Proof,
) -> Result<bool, ProveFault> {
    let (tried, failures) = guarded::probe(tx, ground, tenants).await?;
    let all = failures.is_empty();
    proof.probes += tried;
    proof.failures.extend(failures);
    Ok(all)
}

async fn note_unscoped(tx: &mut ProbeTx, tables: &[&Table], when: &str, proof: &mut Proof) -> Result<(), ProveFault> {
    let (tried, failures) = probes::unscoped(tx, tables, when).await?;
    proof.probes += tried;
    proof.failures.extend(failures);
    Ok(())
}

/// The same probes in every role's place, what a commit leaves behind, and the mutants.
async fn prove_clone(
    scratch: &Scratch,
    (admin_url, live): (&str, &str),
    app: &PgConnectOptions,
    tenants: &Tenants,
    proof: &mut Proof,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(), ProveFault> {
    progress("cloning the schema into a scratch database");
    let mut bytes = vec![0; 32];
    rand::rng().fill_bytes(&mut bytes);
    let key = ContextKey::new(&bytes.into());
    scratch.fill(admin_url, live, &key).await?;
    let mut tx = ProbeTx::begin(&scratch.options(), &key).await?;
    let model = Model::read(&mut tx).await?;
    let baseline = checks::defects(&mut tx).await?;
    let known: BTreeSet<Failure> = proof.failures.iter().cloned().collect();
    proof.failures.extend(baseline.difference(&known).cloned());
    let mut seeder = Seeder::new(&model);
    let planted = seeder.plant(&mut tx, Planter::Superuser, &[&tenants.a, &tenants.b]).await?;
    proof.failures.extend(planted.failures.iter().cloned());
    tx.restart().await?;
    scratch.plant(&planted.statements).await?;
    let tables = tenant_tables(&model);
    progress(&format!("probing the clone, {}", scratch.name()));
    after_a_batch(&app.clone().database(scratch.name()), &key, tenants, &tables, proof).await?;
    let bench = Bench { ground: Ground::Clone, model: &model, seeder: &seeder, planted: &planted, tenants };
    let probed: Vec<&Table> = model.tables.values().filter(|table| table.is_probed()).collect();
    for table in &probed {
        let probes = bench.probes(table);
        proof.probes += probes.len() as u64;
        let red = bench.run(&mut tx, table, &probes).await?;
        proof.failures.extend(red.into_iter().map(|(_, failure)| failure));
    }
    if note_guarded(&mut tx, Ground::Clone, tenants, proof).await? {
        guarded::hunt(&mut tx, tenants, proof).await?;
    }
    let red: BTreeSet<String> = proof.failures.iter().map(|failure| failure.place.clone()).collect();
    // A defect on purpose shows nothing beside one that is there already.
    for table in probed.into_iter().filter(|table| !red.contains(&table.name)) {
        progress(&format!("mutants of {}", table.name));
        mutants::hunt(&mut tx, &bench, table, &baseline, proof).await?;
    }
    tx.end().await?;
    Ok(())
}

/// As the workers' login, over rows that are there for good.
async fn after_a_batch(
    app: &PgConnectOptions,
    key: &ContextKey,
    tenants: &Tenants,
    tables: &[&Table],
    proof: &mut Proof,
) -> Result<(), ProveFault> {
    let mut tx = ProbeTx::begin(app, key).await?;
    note_unscoped(&mut tx, tables, "on a new connection", proof).await?;
    tx.restart_after_commit(&tenants.a.id).await?;
    note_unscoped(&mut tx, tables, "after a commit", proof).await?;
    tx.keep(Scope::Tenant(&tenants.a.id), "SELECT 1").await?;
    tx.restart().await?;
    note_unscoped(&mut tx, tables, "after a rollback", proof).await?;
    tx.end().await?;
    Ok(())
}
