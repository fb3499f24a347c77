//! `millrace.toml`, overridden by `MILLRACE__SECTION__KEY`; every mistake is found in one reading.
//!
//! Secrets never stand in the file itself: a key `password` is read from the environment variable
//! `MILLRACE__…__PASSWORD` or from the file that `password_file` names. A process asks only for the secrets
//! of its own part, so the ingress can run on a host that knows no database password.

mod amqp;
mod billing;
mod bucket;
mod compliance;
mod database;
mod exports;
mod http;
mod issuers;
mod limits;
mod observability;
mod publishers;
mod reader;
mod register;
mod services;
mod signatures;
mod sources;
mod tenant;

use std::path::{Path, PathBuf};

pub use amqp::{AmqpConfig, Login};
pub use billing::{BillingConfig, ProviderApi, RetryConfig};
pub use bucket::Bucket;
pub use compliance::{CheckpointCopy, ComplianceConfig};
pub use database::{DatabaseConfig, DatabaseUser, Pooler};
pub use exports::{ExportStoreConfig, ExportsConfig};
pub use http::HttpConfig;
pub use issuers::{IssuerConfig, IssuerKeys, PublicAlgorithm, TokenTypes};
pub use limits::LimitsConfig;
pub use observability::{Environment, ObservabilityConfig};
pub use publishers::PublishersConfig;
pub use reader::{ConfigFault, Mistake, Reader};
pub use register::{KeyKind, RegisteredKey, key_register};
pub use services::ServiceConfig;
pub use signatures::{Dedupe, Encoding, Grammar, KeyForm, SignatureConfig, SignedPart, TimeFormat, Value};
pub use sources::{Scheme, SourceConfig, SourceSecret};
pub use tenant::{ClaimPath, Isolation, TenantConfig};

use crate::contract::{Callers, CheckedContract, Contract, ContractFault};

/// Which process reads the configuration; decides which secrets must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The HTTP edge.
    Ingress,
    /// A worker of the pipeline.
    Worker,
    /// The relay.
    Relay,
    /// The audit worker.
    Audit,
    /// The operator's command line, where it needs a database and a signing key.
    Operator,
    /// `millrace token`, which needs the local secrets of issuers and nothing else.
    Token,
    /// The isolation prover: an operator who also logs in as the workers do.
    Prover,
    /// `check-config`: everything at once.
    All,
}

impl Process {
    /// Does this process need what `other` needs?
    pub fn is(self, other: Self) -> bool {
        self == other || self == Self::All || (self == Self::Prover && other == Self::Operator)
    }
}

