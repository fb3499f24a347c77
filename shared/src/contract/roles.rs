//! The role table: (role, resource, action) held as data. What is not listed is denied.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Role;

/// What can be done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Look at it.
    Read,
    /// Create or change it.
    Write,
    /// Remove it.
    Delete,
    /// Take all of it away in one piece.
    Export,
}

impl Action {
    /// Every action, in the order in which tables list them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Delete, Self::Export];

    /// The text in permissions and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Export => "export",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// One (resource, action): a constant of each payload type, asked at the edge and again in the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permission {
    /// The resource, such as `billing`.
    pub resource: &'static str,
    /// What is done to it.
    pub action: Action,
}

impl Permission {
    /// Names a permission.
    pub const fn new(resource: &'static str, action: Action) -> Self {
        Self { resource, action }
    }
}

/// Which role may do what to which resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleTable {
    granted: BTreeMap<(String, Role), u8>,
}

impl RoleTable {
    /// Grants `actions` on `resource` to `role`, on top of what it has.
    #[must_use]
    pub fn grant(mut self, resource: &str, role: Role, actions: &[Action]) -> Self {
        let mask = actions.iter().fold(0, |mask, action| mask | action.bit());
        *self.granted.entry((resource.to_owned(), role)).or_default() |= mask;
        self
    }

    /// Everything of `self` and of `other`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for (key, mask) in other.granted {
            *self.granted.entry(key).or_default() |= mask;
        }
        self
    }

    /// May `role` do this? Unlisted means no.
    pub fn allows(&self, role: Role, permission: Permission) -> bool {
        self.granted
            .get(&(permission.resource.to_owned(), role))
            .is_some_and(|mask| mask & permission.action.bit() != 0)
    }

    /// What `role` may do to a resource, in the order of [`Action::ALL`].
    pub fn actions(&self, role: Role, resource: &str) -> Vec<Action> {
        let mask = self.granted.get(&(resource.to_owned(), role)).copied().unwrap_or_default();
        Action::ALL.into_iter().filter(|action| mask & action.bit() != 0).collect()
    }

    /// One line per (resource, role): the text whose hash is [`Self::version`].
    pub fn text(&self) -> String {
        let mut text = String::new();
        for ((resource, role), mask) in &self.granted {
            let actions: Vec<_> = Action::ALL.iter().filter(|a| mask & a.bit() != 0).map(|a| a.as_str()).collect();
            text.push_str(&format!("{resource} {role} {}\n", actions.join(" ")));
        }
        text
    }

    /// SHA-256 of [`Self::text`] in hex; every audit line names the table that decided.
    pub fn version(&self) -> String {
        hex::encode(Sha256::digest(self.text()))
    }

    /// The table of the specification.
    pub fn builtin() -> Self {
        use Action::{Delete, Export, Read, Write};
        use Role::{Admin, Editor, Viewer};
        let mut table = Self::default();
        for resource in ["project", "settings"] {
            table = table
                .grant(resource, Admin, &[Read, Write, Delete, Export])
                .grant(resource, Editor, &[Read, Write])
                .grant(resource, Viewer, &[Read]);
        }
        table
            .grant("member", Admin, &[Read, Write, Delete])
            .grant("member", Editor, &[Read])
            .grant("member", Viewer, &[Read])
            .grant("billing", Admin, &[Read, Write, Delete, Export])
            .grant("billing", Editor, &[Read])
            .grant("billing", Viewer, &[Read])
            .grant("audit_log", Admin, &[Read, Export])
            .grant("compliance", Admin, &[Read, Write, Export])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_denied() {
        let table = RoleTable::builtin();
        assert!(table.allows(Role::Admin, Permission::new("billing", Action::Write)));
        assert!(!table.allows(Role::Editor, Permission::new("billing", Action::Write)));
        assert!(!table.allows(Role::Viewer, Permission::new("audit_log", Action::Read)));
        assert!(!table.allows(Role::Admin, Permission::new("nonsense", Action::Read)));
    }

    #[test]
    fn the_version_follows_the_text() {
        let table = RoleTable::builtin();
        let wider = table.clone().grant("billing", Role::Editor, &[Action::Write]);
        assert_ne!(table.version(), wider.version());
    }
}
