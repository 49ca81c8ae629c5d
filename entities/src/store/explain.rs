//! How the database goes about a planned read: its own plan, in short, with the klasses that the steps read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::StatementStatus;
use serde_json::Value as Json;

use super::driver::sqlite;
use super::sql::{Statement, bind};
use super::{Dialect, Store, StoreError};
use crate::klass::registry::Table;
use crate::klass::{Klass, Registry, Value};

/// The database's plan of a statement.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Its steps, each behind that which asks for its rows.
    pub steps: Vec<Step>,
    /// How long it took, if it was run.
    pub took: Option<Duration>,
}

/// A step of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// How deep it lies within others.
    pub depth: usize,
    /// What it does, in the database's own words, in short.
    pub what: String,
    /// The klass whose table it reads, and how.
    pub reads: Option<(Arc<Klass>, How)>,
    /// It sorts.
    pub sorts: bool,
}

/// How a table is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// From one end to the other.
    Whole,
    /// From one end of an index to the other: in its order.
    InOrder(String),
    /// By this index, looked up by this (conditions with columns, as the database writes them).
    By(String, String),
}

impl Store {
    /// Asks the database how it would run a statement with these arguments for the org of this registry; `analyze` has it run.
    ///
    /// # Errors
    /// As for [`Store::read`].
    pub async fn explain(
        &self,
        registry: &Registry,
        statement: &Statement,
        args: &[Value],
        analyze: bool,
    ) -> Result<Explained, StoreError> {
        match self.0.dialect {
            Dialect::Postgres => self.explain_postgres(registry, statement, args, analyze).await,
            Dialect::Sqlite => {
                let values = bind::for_sqlite(&statement.binds, registry.org, args).map_err(|e| StoreError::Database(e.to_string()))?;
                let path = self.0.config.sqlite_path().unwrap_or_default().to_owned();
                let (sql, registry) = (statement.sql.clone(), registry.clone());
                let asked = tokio::task::spawn_blocking(move || explain_sqlite(&path, &registry, &sql, &values, analyze));
                asked.await.map_err(|error| StoreError::Database(error.to_string()))?
            }
        }
    }

    async fn explain_postgres(
        &self,
        registry: &Registry,
        statement: &Statement,
        args: &[Value],
        analyze: bool,
    ) -> Result<Explained, StoreError> {
        let options = if analyze { "format json, analyze, buffers" } else { "format json" };
        let asked = Statement {
            sql: format!("explain ({options}) {}", statement.sql).into(),
            binds: statement.binds.clone(),
        };
        let text = self.read(registry.org, &asked, args).await?;
        let json: Json = serde_json::from_slice(&text).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let mut steps = Vec::new();
        postgres_step(registry, &json[0]["Plan"], 0, None, &mut steps);
        let took = json[0]["Execution Time"]
            .as_f64()
            .map(|ms| Duration::from_secs_f64((ms / 1_000.0).max(0.0)));
        Ok(Explained { steps, took })
    }
}

/// A step of Postgres' plan in JSON (<https://www.postgresql.org/docs/current/using-explain.html>), and those beneath it.
fn postgres_step(registry: &Registry, node: &Json, depth: usize, above: Option<&Arc<Klass>>, steps: &mut Vec<Step>) {
    let text = |name: &str| node[name].as_str();
    let kind = text("Node Type").unwrap_or_default();
    let klass = text("Relation Name").and_then(|name| klass_of(registry, |table| table.name == name));
    let condition = text("Index Cond").or_else(|| text("Recheck Cond"));
    // A bitmap's own step names the index, the step above it the table.
    let reads = klass.as_ref().or(above.filter(|_| kind == "Bitmap Index Scan")).and_then(|klass| {
        let how = match (kind, text("Index Name"), condition) {
            ("Seq Scan", ..) => How::Whole,
            (_, Some(index), Some(condition)) => How::By(index.to_owned(), condition.to_owned()),
            (_, Some(index), None) => How::InOrder(index.to_owned()),
            _ => return None,
        };
        Some((klass.clone(), how))
    });
    let mut what = kind.to_owned();
    for (before, name) in [
        (" on ", "Relation Name"),
        (" by ", "Index Name"),
        (": ", "Index Cond"),
        (", where ", "Filter"),
        (" by ", "Sort Key"),
    ] {
        match &node[name] {
            Json::String(text) => what += &format!("{before}{text}"),
            Json::Array(parts) => {
                let parts: Vec<&str> = parts.iter().filter_map(Json::as_str).collect();
                what += &format!("{before}{}", parts.join(", "));
            }
            _ => {}
        }
    }
    match (node["Actual Rows"].as_f64(), node["Actual Loops"].as_f64()) {
        (Some(rows), Some(loops)) => {
            let ms = node["Actual Total Time"].as_f64().unwrap_or_default() * loops;
            let pages = ["Shared Hit Blocks", "Shared Read Blocks"].map(|name| node[name].as_u64().unwrap_or_default());
            what += &format!(" ({} rows, {ms:.2} ms, {} pages)", rows * loops, pages[0] + pages[1]);
        }
        _ => what += &format!(" (about {} rows)", node["Plan Rows"].as_f64().unwrap_or_default()),
    }
    steps.push(Step {
        depth,
        what,
        reads,
        sorts: kind.ends_with("Sort"),
    });
    for beneath in node["Plans"].as_array().into_iter().flatten() {
        postgres_step(registry, beneath, depth + 1, klass.as_ref(), steps);
    }
}

