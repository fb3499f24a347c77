//! `[tenant]`: where a token says which tenant, which user and which role, unless its issuer says otherwise.

use std::fmt;

use super::Reader;
use crate::contract::Role;

/// Most steps from the top of a token's claims to a value.
const MOST_SEGMENTS: usize = 8;
/// Most bytes of one step.
const LONGEST_SEGMENT: usize = 128;

/// The way to a value in a token's claims: a non-empty list of member names.
///
/// Written as a text it is split at its full stops (`o.id`); a name that has full stops itself is written as a list
/// (`["https://acme.example/org_id"]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// Splits a text at its full stops. `None` when a step is empty or too long, or there are too many.
    pub fn dotted(text: &str) -> Option<Self> {
        Self::new(text.split('.').map(str::to_owned).collect())
    }

    fn new(segments: Vec<String>) -> Option<Self> {
        let sound = |segment: &String| (1..=LONGEST_SEGMENT).contains(&segment.len());
        ((1..=MOST_SEGMENTS).contains(&segments.len()) && segments.iter().all(sound)).then_some(Self(segments))
    }

    /// The member names, outermost first; never empty.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    pub(super) fn read(s: &mut Reader, key: &str, default: &Self) -> Self {
        let path = if s.is_list(key) {
            Self::new(s.list(key))
        } else if s.has(key) {
            Self::dotted(&s.text(key, None))
        } else {
            Some(default.clone())
        };
        path.unwrap_or_else(|| {
            s.mistake(key, "must be a path such as o.id, or a list of names such as [\"https://acme.example/org_id\"]");
            default.clone()
        })
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// How the data of tenants is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All in one database, apart by row level security.
    Pool,
}

/// Where a token says for whom it speaks, for issuers that do not say otherwise.
#[derive(Debug, Clone)]
pub struct TenantConfig {
    /// The tenant.
    pub org_id_claim: ClaimPath,
    /// The user within its tenant.
    pub user_id_claim: ClaimPath,
    /// The role.
    pub role_claim: ClaimPath,
    /// The role of a token that names none; `None` denies it.
    pub default_role: Option<Role>,
    /// How the data of tenants is kept apart.
    pub isolation_strategy: Isolation,
}

impl TenantConfig {
    pub(super) fn read(s: &mut Reader) -> Self {
        let path = |s: &mut Reader, key, default: &str| ClaimPath::read(s, key, &ClaimPath(vec![default.to_owned()]));
        Self {
            org_id_claim: path(s, "org_id_claim", "org_id"),
            user_id_claim: path(s, "user_id_claim", "sub"),
            role_claim: path(s, "role_claim", "role"),
            default_role: default_role(s, Some(Role::Viewer)),
            isolation_strategy: isolation(s),
        }
    }
}

/// Reads `default_role`: one of our roles, or `deny`.
pub(super) fn default_role(s: &mut Reader, default: Option<Role>) -> Option<Role> {
    let [viewer, editor, admin] = Role::ALL.map(|role| (role.as_str(), Some(role)));
    s.word("default_role", default, &[viewer, editor, admin, ("deny", None)])
}

fn isolation(s: &mut Reader) -> Isolation {
    let strategy = s.text("isolation_strategy", Some("pool"));
    if strategy != "pool" {
        s.mistake(
            "isolation_strategy",
            format!("{strategy:?} is not available: only \"pool\" is, one database under RLS"),
        );
    }
    Isolation::Pool
}
