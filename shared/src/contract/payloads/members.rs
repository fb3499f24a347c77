//! Members: what a tenant's own administrators say about its users' roles.

use serde::Serialize;
use serde_json::Value;

use super::schema::{self, USER_BYTES};
use crate::contract::{Action, Event, Malformed, Object, Payload, Permission, Role};

const RESOURCE: &str = "member";
const ROLES: &str = "must be one of: viewer, editor, admin";

/// `members.set_role`: bounds what a user may do, whatever its token says. It can only lower the token's role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersSetRole {
    /// The user's id with the identity provider.
    pub user_id: String,
    /// The highest role it has from now on.
    pub role: Role,
}

/// `members.remove`: denied from now on, whatever its token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersRemove {
    /// The user's id with the identity provider.
    pub user_id: String,
}

fn roles() -> Value {
    schema::word(&Role::ALL.map(Role::as_str))
}

impl Payload for MembersSetRole {
    const NAME: &'static str = "members.set_role";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Write);
    const VERSIONED: bool = true;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let user_id = object.text("user_id", USER_BYTES)?;
        let role = object.parsed("role", ROLES, Role::parse)?;
        object.done()?;
        Ok(Self { user_id, role })
    }

    fn schema() -> Value {
        schema::object(&[("user_id", schema::text(&USER_BYTES)), ("role", roles())])
    }
}

impl Payload for MembersRemove {
    const NAME: &'static str = "members.remove";
    const PERMISSION: Permission = Permission::new(RESOURCE, Action::Delete);
    const VERSIONED: bool = true;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut object = Object::read(body)?;
        let user_id = object.text("user_id", USER_BYTES)?;
        object.done()?;
        Ok(Self { user_id })
    }

    fn schema() -> Value {
        schema::object(&[("user_id", schema::text(&USER_BYTES))])
    }
}

/// `members.role_set`
#[derive(Debug, Clone, Serialize)]
pub struct MemberRoleSet {
    /// The user's id with the identity provider.
    pub user_id: String,
    /// Its highest role from now on.
    pub role: &'static str,
}

impl Event for MemberRoleSet {
    const NAME: &'static str = "members.role_set";

    fn schema() -> Value {
        schema::object(&[("user_id", schema::text(&USER_BYTES)), ("role", roles())])
    }
}

/// `members.removed`
#[derive(Debug, Clone, Serialize)]
pub struct MemberRemoved {
    /// The user's id with the identity provider.
    pub user_id: String,
}

impl Event for MemberRemoved {
    const NAME: &'static str = "members.removed";

    fn schema() -> Value {
        schema::object(&[("user_id", schema::text(&USER_BYTES))])
    }
}
