//! What the catalogue must say, as queries for what it must not say.

use std::collections::BTreeSet;

use millrace::db::DbFault;
use millrace::db::probe::ProbeTx;

use super::expected::{BESIDE, CANONICAL, DEFINERS, ENGINE_GRANTS, ENGINE_POLICIES, GLOBAL_TABLES};
use super::report::{Exception, Failure};

/// Tables and columns somebody else than the owner has a right on: `oid, grantee, right, grantable, place`.
const ACL: &str = "SELECT c.oid, a.grantee, a.privilege_type, a.is_grantable, c.relname::text AS place
    FROM pg_class c, aclexplode(c.relacl) a WHERE a.grantee <> c.relowner
  UNION ALL
  SELECT c.oid, a.grantee, a.privilege_type, a.is_grantable, format('%s(%s)', c.relname, t.attname)
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a WHERE a.grantee <> c.relowner";

/// The common part of the queries: `rel` has every relation outside of the system's own schemas.
const COMMON: &str = "WITH acl AS MATERIALIZED ({acl}),
  granted AS MATERIALIZED (SELECT a.*, coalesce(r.rolname, 'PUBLIC')::text AS role, coalesce(r.rolbypassrls, false) AS bypasses
    FROM acl a LEFT JOIN pg_roles r ON r.oid = a.grantee),
  rel AS MATERIALIZED (SELECT c.*, n.nspname::text AS schema, format('%I.%I', n.nspname, c.relname) AS name,
      (SELECT t.attnum FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'org_id' AND t.attnotnull
         AND t.atttypid = 'text'::regtype AND t.attcollation = '\"C\"'::regcollation) AS org
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'),
  beside (place, policy, command, role, qual, wcheck, granted) AS (VALUES {beside}),
  tab AS (SELECT * FROM rel WHERE schema = 'app' AND relkind IN ('r', 'p')),
  pol AS (SELECT p.*, t.name, t.schema, coalesce(pg_get_expr(p.polqual, p.polrelid), '-') AS qual,
      coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '-') AS wcheck,
      (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE (SELECT rolname::text FROM pg_roles WHERE oid = r) END, ',')
       FROM unnest(p.polroles) r) AS roles
    FROM pg_policy p JOIN rel t ON t.oid = p.polrelid)";

