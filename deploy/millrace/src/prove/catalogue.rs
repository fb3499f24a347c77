//! The tables as the catalogue describes them: all that is known of an adopter's own.

use std::collections::{BTreeMap, BTreeSet};

use millrace::db::DbFault;
use millrace::db::probe::ProbeTx;

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// Without a value of its own a row needs one.
    pub(super) required: bool,
    pub(super) generated: bool,
    pub(super) identity: bool,
    /// Name of the type; of a domain's base type, for a domain; with `[]`, for an array.
    pub(super) kind: String,
    /// Longest text, where the type bounds it.
    pub(super) longest: Option<usize>,
    pub(super) labels: Vec<String>,
}

/// A foreign key.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// Quoted name of the table.
    pub(super) table: String,
    pub(super) table_columns: Vec<String>,
}

/// A CHECK constraint of the table, or of a domain that it uses.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) columns: Vec<String>,
}

/// A table that is no partition.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Schema and name, quoted.
    pub(super) name: String,
    /// It is in schema `app`.
    pub(super) tenant: bool,
    pub(super) partitioned: bool,
    pub(super) columns: Vec<Column>,
    /// Columns of each unique index without expressions, the primary key first.
    pub(super) keys: Vec<Vec<String>>,
    pub(super) references: Vec<Reference>,
    pub(super) checks: Vec<Check>,
    /// What the workers may: SELECT, INSERT, UPDATE, DELETE.
    pub(super) rights: BTreeSet<String>,
    pub(super) readable: bool,
    /// The policy of the workers' role.
    pub(super) policy: Option<String>,
    /// The policy of the reader's role.
    pub(super) reader_policy: Option<String>,
}

impl Table {
    pub(super) fn may(&self, right: &str) -> bool {
        self.rights.contains(right)
    }

    /// Some run-time role reads it by tenant, so that it is probed: tenant tables, and some of the engine's.
    pub(super) fn is_probed(&self) -> bool {
        self.tenant || (self.readable && self.has_tenant())
    }

    pub(super) fn has_tenant(&self) -> bool {
        self.columns.iter().any(|column| column.name == ORG)
    }
}

/// The tenant's column.
pub(super) const ORG: &str = "org_id";

/// Every table of a deployment, by quoted name.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) tables: BTreeMap<String, Table>,
}

const NAMED: &str = "format('%I.%I', n.nspname, c.relname)";
const OF: &str = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";
const WHERE: &str = "n.nspname IN ('app', 'engine', 'ref') AND c.relkind IN ('r', 'p') AND NOT c.relispartition";

/// `has_*` of a role that may be missing.
const MAY: &str =
    "coalesce((SELECT has_table_privilege(r.oid, c.oid, '{right}') FROM pg_roles r WHERE r.rolname = '{role}'), false)";

/// Names of the columns with these numbers, in their order; NULL stands for an expression.
fn names(numbers: &str, table: &str) -> String {
    format!(
        "ARRAY(SELECT a.attname::text FROM unnest({numbers}) WITH ORDINALITY k (number, place)
           LEFT JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = k.number ORDER BY k.place)"
    )
}

