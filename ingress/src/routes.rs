//! The public routes:
//!
//! | method | path | goes to |
//! |---|---|---|
//! | `POST` | `billing.webhook_endpoint`, by default `/api/billing/webhooks` | the source named `billing.provider` |
//! | `POST` | `/api/webhooks/{source}` | the source of exactly this name |
//!
//! Paths are compared as transmitted: a percent-encoded or doubled character is another path. The query is ignored.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::Method;

use crate::response::Refusal;
use crate::webhooks::Source;

const WEBHOOKS: &str = "/api/webhooks/";

/// The sources by path.
#[derive(Debug)]
pub(crate) struct Routes {
    sources: HashMap<String, Arc<Source>>,
}

impl Routes {
    /// Serves each source under its name, and `provider` under `endpoint` too. `None` when there are sources but
    /// none of them is `provider`.
    pub(crate) fn new(sources: Vec<Source>, endpoint: &str, provider: &str) -> Option<Self> {
        let sources: Vec<_> = sources.into_iter().map(Arc::new).collect();
        let billing = sources.iter().find(|source| source.name() == provider).cloned();
        if billing.is_none() && !sources.is_empty() {
            return None;
        }
        let named = sources.into_iter().map(|source| (format!("{WEBHOOKS}{}", source.name()), source));
        let billing = billing.map(|source| (endpoint.to_owned(), source));
        Some(Self { sources: named.chain(billing).collect() })
    }

    /// Whose webhook it is.
    ///
    /// # Errors
    /// A path or source that does not exist, before a method that does not fit.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<&Arc<Source>, Refusal> {
        let source = self.sources.get(path).ok_or(Refusal::NotFound)?;
        if method == Method::POST { Ok(source) } else { Err(Refusal::MethodNotAllowed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::tests::source;

    fn routes() -> Routes {
        let sources = ["stripe", "stripe-connect"].map(|name| source(name, &[("s1", "whsec_1")]));
        Routes::new(sources.into(), "/api/billing/webhooks", "stripe").unwrap()
    }

    fn found(method: Method, path: &str) -> Result<String, Refusal> {
        routes().find(&method, path).map(|source| source.name().to_owned())
    }

    #[test]
    fn each_source_has_its_path_and_the_biller_has_two() {
        assert_eq!(found(Method::POST, "/api/billing/webhooks").unwrap(), "stripe");
        assert_eq!(found(Method::POST, "/api/webhooks/stripe").unwrap(), "stripe");
        assert_eq!(found(Method::POST, "/api/webhooks/stripe-connect").unwrap(), "stripe-connect");
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
                assert!(matches!(found(method.clone(), path), Err(Refusal::MethodNotAllowed)));
            }
        }
    }

    #[test]
    fn a_biller_without_a_source_is_a_mistake_unless_there_are_no_sources() {
        assert!(Routes::new(vec![source("other", &[("s1", "whsec_1")])], "/api/b", "stripe").is_none());
        let none = Routes::new(Vec::new(), "/api/b", "stripe").unwrap();
        assert!(matches!(none.find(&Method::POST, "/api/b"), Err(Refusal::NotFound)));
    }
}
