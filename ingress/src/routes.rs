//! The public routes:
//!
//! | method | path | goes to |
//! |---|---|---|
//! | `POST` | `billing.webhook_endpoint`, by default `/api/billing/webhooks` | the source named `billing.provider` |
//! | `POST` | `/api/webhooks/{source}` | the source of exactly this name |
//! | `POST` | `/api/commands/{name}` | the command of exactly this name |
//! | `POST` | `/api/compliance/erase` | the command `compliance.erase` |
//! | `POST` | `compliance.gdpr_data_export_endpoint`, by default `/api/compliance/export` | the command `compliance.export` |
//! | `GET` | `/api/operations/{id}` | what became of a command |
//! | `GET` | `/api/operations/{id}/certificate` | the document that an erasure ended with |
//! | `GET` | `/api/operations/{id}/export` | the archive of an export |
//! | `GET` | `/api/projects`, `/api/settings`, `/api/members`, `/api/billing`, `/api/limits`, `/api/audit` | the tenant's rows |
//!
//! Paths are compared as transmitted: a percent-encoded or doubled character is another path. Webhooks and commands ignore the query.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::Method;
use millrace::contract::payloads::{ComplianceErase, ComplianceExport, EdgeRefused};
use millrace::contract::{CheckedContract, Lane, OperationId, Payload, Route, Signer};

use crate::commands::{Command, Commands};
use crate::response::Refusal;
use crate::webhooks::Source;

const WEBHOOKS: &str = "/api/webhooks/";
const COMMANDS: &str = "/api/commands/";
const OPERATIONS: &str = "/api/operations/";
const CERTIFICATE: &str = "/certificate";
const EXPORT: &str = "/export";
/// Path of erasures, beside that of their command.
const ERASE: &str = "/api/compliance/erase";

/// What a request is for.
#[derive(Debug)]
pub(crate) enum Target<'r> {
    /// A provider's event.
    Webhook(&'r Arc<Source>),
    /// A tenant's command.
    Command(&'r Command),
    /// What became of one; `None` for what is no operation id.
    Operation(Option<OperationId>),
    /// The certificate of an erasure, by its operation.
    Certificate(Option<OperationId>),
    /// The archive of an export, by its operation.
    Export(Option<OperationId>),
    /// Rows of a tenant.
    Rows(Rows),
}

/// What a tenant can look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    Projects,
    Settings,
    Members,
    Billing,
    Limits,
    Audit,
}

impl Rows {
    const ALL: [Self; 6] = [Self::Projects, Self::Settings, Self::Members, Self::Billing, Self::Limits, Self::Audit];

    fn path(self) -> &'static str {
        match self {
            Self::Projects => "/api/projects",
            Self::Settings => "/api/settings",
            Self::Members => "/api/members",
            Self::Billing => "/api/billing",
            Self::Limits => "/api/limits",
            Self::Audit => "/api/audit",
        }
    }

    /// The action that the audit line of a refusal shows.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::Projects => "projects.read",
            Self::Settings => "settings.read",
            Self::Members => "members.read",
            Self::Billing => "billing.read",
            Self::Limits => "limits.read",
            Self::Audit => "audit.read",
        }
    }
}

/// Everything that is served, by path.
#[derive(Debug)]
pub(crate) struct Routes {
    sources: HashMap<String, Arc<Source>>,
    commands: Commands,
    /// Commands that have a path of their own beside `/api/commands/`.
    named: Vec<(String, &'static str)>,
    refusals: Option<Route>,
}

impl Routes {
    /// Serves each source under its name, and `provider` under `endpoint` too. `None` when there are sources but
    /// none of them is `provider`.
    pub(crate) fn new(sources: Vec<Source>, endpoint: &str, provider: &str, commands: Commands) -> Option<Self> {
        let sources: Vec<_> = sources.into_iter().map(Arc::new).collect();
        let billing = sources.iter().find(|source| source.name() == provider).cloned();
        if billing.is_none() && !sources.is_empty() {
            return None;
        }
        let named = sources.into_iter().map(|source| (format!("{WEBHOOKS}{}", source.name()), source));
        let billing = billing.map(|source| (endpoint.to_owned(), source));
        let paths = vec![(ERASE.to_owned(), ComplianceErase::NAME)];
        Some(Self { sources: named.chain(billing).collect(), commands, named: paths, refusals: None })
    }

    /// Says under which path exports are asked for.
    #[must_use]
    pub(crate) fn exporting(mut self, endpoint: &str) -> Self {
        self.named.push((endpoint.to_owned(), ComplianceExport::NAME));
        self
    }

    /// Says where refusals of known callers go to be audited; nowhere without a worker that takes them and a grant.
    #[must_use]
    pub(crate) fn auditing(mut self, contract: &CheckedContract, signer: &Signer) -> Self {
        let entry = contract.payload(EdgeRefused::NAME);
        let granted = entry.filter(|entry| signer.grant().types.contains(&entry.name));
        self.refusals = granted.map(|entry| Route::work(&entry.worker, signer.lane(Lane::Main)));
        self
    }

    /// Where refusals go to be audited.
    pub(crate) fn refusals(&self) -> Option<&Route> {
        self.refusals.as_ref()
    }