/// Each finds `place, what else`.
const CHECKS: &[(&str, &str)] = &[
    (
        "row-level security is not both enabled and forced",
        "SELECT name, '' FROM tab WHERE NOT (relrowsecurity AND relforcerowsecurity)
           AND NOT (relispartition AND NOT EXISTS (SELECT 1 FROM granted g WHERE g.oid = tab.oid))
         UNION ALL SELECT name, '' FROM rel WHERE schema = 'engine' AND relkind IN ('r', 'p')
           AND NOT (relrowsecurity AND relforcerowsecurity) AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = rel.oid)",
    ),
    (
        "a role with a grant has not exactly one permissive policy",
        "SELECT DISTINCT t.name, g.role FROM tab t JOIN granted g ON g.oid = t.oid WHERE NOT g.bypasses
           AND (SELECT count(*) FROM pg_policy p WHERE p.polrelid = t.oid AND p.polpermissive
                  AND (g.grantee = ANY (p.polroles) OR 0 = ANY (p.polroles))) <> 1",
    ),
    (
        "a policy is not of the canonical text",
        "SELECT name, polname::text FROM pol WHERE schema = 'app' AND polpermissive AND NOT (
           (roles = 'millrace_app' AND polcmd = '*' AND qual = '{canonical}' AND wcheck = '{canonical}')
           OR (roles = 'millrace_reader' AND polcmd = 'r' AND qual = '{canonical}' AND wcheck = '-')
           OR EXISTS (SELECT 1 FROM beside b WHERE b.place = name AND b.policy = polname AND b.command = polcmd::text
             AND b.role = roles AND b.qual = pol.qual AND b.wcheck = pol.wcheck))",
    ),
    (
        "a grant that no tenant table has",
        "SELECT t.name, format('%s %s', g.role, g.privilege_type) FROM tab t JOIN granted g ON g.oid = t.oid
           WHERE g.is_grantable OR NOT (
             (g.role IN ('millrace_app', 'millrace_maintenance') AND g.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
             OR (g.role = 'millrace_reader' AND g.privilege_type = 'SELECT')
             OR EXISTS (SELECT 1 FROM beside b WHERE b.place = t.name AND b.role = g.role AND b.granted = g.privilege_type))",
    ),
    (
        "the primary key does not begin with org_id (text, COLLATE \"C\", NOT NULL)",
        "SELECT name, '' FROM tab WHERE NOT EXISTS (
           SELECT 1 FROM pg_index i WHERE i.indrelid = tab.oid AND i.indisprimary AND i.indkey[0] = org)",
    ),
    (
        "a unique or exclusion index does not begin with org_id",
        "SELECT tab.name, i.indexrelid::regclass::text FROM tab JOIN pg_index i ON i.indrelid = tab.oid
           WHERE (i.indisunique OR i.indisexclusion) AND i.indkey[0] IS DISTINCT FROM org",
    ),
    (
        "a foreign key between tenant tables does not carry org_id",
        "SELECT tab.name, f.conname::text FROM tab JOIN pg_constraint f ON f.conrelid = tab.oid AND f.contype = 'f'
           JOIN tab o ON o.oid = f.confrelid WHERE NOT EXISTS (
             SELECT 1 FROM generate_subscripts(f.conkey, 1) i WHERE f.conkey[i] = tab.org AND f.confkey[i] = o.org)",
    ),
    (
        "there is no index on (org_id, created_at DESC, …)",
        "SELECT tab.name, '' FROM tab JOIN pg_attribute a ON a.attrelid = tab.oid AND a.attname = 'created_at'
           WHERE NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = tab.oid AND i.indpred IS NULL AND i.indisvalid
             AND i.indkey[0] = tab.org AND i.indkey[1] = a.attnum AND i.indoption[1] & 1 = 1)",
    ),
    (
        "a view is not security_invoker",
        "SELECT name, '' FROM rel WHERE relkind = 'v' AND NOT EXISTS (
           SELECT 1 FROM pg_options_to_table(reloptions) o WHERE o.option_name = 'security_invoker'
             AND o.option_value IN ('true', 'on', 'yes', '1'))",
    ),
    (
        "a materialized view or a foreign table is granted; neither has row-level security",
        "SELECT DISTINCT rel.name, g.role FROM rel JOIN granted g ON g.oid = rel.oid WHERE rel.relkind IN ('m', 'f')",
    ),
    (
        "a relation outside of app, engine and ref is granted",
        "SELECT DISTINCT rel.name, g.role FROM rel JOIN granted g ON g.oid = rel.oid
           WHERE schema NOT IN ('app', 'engine', 'ref')",
    ),
    (
        "a reference table has a tenant column, or grants more than SELECT",
        "SELECT DISTINCT rel.name, '' FROM rel WHERE schema = 'ref' AND relkind IN ('r', 'p') AND (
           EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = rel.oid AND a.attname = 'org_id')
           OR EXISTS (SELECT 1 FROM granted g WHERE g.oid = rel.oid AND (g.privilege_type <> 'SELECT' OR g.is_grantable
             OR g.role NOT IN ('millrace_app', 'millrace_reader', 'millrace_relay', 'millrace_maintenance'))))",
    ),
    (
        "a run-time role stands above row-level security, or is a member of another",
        "SELECT rolname::text, '' FROM pg_roles r WHERE
           (rolname IN ('millrace_app', 'millrace_reader', 'millrace_relay', 'millrace_indexer', 'millrace_migrator',
               'millrace_owner') AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication))
           OR (rolname IN ('millrace_app', 'millrace_reader', 'millrace_relay', 'millrace_indexer')
             AND EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.member = r.oid))",
    ),
    (
        "it belongs to somebody else than millrace_owner",
        "SELECT name, (SELECT rolname::text FROM pg_roles WHERE oid = relowner) FROM rel
           WHERE schema IN ('app', 'engine', 'ref', 'priv', 'millrace')
             AND relowner IS DISTINCT FROM (SELECT oid FROM pg_roles WHERE rolname = 'millrace_owner')",
    ),
    (
        "a function with its owner's rights has no pinned search_path, or everybody may call it",
        "SELECT p.oid::regprocedure::text, '' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE p.prosecdef AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND (
             NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)
             OR p.proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(p.proacl) a WHERE a.grantee = 0))",
    ),
    (
        "a function is marked LEAKPROOF",
        "SELECT p.oid::regprocedure::text, '' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE p.proleakproof AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'",
    ),
    (
        "default privileges would open what is created next",
        "SELECT coalesce((SELECT nspname::text FROM pg_namespace WHERE oid = d.defaclnamespace), 'everywhere'),
             coalesce((SELECT rolname::text FROM pg_roles WHERE oid = a.grantee), 'PUBLIC')
           FROM pg_default_acl d, aclexplode(d.defaclacl) a WHERE a.grantee <> d.defaclrole",
    ),
];

