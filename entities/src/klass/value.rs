//! A value of a property, typed, as it is written, compared and bound to statements.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::ObjectId;

/// A value. Its variant follows from the property's [`super::Kind`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// `Boolean`.
    Bool(bool),
    /// `Integer`.
    Integer(i64),
    /// `Decimal`.
    Decimal(Decimal),
    /// `String Text Url Email Phone Enum Tree Actor` (an enum's stored value, not its legal name).
    String(String),
    /// `Date`.
    Date(NaiveDate),
    /// `DateTime`, truncated to microseconds.
    DateTime(DateTime<Utc>),
    /// `Id`, and the far side of a relationship.
    Id(ObjectId),
    /// `Money`.
    Money {
        /// The amount.
        amount: Decimal,
        /// ISO 4217, upper case.
        currency: String,
    },
    /// `Json` and `Object`.
    Json(Json),
    /// `List`; and the operand of `in` and `hasAny`.
    List(Vec<Value>),
}

impl Value {
    /// Is no value.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
}

impl Value {
    /// The canonical JSON of a stored value, as events and lists hold it: ids as hyphenated UUIDs, decimals as strings, datetimes RFC 3339 with
    /// six digits of seconds, money as `{"amount", "currency"}`, enums as stored. [`super::accept::accept`] reads it back.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Integer(i) => Json::from(*i),
            Value::Decimal(d) => Json::String(decimal_text(*d)),
            Value::String(s) => Json::String(s.clone()),
            Value::Date(d) => Json::String(date_text(*d)),
            Value::DateTime(t) => Json::String(datetime_text(*t)),
            Value::Id(id) => Json::String(id.to_string()),
            Value::Money { amount, currency } => serde_json::json!({ "amount": decimal_text(*amount), "currency": currency }),
            Value::Json(json) => json.clone(),
            Value::List(items) => Json::Array(items.iter().map(Value::to_json).collect()),
        }
    }
}

/// A decimal without needless zeros: `10.50` → `10.5`.
pub fn decimal_text(decimal: Decimal) -> String {
    // `normalize` keeps no sign of zero and no trailing zeros
    decimal.normalize().to_string()
}

/// `2026-11-24`.
pub fn date_text(date: NaiveDate) -> String {
    date.format("%Y-%m-%d").to_string()
}

/// `2026-11-24T13:05:04.123456Z`: always of one length, so that texts sort as their times do.
pub fn datetime_text(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
