//! Which plans there are.

use sqlx::PgConnection;

use crate::CommandFault;
use crate::operator::Usage;

/// The plans of this deployment.
#[derive(Debug)]
pub(super) struct Plans(Vec<String>);

impl Plans {
    pub(super) async fn read(connection: &mut PgConnection) -> sqlx::Result<Self> {
        Ok(Self(sqlx::query_scalar!("SELECT plan FROM ref.plans ORDER BY plan").fetch_all(connection).await?))
    }

    /// A mistake, with the plans that there are, unless the plan is one of them.
    pub(super) fn check(&self, plan: &str) -> Result<(), Usage> {
        if self.0.iter().any(|known| known == plan) {
            return Ok(());
        }
        Err(Usage(format!("there is no plan {plan:?}; there are: {}", self.0.join(", "))))
    }
}

/// Checks a plan that may be given.
pub(super) async fn check(connection: &mut PgConnection, plan: Option<&str>) -> Result<(), CommandFault> {
    match plan {
        Some(plan) => Ok(Plans::read(connection).await?.check(plan)?),
        None => Ok(()),
    }
}