/// A query behind the common part.
fn common(query: &str) -> String {
    let beside = BESIDE.iter().map(|(table, policy, command, role, qual, check, right)| {
        format!("('{table}', '{policy}', '{command}', '{role}', '{qual}', '{check}', '{right}')")
    });
    let beside: Vec<String> = beside.collect();
    format!("{COMMON} {query}").replace("{acl}", ACL).replace("{beside}", &beside.join(", "))
}

/// Everything in the catalogue that breaks a rule.
pub(super) async fn defects(tx: &mut ProbeTx) -> Result<BTreeSet<Failure>, DbFault> {
    let parts = CHECKS.iter().enumerate().map(|(number, (_, query))| {
        format!("SELECT {number}, found.place, found.detail FROM ({query}) AS found (place, detail)")
    });
    let all: Vec<String> = parts.collect();
    let query = common(&all.join(" UNION ALL ")).replace("{canonical}", CANONICAL);
    let found: Vec<(i32, String, String)> = tx.fetch(&query).await?;
    let mut defects: BTreeSet<Failure> = found
        .into_iter()
        .map(|(number, place, detail)| {
            let check = usize::try_from(number).ok().and_then(|number| CHECKS.get(number)).map_or("", |(name, _)| name);
            Failure::new(&place, check, &detail)
        })
        .collect();
    defects.extend(engine(tx).await?);
    Ok(defects)
}

/// Grants and policies of the engine are not bounded but listed: more and less are both defects.
async fn engine(tx: &mut ProbeTx) -> Result<Vec<Failure>, DbFault> {
    let grants = format!(
        "SELECT coalesce(r.rolname, 'PUBLIC')::text, a.privilege_type, a.place FROM ({ACL}) a
         JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'engine'
         LEFT JOIN pg_roles r ON r.oid = a.grantee"
    );
    let found: BTreeSet<(String, String, String)> = tx.fetch(&grants).await?.into_iter().collect();
    let wanted: BTreeSet<(String, String, String)> = ENGINE_GRANTS
        .iter()
        .map(|(role, right, place)| (role.to_string(), right.to_string(), place.to_string()))
        .collect();
    let grant = |what: &str, (role, right, place): &(String, String, String)| {
        Failure::new(&format!("engine.{place}"), what, &format!("{role} {right}"))
    };
    let mut defects: Vec<Failure> =
        found.difference(&wanted).map(|g| grant("a grant that is not expected", g)).collect();
    defects.extend(wanted.difference(&found).map(|g| grant("an expected grant is missing", g)));
    let policies = common(
        "SELECT name, polname::text, polcmd::text, roles, qual, wcheck FROM pol
         WHERE schema = 'engine' AND polpermissive",
    );
    let found: Vec<(String, String, String, String, String, String)> = tx.fetch(&policies).await?;
    let wanted = ENGINE_POLICIES.iter().map(|p| {
        (format!("engine.{}", p.0), p.1.to_owned(), p.2.to_owned(), p.3.to_owned(), p.4.to_owned(), p.5.to_owned())
    });
    let (found, wanted): (BTreeSet<_>, BTreeSet<_>) = (found.into_iter().collect(), wanted.collect());
    defects.extend(found.difference(&wanted).map(|p| Failure::new(&p.0, "a policy that is not expected", &p.1)));
    defects.extend(wanted.difference(&found).map(|p| Failure::new(&p.0, "an expected policy is missing", &p.1)));
    Ok(defects)
}

