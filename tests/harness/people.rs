//! Who is who in the audit lines, and what they must not say.

use millrace::contract::unlisted_facts;

use crate::World;

impl World {
    /// `actor_id` of a user in the audit lines of a tenant; empty while nobody has named it there.
    ///
    /// # Panics
    /// When the database does not answer.
    pub async fn actor(&self, org: &str, user: &str) -> String {
        let found: Option<uuid::Uuid> =
            sqlx::query_scalar("SELECT pseudonym FROM app.subjects WHERE org_id = $1 AND subject = $2")
                .bind(org)
                .bind(user)
                .fetch_optional(self.superuser())
                .await
                .expect("an answer");
        found.map(|pseudonym| format!("user:{pseudonym}")).unwrap_or_default()
    }

    /// Whatever a test made the programs write: no line has a fact that its action does not list, or free text in one.
    pub(crate) fn check_facts(&self) {
        for line in self.lines() {
            let text = |name: &str| line[name].as_str().expect("a text");
            let metadata = line["metadata"].as_object().expect("facts");
            let unlisted = unlisted_facts(text("actor_id"), text("action"), metadata);
            assert_eq!(unlisted, Vec::<String>::new(), "{line}");
        }
    }
}
