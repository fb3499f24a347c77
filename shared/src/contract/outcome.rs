//! The five ways a message ends.

use std::fmt;

/// How a message was settled for good; each has exactly one audit line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its effect is committed.
    Applied,
    /// Nobody handles this kind of provider event.
    Ignored,
    /// A business rule said no; the caller can see the code.
    Rejected,
    /// The principal or the publisher may not do this.
    Denied,
    /// Set aside for an operator.
    Dead,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Applied, Self::Ignored, Self::Rejected, Self::Denied, Self::Dead];

    /// Reads [`Outcome::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }

    /// The text in audit lines, metrics and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Rejected => "rejected",
            Self::Denied => "denied",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