/// The whole configuration of one process.
#[derive(Debug)]
pub struct Config {
    /// Name of the deployment; part of every seal.
    pub deployment: String,
    /// `[http]`
    pub http: HttpConfig,
    /// `[amqp]`
    pub amqp: AmqpConfig,
    /// `[database]`
    pub database: DatabaseConfig,
    /// `[publishers]`
    pub publishers: PublishersConfig,
    /// `[tenant]`
    pub tenant: TenantConfig,
    /// `[issuers]`
    pub issuers: Vec<IssuerConfig>,
    /// `[services]`
    pub services: Vec<ServiceConfig>,
    /// `[sources]`
    pub sources: Vec<SourceConfig>,
    /// `[billing]`
    pub billing: BillingConfig,
    /// `[compliance]`
    pub compliance: ComplianceConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[observability]`
    pub observability: ObservabilityConfig,
}

/// Name of the environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "MILLRACE_CONFIG";

/// The file named by [`CONFIG_VARIABLE`], else `millrace.toml` in the working directory.
pub fn default_path() -> PathBuf {
    std::env::var_os(CONFIG_VARIABLE).map_or_else(|| PathBuf::from("millrace.toml"), PathBuf::from)
}

impl Config {
    /// Reads file and environment for one process.
    ///
    /// # Errors
    /// Every mistake of every section, unknown keys included.
    pub fn load(path: &Path, process: Process, contract: &CheckedContract) -> Result<Self, ConfigFault> {
        Self::read(Reader::open(path, std::env::vars_os())?, process, contract)
    }

    fn read(mut reader: Reader, process: Process, contract: &CheckedContract) -> Result<Self, ConfigFault> {
        let deployment = reader.section("deployment", |s| s.text("name", Some("millrace")));
        let tenant = reader.section("tenant", TenantConfig::read);
        let config = Self {
            http: reader.section("http", HttpConfig::read),
            amqp: reader.section("amqp", |s| AmqpConfig::read(s, process)),
            database: reader.section("database", |s| DatabaseConfig::read(s, process)),
            publishers: reader.section("publishers", |s| PublishersConfig::read(s, process, &deployment)),
            issuers: reader.section("issuers", |s| issuers::read(s, process, &tenant)),
            tenant,
            services: reader.section("services", |s| services::read(s, process, contract)),
            sources: reader.section("sources", |s| sources::read(s, process, contract)),
            billing: reader.section("billing", |s| BillingConfig::read(s, process)),
            compliance: reader.section("compliance", |s| ComplianceConfig::read(s, process, &deployment)),
            limits: reader.section("limits", LimitsConfig::read),
            observability: reader.section("observability", ObservabilityConfig::read),
            deployment,
        };
        config.biller(&mut reader, process);
        config.receiver(&mut reader, process);
        config.announcer(&mut reader, process, contract);
        services::check(&config, &mut reader, process);
        reader.finish(config)
    }

    /// The billing endpoint is served by the source of that name, so the ingress needs it.
    fn biller(&self, reader: &mut Reader, process: Process) {
        let there = self.sources.iter().any(|source| source.name == self.billing.provider);
        if process.is(Process::Ingress) && !there {
            let section = format!("[sources.{}]", self.billing.provider);
            reader.mistake("billing.provider", format!("names no source: add {section}"));
        }
    }

    /// The ingress seals what its sources receive, so its key's grant has to cover it: a worker would deny the rest.
    fn receiver(&self, reader: &mut Reader, process: Process) {
        let Some(signer) = self.publishers.signer("ingress").filter(|_| process.is(Process::Ingress)) else { return };
        for source in &self.sources {
            if !signer.grant().types.contains(&source.message_type) {
                let problem = format!(
                    "the ingress's key must be granted {:?}, which [sources.{}] receives",
                    source.message_type.as_str(),
                    source.name
                );
                reader.mistake("publishers", problem);
            }
        }
    }

    /// Workers seal the contract's events and the work that follows from work, so their key's grant has to cover both:
    /// whoever takes it would deny the rest.
    fn announcer(&self, reader: &mut Reader, process: Process, contract: &CheckedContract) {
        let Some(signer) = self.publishers.signer("worker").filter(|_| process.is(Process::Worker)) else { return };
        let follows = contract.payloads().filter(|entry| entry.callers == Callers::System).map(|entry| &entry.name);
        let missing: Vec<String> = contract
            .events()
            .map(|event| &event.name)
            .chain(follows)
            .filter(|name| !signer.grant().types.contains(name))
            .map(|name| format!("{:?}", name.as_str()))
            .collect();
        if !missing.is_empty() {
            let problem = format!("the worker's key must be granted what it seals: add {}", missing.join(", "));
            reader.mistake("publishers", problem);
        }
    }
}

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// Mistakes in the contract, which is code.
    #[error("the contract has mistakes: {}", list(.0))]
    Contract(Vec<ContractFault>),
    /// Mistakes in the configuration.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// The code that adopts Millrace does not fit its own contract.
    #[error("the handlers do not fit the contract: {}", .0.join("; "))]
    Handlers(Vec<String>),
}

fn list(faults: &[ContractFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Checks the contract, then reads the configuration: what every process does first.
///
/// # Errors
/// [`StartFault`]; the process exits with 64 before it opens a port.
pub fn start(contract: Contract, path: &Path, process: Process) -> Result<(CheckedContract, Config), StartFault> {
    let contract = contract.check().map_err(StartFault::Contract)?;
    let config = Config::load(path, process, &contract)?;
    Ok((contract, config))
}
