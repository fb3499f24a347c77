//! The command.

use std::process::ExitCode;

use clap::Args;
use millrace::config::{Config, Process, start};
use millrace::contract::{CheckedContract, Contract, TenantId};
use millrace::lifecycle::exit;
use serde_json::{Map, Value, json};

use super::report::{Proof, digest};
use super::{ProveFault, prove};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::migrate::ADMIN_URL;
use crate::operator::{OperatorName, Usage};
use crate::screen::Screen;

/// Characters of the digest that name a proof in the audit log.
const PREFIX: usize = 16;

#[derive(Debug, Args)]
#[command(after_help = "What it does:\n  \
    1. Live: checks the workers' login and the catalogue, plants rows of two made-up tenants in a transaction that is \
    rolled back, and tries every kind of statement of one on the other's rows.\n  \
    2. Clone: copies the schema into a scratch database (pg_dump, psql), tries the same in every role's place, then \
    makes one defect at a time (a policy dropped, org_id removed from a key, …) and expects to see each.\n\n\
    Tables come from the catalogue: one made with SELECT millrace.protect('things') is covered unasked. Functions with \
    their owner's rights and tables of schema ref need a reason: COMMENT ON … IS 'prove: reason'.\n\n\
    Needs $MILLRACE_ADMIN_DATABASE_URL (a superuser) for the clone, and the workers' login in the configuration. Exits \
    0 when isolation holds and 70 when anything is red. The JSON of --json is the evidence: the audit log gets its \
    SHA-256 under your name, as prove.run.")]
pub(crate) struct Prove {
    /// Make no clone: checks and probes of the live database only, without the mutants that show what they are worth.
    #[arg(long)]
    live_only: bool,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

impl Prove {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let admin = std::env::var(ADMIN_URL).ok().filter(|url| !url.is_empty() && !self.live_only);
        if admin.is_none() && !self.live_only {
            let need = format!("the clone needs a superuser: set {ADMIN_URL}, or prove with --live-only");
            return Err(Usage(need).into());
        }
        let (contract, config) = start(contract, &self.config.path(), Process::Prover)?;
        let proof = prove(&config, admin.as_deref(), &mut |step| screen.step(step)).await;
        let proof = proof.map_err(|fault| match fault {
            ProveFault::Config(what) => Usage(format!("{what} is missing")).into(),
            fault => CommandFault::from(fault),
        })?;
        let evidence = proof.evidence()?;
        // Shown first: what was found must not be lost when it cannot be recorded.
        show(&proof, &evidence, screen);
        self.audit(&contract, &config, &proof, &digest(&evidence), screen).await?;
        Ok(if proof.is_green() { ExitCode::SUCCESS } else { ExitCode::from(exit::SOFTWARE) })
    }

    /// A red proof is recorded like a green one. A deployment without keys for operators has no audit log to write to.
    async fn audit(
        &self,
        contract: &CheckedContract,
        config: &Config,
        proof: &Proof,
        digest: &str,
        screen: &Screen,
    ) -> Result<(), CommandFault> {
        let act = match self.operator.act(contract, config).await {
            Ok(act) => act,
            Err(fault) if fault.is::<Usage>() => {
                screen.step(&format!("not in the audit log: {fault}"));
                return Ok(());
            }
            Err(fault) => return Err(fault),
        };
        let facts: Map<String, Value> = [
            ("sha256", digest.into()),
            ("green", proof.is_green().into()),
            ("tables", proof.tables.len().into()),
            ("probes", proof.probes.into()),
            ("mutants_killed", proof.killed().into()),
            ("failures", proof.failures.len().into()),
        ]
        .into_iter()
        .map(|(name, value): (&str, Value)| (name.to_owned(), value))
        .collect();
        let name = digest.get(..PREFIX).unwrap_or(digest);
        act.commit(&TenantId::operator(), "prove.run", ("proof", name), facts).await?;
        Ok(())
    }
}

fn show(proof: &Proof, evidence: &str, screen: &Screen) {
    for exception in &proof.exceptions {
        screen.tell(&format!("  exception {}: {}", exception.place, exception.reason));
    }
    for failure in &proof.failures {
        screen.tell(&format!("  red {failure}"));
    }
    let counts = format!(
        "{} tables, {} probes, {} mutants killed; evidence sha256:{}",
        proof.tables.len(),
        proof.probes,
        proof.killed(),
        digest(evidence)
    );
    if screen.is_json() {
        screen.raw(evidence);
    } else if proof.is_green() {
        screen.done(&format!("isolation holds: {counts}"), json!({}));
    } else {
        screen.tell(&format!("isolation does not hold: {} red; {counts}", proof.failures.len()));
    }
}
