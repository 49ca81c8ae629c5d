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
