//! For whom a message acts.

use std::fmt;

/// The five kinds of principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActorKind {
    /// A signed-in person of a tenant.
    User,
    /// A program with its own credentials.
    Service,
    /// A provider whose signature the ingress verified.
    Webhook,
    /// Millrace itself.
    System,
    /// A named operator of the deployment.
    Operator,
}

impl ActorKind {
    const ALL: [Self; 5] = [Self::User, Self::Service, Self::Webhook, Self::System, Self::Operator];

    /// True for the kinds that send commands and ask what became of them.
    pub fn sends_commands(self) -> bool {
        matches!(self, Self::User | Self::Service)
    }

    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Webhook => "webhook",
            Self::System => "system",
            Self::Operator => "operator",
        }
    }

    /// Reads the text on the wire; anything else is no kind.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A named set of permissions. Ordered: a later role may do whatever an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and changes.
    Editor,
    /// Everything a tenant may do.
    Admin,
}

impl Role {
    /// Every role, weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Admin];

    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// Reads the text on the wire. An unknown role is no role, and no role is denied.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The authenticated identity a message acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// What kind of identity.
    pub kind: ActorKind,
    /// Its id within its kind: a user's `sub`, a source's name, an operator's name.
    pub id: String,
    /// The role when the message was sealed; only users and services carry one.
    pub role: Option<Role>,
}

impl Principal {
    /// A webhook source, such as `stripe`.
    pub fn webhook(source: &str) -> Self {
        Self { kind: ActorKind::Webhook, id: source.to_owned(), role: None }
    }

    /// A part of Millrace, such as `worker`.
    pub fn system(name: &str) -> Self {
        Self { kind: ActorKind::System, id: name.to_owned(), role: None }
    }

    /// A named operator.
    pub fn operator(name: &str) -> Self {
        Self { kind: ActorKind::Operator, id: name.to_owned(), role: None }
    }

    /// Kind and id in one, so that a user called `stripe` is no webhook. Audit lines show it so for everybody but users, who
    /// appear there under a pseudonym.
    pub fn actor_id(&self) -> String {
        format!("{}:{}", self.kind.as_str(), self.id)
    }
}