/// What is allowed although it stands outside of the rules, with its reason; and what has no reason.
pub(super) async fn exceptions(tx: &mut ProbeTx) -> Result<(Vec<Exception>, Vec<Failure>), DbFault> {
    let query = "SELECT p.oid::regprocedure::text, 'function', coalesce(obj_description(p.oid, 'pg_proc'), '')
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.prosecdef AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
      UNION ALL
      SELECT format('%I.%I', n.nspname, c.relname), 'table', coalesce(obj_description(c.oid, 'pg_class'), '')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'ref' AND c.relkind IN ('r', 'p') ORDER BY 1";
    let found: Vec<(String, String, String)> = tx.fetch(query).await?;
    let (mut allowed, mut failures) = (Vec::new(), Vec::new());
    for (name, kind, comment) in found {
        let list = if kind == "table" { GLOBAL_TABLES } else { DEFINERS };
        let listed = list.iter().find(|(listed, _)| *listed == name).map(|(_, reason)| *reason);
        match listed.or_else(|| comment.strip_prefix("prove: ")) {
            Some(reason) => allowed.push(Exception::new(&name, reason)),
            None => failures.push(Failure::new(
                &name,
                &format!("a {kind} outside of row-level security is on no list of exceptions"),
                "give the reason as COMMENT … IS 'prove: reason'",
            )),
        }
    }
    Ok((allowed, failures))
}

/// What the login of the workers must not be or be able to.
const ROLE: &[(&str, &str)] = &[
    (
        "the login stands above row-level security",
        "SELECT rolname::text, '' FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER')
           AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)",
    ),
    (
        "the login is a member of another role",
        "SELECT rolname::text, '' FROM pg_roles WHERE rolname <> session_user AND pg_has_role(session_user, oid, 'MEMBER')",
    ),
    (
        "the login owns something",
        "SELECT format('%I.%I', n.nspname, c.relname), '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE pg_has_role(session_user, c.relowner, 'MEMBER')
         UNION ALL SELECT nspname::text, '' FROM pg_namespace WHERE pg_has_role(session_user, nspowner, 'MEMBER')
         UNION ALL SELECT p.oid::regprocedure::text, '' FROM pg_proc p WHERE pg_has_role(session_user, p.proowner, 'MEMBER')",
    ),
    (
        "the login may create",
        "SELECT nspname::text, '' FROM pg_namespace WHERE has_schema_privilege(session_user, oid, 'CREATE')
         UNION ALL SELECT current_database()::text, '' WHERE has_database_privilege(session_user, current_database(), 'CREATE')",
    ),
    (
        "the login has TRUNCATE, REFERENCES or TRIGGER",
        "SELECT format('%I.%I', n.nspname, c.relname), '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
             AND has_table_privilege(session_user, c.oid, 'TRUNCATE, REFERENCES, TRIGGER')",
    ),
    (
        "the login may look into the schema of secrets",
        "SELECT nspname::text, '' FROM pg_namespace WHERE nspname = 'priv' AND has_schema_privilege(session_user, oid, 'USAGE')
         UNION ALL SELECT c.relname::text, '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = 'priv' AND c.relkind = 'r' AND has_any_column_privilege(session_user, c.oid, 'SELECT')",
    ),
];

/// What is wrong with the role that this transaction logged in as.
pub(super) async fn role_defects(tx: &mut ProbeTx) -> Result<Vec<Failure>, DbFault> {
    let mut failures = Vec::new();
    let login: Vec<(String,)> = tx.fetch("SELECT session_user::text").await?;
    let login = login.into_iter().next().unwrap_or_default().0;
    for (check, query) in ROLE {
        let found: Vec<(String, String)> = tx.fetch(query).await?;
        failures.extend(found.into_iter().map(|(place, _)| Failure::new(&place, check, &login)));
    }
    Ok(failures)
}
