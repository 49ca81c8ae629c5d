//! One SQL text for two databases: the words in braces are types (and the few clauses) that differ.
//!
//! | word | Postgres | SQLite | holds |
//! |---|---|---|---|
//! | `{uuid}` | `uuid` | `blob` | 16 bytes |
//! | `{time}` | `timestamptz` | `integer` | an instant; on SQLite microseconds since 1970 UTC |
//! | `{stamp}` | `timestamptz` | `text` | an instant of a system table that SeaORM reads and writes by itself (RFC 3339 text on SQLite) |
//! | `{date}` | `date` | `text` | a day |
//! | `{int}` | `bigint` | `integer` | |
//! | `{bool}` | `boolean` | `integer` | |
//! | `{decimal}` | `numeric` | `integer` | on SQLite scaled: 10^6, money 10^4 |
//! | `{json}` | `jsonb` | `text` | JSON |
//! | `{bytes}` | `bytea` | `blob` | |
//! | `{fold}` | `lower` | `fold` | text in lower case (`fold`: our own function, see `entities/src/store/driver/sqlite_functions.rs`) |
//! | `{strict}` | | ` strict` | closes a table: SQLite then refuses values of another type |
//! | `{pg:…}`, `{sqlite:…}` | `…` | `…` | only there |

use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr};

/// A step of nothing but SQL.
macro_rules! step {
    ($name:literal, $sql:expr) => {
        /// The step of this file.
        pub struct Step;

        impl sea_orm_migration::MigrationName for Step {
            fn name(&self) -> &str {
                $name
            }
        }

        #[sea_orm_migration::async_trait::async_trait]
        impl sea_orm_migration::MigrationTrait for Step {
            async fn up(&self, manager: &sea_orm_migration::SchemaManager) -> Result<(), sea_orm_migration::DbErr> {
                crate::sql::run(manager, $sql).await
            }

            fn use_transaction(&self) -> Option<bool> {
                Some(true)
            }
        }
    };
}
pub(crate) use step;

/// Runs the statements of a step.
pub async fn run(manager: &SchemaManager<'_>, text: &str) -> Result<(), DbErr> {
    let sql = render(text, manager.get_database_backend() == DbBackend::Postgres);
    manager.get_connection().execute_unprepared(&sql).await?;
    Ok(())
}

/// The text for one database.
fn render(text: &str, postgres: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('}') else { break };
        let word = &rest[open + 1..open + close];
        out.push_str(match (word, postgres) {
            ("uuid", true) => "uuid",
            ("uuid", false) => "blob",
            ("time" | "stamp", true) => "timestamptz",
            ("time", false) => "integer",
            ("stamp", false) => "text",
            ("date", true) => "date",
            ("date", false) => "text",
            ("int", true) => "bigint",
            ("bool", true) => "boolean",
            ("decimal", true) => "numeric",
            ("int" | "bool" | "decimal", false) => "integer",
            ("json", true) => "jsonb",
            ("json", false) => "text",
            ("bytes", true) => "bytea",
            ("bytes", false) => "blob",
            ("fold", true) => "lower",
            ("fold", false) => "fold",
            ("strict", true) => "",
            ("strict", false) => " strict",
            (other, postgres) => match other.split_once(':') {
                Some(("pg", clause)) if postgres => clause,
                Some(("sqlite", clause)) if !postgres => clause,
                Some(("pg" | "sqlite", _)) => "",
                // Left as it is: the database then names the fault, and so does the test of this file.
                _ => &rest[open..open + close + 1],
            },
        });
        rest = &rest[open + close + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn words_become_types() {
        let text = "create table t (id {uuid}, at {time}, b {bool}{pg:, x xid8}){strict};";
        assert_eq!(render(text, true), "create table t (id uuid, at timestamptz, b boolean, x xid8);");
        assert_eq!(render(text, false), "create table t (id blob, at integer, b integer) strict;");
    }

    #[test]
    fn an_unknown_word_stays_visible() {
        assert_eq!(render("a {nope} b", true), "a {nope} b");
    }
}
