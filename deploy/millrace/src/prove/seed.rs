//! Rows made from nothing but the catalogue, in the order of foreign keys.

use std::collections::BTreeMap;

use millrace::contract::{IdFault, TenantId};
use millrace::db::DbFault;
use millrace::db::probe::{Outcome, ProbeTx, Refusal, Scope};
use uuid::Uuid;

use super::candidates::{Source, candidates};
use super::catalogue::{Column, Model, ORG, Table};
use super::report::Failure;

/// Rows tried for one table before its constraints count as too hard.
const TRIES: usize = 2_000;

/// A tenant that exists for a proof only.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    pub(super) id: TenantId,
    pub(super) source: Source,
}

impl Cast {
    pub(super) fn new(part: &str) -> Result<Self, IdFault> {
        let source = Source::new(Uuid::now_v7());
        Ok(Self { id: TenantId::parse(&format!("prove-{part}-{}", source.token))?, source })
    }
}

/// Values by column, as text.
pub(super) type Values = BTreeMap<String, String>;

/// Rows by table.
pub(super) type Rows = BTreeMap<String, Values>;

/// What was planted.
#[derive(Debug, Default)]
pub(super) struct Planted {
    /// One row a table, for each of the tenants.
    pub(super) rows: Vec<Rows>,
    /// The statements that made them, to be run again.
    pub(super) statements: Vec<String>,
    /// Tables without rows, each with the reason.
    pub(super) bare: BTreeMap<String, String>,
    /// Tables whose constraints no row was found for.
    pub(super) failures: Vec<Failure>,
}

/// Which candidate each column of each table takes; found once by trying.
#[derive(Debug)]
pub(super) struct Seeder<'a> {
    pub(super) model: &'a Model,
    choices: BTreeMap<String, BTreeMap<String, usize>>,
}

/// Who plants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planter {
    /// The workers' login, with the tenant in scope.
    Workers,
    /// A superuser, on a clone.
    Superuser,
}

impl<'a> Seeder<'a> {
    pub(super) fn new(model: &'a Model) -> Self {
        Self { model, choices: BTreeMap::new() }
    }

    /// Plants a row of every tenant in every table; they stay until the transaction is rolled back.
    pub(super) async fn plant(
        &mut self,
        tx: &mut ProbeTx,
        planter: Planter,
        tenants: &[&Cast],
    ) -> Result<Planted, DbFault> {
        let (ordered, circle) = self.model.in_order();
        let mut planted = Planted { rows: vec![Rows::new(); tenants.len()], ..Planted::default() };
        let hard = "no row can be made: its foreign keys form a circle, or lead out of app, engine and ref";
        planted.failures.extend(circle.into_iter().map(|table| Failure::new(&table.name, hard, "")));
        for table in ordered {
            if planter == Planter::Workers
                && let Some(reason) = self.beyond_workers(tx, table, &mut planted).await?
            {
                planted.bare.insert(table.name.clone(), reason);
                continue;
            }
            for (place, tenant) in tenants.iter().enumerate() {
                if !table.has_tenant() && planted.rows[place].contains_key(&table.name) {
                    continue;
                }
                let scope = match planter {
                    Planter::Workers => Scope::Tenant(&tenant.id),
                    Planter::Superuser => Scope::Untouched,
                };
                match self.search(tx, table, tenant, scope, &planted.rows[place]).await? {
                    Ok((values, statement)) => {
                        planted.statements.push(statement);
                        let all = if table.has_tenant() { place..place + 1 } else { 0..tenants.len() };
                        for rows in &mut planted.rows[all] {
                            rows.insert(table.name.clone(), values.clone());
                        }
                    }
                    Err(refusal) => {
                        let said = format!("{} {}", refusal.code, refusal.message);
                        planted.failures.push(Failure::new(&table.name, "no row can be made for the probes", &said));
                        break;
                    }
                }
            }
        }
        Ok(planted)
    }

    /// Why the workers' login plants nothing here; for a table of everybody, a row that is there is taken instead.
    async fn beyond_workers(
        &self,
        tx: &mut ProbeTx,
        table: &Table,
        planted: &mut Planted,
    ) -> Result<Option<String>, DbFault> {
        if !table.tenant && table.may("SELECT") {
            let row = existing(tx, table).await?;
            for rows in &mut planted.rows {
                rows.extend(row.iter().map(|row| (table.name.clone(), row.clone())));
            }
            return Ok(Some("a row that is there is referred to".to_owned()));
        }
        if !table.tenant || !table.may("INSERT") {
            return Ok(Some("the workers may not insert: rows are probed on the clone alone".to_owned()));
        }
        let parents = table.references.iter().map(|reference| &reference.table).filter(|name| **name != table.name);
        let missing = parents.into_iter().find(|name| planted.rows.iter().any(|rows| !rows.contains_key(*name)));
        Ok(missing.map(|name| format!("there is no row of {name} to refer to: rows are probed on the clone alone")))
    }

