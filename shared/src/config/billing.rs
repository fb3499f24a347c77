//! `[billing]`: the specification's billing section.

use std::time::Duration;

use secrecy::SecretString;
use url::{Host, Url};

use super::{Process, Reader};
use crate::contract::Currency;
use crate::contract::fees::{BasisPoints, FeeSchedule, fixed_part};
use crate::contract::payloads::AccessLevel;

/// Ages of the earliest unpaid invoice, in days, and the level that each brings, unless `[billing.access]` says otherwise.
const THRESHOLDS: [(u16, AccessLevel); 4] =
    [(0, AccessLevel::Grace), (7, AccessLevel::Grace), (14, AccessLevel::ReadOnly), (30, AccessLevel::Suspended)];

/// How often and how patiently a failed message is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// Executions before a message is dead.
    pub max_attempts: u32,
    /// Growth of the delay from one attempt to the next.
    pub backoff_multiplier: u32,
}

/// Which provider bills, and where its webhooks arrive.
#[derive(Debug, Clone)]
pub struct BillingConfig {
    /// Path of the source named like `provider`, beside `/api/webhooks/<name>`.
    pub webhook_endpoint: String,
    /// Name of the source that serves `webhook_endpoint`.
    pub provider: String,
    /// Retries.
    pub retry: RetryConfig,
    /// What the platform takes of a tenant's paid invoices.
    pub fee: FeeSchedule,
    /// Where the provider is asked.
    pub api: ProviderApi,
    /// Days that the earliest unpaid invoice is old, and the level from then on; in the order of the days.
    pub access: Vec<(u16, AccessLevel)>,
}

/// The provider's own API, for what its webhooks leave open.
#[derive(Debug, Clone)]
pub struct ProviderApi {
    /// Over TLS, or of this host. `None` is a mistake that the start names.
    pub base_url: Option<Url>,
    /// Without it nobody is asked: calls fail until it is there.
    pub secret_key: Option<SecretString>,
    /// Bound of one exchange.
    pub timeout: Duration,
}

