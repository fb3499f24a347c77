//! Functions that write for many tenants: each has to refuse whoever does not hold the sealed context that it asks for, as SQL
//! that was injected into a handler does not.

use millrace::contract::TenantId;
use millrace::db::DbFault;
use millrace::db::probe::{Act, Outcome, ProbeTx, RECORD_UNDER_A_STOLEN_TAG, Scope, Stand, UNSEALED};

use super::probes::{Ground, Tenants};
use super::report::{Failure, Proof};

/// PostgreSQL's code for what a right or a check does not allow.
const REFUSED: &str = "42501";

/// Where a call is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// The scope was left, which injected SQL can do.
    Nobody,
    /// A tenant's own scope.
    Tenant,
    /// The operator's name under a tenant's tag.
    ForgedOperator,
    /// Another tenant's name under a tenant's tag.
    ForgedTenant,
}

impl Caller {
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "without a tenant",
            Self::Tenant => "in a tenant's scope",
            Self::ForgedOperator => "with a forged context of the operator",
            Self::ForgedTenant => "with a forged context of another tenant",
        }
    }
}

/// Function, call, and from where it must be refused. What is called for the operator changes nothing should it succeed.
const CALLS: &[(&str, &str, &[Caller])] = &[
    (
        "engine.take_due",
        "SELECT 1 FROM engine.take_due('{}', now(), 1)",
        &[Caller::Nobody, Caller::Tenant, Caller::ForgedOperator],
    ),
    (
        "engine.settle_due",
        "SELECT engine.settle_due('{}', '{}', '{}', '{}')",
        &[Caller::Nobody, Caller::Tenant, Caller::ForgedOperator],
    ),
    (
        "engine.keep_due",
        "SELECT engine.keep_due('{}', '{}', '{}', '{}', '{}', '{}', '{}')",
        &[Caller::Nobody, Caller::ForgedTenant],
    ),
    ("engine.record_operations", RECORD_UNDER_A_STOLEN_TAG, &[Caller::Nobody, Caller::Tenant]),
];

/// Tries every call; says how many, and which were not refused.
pub(super) async fn probe(tx: &mut ProbeTx, ground: Ground, tenants: &Tenants) -> Result<(u64, Vec<Failure>), DbFault> {
    let (operator, role) = (TenantId::operator(), (ground == Ground::Clone).then_some("millrace_app"));
    let (mut tried, mut failures) = (0, Vec::new());
    for (function, call, from) in CALLS {
        for from in *from {
            let scope = match from {
                Caller::Nobody => Scope::Left,
                Caller::Tenant => Scope::Tenant(&tenants.a.id),
                Caller::ForgedOperator => Scope::Forged { tag_of: &tenants.a.id, tenant: &operator },
                Caller::ForgedTenant => Scope::Forged { tag_of: &tenants.a.id, tenant: &tenants.b.id },
            };
            tried += 1;
            let act = Act::Statement((*call).to_owned());
            let found = match tx.attempt(Stand { role, scope }, &[], &act, None).await?.0 {
                Outcome::Refused(refusal) if refusal.code == REFUSED => continue,
                Outcome::Refused(refusal) => format!("{} {}", refusal.code, refusal.message),
                Outcome::Rows(rows) => format!("{rows} row(s)"),
            };
            failures.push(Failure::new(function, &format!("call {}", from.name()), &found));
        }
    }
    Ok((tried, failures))
}

/// Takes the MAC away: every function has to be seen to lean on it.
pub(super) async fn hunt(tx: &mut ProbeTx, tenants: &Tenants, proof: &mut Proof) -> Result<(), DbFault> {
    tx.restart().await?;
    tx.keep(Scope::Untouched, UNSEALED).await?;
    let (tried, red) = probe(tx, Ground::Clone, tenants).await?;
    proof.probes += tried;
    for (function, ..) in CALLS {
        let by: Vec<String> = red.iter().filter(|red| red.place == *function).map(|red| red.what.clone()).collect();
        let mutant = "cur_org() without its MAC";
        if by.is_empty() {
            let what = format!("mutant {mutant} survived");
            proof.failures.push(Failure::new(function, &what, "no call of it succeeds"));
        } else {
            proof.mutants_killed.entry((*function).to_owned()).or_default().insert(mutant.to_owned(), by);
        }
    }
    tx.restart().await
}