    async fn search(
        &mut self,
        tx: &mut ProbeTx,
        table: &Table,
        tenant: &Cast,
        scope: Scope<'_>,
        parents: &Rows,
    ) -> Result<Result<(Values, String), Refusal>, DbFault> {
        let mut last = None;
        for _ in 0..TRIES {
            let values = self.row(table, tenant, parents);
            let statement = insert(table, &values);
            match tx.keep(scope, &statement).await? {
                Outcome::Rows(_) => return Ok(Ok((values, statement))),
                Outcome::Refused(refusal) => {
                    if !self.advance(table, tenant, &refusal) {
                        return Ok(Err(refusal));
                    }
                    last = Some(refusal);
                }
            }
        }
        Ok(Err(last.unwrap_or_else(|| Refusal {
            code: String::new(),
            message: "nothing was tried".to_owned(),
            constraint: None,
            column: None,
        })))
    }

    /// A row of a tenant, with what its parents have where it refers to them.
    pub(super) fn row(&self, table: &Table, tenant: &Cast, parents: &Rows) -> Values {
        let mut values = Values::new();
        let chosen = self.choices.get(&table.name);
        for column in table.columns.iter().filter(|column| !column.generated) {
            let value = if column.name == ORG {
                Some(tenant.id.to_string())
            } else if let Some(value) = referred(table, &column.name, parents) {
                Some(value)
            } else {
                let number = chosen.and_then(|chosen| chosen.get(&column.name)).copied().unwrap_or(0);
                self.options(table, column, tenant).into_iter().nth(number).flatten()
            };
            values.extend(value.map(|value| (column.name.clone(), value)));
        }
        for reference in table.references.iter().filter(|reference| reference.table == table.name) {
            for (own, other) in reference.columns.iter().zip(&reference.table_columns) {
                let required = table.columns.iter().any(|column| column.name == *own && column.required);
                if let (true, Some(value)) = (required && own != ORG, values.get(other).cloned()) {
                    values.insert(own.clone(), value);
                }
            }
        }
        values
    }

    /// Values to try, the likeliest first; `None` leaves the column out.
    fn options(&self, table: &Table, column: &Column, tenant: &Cast) -> Vec<Option<String>> {
        let is_key = table.keys.iter().flatten().any(|name| *name == column.name);
        let wanted = is_key || self.model.is_referenced(&table.name, &column.name);
        let values = candidates(table, column, &tenant.source).into_iter().map(Some);
        match (column.required, wanted) {
            (true, _) => values.collect(),
            (false, true) => values.chain([None]).collect(),
            (false, false) => std::iter::once(None).chain(values).collect(),
        }
    }

    /// The next combination of values for the constraint or column that refused; false when all were tried.
    fn advance(&mut self, table: &Table, tenant: &Cast, refusal: &Refusal) -> bool {
        let check = table.checks.iter().filter(|check| Some(&check.name) == refusal.constraint.as_ref());
        let mut names: Vec<String> = check.flat_map(|check| check.columns.clone()).collect();
        names.extend(refusal.column.clone());
        for name in names {
            let Some(column) = table.columns.iter().find(|column| column.name == name) else { continue };
            let bound = table.references.iter().any(|r| r.table != table.name && r.columns.contains(&name));
            if column.generated || bound || name == ORG {
                continue;
            }
            let count = self.options(table, column, tenant).len();
            let chosen = self.choices.entry(table.name.clone()).or_default().entry(name).or_default();
            *chosen += 1;
            if *chosen < count {
                return true;
            }
            *chosen = 0;
        }
        false
    }
}

fn referred(table: &Table, column: &str, parents: &Rows) -> Option<String> {
    table.references.iter().filter(|reference| reference.table != table.name).find_map(|reference| {
        let place = reference.columns.iter().position(|name| name == column)?;
        parents.get(&reference.table)?.get(reference.table_columns.get(place)?).cloned()
    })
}

/// Some row of a table that belongs to nobody.
async fn existing(tx: &mut ProbeTx, table: &Table) -> Result<Option<Values>, DbFault> {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("{}::text", quoted(&column.name))).collect();
    let query = format!("SELECT ARRAY[{}] FROM {} LIMIT 1", columns.join(", "), table.name);
    let rows: Vec<(Vec<Option<String>>,)> = tx.fetch(&query).await?;
    Ok(rows.into_iter().next().map(|(values,)| {
        let named = table.columns.iter().zip(values);
        named.filter_map(|(column, value)| Some((column.name.clone(), value?))).collect()
    }))
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A literal in SQL; what has a backslash says so.
pub(super) fn literal(value: &str) -> String {
    let escaped = value.replace('\'', "''");
    if escaped.contains('\\') { format!("E'{}'", escaped.replace('\\', "\\\\")) } else { format!("'{escaped}'") }
}

/// Column names and literals, for INSERT and MERGE.
pub(super) fn parts(values: &Values) -> (String, String) {
    let names: Vec<String> = values.keys().map(|name| quoted(name)).collect();
    let literals: Vec<String> = values.values().map(|value| literal(value)).collect();
    (names.join(", "), literals.join(", "))
}

/// Inserts a row.
pub(super) fn insert(table: &Table, values: &Values) -> String {
    let (names, literals) = parts(values);
    let identity = table.columns.iter().any(|column| column.identity && values.contains_key(&column.name));
    let overriding = if identity { "OVERRIDING SYSTEM VALUE " } else { "" };
    format!("INSERT INTO {} ({names}) {overriding}VALUES ({literals})", table.name)
}
