//! Statements that must not reach another tenant, in the place of every role that could send them.

use std::collections::BTreeSet;

use millrace::db::DbFault;
use millrace::db::probe::{Act, Outcome, ProbeTx, Scope, Stand};

use super::catalogue::{Model, ORG, Reference, Table};
use super::report::Failure;
use super::seed::{Cast, Planted, Rows, Seeder, Values, insert, literal, parts, quoted};

/// PostgreSQL's code for what a right or a policy does not allow.
const REFUSED: &str = "42501";
/// Its code for COPY into a table with row-level security.
const UNSUPPORTED: &str = "0A000";
/// Its code for a reference to a row that is not there.
const NO_SUCH_ROW: &str = "23503";

/// The probe that sees whether the context is sealed.
pub(super) const FORGED: &str = "SELECT with a forged context";

/// Name of the probe that uses another tenant's value of a key.
pub(super) fn duplicate_of(key: &[String]) -> String {
    format!("duplicate of another tenant's value ({})", key.join(", "))
}

/// Name of the probe that refers to another tenant's row.
pub(super) fn reference_by(reference: &Reference) -> String {
    format!("reference to another tenant's row ({})", reference.name)
}

/// Where a proof looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// The live database, through the workers' login.
    Live,
    /// The clone, through a superuser who takes everybody's place.
    Clone,
}

/// The tenants of a proof: A acts, B is acted upon, C is new and has no rows.
#[derive(Debug)]
pub(super) struct Tenants {
    pub(super) a: Cast,
    pub(super) b: Cast,
    pub(super) c: Cast,
}

#[derive(Debug, Clone, Copy)]
enum As {
    A,
    C,
    Nobody,
    Left,
    Forged,
}

/// What PostgreSQL has to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Rows(u64),
    Code(&'static str),
}

/// One statement.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) name: String,
    role: &'static str,
    scope: As,
    before: Vec<String>,
    act: Act,
    wanted: Wanted,
    /// Shows that the others see anything at all, so no defect needs to turn it red.
    pub(super) control: bool,
}

const APP: &str = "millrace_app";
const READER: &str = "millrace_reader";
const OWNER: &str = "millrace_owner";

/// Everything the probes of a table are made from.
pub(super) struct Bench<'a> {
    pub(super) ground: Ground,
    pub(super) model: &'a Model,
    pub(super) seeder: &'a Seeder<'a>,
    pub(super) planted: &'a Planted,
    pub(super) tenants: &'a Tenants,
}

/// Collects the probes of one table.
struct List<'a> {
    table: &'a Table,
    role: &'static str,
    scope: As,
    probes: Vec<Probe>,
}

impl List<'_> {
    fn add(&mut self, name: &str, statement: String, wanted: Wanted) {
        self.push(name, Vec::new(), Act::Statement(statement), wanted);
    }

    fn push(&mut self, name: &str, before: Vec<String>, act: Act, wanted: Wanted) {
        let control = name.starts_with("own ");
        let probe = Probe { name: name.to_owned(), role: self.role, scope: self.scope, before, act, wanted, control };
        self.probes.push(probe);
    }

    /// The probes that follow stand elsewhere.
    fn turn(&mut self, role: &'static str, scope: As) {
        (self.role, self.scope) = (role, scope);
    }
}

