//! `millrace billing reconcile`

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use millrace::config::{Process, start};
use millrace::contract::payloads::SubscriptionObject;
use millrace::contract::{Contract, TenantId};
use millrace::pipeline::OperatorRead;
use millrace::stripe::{StripeClient, SubscriptionsAfter};
use serde_json::{Map, json};
use time::OffsetDateTime;

use super::{NOT_ALL_WELL, PROVIDER, STRIPE};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::OperatorName;
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = r"Examples:
  millrace billing reconcile
  millrace billing reconcile --account acct_1 --json
  millrace billing reconcile --metrics /var/lib/node_exporter/billing.prom     once a day, from a timer
Kinds of drift: status, plan, period_end (ours differs), missing (we have none), unlinked (its customer is no
tenant's), waiting (a tie that the provider has not answered yet), absent (ours alone). Events on their way look
like drift. What stays: link what is unlinked with `millrace tenants link`, then run `millrace billing sync`, which has the
events of 30 days; what waits is settled by the subscription's next event.";

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// A connected account [default: one's own]
    #[arg(long, default_value = "")]
    account: String,
    /// Live mode, as the key's mode is.
    #[arg(long)]
    live: bool,
    /// Write millrace_billing_drift_total to this file, in Prometheus's text form.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

/// How ours differs from the provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Status,
    Plan,
    PeriodEnd,
    Missing,
    Unlinked,
    Waiting,
    Absent,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Status, Self::Plan, Self::PeriodEnd, Self::Missing, Self::Unlinked, Self::Waiting, Self::Absent];

    fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Plan => "plan",
            Self::PeriodEnd => "period_end",
            Self::Missing => "missing",
            Self::Unlinked => "unlinked",
            Self::Waiting => "waiting",
            Self::Absent => "absent",
        }
    }
}

/// One of ours.
struct Ours {
    org_id: String,
    status: String,
    plan: Option<String>,
    period_end: Option<OffsetDateTime>,
    needs_refetch: bool,
}

impl Ours {
    fn differs(&self, theirs: &SubscriptionObject) -> Option<Kind> {
        let end = theirs.period_end.map(|end| end.moment());
        if self.needs_refetch {
            Some(Kind::Waiting)
        } else if self.status != theirs.status {
            Some(Kind::Status)
        } else if theirs.plan.is_some() && self.plan != theirs.plan {
            Some(Kind::Plan)
        } else if end.is_some() && self.period_end != end {
            Some(Kind::PeriodEnd)
        } else {
            None
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    compared: u64,
    drift: BTreeMap<Kind, u64>,
    seen: BTreeSet<String>,
}

impl Reconcile {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<ExitCode, CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let stripe = StripeClient::new(&config.billing.api)?;
        let act = self.operator.act(&contract, &config).await?;
        let facts = Map::from_iter([("account".to_owned(), self.account.clone().into())]);
        let noted = act.note(&TenantId::operator(), "billing.reconcile", (PROVIDER, STRIPE), facts)?;
        let mut read = noted.commit_then_read().await?;
        let mut found = Found::default();
        let mut wanted = SubscriptionsAfter { account: self.account.clone(), after: None };
        loop {
            let page = stripe.subscriptions(&wanted).await?;
            self.compare(&mut read, &page.items, &mut found, screen).await?;
            screen.step(&format!("{} subscriptions compared", found.compared));
            wanted.after = page.items.last().map(|last| last.id.clone());
            if !page.has_more || wanted.after.is_none() {
                break;
            }
        }
        self.absent(&mut read, &mut found, screen).await?;
        if let Some(file) = &self.metrics {
            write_metrics(file, &found)?;
        }
        let drift: u64 = found.drift.values().sum();
        let kinds: BTreeMap<&str, u64> = found.drift.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        let facts = json!({ "compared": found.compared, "drift": drift, "kinds": kinds });
        screen.done(&format!("{} subscriptions compared, {drift} drifted", found.compared), facts);
        Ok(ExitCode::from(if drift > 0 { NOT_ALL_WELL } else { 0 }))
    }

    async fn compare(
        &self,
        read: &mut OperatorRead,
        theirs: &[SubscriptionObject],
        found: &mut Found,
        screen: &Screen,
    ) -> Result<(), CommandFault> {
        let ids: Vec<String> = theirs.iter().map(|object| object.id.clone()).collect();
        let customers: Vec<String> = theirs.iter().map(|object| object.customer.clone()).collect();
        let ours = ours(read, &ids).await?;
        let linked = self.linked(read, &customers).await?;
        for object in theirs {
            found.compared += 1;
            found.seen.insert(object.id.clone());
            let (org, kind, status) = match (linked.get(&object.customer), ours.get(&object.id)) {
                (None, _) => (None, Some(Kind::Unlinked), None),
                (Some(org), None) => (Some(org), Some(Kind::Missing), None),
                (Some(org), Some(ours)) if *org != ours.org_id => (Some(org), Some(Kind::Missing), None),
                (Some(org), Some(ours)) => (Some(org), ours.differs(object), Some(ours.status.as_str())),
            };
            if let Some(kind) = kind {
                found.add(kind, org.map_or("-", String::as_str), &object.id, (status, Some(&object.status)), screen);
            }
        }
        Ok(())
    }

    /// Whose customers these are.
    async fn linked(
        &self,
        read: &mut OperatorRead,
        customers: &[String],
    ) -> Result<HashMap<String, String>, CommandFault> {
        let rows = sqlx::query!(
            "SELECT external_id, org_id FROM engine.provider_links
             WHERE provider = $1 AND account = $2 AND livemode = $3 AND external_id = ANY($4)",
            STRIPE,
            self.account,
            self.live,
            customers,
        )
        .fetch_all(read.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (row.external_id, row.org_id)).collect())
    }

