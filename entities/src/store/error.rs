//! What the store answers when it cannot do what it was asked. Plain: `api` gives each its HTTP status.

use sea_orm::{DbErr, RuntimeErr};

use crate::klass::{Fault, Faults};

/// Why the store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or has no room left. Trying again later may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A statement took longer than it may, or waited too long for a lock.
    #[error("the statement took longer than it may")]
    Timeout,
    /// The klass changed since the caller read the registry: read it again, plan again, try again.
    #[error("the klass has changed meanwhile")]
    Stale,
    /// What was given is wrong; every fault at once.
    #[error("{0}")]
    Faults(#[from] Faults),
    /// A database constraint said no.
    #[error("{0}")]
    Constraint(Constraint),
    /// The database gave the transaction up (deadlock, serialisation). [`super::Store::transact`] has tried again already.
    #[error("the transaction was given up by the database: {0}")]
    Contended(String),
    /// What is stored is not as it must be.
    #[error("the stored data is damaged: {0}")]
    Corrupt(String),
    /// Anything else that the database says.
    #[error("the database refused a statement: {0}")]
    Database(String),
}

/// A constraint of the database that a statement would break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database's constraint {name} was not kept: {message}")]
pub struct Constraint {
    /// Which sort.
    pub kind: ConstraintKind,
    /// Postgres: the constraint's or index's name. SQLite: the index's name if it says one (indexes on expressions), else
    /// `table.column[, table.column]` of the columns (unique), or empty (foreign keys).
    pub name: String,
    /// The database's own words.
    pub message: String,
}

/// A sort of constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in SQL")]
pub enum ConstraintKind {
    Unique,
    ForeignKey,
    NotNull,
    Check,
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::Faults(fault.into())
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match &error {
            DbErr::Conn(RuntimeErr::SqlxError(e)) | DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) => {
                from_sqlx(e)
            }
            DbErr::ConnectionAcquire(_) => Self::Unavailable("no connection became free in time".into()),
            DbErr::Conn(e) => Self::Unavailable(e.to_string()),
            DbErr::Type(message) | DbErr::Json(message) => Self::Corrupt(message.clone()),
            _ => Self::Database(error.to_string()),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        from_sqlx(&error)
    }
}

fn from_sqlx(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(e) => from_database(e.as_ref()),
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("no connection became free in time".into()),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            StoreError::Unavailable(error.to_string())
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Database(error.to_string()),
    }
}

impl StoreError {
    /// What went wrong on a connection of tokio-postgres.
    pub(crate) fn from_postgres(error: &tokio_postgres::Error) -> Self {
        if let Some(told) = error.as_db_error() {
            return from_sqlstate(told.code().code(), told.message().to_owned());
        }
        // The cause says more than "error connecting to server".
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let message = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        let broke = error.is_closed() || std::error::Error::source(error).is_some_and(|it| it.is::<std::io::Error>());
        if broke {
            Self::Unavailable(message)
        } else {
            Self::Database(message)
        }
    }
}

fn from_database(error: &dyn sqlx::error::DatabaseError) -> StoreError {
    use sqlx::error::ErrorKind;
    let message = error.message().to_string();
    let kind = match error.kind() {
        ErrorKind::UniqueViolation => Some(ConstraintKind::Unique),
        ErrorKind::ForeignKeyViolation => Some(ConstraintKind::ForeignKey),
        ErrorKind::NotNullViolation => Some(ConstraintKind::NotNull),
        ErrorKind::CheckViolation => Some(ConstraintKind::Check),
        _ => None,
    };
    if let Some(kind) = kind {
        let name = match error.constraint() {
            Some(name) => name.to_string(),
            // SQLite: "UNIQUE constraint failed: index 'name'" or "UNIQUE constraint failed: t.a, t.b".
            None => {
                let told = message.split_once("failed: ").map_or("", |(_, what)| what);
                told.strip_prefix("index '")
                    .and_then(|n| n.strip_suffix('\''))
                    .unwrap_or(told)
                    .to_string()
            }
        };
        return StoreError::Constraint(Constraint { kind, name, message });
    }
    let code = error.code();
    let code = code.as_deref().unwrap_or_default();
    if code.len() == 5 {
        return from_sqlstate(code, message);
    }
    // SQLite: an extended result code; its low byte is the primary one.
    match code.parse::<u32>().map(|c| c & 0xff) {
        Ok(5 | 6) => StoreError::Contended(message),
        Ok(9) => StoreError::Timeout,
        Ok(10 | 13 | 14) => StoreError::Unavailable(message),
        Ok(11 | 26) => StoreError::Corrupt(message),
        _ => StoreError::Database(message),
    }
}

/// A fault that Postgres tells by its SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn from_sqlstate(code: &str, message: String) -> StoreError {
    match code {
        "40001" | "40P01" => StoreError::Contended(message),
        "57014" | "55P03" => StoreError::Timeout,
        "53300" | "57P01" | "57P02" | "57P03" | "53100" => StoreError::Unavailable(message),
        _ if code.starts_with("08") => StoreError::Unavailable(message),
        _ => StoreError::Database(format!("{message} (SQLSTATE {code})")),
    }
}

impl StoreError {
    /// The constraint of this kind that was broken, if that is what happened.
    pub fn constraint(&self, kind: ConstraintKind) -> Option<&Constraint> {
        match self {
            Self::Constraint(c) if c.kind == kind => Some(c),
            _ => None,
        }
    }
}
