//! From the difference of two registries' tables to steps, and from a step to SQL. Pure.
//!
//! A change has three parts. **Expand**: what the new definitions need and the old ones do not mind; before the switch.
//! **After**: indexes that are no longer wanted (a unique one would refuse what is allowed now); right after the switch.
//! **Contract**: columns and tables that no one needs; after a grace period, for nodes and requests that still run on the old
//! definitions. Every step may be run again: it has a guard, or says `if [not] exists`.

use serde::{Deserialize, Serialize};

use super::Dialect;
use super::ddl::{Column, Index, Name, TableSpec, fit, quote};

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub enum Step {
    /// A new table with its indexes (it is empty: no one waits for them).
    CreateTable {
        /// The table.
        table: TableSpec,
    },
    /// A new column.
    AddColumn {
        /// On this table.
        table: Name,
        /// The column.
        column: Column,
    },
    /// Postgres: the foreign key of a column that is there (SQLite makes it with the column).
    AddForeignKey {
        /// On this table.
        table: Name,
        /// The column.
        column: Column,
    },
    /// A new index on a table that may be large and in use.
    CreateIndex {
        /// On this table.
        table: Name,
        /// The index.
        index: Index,
    },
    /// No more index.
    DropIndex {
        /// On this table.
        table: Name,
        /// Its name.
        index: String,
    },
    /// No more column.
    DropColumn {
        /// On this table.
        table: Name,
        /// Its name.
        column: String,
    },
    /// No more table.
    DropTable {
        /// The table.
        table: Name,
    },
}

/// The steps from one registry to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    /// Before values are converted.
    pub expand: Vec<Step>,
    /// After that, before the switch.
    pub indexes: Vec<Step>,
    /// Right after the switch.
    pub after: Vec<Step>,
    /// After the grace period.
    pub contract: Vec<Step>,
}

/// SQL of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sql {
    /// The statement.
    pub text: String,
    /// Skip it when this query answers a row.
    pub unless: Option<String>,
    /// Must not run in a transaction (Postgres, `concurrently`).
    pub alone: bool,
}

/// The steps that make the tables `new` of `old`. Shared tables are the migrations' and are left alone.
pub fn steps(old: &[TableSpec], new: &[TableSpec]) -> Steps {
    let mut out = Steps::default();
    let mut keys = Vec::new();
    for table in new.iter().filter(|t| !t.shared) {
        let Some(before) = old.iter().find(|t| t.name == table.name) else {
            out.expand.push(Step::CreateTable { table: table.clone() });
            keys.extend(foreign_keys(table, &table.columns.iter().collect::<Vec<_>>()));
            continue;
        };
        let added: Vec<&Column> = table
            .columns
            .iter()
            .filter(|c| !before.columns.iter().any(|b| b.name == c.name))
            .collect();
        out.expand.extend(added.iter().map(|c| Step::AddColumn {
            table: table.name.clone(),
            column: (*c).clone(),
        }));
        keys.extend(foreign_keys(table, &added));
        let missing = table.indexes.iter().filter(|i| !before.indexes.iter().any(|b| b.name == i.name));
        out.indexes.extend(missing.map(|i| Step::CreateIndex {
            table: table.name.clone(),
            index: i.clone(),
        }));
    }
    out.expand.extend(keys);
    // Tables of links come last in `tables`, so from the end what points goes before what is pointed to.
    for table in old.iter().rev().filter(|t| !t.shared) {
        let Some(after) = new.iter().find(|t| t.name == table.name) else {
            out.contract.push(Step::DropTable { table: table.name.clone() });
            continue;
        };
        for index in table.indexes.iter().filter(|i| !after.indexes.iter().any(|a| a.name == i.name)) {
            out.after.push(Step::DropIndex {
                table: table.name.clone(),
                index: index.name.clone(),
            });
        }
        for column in table.columns.iter().filter(|c| !after.columns.iter().any(|a| a.name == c.name)) {
            out.contract.push(Step::DropColumn {
                table: table.name.clone(),
                column: column.name.clone(),
            });
        }
    }
    // A column of a table that stays may point to one that goes.
    out.contract.sort_by_key(|step| matches!(step, Step::DropTable { .. }));
    out
}

fn foreign_keys(table: &TableSpec, columns: &[&Column]) -> Vec<Step> {
    let with = columns.iter().filter(|c| c.references.is_some());
    with.map(|c| Step::AddForeignKey {
        table: table.name.clone(),
        column: (*c).clone(),
    })
    .collect()
}

impl Steps {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.expand.is_empty() && self.indexes.is_empty() && self.after.is_empty() && self.contract.is_empty()
    }
}

impl Step {
    /// The statements of the step, in order.
    pub fn sql(&self, dialect: Dialect) -> Vec<Sql> {
        let postgres = dialect == Dialect::Postgres;
        match self {
            Step::CreateTable { table } => create_table(table, dialect),
            Step::AddColumn { table, column } => {
                let exists = if postgres { "if not exists " } else { "" };
                vec![Sql {
                    text: format!(
                        "alter table {} add column {exists}{}",
                        table.sql(dialect),
                        column_sql(column, dialect)
                    ),
                    unless: (!postgres).then(|| column_there(table, &column.name)),
                    alone: false,
                }]
            }
            Step::AddForeignKey { table, column } => foreign_key(table, column, dialect),
            Step::CreateIndex { table, index } => create_index(table, index, dialect),
            Step::DropIndex { table, index } => {
                let name = match (&table.schema, postgres) {
                    (Some(schema), true) => format!("{}.{}", quote(schema), quote(index)),
                    _ => quote(&table.index(index, dialect)),
                };
                let concurrently = if postgres { "concurrently " } else { "" };
                vec![Sql {
                    text: format!("drop index {concurrently}if exists {name}"),
                    unless: None,
                    alone: postgres,
                }]
            }
            Step::DropColumn { table, column } if postgres => vec![plain(format!(
                "alter table if exists {} drop column if exists {}",
                table.sql(dialect),
                quote(column)
            ))],
            Step::DropColumn { table, column } => vec![Sql {
                text: format!("alter table {} drop column {}", table.sql(dialect), quote(column)),
                unless: Some(format!("select 1 where not exists ({})", column_there(table, column))),
                alone: false,
            }],
            Step::DropTable { table } => vec![plain(format!("drop table if exists {}", table.sql(dialect)))],
        }
    }

