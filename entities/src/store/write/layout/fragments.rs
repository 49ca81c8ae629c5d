//! Pieces of SQL that the write path's statements are made of.

use sea_orm::Value as Bound;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::klass::registry::Table;
use crate::klass::{Kind, Value};
use crate::store::Dialect;

/// A name as SQL writes it.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table as SQL writes it.
pub(crate) fn table(dialect: Dialect, table: &Table) -> String {
    match (&table.schema, dialect) {
        (Some(schema), Dialect::Postgres) => format!("{}.{}", quote(schema), quote(&table.name)),
        (Some(schema), Dialect::Sqlite) => quote(&format!("{schema}__{}", table.name)),
        (None, _) => quote(&table.name),
    }
}

/// The `n`th parameter (from 1).
pub(crate) fn parameter(dialect: Dialect, n: usize) -> String {
    match dialect {
        Dialect::Postgres => format!("${n}"),
        Dialect::Sqlite => format!("?{n}"),
    }
}

/// A unique value in the form in which two of them are the same: e-mail addresses in lower case.
pub(crate) fn key_value(kind: &Kind, value: Value) -> Value {
    match (kind, value) {
        (Kind::Email, Value::String(text)) => Value::String(crate::store::driver::sqlite_functions::fold(&text)),
        (_, value) => value,
    }
}

/// The column of a unique property in the form of [`key_value`], as its index has it.
pub(crate) fn key_column(dialect: Dialect, kind: &Kind, column: &str) -> String {
    match (kind, dialect) {
        (Kind::Email, Dialect::Postgres) => format!("lower({column})"),
        (Kind::Email, Dialect::Sqlite) => format!("fold({column})"),
        _ => column.to_string(),
    }
}

/// Keeps SQLite from choosing an index by the org, which it takes for selective, where one by id is meant.
pub(crate) fn aside(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "",
        Dialect::Sqlite => "+",
    }
}

/// The ids in a parameter that [`ids`] made, as a set to be `in`.
pub(crate) fn in_ids(dialect: Dialect, n: usize) -> String {
    match dialect {
        Dialect::Postgres => format!("= any(${n})"),
        Dialect::Sqlite => format!("in (select unhex(value) from json_each(?{n}))"),
    }
}

/// Ids as one parameter.
pub(crate) fn ids(dialect: Dialect, ids: &[Uuid]) -> Bound {
    match dialect {
        Dialect::Postgres => Bound::Array(
            sea_orm::sea_query::ArrayType::Uuid,
            Some(Box::new(ids.iter().map(|id| Bound::Uuid(Some(*id))).collect())),
        ),
        Dialect::Sqlite => {
            let list: Vec<Json> = ids.iter().map(|id| Json::String(id.simple().to_string())).collect();
            Bound::String(Some(Json::Array(list).to_string()))
        }
    }
}

/// The texts in a parameter that [`texts`] made, as a set to be `in`.
pub(crate) fn in_texts(dialect: Dialect, n: usize) -> String {
    match dialect {
        Dialect::Postgres => format!("= any(${n})"),
        Dialect::Sqlite => format!("in (select value from json_each(?{n}))"),
    }
}

/// Texts as one parameter.
pub(crate) fn texts<'a>(dialect: Dialect, texts: impl Iterator<Item = &'a str>) -> Bound {
    match dialect {
        Dialect::Postgres => Bound::Array(
            sea_orm::sea_query::ArrayType::String,
            Some(Box::new(texts.map(|text| Bound::String(Some(text.into()))).collect())),
        ),
        Dialect::Sqlite => Bound::String(Some(Json::Array(texts.map(|text| Json::String(text.into())).collect()).to_string())),
    }
}
