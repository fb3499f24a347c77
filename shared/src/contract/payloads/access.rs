//! What a tenant may do by what it owes: levels, the message that reviews one, the command that overrides it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::schema;
use crate::contract::{Action, Callers, Event, Gate, Malformed, Object, Payload, Permission, Timestamp};

/// What a tenant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLevel {
    /// Everything.
    Full,
    /// Everything, with a flag: a payment is due.
    Grace,
    /// Look, pay, export, leave.
    ReadOnly,
    /// Pay, export, leave.
    Suspended,
}

impl AccessLevel {
    /// Every level, the freest first.
    pub const ALL: [Self; 4] = [Self::Full, Self::Grace, Self::ReadOnly, Self::Suspended];

    /// The text in tables, events and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Grace => "grace",
            Self::ReadOnly => "read_only",
            Self::Suspended => "suspended",
        }
    }

    /// Reads the text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// `billing.review_access`: time has passed, and access may be another now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillingReviewAccess {}

impl Payload for BillingReviewAccess {
    const NAME: &'static str = "billing.review_access";
    const PERMISSION: Permission = Permission::new("billing", Action::Write);
    const CALLERS: Callers = Callers::System;
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body).map_err(|_| Malformed::new("body", "must be an empty object"))
    }

    fn schema() -> Value {
        schema::object(&[])
    }
}

/// `billing.override_access`: for services alone, since nobody decides for themselves that they need not pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingOverrideAccess {
    /// The level instead of the rule's; `None` gives the rule its say again.
    pub level: Option<AccessLevel>,
    /// Until when; `None` is for good.
    pub until: Option<Timestamp>,
}

impl Payload for BillingOverrideAccess {
    const NAME: &'static str = "billing.override_access";
    const PERMISSION: Permission = Permission::new("billing", Action::Write);
    const CALLERS: Callers = Callers::Services;
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let level = object.parsed("level", "must be full, grace, read_only, suspended or rule", |text| match text {
            "rule" => Some(None),
            text => AccessLevel::parse(text).map(Some),
        })?;
        let until = match object.optional_text("until", 1..=64)? {
            None => None,
            Some(text) => Some(Timestamp::parse(&text).ok_or(Malformed::new("until", "must be RFC 3339"))?),
        };
        object.done()?;
        Ok(Self { level, until })
    }

    fn schema() -> Value {
        let levels = AccessLevel::ALL.map(AccessLevel::as_str);
        let words: Vec<&str> = levels.into_iter().chain(["rule"]).collect();
        schema::object_with(
            &[("level", schema::word(&words))],
            &[("until", json!({ "type": "string", "format": "date-time" }))],
        )
    }
}

/// `billing.access_changed`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AccessChanged {
    /// From now on.
    pub level: AccessLevel,
    /// Until now.
    pub was: AccessLevel,
}

impl Event for AccessChanged {
    const NAME: &'static str = "billing.access_changed";

    fn schema() -> Value {
        let level = || schema::word(&AccessLevel::ALL.map(AccessLevel::as_str));
        schema::object(&[("level", level()), ("was", level())])
    }
}
