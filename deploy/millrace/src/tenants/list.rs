//! `millrace tenants list`

use clap::{Args, ValueEnum};
use millrace::config::{Process, start};
use millrace::contract::{Contract, TenantId, Timestamp};
use millrace::pipeline::OperatorRead;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{TENANT, plans};
use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::operator::OperatorName;
use crate::screen::Screen;

pub(super) const EXAMPLE: &str = "Example: millrace tenants list --state suspended --plan pro\n\
    With --json every tenant is one line: org_id, name, plan, state, access (null: billing has not judged it), created_at.";

/// Tenants that are in memory at a time.
const PAGE: i64 = 500;

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only tenants in this state.
    #[arg(long)]
    state: Option<State>,
    /// Only tenants of this plan.
    #[arg(long)]
    plan: Option<String>,
    #[command(flatten)]
    operator: OperatorName,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Active,
    Suspended,
    Closed,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Closed => "closed",
        }
    }
}

struct Row {
    org_id: String,
    name: String,
    plan: String,
    state: String,
    access: Option<String>,
    created_at: OffsetDateTime,
}

impl List {
    pub(super) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::Operator)?;
        let mut act = self.operator.act(&contract, &config).await?;
        plans::check(act.conn(), self.plan.as_deref()).await?;
        let noted = act.note(&TenantId::operator(), "tenants.list", (TENANT, "*"), self.filter())?;
        let mut read = noted.commit_then_read().await?;
        screen.tell(&columns("ID", "PLAN", "STATE", "ACCESS", "CREATED", "NAME"));
        let mut after = String::new();
        loop {
            let page = self.page(&mut read, &after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.org_id.clone();
            page.iter().for_each(|row| row.show(screen));
        }
    }

    fn filter(&self) -> Map<String, Value> {
        let state = self.state.map(|state| ("state".to_owned(), state.as_str().into()));
        let plan = self.plan.clone().map(|plan| ("plan".to_owned(), plan.into()));
        state.into_iter().chain(plan).collect()
    }

    async fn page(&self, read: &mut OperatorRead, after: &str) -> sqlx::Result<Vec<Row>> {
        sqlx::query_as!(
            Row,
            r#"SELECT t.org_id, t.name, t.plan, t.state, a.level AS "access?", t.created_at
               FROM app.tenants t LEFT JOIN app.access a ON a.org_id = t.org_id
               WHERE t.org_id > $1 AND ($2::text IS NULL OR t.state = $2) AND ($3::text IS NULL OR t.plan = $3)
               ORDER BY t.org_id LIMIT $4"#,
            after,
            self.state.map(State::as_str),
            self.plan.as_deref(),
            PAGE
        )
        .fetch_all(read.conn())
        .await
    }
}

impl Row {
    fn show(&self, screen: &Screen) {
        let created_at = Timestamp::new(self.created_at).to_string();
        let access = self.access.as_deref();
        // Names come from people; what a terminal would obey is not printed.
        let name: String = self.name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let text = columns(&self.org_id, &self.plan, &self.state, access.unwrap_or("-"), &created_at, &name);
        let facts = json!({ "org_id": self.org_id, "name": self.name, "plan": self.plan, "state": self.state,
                            "access": access, "created_at": created_at });
        screen.row(&text, &facts);
    }
}

fn columns(org: &str, plan: &str, state: &str, access: &str, created: &str, name: &str) -> String {
    format!("{org:<28} {plan:<12} {state:<10} {access:<10} {created:<28} {name}")
}
