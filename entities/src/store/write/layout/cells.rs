//! A slot's value on its way: bound as parameters, sent as cells of rows in one JSON text, read back from a row.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sea_orm::{QueryResult, Value as Bound};
use serde_json::Value as Json;
use uuid::Uuid;

use super::{Storage, id_value, to_json};
use crate::klass::Value;
use crate::klass::kind::{DECIMAL_SCALE, MONEY_SCALE};
use crate::store::{Dialect, StoreError};

/// `x` scaled by 10^`scale` to a whole number; `None` where 64 bits do not hold it.
fn scaled(x: Decimal, scale: u32) -> Option<i64> {
    use rust_decimal::prelude::ToPrimitive;
    x.round_dp(scale).checked_mul(Decimal::from(10i64.pow(scale)))?.to_i64()
}

fn too_large() -> StoreError {
    StoreError::Corrupt("a decimal has more digits than SQLite's integers hold".into())
}

/// Appends the parameter of a value; money takes two.
pub(crate) fn bind(dialect: Dialect, storage: Storage, value: &Value, out: &mut Vec<Bound>) -> Result<(), StoreError> {
    let sqlite = dialect == Dialect::Sqlite;
    if storage == Storage::Money {
        out.push(match value {
            Value::Money { amount, .. } if sqlite => Bound::BigInt(Some(scaled(*amount, MONEY_SCALE).ok_or_else(too_large)?)),
            Value::Money { amount, .. } => Bound::Decimal(Some(*amount)),
            _ if sqlite => Bound::BigInt(None),
            _ => Bound::Decimal(None),
        });
    }
    out.push(match (storage, value) {
        (Storage::Uuid, Value::Id(id)) => Bound::Uuid(Some(id.0)),
        (Storage::Uuid, _) => Bound::Uuid(None),
        (Storage::Text, Value::String(s)) => Bound::String(Some(s.clone())),
        (Storage::Text, _) => Bound::String(None),
        (Storage::Integer, Value::Integer(i)) => Bound::BigInt(Some(*i)),
        (Storage::Integer, _) => Bound::BigInt(None),
        (Storage::Decimal, Value::Decimal(d)) if sqlite => Bound::BigInt(Some(scaled(*d, DECIMAL_SCALE).ok_or_else(too_large)?)),
        (Storage::Decimal, Value::Decimal(d)) => Bound::Decimal(Some(*d)),
        (Storage::Decimal, _) if sqlite => Bound::BigInt(None),
        (Storage::Decimal, _) => Bound::Decimal(None),
        (Storage::Boolean, Value::Bool(b)) if sqlite => Bound::BigInt(Some(i64::from(*b))),
        (Storage::Boolean, Value::Bool(b)) => Bound::Bool(Some(*b)),
        (Storage::Boolean, _) if sqlite => Bound::BigInt(None),
        (Storage::Boolean, _) => Bound::Bool(None),
        (Storage::Date, Value::Date(d)) if sqlite => Bound::String(Some(d.to_string())),
        (Storage::Date, Value::Date(d)) => Bound::ChronoDate(Some(*d)),
        (Storage::Date, _) if sqlite => Bound::String(None),
        (Storage::Date, _) => Bound::ChronoDate(None),
        (Storage::Time, Value::DateTime(at)) => bind_time(dialect, Some(*at)),
        (Storage::Time, _) => bind_time(dialect, None),
        // Its first column was pushed above.
        (Storage::Money, Value::Money { currency, .. }) => Bound::String(Some(currency.clone())),
        (Storage::Money, _) => Bound::String(None),
        (Storage::Json, Value::Json(json)) => bind_json(dialect, Some(json.clone())),
        (Storage::Json, _) => bind_json(dialect, None),
    });
    Ok(())
}

/// An instant as a parameter.
pub(crate) fn bind_time(dialect: Dialect, at: Option<DateTime<Utc>>) -> Bound {
    match dialect {
        Dialect::Postgres => Bound::ChronoDateTimeUtc(at),
        Dialect::Sqlite => Bound::BigInt(at.map(|at| at.timestamp_micros())),
    }
}

/// JSON as a parameter.
pub(crate) fn bind_json(dialect: Dialect, json: Option<Json>) -> Bound {
    match dialect {
        Dialect::Postgres => Bound::Json(json.map(Box::new)),
        Dialect::Sqlite => Bound::String(json.map(|json| json.to_string())),
    }
}

