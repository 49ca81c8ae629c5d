//! An instant as the tables of objects store it: `timestamptz` on Postgres, microseconds since 1970 UTC on SQLite.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{ArrayType, ColumnType, Nullable, Value, ValueType, ValueTypeErr};
use sea_orm::{ColIdx, DbErr, QueryResult, TryGetError, TryGetable};

/// Reads from both databases. As a parameter it is a `timestamptz`: filters by it work on Postgres alone; statements of `store`
/// bind [`crate::store::Dialect::instant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub DateTime<Utc>);

impl From<Instant> for Value {
    fn from(at: Instant) -> Self {
        at.0.into()
    }
}

impl TryGetable for Instant {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        // The number first: a value of SQLite that was looked at as text cannot be looked at as a number any more.
        match i64::try_get_by(row, index) {
            Ok(micros) => {
                let at = DateTime::from_timestamp_micros(micros);
                at.map(Instant)
                    .ok_or_else(|| TryGetError::DbErr(DbErr::Type(format!("{micros} is no instant in microseconds"))))
            }
            Err(null @ TryGetError::Null(_)) => Err(null),
            Err(_) => DateTime::<Utc>::try_get_by(row, index).map(Instant),
        }
    }
}

impl ValueType for Instant {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        <DateTime<Utc> as ValueType>::try_from(value).map(Instant)
    }

    fn type_name() -> String {
        "Instant".into()
    }

    fn array_type() -> ArrayType {
        <DateTime<Utc> as ValueType>::array_type()
    }

    fn column_type() -> ColumnType {
        <DateTime<Utc> as ValueType>::column_type()
    }
}

impl Nullable for Instant {
    fn null() -> Value {
        <DateTime<Utc> as Nullable>::null()
    }
}
