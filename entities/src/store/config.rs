//! Where the store is and how much of it one may take.

use std::time::Duration;

use super::StoreError;

/// The two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite 3, embedded.
    Sqlite,
    /// PostgreSQL 14 or later.
    Postgres,
}

impl Dialect {
    /// Whether decimals, amounts of money and instants are stored as scaled integers
    /// (10^6, 10^4, microseconds since 1970) rather than as types of their own.
    pub fn scaled(self) -> bool {
        self == Dialect::Sqlite
    }

    /// The n-th parameter (from 1) of a statement: `$1` or `?1`.
    pub fn param(self, n: usize) -> String {
        match self {
            Dialect::Postgres => format!("${n}"),
            Dialect::Sqlite => format!("?{n}"),
        }
    }

    /// An instant as bound to a statement that names a klass table, `event` or `timeline_entry` (system tables that SeaORM
    /// reads by itself bind `DateTime<Utc>` as it is).
    pub fn instant(self, at: chrono::DateTime<chrono::Utc>) -> sea_orm::Value {
        match self {
            Dialect::Postgres => at.into(),
            Dialect::Sqlite => at.timestamp_micros().into(),
        }
    }
}

/// How to open a [`super::Store`].
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite:PATH` or `postgres://user:password@host:port/database`.
    pub url: String,
    /// How many connections at most (SQLite: of the plain pool; the writer has one of its own).
    pub max_connections: u32,
    /// How many threads (SQLite) or connections of their own (Postgres) read; 0: as many as is good.
    pub readers: u32,
    /// How long one statement of a request may take.
    pub statement_timeout: Duration,
    /// How long what a klass change no longer needs stays (columns, tables), for nodes that still run on the old definitions.
    pub klass_grace: Duration,
}

impl StoreConfig {
    /// The defaults, at this URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 16,
            readers: 0,
            statement_timeout: Duration::from_secs(10),
            klass_grace: Duration::from_secs(60),
        }
    }

    /// Which database the URL means.
    pub fn dialect(&self) -> Result<Dialect, StoreError> {
        if self.url.starts_with("postgres://") || self.url.starts_with("postgresql://") {
            return Ok(Dialect::Postgres);
        }
        match self.sqlite_path() {
            Some(path) if !path.is_empty() && !path.contains(":memory:") => Ok(Dialect::Sqlite),
            Some(_) => Err(StoreError::Unavailable(
                "a database in memory cannot be shared by a writer and readers; give a file: sqlite:PATH".into(),
            )),
            None => Err(StoreError::Unavailable(
                "the database's URL is neither sqlite:PATH nor postgres://user:password@host:port/database".into(),
            )),
        }
    }

    /// The file, when the URL is `sqlite:PATH` (also `sqlite://PATH`); what follows a `?` is dropped.
    pub fn sqlite_path(&self) -> Option<&str> {
        let rest = self.url.strip_prefix("sqlite:")?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        Some(rest.split('?').next().unwrap_or(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_tells_the_database() {
        let dialect = |url: &str| StoreConfig::new(url).dialect();
        assert_eq!(dialect("postgres://a@b/c").ok(), Some(Dialect::Postgres));
        assert_eq!(dialect("sqlite:/tmp/x.db").ok(), Some(Dialect::Sqlite));
        assert_eq!(StoreConfig::new("sqlite:///tmp/x.db?mode=rwc").sqlite_path(), Some("/tmp/x.db"));
        assert!(dialect("sqlite::memory:").is_err());
        assert!(dialect("mysql://x").is_err());
    }
}
