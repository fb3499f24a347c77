//! Authorize: from one tenant in scope to a transaction for a principal that may, or the reason why not.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;

use super::{DbFault, GroupTx, ScopedTx, TenantTx};
use crate::contract::{ActorKind, Callers, Gate, Permission, Principal, Role, RoleTable};

/// The rule that denies what no role permits.
pub(super) const ROLE_TABLE: &str = "role_table";
/// The standing of a tenant whose data is erased, and the rule that denies it everything from then on.
pub(super) const TENANT_ERASED: &str = "tenant_erased";

/// What a message asks for, and in whose name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'m> {
    pub(crate) principal: &'m Principal,
    /// When the token behind it was issued, in unix seconds.
    pub(crate) token_iat: Option<i64>,
    pub(crate) permission: Permission,
    pub(crate) callers: Callers,
    pub(crate) gate: Gate,
}

/// Why a principal is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It may not: the rule.
    Denied(&'static str),
    /// The tenant's standing does not allow it: the code.
    Rejected(&'static str),
    /// The tenant is not there, or not yet.
    TenantUnknown,
}

/// A principal that is not let in; the scope is handed back, since the batch goes on.
#[derive(Debug)]
pub struct Refused<'a> {
    /// Still in scope.
    pub(crate) scope: ScopedTx<'a>,
    pub(crate) why: Refusal,
}

/// What the database says about tenant and principal at this moment.
#[derive(Debug, Clone)]
pub(super) struct Present {
    pub(super) standing: String,
    member_role: Option<String>,
    session_epoch: Option<OffsetDateTime>,
    removed: bool,
}

/// What is known of one tenant and some of its users, as of one moment.
#[derive(Debug, Default)]
pub(super) struct Presence {
    standing: String,
    users: BTreeMap<String, Member>,
}

/// Role, session epoch and removal of a user.
type Member = (Option<String>, Option<OffsetDateTime>, bool);

impl FromIterator<(String, Option<String>, Member)> for Presence {
    fn from_iter<I: IntoIterator<Item = (String, Option<String>, Member)>>(rows: I) -> Self {
        let mut presence = Self::default();
        for (standing, user, member) in rows {
            presence.standing = standing;
            presence.users.extend(user.map(|user| (user, member)));
        }
        presence
    }
}

impl Presence {
    /// Asks the database, with the tenant in scope.
    async fn read(conn: &mut PgConnection, users: &[String]) -> Result<Self, DbFault> {
        let rows = sqlx::query!(
            r#"SELECT standing AS "standing!", user_id, member_role, session_epoch, removed AS "removed!"
               FROM app.presence($1)"#,
            users,
        )
        .fetch_all(conn)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.standing, row.user_id, (row.member_role, row.session_epoch, row.removed)))
            .collect())
    }

    /// What is known of a principal; `None` for a user that nobody has asked about.
    fn of(&self, principal: &Principal) -> Option<Present> {
        let (member_role, session_epoch, removed) = match user(principal) {
            Some(id) => self.users.get(id)?.clone(),
            None => (None, None, false),
        };
        Some(Present { standing: self.standing.clone(), member_role, session_epoch, removed })
    }
}

/// The id under which members are kept; only users are members.
pub(crate) fn user(principal: &Principal) -> Option<&str> {
    (principal.kind == ActorKind::User).then_some(principal.id.as_str())
}

impl<'a> ScopedTx<'a> {
    /// Lets a principal in with the role it has now, or says why not. After a handler has run, membership and standing are
    /// read anew, because it may have changed them. Webhook sources carry no role: the grant of their publisher's key has
    /// bounded them before.
    pub(crate) async fn authorize(
        mut self,
        request: Request<'_>,
        roles: &RoleTable,
    ) -> Result<Result<TenantTx<'a>, Refused<'a>>, DbFault> {
        self.know([request.principal]).await?;
        Ok(match self.decide(&request, roles) {
            Ok(principal) => Ok(TenantTx { scope: self, principal, applied_event: None }),
            Err(why) => Err(Refused { scope: self, why }),
        })
    }