    /// What the request is for.
    ///
    /// # Errors
    /// A path, source or command that does not exist, before a method that does not fit.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<Target<'_>, Refusal> {
        let (target, fits) = if let Some(source) = self.sources.get(path) {
            (Target::Webhook(source), "POST")
        } else if let Some(command) = path.strip_prefix(COMMANDS).and_then(|name| self.commands.find(name)) {
            (Target::Command(command), "POST")
        } else if let Some(command) =
            self.named.iter().find(|(named, _)| *named == path).and_then(|(_, c)| self.commands.find(c))
        {
            (Target::Command(command), "POST")
        } else if let Some(id) = path.strip_prefix(OPERATIONS).and_then(|rest| rest.strip_suffix(CERTIFICATE)) {
            (Target::Certificate(OperationId::parse(id)), "GET")
        } else if let Some(id) = path.strip_prefix(OPERATIONS).and_then(|rest| rest.strip_suffix(EXPORT)) {
            (Target::Export(OperationId::parse(id)), "GET")
        } else if let Some(id) = path.strip_prefix(OPERATIONS) {
            (Target::Operation(OperationId::parse(id)), "GET")
        } else if let Some(rows) = Rows::ALL.into_iter().find(|rows| rows.path() == path) {
            (Target::Rows(rows), "GET")
        } else {
            return Err(Refusal::NotFound);
        };
        if method.as_str() == fits { Ok(target) } else { Err(Refusal::MethodNotAllowed { fits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::tests::source;

    fn routes() -> Routes {
        let sources = ["stripe", "stripe-connect"].map(|name| source(name, &[("s1", "whsec_1")]));
        Routes::new(sources.into(), "/api/billing/webhooks", "stripe", Commands::default()).unwrap()
    }

    fn found(method: Method, path: &str) -> Result<String, Refusal> {
        routes().find(&method, path).map(|target| match target {
            Target::Webhook(source) => source.name().to_owned(),
            Target::Command(command) => command.name().to_string(),
            Target::Operation(id) => format!("operation {}", id.is_some()),
            Target::Certificate(id) => format!("certificate {}", id.is_some()),
            Target::Export(id) => format!("export {}", id.is_some()),
            Target::Rows(rows) => rows.action().to_owned(),
        })
    }

    #[test]
    fn each_source_has_its_path_and_the_biller_has_two() {
        assert_eq!(found(Method::POST, "/api/billing/webhooks").unwrap(), "stripe");
        assert_eq!(found(Method::POST, "/api/webhooks/stripe").unwrap(), "stripe");
        assert_eq!(found(Method::POST, "/api/webhooks/stripe-connect").unwrap(), "stripe-connect");
    }

    #[test]
    fn what_a_tenant_looks_at_is_read_with_get() {
        assert_eq!(found(Method::GET, "/api/projects").unwrap(), "projects.read");
        assert_eq!(found(Method::GET, "/api/operations/op_x_00").unwrap(), "operation true");
        assert_eq!(found(Method::GET, "/api/operations/x").unwrap(), "operation false");
        assert_eq!(found(Method::GET, "/api/operations/op_x_00/certificate").unwrap(), "certificate true");
        assert_eq!(found(Method::GET, "/api/operations/op_x_00/export").unwrap(), "export true");
        assert!(matches!(found(Method::POST, "/api/projects"), Err(Refusal::MethodNotAllowed { fits: "GET" })));
        assert!(matches!(found(Method::GET, "/api/projects/"), Err(Refusal::NotFound)));
    }

    #[test]
    fn only_the_exact_path_is_a_path() {
        let strange = [
            "/",
            "",
            "*",
            "/api/webhooks",
            "/api/webhooks/",
            "/api/webhooks/unknown",
            "/api/webhooks/STRIPE",
            "/api/webhooks/stripe/",
            "/api/webhooks//stripe",
            "/api/webhooks/str%69pe",
            "/api/webhooks/./stripe",
            "/api/webhooks/x/../stripe",
            "/api/billing/webhooks/",
            "//api/billing/webhooks",
            "/api/health/ready",
        ];
        for path in strange {
            assert!(matches!(found(Method::POST, path), Err(Refusal::NotFound)), "{path}");
            assert!(matches!(found(Method::GET, path), Err(Refusal::NotFound)), "{path}");
        }
    }

    #[test]
    fn another_method_on_a_known_path_is_told_which_one_fits() {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            for path in ["/api/billing/webhooks", "/api/webhooks/stripe"] {
                assert!(matches!(found(method.clone(), path), Err(Refusal::MethodNotAllowed { .. })));
            }
        }
    }

    #[test]
    fn a_biller_without_a_source_is_a_mistake_unless_there_are_no_sources() {
        assert!(
            Routes::new(vec![source("other", &[("s1", "whsec_1")])], "/api/b", "stripe", Commands::default()).is_none()
        );
        let none = Routes::new(Vec::new(), "/api/b", "stripe", Commands::default()).unwrap();
        assert!(matches!(none.find(&Method::POST, "/api/b"), Err(Refusal::NotFound)));
    }
}