    /// In a few words, for the journal and for people.
    pub fn describe(&self) -> String {
        match self {
            Step::CreateTable { table } => format!("create table {}", table.name.name),
            Step::AddColumn { table, column } => format!("add column {}.{}", table.name, column.name),
            Step::AddForeignKey { table, column } => format!("add foreign key {}.{}", table.name, column.name),
            Step::CreateIndex { index, .. } => format!("create index {}", index.name),
            Step::DropIndex { index, .. } => format!("drop index {index}"),
            Step::DropColumn { table, column } => format!("drop column {}.{column}", table.name),
            Step::DropTable { table } => format!("drop table {}", table.name),
        }
    }
}

fn plain(text: String) -> Sql {
    Sql {
        text,
        unless: None,
        alone: false,
    }
}

/// SQLite: a query that answers a row when the table has the column.
fn column_there(table: &Name, column: &str) -> String {
    format!(
        "select 1 from pragma_table_info({}) where name = {}",
        literal(&table.bare(Dialect::Sqlite)),
        literal(column)
    )
}

/// A text literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn column_sql(column: &Column, dialect: Dialect) -> String {
    let mut out = format!("{} {}", quote(&column.name), column.ty.sql(dialect));
    if column.not_null {
        out.push_str(" not null");
    }
    if let Some(default) = &column.default {
        out.push_str(&format!(" default {default}"));
    }
    if let (Some(to), Dialect::Sqlite) = (&column.references, dialect) {
        out.push_str(&format!(
            " references {} (id){}",
            to.table.sql(dialect),
            if to.cascade { " on delete cascade" } else { "" }
        ));
    }
    out
}

fn create_table(table: &TableSpec, dialect: Dialect) -> Vec<Sql> {
    let mut parts: Vec<String> = table.columns.iter().map(|c| column_sql(c, dialect)).collect();
    parts.push(format!(
        "primary key ({})",
        table.primary.iter().map(|c| quote(c)).collect::<Vec<_>>().join(", ")
    ));
    let strict = if dialect == Dialect::Sqlite { " strict" } else { "" };
    let name = table.name.sql(dialect);
    let mut out = vec![plain(format!("create table if not exists {name} ({}){strict}", parts.join(", ")))];
    out.extend(
        table
            .indexes
            .iter()
            .filter_map(|i| index_sql(&table.name, i, dialect, false))
            .map(plain),
    );
    out
}

/// The text that makes an index; `None` where the database has no such index.
fn index_sql(table: &Name, index: &Index, dialect: Dialect, concurrently: bool) -> Option<String> {
    if index.gin && dialect == Dialect::Sqlite {
        return None;
    }
    let parts: Vec<String> = index.parts.iter().map(|p| p.sql(dialect)).collect();
    Some(format!(
        "create {}index {}if not exists {} on {} {}({})",
        if index.unique { "unique " } else { "" },
        if concurrently { "concurrently " } else { "" },
        quote(&table.index(&index.name, dialect)),
        table.sql(dialect),
        if index.gin { "using gin " } else { "" },
        parts.join(", ")
    ))
}

fn create_index(table: &Name, index: &Index, dialect: Dialect) -> Vec<Sql> {
    let postgres = dialect == Dialect::Postgres;
    let Some(text) = index_sql(table, index, dialect, postgres) else {
        return vec![];
    };
    if !postgres {
        return vec![plain(text)];
    }
    // What an interrupted build left behind is there by name, but the database does not use it.
    let schema = table.schema.as_deref().unwrap_or("public");
    let valid = format!(
        "select 1 where not exists (select 1 from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = {} and c.relname = {} and not i.indisvalid)",
        literal(schema),
        literal(&index.name)
    );
    vec![
        Sql {
            text: format!("drop index concurrently if exists {}.{}", quote(schema), quote(&index.name)),
            unless: Some(valid),
            alone: true,
        },
        Sql {
            text,
            unless: None,
            alone: true,
        },
    ]
}

fn foreign_key(table: &Name, column: &Column, dialect: Dialect) -> Vec<Sql> {
    let (Some(to), Dialect::Postgres) = (&column.references, dialect) else {
        return vec![];
    };
    let name = fit(&format!("{}_{}_fkey", table.name, column.name));
    let there = format!(
        "select 1 from pg_constraint where conrelid = {}::regclass and conname = {}",
        literal(&table.sql(dialect)),
        literal(&name)
    );
    // In two statements: the first locks both tables for a moment, the second reads the rows under a lock that lets others write.
    vec![
        Sql {
            text: format!(
                "alter table {} add constraint {} foreign key ({}) references {} (id){} not valid",
                table.sql(dialect),
                quote(&name),
                quote(&column.name),
                to.table.sql(dialect),
                if to.cascade { " on delete cascade" } else { "" }
            ),
            unless: Some(there.clone()),
            alone: false,
        },
        Sql {
            text: format!("alter table {} validate constraint {}", table.sql(dialect), quote(&name)),
            unless: Some(format!("{there} and convalidated")),
            alone: false,
        },
    ]
}

#[cfg(test)]
#[path = "ddl_tests.rs"]
mod tests;