    /// Lets several principals in together; the answers stand in the order of the requests.
    pub(crate) async fn authorize_group(
        mut self,
        requests: &[Request<'_>],
        roles: &RoleTable,
    ) -> Result<(GroupTx<'a>, Vec<Result<(), Refusal>>), DbFault> {
        self.know(requests.iter().map(|request| request.principal)).await?;
        let answers = requests.iter().map(|request| self.decide(request, roles).map(drop)).collect();
        Ok((GroupTx { scope: self }, answers))
    }

    /// Makes sure that these principals are known, as of one moment.
    async fn know<'p>(&mut self, principals: impl IntoIterator<Item = &'p Principal>) -> Result<(), DbFault> {
        let principals: Vec<&Principal> = principals.into_iter().collect();
        let known = |presence: &Presence| principals.iter().all(|principal| presence.of(principal).is_some());
        if !self.presence.as_ref().is_some_and(known) {
            let users: BTreeSet<&str> = principals.into_iter().filter_map(user).collect();
            let users: Vec<String> = users.into_iter().map(str::to_owned).collect();
            self.presence = Some(Presence::read(self.conn(), &users).await?);
        }
        Ok(())
    }

    fn decide(&self, request: &Request<'_>, roles: &RoleTable) -> Result<Principal, Refusal> {
        if !request.callers.include(request.principal.kind) {
            return Err(Refusal::Denied(if request.callers == Callers::Services {
                "services_only"
            } else {
                "callers"
            }));
        }
        if self.tenant().is_operator() && request.callers.send_commands() {
            return Err(Refusal::Denied("tenant_reserved"));
        }
        // Whoever nobody knows about is not let in.
        let present = self.presence.as_ref().and_then(|presence| presence.of(request.principal));
        let present = present.ok_or(Refusal::Denied(ROLE_TABLE))?;
        let role = role_now(request, &present, roles)?;
        standing_allows(request.gate, &present.standing)?;
        Ok(Principal { role, ..request.principal.clone() })
    }
}

impl Present {
    /// Asks the database about one principal, with its tenant in scope.
    pub(super) async fn read(conn: &mut PgConnection, principal: &Principal) -> Result<Option<Self>, DbFault> {
        let users: Vec<String> = user(principal).map(str::to_owned).into_iter().collect();
        Ok(Presence::read(conn, &users).await?.of(principal))
    }

    /// The lesser of the token's role and the membership's. A removed member is denied whatever its token says, and so
    /// is a token from before the member's sessions ended.
    pub(super) fn role(&self, principal: &Principal, token_iat: Option<i64>) -> Result<Option<Role>, Refusal> {
        if self.removed {
            return Err(Refusal::Denied("member_removed"));
        }
        // Without a token nobody knows that it is new enough.
        if let Some(epoch) = self.session_epoch
            && token_iat.is_none_or(|iat| iat < epoch.unix_timestamp())
        {
            return Err(Refusal::Denied("session_revoked"));
        }
        Ok(match &self.member_role {
            None => principal.role,
            // A text that is no role denies: somebody wrote the row by hand.
            Some(text) => Role::parse(text).and_then(|now| principal.role.map(|then| then.min(now))),
        })
    }
}

/// The lesser of the role at enqueue and the role now, if both permit what is asked.
fn role_now(request: &Request<'_>, present: &Present, roles: &RoleTable) -> Result<Option<Role>, Refusal> {
    let principal = request.principal;
    let role = present.role(principal, request.token_iat)?;
    // What others than members may do is bounded by the grant of their publisher's key, over HTTP by their issuer's section.
    if request.callers == Callers::Members && !both_permit(role, principal.role, request.permission, roles) {
        return Err(Refusal::Denied(ROLE_TABLE));
    }
    Ok(role)
}

/// Do the role now and the role of the token both permit this? No role permits nothing.
pub(super) fn both_permit(now: Option<Role>, then: Option<Role>, asked: Permission, roles: &RoleTable) -> bool {
    [now, then].into_iter().all(|role| role.is_some_and(|role| roles.allows(role, asked)))
}

