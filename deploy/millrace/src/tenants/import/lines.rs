//! The lines of a file, and what is wrong with them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use millrace::contract::TenantId;
use serde::Deserialize;

use crate::operator::Usage;
use crate::tenants::link::Customer;
use crate::tenants::plans::Plans;
use crate::tenants::{clean, tenant};

/// One tenant to be.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) org: TenantId,
    pub(super) name: String,
    pub(super) plan: Option<String>,
    pub(super) customer: Option<Customer>,
}

/// What is wrong, by line.
#[derive(Debug, Default)]
pub(super) struct Mistakes(BTreeMap<usize, Vec<String>>);

impl Mistakes {
    pub(super) fn add(&mut self, line: usize, what: impl Into<String>) {
        self.0.entry(line).or_default().push(what.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, mistakes) in &self.0 {
            write!(f, "\n  line {line}: {}", mistakes.join("; "))?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    org_id: String,
    name: String,
    plan: Option<String>,
    customer: Option<LineCustomer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineCustomer {
    #[serde(default = "stripe")]
    provider: String,
    #[serde(default)]
    account: String,
    #[serde(default)]
    livemode: bool,
    id: String,
}

fn stripe() -> String {
    "stripe".to_owned()
}

/// All lines that are right, and all mistakes. Empty lines are none.
pub(super) fn parse(text: &str, plans: &Plans) -> (Vec<Entry>, Mistakes) {
    let (mut entries, mut mistakes) = (Vec::new(), Mistakes::default());
    let (mut orgs, mut customers) = (HashSet::new(), HashSet::new());
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let read: Line = match serde_json::from_str(text) {
            Ok(read) => read,
            Err(fault) => {
                mistakes.add(line, fault.to_string());
                continue;
            }
        };
        if !orgs.insert(read.org_id.clone()) {
            mistakes.add(line, format!("{:?} is in the file twice", read.org_id));
        }
        let customer = read.customer.as_ref();
        let key = customer.map(|c| (c.provider.clone(), c.account.clone(), c.livemode, c.id.clone()));
        if key.is_some_and(|key| !customers.insert(key)) {
            mistakes.add(line, "its customer is in the file twice");
        }
        match read.entry(line, plans) {
            Ok(entry) => entries.push(entry),
            Err(wrong) => wrong.into_iter().for_each(|fault| mistakes.add(line, fault.to_string())),
        }
    }
    (entries, mistakes)
}

impl Line {
    fn entry(self, line: usize, plans: &Plans) -> Result<Entry, Vec<Usage>> {
        let mut checks = vec![clean("name", &self.name)];
        checks.extend(self.plan.as_deref().map(|plan| plans.check(plan)));
        if let Some(customer) = &self.customer {
            checks.push(clean("customer.provider", &customer.provider));
            checks.push(clean("customer.id", &customer.id));
            if !customer.account.is_empty() {
                checks.push(clean("customer.account", &customer.account));
            }
        }
        let mut wrong: Vec<Usage> = checks.into_iter().filter_map(Result::err).collect();
        match tenant(&self.org_id) {
            Ok(org) if wrong.is_empty() => {
                let customer = self.customer.map(|c| Customer {
                    provider: c.provider,
                    account: c.account,
                    live: c.livemode,
                    id: c.id,
                });
                Ok(Entry { line, org, name: self.name, plan: self.plan, customer })
            }
            Ok(_) => Err(wrong),
            Err(fault) => {
                wrong.insert(0, fault);
                Err(wrong)
            }
        }
    }
}