impl Model {
    /// Reads it.
    pub(super) async fn read(tx: &mut ProbeTx) -> Result<Self, DbFault> {
        let mut model = Self::default();
        let may = |role: &str, right: &str| MAY.replace("{role}", role).replace("{right}", right);
        let rights = ["SELECT", "INSERT", "UPDATE", "DELETE"]
            .map(|right| format!("CASE WHEN {} THEN '{right}' END", may("millrace_app", right)));
        let policy = |role: &str| {
            format!(
                "(SELECT min(p.polname::text) FROM pg_policy p JOIN pg_roles r ON r.oid = ANY (p.polroles)
                  WHERE p.polrelid = c.oid AND r.rolname = '{role}' AND p.polpermissive)"
            )
        };
        let query = format!(
            "SELECT {NAMED}, n.nspname = 'app', c.relkind = 'p', array_remove(ARRAY[{}], NULL), {}, {}, {}
             {OF} WHERE {WHERE}",
            rights.join(", "),
            may("millrace_reader", "SELECT"),
            policy("millrace_app"),
            policy("millrace_reader")
        );
        type Found = (String, bool, bool, Vec<String>, bool, Option<String>, Option<String>);
        let found: Vec<Found> = tx.fetch(&query).await?;
        for (name, tenant, partitioned, rights, readable, policy, reader_policy) in found {
            let table = Table {
                name: name.clone(),
                tenant,
                partitioned,
                columns: Vec::new(),
                keys: Vec::new(),
                references: Vec::new(),
                checks: Vec::new(),
                rights: rights.into_iter().collect(),
                readable,
                policy,
                reader_policy,
            };
            model.tables.insert(name, table);
        }
        model.read_columns(tx).await?;
        model.read_keys(tx).await?;
        model.read_references(tx).await?;
        model.read_checks(tx).await?;
        Ok(model)
    }

    async fn read_columns(&mut self, tx: &mut ProbeTx) -> Result<(), DbFault> {
        let query = format!(
            "SELECT {NAMED}, a.attname::text,
               (a.attnotnull OR t.typnotnull) AND NOT a.atthasdef AND a.attidentity = '' AND t.typdefault IS NULL,
               a.attgenerated <> '', a.attidentity <> '',
               CASE WHEN b.typcategory = 'A' THEN b.typelem::regtype::text || '[]' ELSE b.oid::regtype::text END,
               CASE WHEN b.typname IN ('varchar', 'bpchar')
                 THEN nullif(greatest(CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END - 4, 0), 0) END,
               ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = b.oid ORDER BY e.enumsortorder)
             {OF} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             JOIN pg_type t ON t.oid = a.atttypid
             JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
             WHERE {WHERE} ORDER BY 1, a.attnum"
        );
        type Found = (String, String, bool, bool, bool, String, Option<i32>, Vec<String>);
        let found: Vec<Found> = tx.fetch(&query).await?;
        for (table, name, required, generated, identity, kind, longest, labels) in found {
            let longest = longest.and_then(|longest| usize::try_from(longest).ok());
            let column = Column { name, required, generated, identity, kind, longest, labels };
            if let Some(table) = self.tables.get_mut(&table) {
                table.columns.push(column);
            }
        }
        Ok(())
    }

    async fn read_keys(&mut self, tx: &mut ProbeTx) -> Result<(), DbFault> {
        let query = format!(
            "SELECT {NAMED}, {} {OF} JOIN pg_index i ON i.indrelid = c.oid AND i.indisunique
               AND i.indexprs IS NULL AND i.indpred IS NULL
             WHERE {WHERE} ORDER BY 1, i.indisprimary DESC, i.indexrelid::regclass::text",
            names("(i.indkey::int2[])[0:i.indnkeyatts - 1]", "c.oid")
        );
        let found: Vec<(String, Vec<String>)> = tx.fetch(&query).await?;
        for (table, columns) in found {
            if let Some(table) = self.tables.get_mut(&table) {
                table.keys.push(columns);
            }
        }
        Ok(())
    }

    async fn read_references(&mut self, tx: &mut ProbeTx) -> Result<(), DbFault> {
        let query = format!(
            "SELECT {NAMED}, f.conname::text, {}, format('%I.%I', m.nspname, o.relname), {}
             {OF} JOIN pg_constraint f ON f.conrelid = c.oid AND f.contype = 'f' AND f.conparentid = 0
             JOIN pg_class o ON o.oid = f.confrelid JOIN pg_namespace m ON m.oid = o.relnamespace
             WHERE {WHERE} ORDER BY 1, 2",
            names("f.conkey", "c.oid"),
            names("f.confkey", "o.oid")
        );
        type Found = (String, String, Vec<String>, String, Vec<String>);
        let found: Vec<Found> = tx.fetch(&query).await?;
        for (name, key, columns, table, table_columns) in found {
            if let Some(found) = self.tables.get_mut(&name) {
                found.references.push(Reference { name: key, columns, table, table_columns });
            }
        }
        Ok(())
    }

    async fn read_checks(&mut self, tx: &mut ProbeTx) -> Result<(), DbFault> {
        let query = format!(
            "SELECT {NAMED}, k.conname::text, pg_get_constraintdef(k.oid), {} {OF}
               JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'c' WHERE {WHERE}
             UNION ALL
             SELECT {NAMED}, k.conname::text, pg_get_constraintdef(k.oid), ARRAY[a.attname::text] {OF}
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               JOIN pg_constraint k ON k.contypid = a.atttypid AND k.contype = 'c' WHERE {WHERE} ORDER BY 1, 2",
            names("k.conkey", "c.oid")
        );
        let found: Vec<(String, String, String, Vec<String>)> = tx.fetch(&query).await?;
        for (table, name, text, columns) in found {
            if let Some(table) = self.tables.get_mut(&table) {
                table.checks.push(Check { name, text, columns });
            }
        }
        Ok(())
    }

    /// Probed tables with what their rows refer to, parents first; and those whose references form a circle.
    pub(super) fn in_order(&self) -> (Vec<&Table>, Vec<&Table>) {
        let mut wanted = BTreeSet::new();
        let mut open: Vec<&Table> = self.tables.values().filter(|table| table.is_probed()).collect();
        while let Some(table) = open.pop() {
            if wanted.insert(&table.name) {
                open.extend(table.references.iter().filter_map(|reference| self.tables.get(&reference.table)));
            }
        }
        let mut ordered: Vec<&Table> = Vec::new();
        let mut rest: Vec<&Table> = wanted.iter().filter_map(|name| self.tables.get(*name)).collect();
        loop {
            let done: BTreeSet<&str> = ordered.iter().map(|table| table.name.as_str()).collect();
            let (ready, waiting): (Vec<&Table>, Vec<&Table>) = rest.into_iter().partition(|table| {
                let parents = table.references.iter().map(|reference| reference.table.as_str());
                parents.into_iter().all(|parent| parent == table.name || done.contains(parent))
            });
            rest = waiting;
            if ready.is_empty() {
                return (ordered, rest);
            }
            ordered.extend(ready);
        }
    }

    /// What a row of this table refers to, directly or not, except through one of its own references.
    pub(super) fn ancestors(&self, table: &Table, except: Option<&str>) -> BTreeSet<String> {
        let parents = table.references.iter().filter(|reference| except != Some(reference.name.as_str()));
        let mut open: Vec<String> = parents.map(|reference| reference.table.clone()).collect();
        let mut found = BTreeSet::new();
        while let Some(name) = open.pop() {
            if name != table.name && found.insert(name.clone()) {
                let parent = self.tables.get(&name);
                open.extend(parent.into_iter().flat_map(|parent| &parent.references).map(|r| r.table.clone()));
            }
        }
        found
    }

    /// Does anybody refer to this column?
    pub(super) fn is_referenced(&self, table: &str, column: &str) -> bool {
        let references = self.tables.values().flat_map(|table| &table.references);
        references.filter(|r| r.table == table).any(|r| r.table_columns.iter().any(|name| name == column))
    }
}