/// Appends the cell (money: two) of a value in a set of rows sent as one JSON text; [`Storage::cell`] reads it.
pub(crate) fn cell(dialect: Dialect, storage: Storage, value: &Value, out: &mut Vec<Json>) -> Result<(), StoreError> {
    let sqlite = dialect == Dialect::Sqlite;
    match value {
        Value::Null => {
            out.push(Json::Null);
            if storage == Storage::Money {
                out.push(Json::Null);
            }
        }
        Value::Id(id) if sqlite => out.push(Json::String(id.0.simple().to_string())),
        Value::Decimal(d) if sqlite => out.push(Json::from(scaled(*d, DECIMAL_SCALE).ok_or_else(too_large)?)),
        Value::DateTime(at) if sqlite => out.push(Json::from(at.timestamp_micros())),
        Value::Money { amount, currency } => {
            out.push(if sqlite {
                Json::from(scaled(*amount, MONEY_SCALE).ok_or_else(too_large)?)
            } else {
                Json::String(amount.to_string())
            });
            out.push(Json::String(currency.clone()));
        }
        // As text within the text, so that both databases take it as it is.
        Value::Json(json) => out.push(Json::String(json.to_string())),
        value => out.push(to_json(value)),
    }
    Ok(())
}

impl Storage {
    /// The Postgres types of its columns.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Storage::Uuid => &["uuid"],
            Storage::Text => &["text"],
            Storage::Integer => &["bigint"],
            Storage::Decimal => &["numeric"],
            Storage::Boolean => &["boolean"],
            Storage::Date => &["date"],
            Storage::Time => &["timestamptz"],
            Storage::Money => &["numeric", "text"],
            Storage::Json => &["jsonb"],
        }
    }

    /// SQL that reads cell `index` of a row `r` that [`cell`] wrote, of the `part`th column.
    pub fn cell(self, dialect: Dialect, index: usize, part: usize) -> String {
        match dialect {
            Dialect::Postgres => match self.types()[part] {
                "text" => format!("r->>{index}"),
                kind => format!("(r->>{index})::{kind}"),
            },
            Dialect::Sqlite => match self {
                Storage::Uuid => format!("unhex(json_extract(r.value, '$[{index}]'))"),
                _ => format!("json_extract(r.value, '$[{index}]')"),
            },
        }
    }
}

fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

fn get<T: sea_orm::TryGetable>(row: &QueryResult, index: &mut usize) -> Result<Option<T>, StoreError> {
    let value = row.try_get_by_index::<Option<T>>(*index).map_err(damaged)?;
    *index += 1;
    Ok(value)
}

/// Reads one slot of a row and steps over its columns.
pub(crate) fn read(dialect: Dialect, storage: Storage, row: &QueryResult, index: &mut usize) -> Result<Value, StoreError> {
    let sqlite = dialect == Dialect::Sqlite;
    Ok(match storage {
        Storage::Uuid => id_value(get::<Uuid>(row, index)?),
        Storage::Text => get::<String>(row, index)?.map_or(Value::Null, Value::String),
        Storage::Integer => get::<i64>(row, index)?.map_or(Value::Null, Value::Integer),
        Storage::Decimal if sqlite => get::<i64>(row, index)?.map_or(Value::Null, |i| Value::Decimal(Decimal::new(i, DECIMAL_SCALE))),
        Storage::Decimal => get::<Decimal>(row, index)?.map_or(Value::Null, Value::Decimal),
        Storage::Boolean if sqlite => get::<i64>(row, index)?.map_or(Value::Null, |i| Value::Bool(i != 0)),
        Storage::Boolean => get::<bool>(row, index)?.map_or(Value::Null, Value::Bool),
        Storage::Date if sqlite => match get::<String>(row, index)? {
            Some(text) => Value::Date(text.parse::<NaiveDate>().map_err(damaged)?),
            None => Value::Null,
        },
        Storage::Date => get::<NaiveDate>(row, index)?.map_or(Value::Null, Value::Date),
        Storage::Time => read_time(dialect, row, index)?.map_or(Value::Null, Value::DateTime),
        Storage::Money => {
            let amount = if sqlite {
                get::<i64>(row, index)?.map(|i| Decimal::new(i, MONEY_SCALE))
            } else {
                get::<Decimal>(row, index)?
            };
            match (amount, get::<String>(row, index)?) {
                (Some(amount), Some(currency)) => Value::Money { amount, currency },
                _ => Value::Null,
            }
        }
        Storage::Json => read_json(dialect, row, index)?.map_or(Value::Null, Value::Json),
    })
}

/// Reads an instant.
pub(crate) fn read_time(dialect: Dialect, row: &QueryResult, index: &mut usize) -> Result<Option<DateTime<Utc>>, StoreError> {
    match dialect {
        Dialect::Postgres => get::<DateTime<Utc>>(row, index),
        Dialect::Sqlite => match get::<i64>(row, index)? {
            Some(micros) => DateTime::from_timestamp_micros(micros)
                .map(Some)
                .ok_or_else(|| StoreError::Corrupt(format!("no such instant: {micros}"))),
            None => Ok(None),
        },
    }
}

/// Reads JSON.
pub(crate) fn read_json(dialect: Dialect, row: &QueryResult, index: &mut usize) -> Result<Option<Json>, StoreError> {
    match dialect {
        Dialect::Postgres => get::<Json>(row, index),
        Dialect::Sqlite => match get::<String>(row, index)? {
            Some(text) => serde_json::from_str(&text).map(Some).map_err(damaged),
            None => Ok(None),
        },
    }
}
