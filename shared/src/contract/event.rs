//! Events: what a settled message tells the rest of the world.

use serde::Serialize;
use serde_json::Value;

use super::MessageType;

/// A body with a stable wire name that follows from an applied message. It is stored in the outbox with the effect and
/// published to the events exchange under its name as routing key.
pub trait Event: Serialize + Send + Sync + 'static {
    /// Stable wire name, in the past tense: `projects.created`.
    const NAME: &'static str;
    /// Version of the body's shape.
    const SCHEMA_VERSION: u32 = 1;

    /// JSON Schema of the body, for the AsyncAPI document.
    fn schema() -> Value;
}

/// An event as the contract lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventEntry {
    /// Stable wire name.
    pub name: MessageType,
    /// Version of its body's shape.
    pub schema_version: u32,
    /// JSON Schema of the body.
    pub schema: Value,
}