pub(super) fn standing_allows(gate: Gate, standing: &str) -> Result<(), Refusal> {
    let code = match standing {
        _ if gate == Gate::Always => return Ok(()),
        "good" => return Ok(()),
        "unknown" => return Err(Refusal::TenantUnknown),
        "tenant_closed" => return Err(Refusal::Rejected("tenant_closed")),
        TENANT_ERASED => return Err(Refusal::Denied(TENANT_ERASED)),
        _ if gate == Gate::Open => return Ok(()),
        "tenant_suspended" => "tenant_suspended",
        "access_read_only" => "access_read_only",
        // Whatever else a later schema says, it is not good.
        _ => "access_suspended",
    };
    Err(Refusal::Rejected(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Action;

    fn present(member_role: Option<&str>, removed: bool, epoch: Option<i64>) -> Present {
        Present {
            standing: "good".into(),
            member_role: member_role.map(str::to_owned),
            session_epoch: epoch.map(|t| OffsetDateTime::from_unix_timestamp(t).unwrap()),
            removed,
        }
    }

    fn decide(
        kind: ActorKind,
        role: Option<Role>,
        callers: Callers,
        present: &Present,
    ) -> Result<Option<Role>, Refusal> {
        let principal = Principal { kind, id: "u".into(), role };
        let permission = Permission::new("project", Action::Write);
        let request =
            Request { principal: &principal, token_iat: Some(100), permission, callers, gate: Gate::GoodStanding };
        role_now(&request, present, &RoleTable::builtin())
    }

    #[test]
    fn the_lesser_role_wins_and_what_is_missing_denies() {
        let user =
            |role, member: Option<&str>| decide(ActorKind::User, role, Callers::Members, &present(member, false, None));
        assert_eq!(user(Some(Role::Editor), None), Ok(Some(Role::Editor)));
        assert_eq!(user(Some(Role::Editor), Some("admin")), Ok(Some(Role::Editor)));
        assert_eq!(user(Some(Role::Admin), Some("editor")), Ok(Some(Role::Editor)));
        assert_eq!(user(Some(Role::Admin), Some("viewer")), Err(Refusal::Denied("role_table")));
        assert_eq!(user(Some(Role::Admin), Some("owner")), Err(Refusal::Denied("role_table")));
        assert_eq!(user(Some(Role::Viewer), Some("admin")), Err(Refusal::Denied("role_table")));
        assert_eq!(user(None, Some("admin")), Err(Refusal::Denied("role_table")));
    }

    #[test]
    fn a_removed_member_and_an_old_token_are_denied() {
        let as_admin = |present: &Present| decide(ActorKind::User, Some(Role::Admin), Callers::Members, present);
        assert_eq!(as_admin(&present(None, true, None)), Err(Refusal::Denied("member_removed")));
        assert_eq!(as_admin(&present(None, false, Some(101))), Err(Refusal::Denied("session_revoked")));
        assert_eq!(as_admin(&present(None, false, Some(100))), Ok(Some(Role::Admin)));
    }

    #[test]
    fn a_service_needs_a_role_only_where_members_do() {
        let nobody = present(None, false, None);
        assert!(decide(ActorKind::Service, None, Callers::Members, &nobody).is_err());
        assert!(decide(ActorKind::Service, Some(Role::Editor), Callers::Members, &nobody).is_ok());
        assert!(decide(ActorKind::Service, None, Callers::Services, &nobody).is_ok());
        assert!(decide(ActorKind::Webhook, None, Callers::Webhooks, &nobody).is_ok());
    }

    #[test]
    fn each_standing_opens_what_it_should() {
        let table = [
            // standing, good standing needed, open needed
            ("good", Ok(()), Ok(())),
            ("unknown", Err(Refusal::TenantUnknown), Err(Refusal::TenantUnknown)),
            ("tenant_suspended", Err(Refusal::Rejected("tenant_suspended")), Ok(())),
            ("tenant_closed", Err(Refusal::Rejected("tenant_closed")), Err(Refusal::Rejected("tenant_closed"))),
            ("tenant_erased", Err(Refusal::Denied("tenant_erased")), Err(Refusal::Denied("tenant_erased"))),
            ("access_read_only", Err(Refusal::Rejected("access_read_only")), Ok(())),
            ("access_suspended", Err(Refusal::Rejected("access_suspended")), Ok(())),
            ("anything else", Err(Refusal::Rejected("access_suspended")), Ok(())),
        ];
        for (standing, good, open) in table {
            assert_eq!(standing_allows(Gate::GoodStanding, standing), good, "{standing}");
            assert_eq!(standing_allows(Gate::Open, standing), open, "{standing}");
            assert_eq!(standing_allows(Gate::Always, standing), Ok(()), "{standing}");
        }
    }
}