impl ProviderApi {
    fn read(s: &mut Reader, process: Process) -> Self {
        let text = s.text("base_url", Some("https://api.stripe.com"));
        let base_url = Url::parse(&text).ok().filter(|url| url.scheme() == "https" || is_loopback(url));
        if base_url.is_none() {
            s.mistake("base_url", "must be a URL that begins with https:// (plain http:// is for this host alone)");
        }
        let given = s.has("secret_key") || s.has("secret_key_file");
        let calls = process.is(Process::Worker) || process.is(Process::Operator);
        Self {
            base_url,
            secret_key: s.secret("secret_key", given && calls),
            timeout: Duration::from_millis(s.number("timeout_ms", 10_000, 100..=25_000)),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    url.scheme() == "http"
        && match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
}

/// `[billing.access]`: days = level. What is named replaces all of the default.
fn thresholds(s: &mut Reader) -> Vec<(u16, AccessLevel)> {
    let words = AccessLevel::ALL.map(|level| (level.as_str(), level));
    let mut read: Vec<(u16, AccessLevel)> = Vec::new();
    for key in s.names() {
        let level = s.word(&key, AccessLevel::Full, &words);
        match key.parse() {
            Ok(days) => read.push((days, level)),
            Err(_) => s.mistake(&key, "must be a number of days"),
        }
    }
    read.sort_unstable();
    let freer = read.windows(2).find(|pair| pair[1].1 < pair[0].1).map(|pair| pair[1].0);
    if let Some(day) = freer {
        s.mistake(&day.to_string(), "must not bring a freer level than an earlier day");
    }
    if read.is_empty() { THRESHOLDS.to_vec() } else { read }
}

impl BillingConfig {
    pub(super) fn read(s: &mut Reader, process: Process) -> Self {
        let webhook_endpoint = s.text("webhook_endpoint", Some("/api/billing/webhooks"));
        if !webhook_endpoint.starts_with("/api/") {
            s.mistake("webhook_endpoint", "must begin with /api/");
        }
        let retry = s.section("retry_policy", |s| RetryConfig {
            max_attempts: u32::try_from(s.number("max_attempts", 5, 1..=20)).unwrap_or(5),
            backoff_multiplier: u32::try_from(s.number("backoff_multiplier", 2, 1..=10)).unwrap_or(2),
        });
        Self {
            webhook_endpoint,
            provider: s.text("provider", Some("stripe")),
            retry,
            fee: s.section("fee", fee),
            api: s.section("api", |s| ProviderApi::read(s, process)),
            access: s.section("access", thresholds),
        }
    }
}

/// `[billing.fee]`: texts, never floating point, so that what is charged is what is written.
fn fee(s: &mut Reader) -> FeeSchedule {
    let schedule = FeeSchedule::default();
    let form = "a share as a text with whole basis points, from \"0\" to \"1\", such as \"0.005\"";
    let share = s.parsed::<BasisPoints>("percentage", Some(schedule.share()), form).unwrap_or(schedule.share());
    let schedule = schedule.with_share(share);
    if !s.has("fixed") {
        return schedule;
    }
    let fixed = s.section("fixed", |s| {
        let names = s.names();
        names.into_iter().filter_map(|name| fixed(s, &name)).collect::<Vec<_>>()
    });
    schedule.with_fixed(fixed)
}

fn fixed(s: &mut Reader, name: &str) -> Option<(Currency, i64)> {
    let text = s.text(name, None);
    let currency = Currency::parse(name).map_err(|fault| s.mistake(name, fault.to_string())).ok()?;
    let units = fixed_part(&text, currency).map_err(|fault| s.mistake(name, fault.to_string())).ok()?;
    Some((currency, units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFault, Mistake};

    fn read(toml: &str, variables: &[(&str, &str)]) -> Result<FeeSchedule, Vec<Mistake>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("millrace.toml");
        std::fs::write(&file, toml).unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut reader = Reader::open(&file, variables).unwrap();
        let billing = reader.section("billing", |s| BillingConfig::read(s, Process::Worker));
        reader.finish(billing.fee).map_err(|fault| match fault {
            ConfigFault::Mistakes(mistakes) => mistakes,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn what_is_not_said_is_the_specifications_fee() {
        assert_eq!(read("", &[]), Ok(FeeSchedule::default()));
        let eur = Currency::parse("EUR").unwrap();
        assert_eq!(read("[billing.fee]\npercentage = \"0.029\"", &[]).unwrap().fee(10_000, eur), 315);
        let said = "[billing.fee]\npercentage = \"0.01\"\nfixed = { EUR = \"0.30\", jpy = \"30\" }";
        let schedule = read(said, &[("MILLRACE__BILLING__FEE__FIXED__KWD", "0.025")]).unwrap();
        for (code, fee) in [("eur", 130), ("jpy", 130), ("kwd", 125), ("usd", 100)] {
            assert_eq!(schedule.fee(10_000, Currency::parse(code).unwrap()), fee, "{code}");
        }
    }

    #[test]
    fn each_mistake_of_a_fee_has_its_place() {
        let places = |toml: &str| -> Vec<String> {
            read(toml, &[]).map_or_else(|mistakes| mistakes.into_iter().map(|m| m.place).collect(), |_| Vec::new())
        };
        for percentage in ["0.005", "\"0.00505\"", "\"1.1\"", "\"-1\"", "\"0,5\""] {
            assert_eq!(
                places(&format!("[billing.fee]\npercentage = {percentage}")),
                ["billing.fee.percentage"],
                "{percentage}"
            );
        }
        for (line, place) in [
            ("eur = 0.25", "billing.fee.fixed.eur"),
            ("eur = \"0.255\"", "billing.fee.fixed.eur"),
            ("jpy = \"0.25\"", "billing.fee.fixed.jpy"),
            ("euro = \"0.25\"", "billing.fee.fixed.euro"),
        ] {
            assert!(places(&format!("[billing.fee.fixed]\n{line}")).iter().all(|found| found == place), "{line}");
            assert!(!places(&format!("[billing.fee.fixed]\n{line}")).is_empty(), "{line}");
        }
        assert_eq!(places("[billing.fee]\nrate = \"1\""), ["billing.fee.rate"]);
    }
}
