//! Projects: the commands of a tenant's users and services, and the events that follow.

use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::schema::{self, NAME_BYTES};
use crate::contract::{Action, Event, Malformed, Object, Payload, Permission};

const RESOURCE: &str = "project";

/// `projects.create`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectsCreate {
    /// Name for people.
    pub name: String,
}

/// `projects.rename`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectsRename {
    /// Which project.
    pub id: Uuid,
    /// Its new name.
    pub name: String,
}

/// `projects.archive`: kept and read, but no longer changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectsArchive {
    /// Which project.
    pub id: Uuid,
}

/// `projects.delete`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectsDelete {
    /// Which project.
    pub id: Uuid,
}

impl Payload for ProjectsCreate {
    const NAME: &'static str = "projects.create";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let name = object.text("name", NAME_BYTES)?;
        object.done()?;
        Ok(Self { name })
    }

    fn schema() -> Value {
        schema::object(&[("name", schema::text(&NAME_BYTES))])
    }
}

impl Payload for ProjectsRename {
    const NAME: &'static str = "projects.rename";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const VERSIONED: bool = true;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let (id, name) = (object.uuid("id")?, object.text("name", NAME_BYTES)?);
        object.done()?;
        Ok(Self { id, name })
    }

    fn schema() -> Value {
        schema::object(&[("id", schema::uuid()), ("name", schema::text(&NAME_BYTES))])
    }
}

fn only_id(body: &[u8]) -> Result<Uuid, Malformed> {
    let mut object = Object::read(body)?;
    let id = object.uuid("id")?;
    object.done()?;
    Ok(id)
}

impl Payload for ProjectsArchive {
    const NAME: &'static str = "projects.archive";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const VERSIONED: bool = true;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        only_id(body).map(|id| Self { id })
    }

    fn schema() -> Value {
        schema::object(&[("id", schema::uuid())])
    }
}

impl Payload for ProjectsDelete {
    const NAME: &'static str = "projects.delete";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Delete);
    const VERSIONED: bool = true;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        only_id(body).map(|id| Self { id })
    }

    fn schema() -> Value {
        schema::object(&[("id", schema::uuid())])
    }
}

macro_rules! project_event {
    ($(#[$doc:meta])* $name:ident, $wire:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize)]
        pub struct $name {
            /// Which project.
            pub id: Uuid,
            /// Its name.
            pub name: String,
            /// Its version after the change, from 1.
            pub version: i64,
        }

        impl Event for $name {
            const NAME: &'static str = $wire;

            fn schema() -> Value {
                schema::object(&[
                    ("id", schema::uuid()),
                    ("name", schema::text(&NAME_BYTES)),
                    ("version", json!({ "type": "integer", "minimum": 1 })),
                ])
            }
        }
    };
}

project_event!(
    /// `projects.created`
    ProjectCreated,
    "projects.created"
);
project_event!(
    /// `projects.renamed`
    ProjectRenamed,
    "projects.renamed"
);
project_event!(
    /// `projects.archived`
    ProjectArchived,
    "projects.archived"
);
project_event!(
    /// `projects.deleted`: name and version are the last it had.
    ProjectDeleted,
    "projects.deleted"
);