impl Bench<'_> {
    /// Every probe of a table; those that need rows only where there are some.
    pub(super) fn probes(&self, table: &Table) -> Vec<Probe> {
        let mut list = List { table, role: APP, scope: As::A, probes: Vec::new() };
        let rows = self.planted.rows.iter().map(|rows| rows.get(&table.name)).collect::<Vec<_>>();
        if !table.tenant {
            if self.ground == Ground::Clone && rows.iter().all(Option::is_some) {
                self.reader(&mut list);
            }
            return list.probes;
        }
        if let [Some(_), Some(theirs)] = rows[..] {
            self.reads(&mut list);
            self.writes(&mut list, theirs);
            self.copies(&mut list);
            if table.may("INSERT") {
                list.turn(APP, As::C);
                self.references(&mut list);
                self.duplicates(&mut list, theirs);
            }
            self.unscoped(&mut list, theirs);
            if self.ground == Ground::Clone {
                self.others(&mut list);
            }
        }
        list.turn(APP, As::A);
        if !(self.ground == Ground::Live && table.may("TRUNCATE")) {
            list.add("TRUNCATE", format!("TRUNCATE {}", table.name), Wanted::Code(REFUSED));
        }
        list.probes
    }

    fn org(&self, scope: &Cast) -> String {
        literal(scope.id.as_str())
    }

    fn reads(&self, list: &mut List<'_>) {
        let (table, a, b) = (list.table, self.org(&self.tenants.a), self.org(&self.tenants.b));
        let name = &table.name;
        if !table.may("SELECT") {
            return;
        }
        list.add("own SELECT", format!("SELECT 1 FROM {name} WHERE {ORG} = {a}"), Wanted::Rows(1));
        list.add("SELECT", format!("SELECT 1 FROM {name} WHERE {ORG} <> {a} LIMIT 1"), Wanted::Rows(0));
        if table.may("UPDATE") {
            let locked = format!("SELECT 1 FROM {name} WHERE {ORG} = {b} FOR UPDATE");
            list.add("SELECT FOR UPDATE", locked, Wanted::Rows(0));
        }
        list.turn(APP, As::Forged);
        list.add(FORGED, format!("SELECT 1 FROM {name} LIMIT 1"), Wanted::Code(REFUSED));
        list.turn(APP, As::A);
    }

    fn writes(&self, list: &mut List<'_>, theirs: &Values) {
        let (table, a, b) = (list.table, self.org(&self.tenants.a), self.org(&self.tenants.b));
        let name = &table.name;
        let (refused, none) = (Wanted::Code(REFUSED), Wanted::Rows(0));
        let row = insert(table, theirs);
        let key: Vec<String> = table.keys.first().into_iter().flatten().map(|column| quoted(column)).collect();
        let merge = format!("MERGE INTO {name} t USING (SELECT {b}::text AS org) s ON t.{ORG} = s.org");
        if table.may("INSERT") {
            list.add("INSERT for another tenant", row.clone(), refused);
            if table.may("SELECT") {
                list.add("INSERT ON CONFLICT DO NOTHING", format!("{row} ON CONFLICT DO NOTHING"), refused);
                let (names, literals) = parts(theirs);
                let merged = format!(
                    "MERGE INTO {name} t USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({literals})"
                );
                list.add("MERGE that inserts", merged, refused);
            }
            if table.may("UPDATE") && table.may("SELECT") && !key.is_empty() {
                let update = format!("{row} ON CONFLICT ({}) DO UPDATE SET {ORG} = excluded.{ORG}", key.join(", "));
                list.add("INSERT ON CONFLICT DO UPDATE", update, refused);
            }
        }
        if table.may("UPDATE") && table.may("SELECT") {
            list.add("own UPDATE", format!("UPDATE {name} SET {ORG} = {ORG} WHERE {ORG} = {a}"), Wanted::Rows(1));
            list.add("UPDATE", format!("UPDATE {name} SET {ORG} = {ORG} WHERE {ORG} = {b}"), none);
            list.add("UPDATE to own tenant", format!("UPDATE {name} SET {ORG} = {a} WHERE {ORG} = {b}"), none);
            list.add("UPDATE to another tenant", format!("UPDATE {name} SET {ORG} = {b} WHERE {ORG} = {a}"), refused);
            list.add("MERGE that updates", format!("{merge} WHEN MATCHED THEN UPDATE SET {ORG} = {a}"), none);
        }
        if table.may("DELETE") && table.may("SELECT") {
            list.add("DELETE", format!("DELETE FROM {name} WHERE {ORG} = {b}"), none);
            list.add("MERGE that deletes", format!("{merge} WHEN MATCHED THEN DELETE"), none);
        }
    }

    /// On a live database another tenant's rows are asked for, since the table may be large.
    fn copies(&self, list: &mut List<'_>) {
        let (table, a) = (list.table, self.org(&self.tenants.a));
        let name = &table.name;
        if table.may("SELECT") {
            let (what, wanted) = match self.ground {
                Ground::Live => (format!("(SELECT 1 FROM {name} WHERE {ORG} <> {a} LIMIT 1)"), 0),
                // Without row-level security PostgreSQL copies no partitioned table by its name.
                Ground::Clone if table.partitioned => (format!("(SELECT 1 FROM {name})"), 1),
                Ground::Clone => (name.clone(), 1),
            };
            list.push("COPY TO", Vec::new(), Act::CopyOut(format!("COPY {what} TO STDOUT")), Wanted::Rows(wanted));
        }
        if table.may("INSERT") {
            let copy = Act::CopyIn(format!("COPY {name} FROM STDIN"));
            list.push("COPY FROM", Vec::new(), copy, Wanted::Code(UNSUPPORTED));
        }
    }

    /// As C, who has what the row needs except what it refers to, which is B's.
    fn references(&self, list: &mut List<'_>) {
        let table = list.table;
        for reference in &table.references {
            let parent = self.model.tables.get(&reference.table).filter(|parent| parent.tenant);
            let others = reference.columns.iter().any(|column| column != ORG);
            let theirs = self.planted.rows.get(1).and_then(|rows| rows.get(&reference.table));
            let (Some(_), true, Some(theirs)) = (parent, others, theirs) else { continue };
            let (before, own) = self.newcomer(table, Some(&reference.name));
            let mut values = self.seeder.row(table, &self.tenants.c, &own);
            for (column, other) in reference.columns.iter().zip(&reference.table_columns).filter(|(c, _)| *c != ORG) {
                values.extend(theirs.get(other).map(|value| (column.clone(), value.clone())));
            }
            list.push(
                &reference_by(reference),
                before,
                Act::Statement(insert(table, &values)),
                Wanted::Code(NO_SUCH_ROW),
            );
        }
    }

    /// As C, who may use every value that B uses.
    fn duplicates(&self, list: &mut List<'_>, theirs: &Values) {
        let table = list.table;
        let referring: BTreeSet<&String> = table.references.iter().flat_map(|reference| &reference.columns).collect();
        let (before, own) = self.newcomer(table, None);
        for key in &table.keys {
            let free: Vec<&String> =
                key.iter().filter(|column| *column != ORG && !referring.contains(column)).collect();
            if free.is_empty() || free.iter().any(|column| !theirs.contains_key(*column)) {
                continue;
            }
            let mut values = self.seeder.row(table, &self.tenants.c, &own);
            values.extend(free.iter().filter_map(|c| Some(((*c).clone(), theirs.get(*c)?.clone()))));
            list.push(&duplicate_of(key), before.clone(), Act::Statement(insert(table, &values)), Wanted::Rows(1));
        }
    }

    /// What makes C's own rows that a row of the table rests on, and these rows.
    fn newcomer(&self, table: &Table, except: Option<&str>) -> (Vec<String>, Rows) {
        let needed = self.model.ancestors(table, except);
        let (ordered, _) = self.model.in_order();
        let (mut statements, mut rows) = (Vec::new(), Rows::new());
        for parent in ordered.into_iter().filter(|parent| needed.contains(&parent.name)) {
            if parent.has_tenant() && parent.tenant {
                let values = self.seeder.row(parent, &self.tenants.c, &rows);
                statements.push(insert(parent, &values));
                rows.insert(parent.name.clone(), values);
            } else if let Some(values) = self.planted.rows.first().and_then(|rows| rows.get(&parent.name)) {
                rows.insert(parent.name.clone(), values.clone());
            }
        }
        (statements, rows)
    }

    fn unscoped(&self, list: &mut List<'_>, theirs: &Values) {
        let (table, b) = (list.table, self.org(&self.tenants.b));
        let name = &table.name;
        let scopes = [(As::Left, "after a scope"), (As::Nobody, "without a tenant")];
        // Rows were planted under a context in a live transaction: only one that was left can be asked for there.
        let count = if self.ground == Ground::Live { 1 } else { 2 };
        for (scope, when) in scopes.into_iter().take(count) {
            list.turn(APP, scope);
            if table.may("SELECT") {
                list.add(&format!("SELECT {when}"), format!("SELECT 1 FROM {name} LIMIT 1"), Wanted::Rows(0));
            }
            if table.may("INSERT") {
                list.add(&format!("INSERT {when}"), insert(table, theirs), Wanted::Code(REFUSED));
            }
            if table.may("UPDATE") && table.may("SELECT") {
                let update = format!("UPDATE {name} SET {ORG} = {ORG} WHERE {ORG} = {b}");
                list.add(&format!("UPDATE {when}"), update, Wanted::Rows(0));
            }
            if table.may("DELETE") && table.may("SELECT") {
                let delete = format!("DELETE FROM {name} WHERE {ORG} = {b}");
                list.add(&format!("DELETE {when}"), delete, Wanted::Rows(0));
            }
        }
    }

    /// Roles that have no login here: the reader, and the owner, whom FORCE binds.
    fn others(&self, list: &mut List<'_>) {
        let (name, b) = (&list.table.name, self.org(&self.tenants.b));
        if list.table.readable {
            self.reader(list);
            list.turn(READER, As::A);
            let update = format!("UPDATE {name} SET {ORG} = {ORG} WHERE {ORG} = {b}");
            list.add("UPDATE of reader", update, Wanted::Code(REFUSED));
            let delete = format!("DELETE FROM {name} WHERE {ORG} = {b}");
            list.add("DELETE of reader", delete, Wanted::Code(REFUSED));
        }
        list.turn(OWNER, As::A);
        list.add("SELECT of owner", format!("SELECT 1 FROM {name} LIMIT 1"), Wanted::Rows(0));
    }

    fn reader(&self, list: &mut List<'_>) {
        let (name, a) = (&list.table.name, self.org(&self.tenants.a));
        list.turn(READER, As::A);
        list.add("own SELECT of reader", format!("SELECT 1 FROM {name} WHERE {ORG} = {a}"), Wanted::Rows(1));
        list.add("SELECT of reader", format!("SELECT 1 FROM {name} WHERE {ORG} <> {a}"), Wanted::Rows(0));
        list.turn(READER, As::Nobody);
        list.add("SELECT of reader without a tenant", format!("SELECT 1 FROM {name} LIMIT 1"), Wanted::Rows(0));
    }

    fn stand<'b>(&'b self, role: &'static str, scope: As) -> Stand<'b> {
        let (a, b, c) = (&self.tenants.a.id, &self.tenants.b.id, &self.tenants.c.id);
        let scope = match scope {
            As::A => Scope::Tenant(a),
            As::C => Scope::Tenant(c),
            As::Nobody => Scope::Untouched,
            As::Left => Scope::Left,
            As::Forged => Scope::Forged { tag_of: a, tenant: b },
        };
        Stand { role: (self.ground == Ground::Clone).then_some(role), scope }
    }

    /// Runs the probes of a table; says what is red. B's rows are the same before and after each of them.
    pub(super) async fn run(
        &self,
        tx: &mut ProbeTx,
        table: &Table,
        probes: &[Probe],
    ) -> Result<Vec<(String, Failure)>, DbFault> {
        let sum = format!(
            "SELECT coalesce(md5(string_agg(prove_row::text, '|' ORDER BY prove_row::text)), '')
             FROM {} prove_row WHERE {ORG} = {}",
            table.name,
            self.org(&self.tenants.b)
        );
        let eyes = match self.ground {
            Ground::Live => Stand { role: None, scope: Scope::Tenant(&self.tenants.b.id) },
            Ground::Clone => Stand { role: None, scope: Scope::Untouched },
        };
        let visible = self.ground == Ground::Clone || table.may("SELECT");
        let look = visible.then_some((eyes, sum.as_str()));
        let (_, before) = tx.attempt(eyes, &[], &Act::Statement("SELECT 1".to_owned()), look).await?;
        let mut red = Vec::new();
        for probe in probes {
            let stand = self.stand(probe.role, probe.scope);
            let (outcome, after) = tx.attempt(stand, &probe.before, &probe.act, look).await?;
            let found = match &outcome {
                Outcome::Rows(rows) if probe.wanted != Wanted::Rows(*rows) => Some(format!("{rows} row(s)")),
                Outcome::Rows(_) if after != before => Some("the other tenant's rows changed".to_owned()),
                Outcome::Refused(refusal) if probe.wanted != Wanted::Code(code(&refusal.code)) => {
                    Some(format!("{} {}", refusal.code, refusal.message))
                }
                _ => None,
            };
            red.extend(found.map(|found| (probe.name.clone(), Failure::new(&table.name, &probe.name, &found))));
        }
        Ok(red)
    }
}

/// The code as one of those that a probe can want.
fn code(code: &str) -> &'static str {
    [REFUSED, UNSUPPORTED, NO_SUCH_ROW].into_iter().find(|known| *known == code).unwrap_or("")
}

/// What a connection sees without a tenant: nothing, whatever it did before.
pub(super) async fn unscoped(tx: &mut ProbeTx, tables: &[&Table], when: &str) -> Result<(u64, Vec<Failure>), DbFault> {
    let stand = Stand { role: None, scope: Scope::Untouched };
    let (mut tried, mut failures) = (0, Vec::new());
    for table in tables.iter().filter(|table| table.may("SELECT")) {
        let act = Act::Statement(format!("SELECT 1 FROM {} LIMIT 1", table.name));
        tried += 1;
        let found = match tx.attempt(stand, &[], &act, None).await?.0 {
            Outcome::Rows(0) => continue,
            Outcome::Rows(rows) => format!("{rows} row(s)"),
            Outcome::Refused(refusal) => format!("{} {}", refusal.code, refusal.message),
        };
        failures.push(Failure::new(&table.name, &format!("SELECT {when}"), &found));
    }
    Ok((tried, failures))
}
