//! Values as the store's JSON says them, read back: for cursors.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use klio_entities::klass::kind::{Kind, MONEY_SCALE};
use klio_entities::klass::{ObjectId, Value};
use rust_decimal::Decimal;
use serde_json::Value as Json;

/// A value of a kind out of the store's JSON (see `klass/query.rs`); money as its amount. `None`: it is not of that kind.
pub fn value(json: &Json, kind: &Kind, scaled: bool) -> Option<Value> {
    if json.is_null() {
        return Some(Value::Null);
    }
    Some(match kind {
        Kind::Id => Value::Id(ObjectId(uuid::Uuid::parse_str(json.as_str()?).ok()?)),
        Kind::Integer { .. } => Value::Integer(json.as_i64()?),
        Kind::Decimal => Value::Decimal(decimal(json, if scaled { klio_entities::klass::kind::DECIMAL_SCALE } else { 0 })?),
        Kind::Money => {
            let amount = json.as_array().and_then(|parts| parts.first()).unwrap_or(json);
            Value::Decimal(decimal(amount, if scaled { MONEY_SCALE } else { 0 })?)
        }
        Kind::Boolean => Value::Bool(json.as_bool().or_else(|| json.as_i64().map(|n| n != 0))?),
        Kind::Date => Value::Date(NaiveDate::parse_from_str(json.as_str()?, "%Y-%m-%d").ok()?),
        Kind::DateTime => Value::DateTime(instant(json)?),
        Kind::Json | Kind::Object(_) | Kind::List(_) => Value::Json(json.clone()),
        Kind::Actor | Kind::String | Kind::Text | Kind::Url | Kind::Email | Kind::Phone | Kind::Enum(_) | Kind::Tree { .. } => {
            Value::String(json.as_str()?.to_owned())
        }
    })
}

fn decimal(json: &Json, scale: u32) -> Option<Decimal> {
    match json {
        Json::Number(number) if scale > 0 => Some(Decimal::from_i128_with_scale(number.as_i64()?.into(), scale)),
        Json::Number(number) => super::coerce::decimal(&number.to_string()),
        Json::String(text) => super::coerce::decimal(text),
        _ => None,
    }
}

/// An instant: microseconds since 1970, or a text.
pub fn instant(json: &Json) -> Option<DateTime<Utc>> {
    match json {
        Json::Number(micros) => DateTime::from_timestamp_micros(micros.as_i64()?),
        Json::String(text) => instant_of_text(text),
        _ => None,
    }
}

/// An instant as Postgres or RFC 3339 writes it; without an offset it is UTC.
pub fn instant_of_text(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.with_timezone(&Utc));
    }
    if let Ok(at) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z") {
        return Some(at.with_timezone(&Utc));
    }
    let plain = text.replace('T', " ");
    NaiveDateTime::parse_from_str(&plain, "%Y-%m-%d %H:%M:%S%.f")
        .ok()
        .map(|at| at.and_utc())
}
