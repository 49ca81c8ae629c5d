//! Values of a column: read from a row, and as JSON for statements that write many rows at once.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sea_orm::{QueryResult, TryGetable};
use serde_json::Value as Json;

use crate::klass::kind::{DECIMAL_SCALE, Kind, MONEY_SCALE, Storage};
use crate::klass::value::{date_text, datetime_text};
use crate::klass::{ObjectId, Value, accept};
use crate::store::ddl::{Type, quote};
use crate::store::{Dialect, StoreError};

/// The columns of a property, in order.
pub(super) fn columns(kind: &Kind, column: &str) -> Vec<(String, Type)> {
    let ty = match kind.storage() {
        Storage::Uuid => Type::Uuid,
        Storage::Text => Type::Text,
        Storage::Integer => Type::Integer,
        Storage::Decimal => Type::Decimal,
        Storage::Money => return vec![(column.into(), Type::Decimal), (format!("{column}_currency"), Type::Text)],
        Storage::Boolean => Type::Boolean,
        Storage::Date => Type::Date,
        Storage::DateTime => Type::Instant,
        Storage::Json => Type::Json,
    };
    vec![(column.into(), ty)]
}

/// The value of a property whose columns begin at `index` in the row.
pub(super) fn read(dialect: Dialect, kind: &Kind, row: &QueryResult, index: usize) -> Result<Value, StoreError> {
    let sqlite = dialect == Dialect::Sqlite;
    let scaled = |scale: u32| -> Result<Option<Decimal>, StoreError> {
        if sqlite {
            Ok(get::<i64>(row, index)?.map(|i| Decimal::from_i128_with_scale(i.into(), scale)))
        } else {
            get(row, index)
        }
    };
    let value = match kind.storage() {
        Storage::Uuid => get(row, index)?.map(|id| Value::Id(ObjectId(id))),
        Storage::Text => get(row, index)?.map(Value::String),
        Storage::Integer => get(row, index)?.map(Value::Integer),
        Storage::Decimal => scaled(DECIMAL_SCALE)?.map(Value::Decimal),
        Storage::Money => match (scaled(MONEY_SCALE)?, get(row, index + 1)?) {
            (Some(amount), Some(currency)) => Some(Value::Money { amount, currency }),
            _ => None,
        },
        Storage::Boolean => get(row, index)?.map(Value::Bool),
        Storage::Date if sqlite => get::<String>(row, index)?.and_then(|t| accept::date(&t)).map(Value::Date),
        Storage::Date => get::<NaiveDate>(row, index)?.map(Value::Date),
        Storage::DateTime if sqlite => get::<i64>(row, index)?
            .and_then(DateTime::from_timestamp_micros)
            .map(Value::DateTime),
        Storage::DateTime => get::<DateTime<Utc>>(row, index)?.map(Value::DateTime),
        Storage::Json => get::<Json>(row, index)?.map(Value::Json),
    };
    Ok(value.unwrap_or(Value::Null))
}

fn get<T: TryGetable>(row: &QueryResult, index: usize) -> Result<Option<T>, StoreError> {
    row.try_get_by_index(index).map_err(|e| StoreError::Corrupt(e.to_string()))
}

/// A value as the JSON cells of its columns, which [`take`] turns into SQL values.
pub(super) fn cells(dialect: Dialect, kind: &Kind, value: &Value) -> Vec<Json> {
    let sqlite = dialect == Dialect::Sqlite;
    let decimal = |d: &Decimal, scale: u32| {
        if sqlite {
            let mut scaled = *d;
            scaled.rescale(scale);
            // Values were accepted: they have at most 18 digits.
            Json::from(i64::try_from(scaled.mantissa()).unwrap_or_default())
        } else {
            Json::from(d.to_string())
        }
    };
    match value {
        Value::Null => vec![Json::Null; columns(kind, "").len()],
        Value::Bool(b) if sqlite => vec![Json::from(i64::from(*b))],
        Value::Bool(b) => vec![Json::from(*b)],
        Value::Integer(i) => vec![Json::from(*i)],
        Value::Decimal(d) => vec![decimal(d, DECIMAL_SCALE)],
        Value::Money { amount, currency } => vec![decimal(amount, MONEY_SCALE), Json::from(currency.clone())],
        Value::String(s) => vec![Json::from(s.clone())],
        Value::Date(d) => vec![Json::from(date_text(*d))],
        Value::DateTime(t) if sqlite => vec![Json::from(t.timestamp_micros())],
        Value::DateTime(t) => vec![Json::from(datetime_text(*t))],
        Value::Id(id) if sqlite => vec![Json::from(id.0.simple().to_string())],
        Value::Id(id) => vec![Json::from(id.to_string())],
        // On SQLite JSON is text, so its text stands in a JSON string.
        Value::Json(_) | Value::List(_) if sqlite => vec![Json::from(value.to_json().to_string())],
        Value::Json(_) | Value::List(_) => vec![value.to_json()],
    }
}

/// The SQL value of cell `index` of a JSON array `row`.
pub(super) fn take(dialect: Dialect, ty: Type, row: &str, index: usize) -> String {
    match (dialect, ty) {
        (Dialect::Postgres, Type::Json) => format!("nullif({row}->{index}, 'null')"),
        (Dialect::Postgres, _) => format!("({row}->>{index})::{}", ty.sql(dialect)),
        (Dialect::Sqlite, Type::Uuid) => format!("unhex({row}->>{index})"),
        (Dialect::Sqlite, _) => format!("{row}->>{index}"),
    }
}

/// The columns as a select names them.
pub(super) fn select(alias: &str, columns: &[(String, Type)]) -> String {
    columns
        .iter()
        .map(|(c, _)| format!("{alias}.{}", quote(c)))
        .collect::<Vec<_>>()
        .join(", ")
}