/// The klass that has a table, or an extension table, for which this holds.
fn klass_of(registry: &Registry, is: impl Fn(&Table) -> bool) -> Option<Arc<Klass>> {
    let its = |klass: &&Arc<Klass>| is(&klass.table) || klass.extension.as_ref().is_some_and(&is);
    registry.klasses.iter().find(its).cloned()
}

fn explain_sqlite(
    path: &str,
    registry: &Registry,
    sql: &str,
    values: &[rusqlite::types::Value],
    analyze: bool,
) -> Result<Explained, StoreError> {
    let connection = sqlite::open(std::path::Path::new(path)).map_err(sqlite::refused)?;
    let (mut steps, took) = sqlite_steps(&connection, registry, sql, values, analyze).map_err(sqlite::refused)?;
    if let Some((_, worked)) = &took {
        steps.push(Step {
            depth: 0,
            what: worked.clone(),
            reads: None,
            sorts: false,
        });
    }
    Ok(Explained {
        steps,
        took: took.map(|(took, _)| took),
    })
}

type Worked = (Duration, String);

fn sqlite_steps(
    connection: &rusqlite::Connection,
    registry: &Registry,
    sql: &str,
    values: &[rusqlite::types::Value],
    analyze: bool,
) -> rusqlite::Result<(Vec<Step>, Option<Worked>)> {
    let mut explain = connection.prepare(&format!("explain query plan {sql}"))?;
    let mut rows = explain.raw_query();
    let (mut steps, mut depths) = (Vec::new(), std::collections::HashMap::from([(0_i64, 0_usize)]));
    while let Some(row) = rows.next()? {
        let (id, parent, what): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let depth = depths.get(&parent).copied().unwrap_or_default();
        depths.insert(id, depth + 1);
        steps.push(Step {
            depth,
            reads: sqlite_reads(registry, sql, &what),
            sorts: what.starts_with("USE TEMP B-TREE"),
            what,
        });
    }
    if !analyze {
        return Ok((steps, None));
    }
    let mut statement = connection.prepare(sql)?;
    let used = statement.parameter_count();
    for (i, value) in values.iter().take(used).enumerate() {
        statement.raw_bind_parameter(i + 1, value)?;
    }
    let began = Instant::now();
    {
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {}
    }
    let took = began.elapsed();
    let worked = format!(
        "{} instructions, {} steps through tables read whole, {} sorts",
        statement.get_status(StatementStatus::VmStep),
        statement.get_status(StatementStatus::FullscanStep),
        statement.get_status(StatementStatus::Sort),
    );
    Ok((steps, Some((took, worked))))
}

/// What a line of SQLite's plan reads: `SCAN t1`, `SEARCH t1 USING INDEX name (a=? AND b>?)`
/// (<https://www.sqlite.org/eqp.html>). The statement tells which table an alias stands for.
fn sqlite_reads(registry: &Registry, sql: &str, line: &str) -> Option<(Arc<Klass>, How)> {
    let (search, rest) = match line.strip_prefix("SEARCH ") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix("SCAN ")?),
    };
    let (alias, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let name = table_of(sql, alias)?;
    let klass = klass_of(registry, |table| match &table.schema {
        Some(schema) => name.strip_prefix(schema.as_str()).and_then(|rest| rest.strip_prefix("__")) == Some(&table.name),
        None => name == table.name,
    })?;
    let index = rest
        .split_once("INDEX ")
        .map_or(if rest.contains("PRIMARY KEY") { "primary key" } else { "" }, |(_, rest)| {
            rest.split(' ').next().unwrap_or_default()
        });
    let condition = rest.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
    let how = match (search, index) {
        (true, _) => How::By(index.to_owned(), condition.to_owned()),
        (false, "") => How::Whole,
        (false, index) => How::InOrder(index.to_owned()),
    };
    Some((klass, how))
}

/// The table that has this alias in a statement of ours: `"table" t1`.
fn table_of<'a>(sql: &'a str, alias: &str) -> Option<&'a str> {
    let wanted = format!("\" {alias}");
    let mut from = 0;
    while let Some(found) = sql[from..].find(&wanted) {
        let at = from + found;
        from = at + wanted.len();
        if !sql[from..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return sql[..at].rsplit('"').next();
        }
    }
    None
}

/// Whether a condition of a plan names a column.
pub fn names(condition: &str, column: &str) -> bool {
    condition
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_and_columns() {
        let sql = r#"select 1 from "org_a__order" t1 join "x" t11 on true, "timeline_entry" t2"#;
        assert_eq!(table_of(sql, "t1"), Some("org_a__order"));
        assert_eq!(table_of(sql, "t11"), Some("x"));
        assert_eq!(table_of(sql, "t2"), Some("timeline_entry"));
        assert_eq!(table_of(sql, "t3"), None);
        assert!(names("(org_id = $1) AND (customer_id = t1.id)", "customer_id"));
        assert!(!names("(customer_id = $1)", "customer"));
    }
}