    /// Ours that the provider has not named, of tenants that are linked in this account and mode and in no other.
    async fn absent(&self, read: &mut OperatorRead, found: &mut Found, screen: &Screen) -> Result<(), CommandFault> {
        let seen: Vec<String> = found.seen.iter().cloned().collect();
        let rows = sqlx::query!(
            "SELECT s.org_id, s.subscription_id, s.status FROM app.subscriptions s
             WHERE s.provider = $1 AND s.subscription_id <> ALL ($2)
               AND s.org_id IN (SELECT org_id FROM engine.provider_links WHERE provider = $1 GROUP BY org_id
                 HAVING bool_and(account = $3 AND livemode = $4))
             ORDER BY s.org_id, s.subscription_id",
            STRIPE,
            &seen,
            self.account,
            self.live,
        )
        .fetch_all(read.conn())
        .await?;
        for row in rows {
            found.add(Kind::Absent, &row.org_id, &row.subscription_id, (Some(&row.status), None), screen);
        }
        Ok(())
    }
}

async fn ours(read: &mut OperatorRead, ids: &[String]) -> Result<HashMap<String, Ours>, CommandFault> {
    let rows = sqlx::query!(
        "SELECT org_id, subscription_id, status, plan, period_end, needs_refetch FROM app.subscriptions
         WHERE provider = $1 AND subscription_id = ANY($2)",
        STRIPE,
        ids,
    )
    .fetch_all(read.conn())
    .await?;
    let ours = rows.into_iter().map(|row| {
        let (org_id, status, plan) = (row.org_id, row.status, row.plan);
        (
            row.subscription_id,
            Ours { org_id, status, plan, period_end: row.period_end, needs_refetch: row.needs_refetch },
        )
    });
    Ok(ours.collect())
}

impl Found {
    fn add(&mut self, kind: Kind, org: &str, id: &str, status: (Option<&str>, Option<&str>), screen: &Screen) {
        *self.drift.entry(kind).or_default() += 1;
        let (ours, theirs) = status;
        let facts = json!({ "kind": kind.as_str(), "org_id": org, "subscription": id, "ours": ours, "theirs": theirs });
        let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let text = format!("{:<10} {org:<24} {id:<32} {:<20} {}", kind.as_str(), dash(ours), dash(theirs));
        screen.row(&text, &facts);
    }
}

/// Every kind has its line, so that one that is over goes back to zero. The file is whole at every moment.
fn write_metrics(file: &Path, found: &Found) -> Result<(), CommandFault> {
    let mut text = String::from("# TYPE millrace_billing_drift_total gauge\n");
    for kind in Kind::ALL {
        let count = found.drift.get(&kind).copied().unwrap_or(0);
        let _ = writeln!(text, "millrace_billing_drift_total{{kind=\"{}\"}} {count}", kind.as_str());
    }
    let beside = file.with_extension("new");
    std::fs::write(&beside, text)?;
    Ok(std::fs::rename(&beside, file)?)
}
