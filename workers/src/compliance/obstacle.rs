//! What the database has against a deletion: an adopter's foreign key, or a right that was taken away.

use millrace::pipeline::Fault;

use super::LONGEST_WAIT;

/// Code of an erasure that cannot go on before somebody changes the database.
const BLOCKED: &str = "erasure_blocked";
/// A foreign key (NO ACTION and RESTRICT), and a missing right.
const OBSTACLES: [&str; 3] = ["23503", "23001", "42501"];

/// An erasure waits, uncounted, until its obstacle is gone; the log names the constraint, which names nobody.
pub(super) fn waits(error: sqlx::Error) -> Fault {
    let found = error.as_database_error().filter(|found| found.code().is_some_and(|code| OBSTACLES.contains(&&*code)));
    let Some(found) = found else { return error.into() };
    tracing::warn!(
        constraint = found.constraint().unwrap_or("none"),
        table = found.table().unwrap_or("unknown"),
        "an erasure is blocked: millrace coverage names what stops erasures; change it, and the erasure goes on"
    );
    Fault::Wait { code: BLOCKED, window: LONGEST_WAIT }
}
