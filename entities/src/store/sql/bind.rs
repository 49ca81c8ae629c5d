//! What is bound to a statement, in which form, and how a value takes that form in each database.

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use rusqlite::types::Value as SqliteValue;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::Value as Json;
use tokio_postgres::types::{IsNull, ToSql, Type as PostgresType, to_sql_checked};
use uuid::Uuid;

use crate::klass::filter::ContactKind;
use crate::klass::{Kind, OrgId, Value, contact, kind};

/// One parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Bind {
    /// Where its value comes from.
    pub source: Source,
    /// What becomes of the value.
    pub form: Form,
}

/// Where a parameter's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The org for which the statement runs.
    Org,
    /// The argument at this index.
    Arg(usize),
    /// Known since the plan was made.
    Const(Value),
}

/// The form in which a value is bound.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// An id: `uuid`; on SQLite 16 bytes.
    Id,
    /// A truth value; on SQLite 0 or 1.
    Bool,
    /// A whole number.
    Integer,
    /// An exact number; on SQLite an integer scaled by so many digits. An amount of money is taken from its money.
    Numeric(u32),
    /// A number as a float: distances, averages.
    Float,
    /// A text.
    Text,
    /// A contact point, normalised.
    Contact(ContactKind),
    /// A day.
    Date,
    /// An instant; on SQLite microseconds since 1970.
    Time,
    /// A value as JSON text in its stored form; a list becomes a JSON array.
    Json,
    /// A value in its stored form, alone in a JSON array.
    JsonItem,
    /// A text that `like` finds: escaped, with `%` before and after.
    Like {
        /// `%` before.
        before: bool,
        /// `%` after.
        after: bool,
    },
    /// The text, then `/`: the start of all paths below it.
    Below,
    /// The first text behind all that start with this one (SQLite; Postgres has `like`).
    PrefixEnd,
    /// As [`Form::PrefixEnd`], of the paths below.
    BelowEnd,
    /// The text of a scalar at a JSON path; null for a number.
    PathText,
    /// The number at a JSON path; null for anything else.
    PathNumber,
    /// A list of these: an array on Postgres, a JSON array on SQLite.
    List(Box<Form>),
    /// The item at this index of a list.
    Item(usize, Box<Form>),
}

/// A value that does not fit where it is bound: the plan gave an argument of another kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter {parameter}: {value} cannot be bound as {form}")]
pub struct BindError {
    parameter: usize,
    value: String,
    form: String,
}

impl Form {
    /// The form in which values of a kind are compared.
    pub fn of(kind: &Kind) -> Form {
        match kind {
            Kind::Id => Form::Id,
            Kind::Integer { .. } => Form::Integer,
            Kind::Decimal => Form::Numeric(kind::DECIMAL_SCALE),
            Kind::Money => Form::Numeric(kind::MONEY_SCALE),
            Kind::Boolean => Form::Bool,
            Kind::Date => Form::Date,
            Kind::DateTime => Form::Time,
            Kind::Json | Kind::Object(_) | Kind::List(_) => Form::Json,
            Kind::Actor | Kind::String | Kind::Text | Kind::Url | Kind::Email | Kind::Phone | Kind::Enum(_) | Kind::Tree { .. } => {
                Form::Text
            }
        }
    }

    /// The type that the statement says.
    pub(super) fn postgres_type(&self) -> String {
        match self {
            Form::Id => "uuid",
            Form::Bool => "bool",
            Form::Integer => "int8",
            Form::Numeric(_) | Form::PathNumber => "numeric",
            Form::Float => "float8",
            Form::Text | Form::Contact(_) | Form::Like { .. } | Form::Below | Form::PrefixEnd | Form::BelowEnd | Form::PathText => "text",
            Form::Date => "date",
            Form::Time => "timestamptz",
            // Sent as text, so that no JSON is built to be taken apart.
            Form::Json => "text::jsonb",
            Form::List(item) if **item == Form::JsonItem => "text[]::jsonb[]",
            Form::JsonItem => "text::jsonb",
            Form::List(item) => return format!("{}[]", item.postgres_type()),
            Form::Item(_, item) => return item.postgres_type(),
        }
        .to_owned()
    }

    /// On SQLite: the value of an item of the list, as `json_each` gives it.
    pub(super) fn json_each_item(&self, value: &str) -> String {
        match self {
            Form::Id => format!("unhex({value})"),
            _ => value.to_owned(),
        }
    }
}

/// A value in a form, before either database.
#[derive(Debug)]
pub(crate) enum Bound {
    Null,
    Id(Uuid),
    Bool(bool),
    Integer(i64),
    Numeric(Decimal),
    Float(f64),
    Text(String),
    Date(chrono::NaiveDate),
    Time(DateTime<Utc>),
    List(Vec<Bound>),
    /// Behind every text.
    Last,
}

fn shape(form: &Form, value: &Value) -> Option<Bound> {
    if let Form::Item(index, item) = form {
        return match value {
            Value::List(items) => shape(item, items.get(*index)?),
            Value::Null => Some(Bound::Null),
            _ => None,
        };
    }
    if value.is_null() {
        return Some(Bound::Null);
    }
    let text = || match value {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    };
    Some(match form {
        Form::Id => match value {
            Value::Id(id) => Bound::Id(id.0),
            _ => return None,
        },
        Form::Bool => match value {
            Value::Bool(b) => Bound::Bool(*b),
            _ => return None,
        },
        Form::Integer => match value {
            Value::Integer(i) => Bound::Integer(*i),
            _ => return None,
        },
        Form::Numeric(_) => match value {
            Value::Decimal(d) => Bound::Numeric(*d),
            Value::Money { amount, .. } => Bound::Numeric(*amount),
            Value::Integer(i) => Bound::Numeric(Decimal::from(*i)),
            _ => return None,
        },
        Form::Float => match value {
            Value::Decimal(d) => Bound::Float(d.to_f64()?),
            Value::Money { amount, .. } => Bound::Float(amount.to_f64()?),
            Value::Integer(i) => Bound::Float(*i as f64),
            _ => return None,
        },
        Form::Text => Bound::Text(text()?.to_owned()),
        Form::Contact(kind) => {
            let text = text()?;
            // What is no contact point is nobody's.
            Bound::Text(contact::normalise(*kind, text).unwrap_or_else(|| text.to_owned()))
        }
        Form::Date => match value {
            Value::Date(d) => Bound::Date(*d),
            _ => return None,
        },
        Form::Time => match value {
            Value::DateTime(t) => Bound::Time(*t),
            _ => return None,
        },
        Form::Json => Bound::Text(value.to_json().to_string()),
        Form::JsonItem => Bound::Text(Json::Array(vec![value.to_json()]).to_string()),
        Form::Like { before, after } => {
            let text = text()?;
            let mut out = String::with_capacity(text.len() + 2);
            if *before {
                out.push('%');
            }
            for c in text.chars() {
                if matches!(c, '%' | '_' | '\\') {
                    out.push('\\');
                }
                out.push(c);
            }
            if *after {
                out.push('%');
            }
            Bound::Text(out)
        }
        Form::Below => Bound::Text(format!("{}/", text()?)),
        Form::PrefixEnd => behind_prefix(text()?),
        Form::BelowEnd => behind_prefix(&format!("{}/", text()?)),
        Form::PathText => match value {
            Value::Integer(_) | Value::Decimal(_) | Value::Json(Json::Number(_)) => Bound::Null,
            Value::Bool(b) => Bound::Text(b.to_string()),
            Value::Json(Json::Bool(b)) => Bound::Text(b.to_string()),
            other => match other.to_json() {
                Json::String(text) => Bound::Text(text),
                _ => return None,
            },
        },
        Form::PathNumber => match value {
            Value::Integer(i) => Bound::Numeric(Decimal::from(*i)),
            Value::Decimal(d) => Bound::Numeric(*d),
            Value::Json(Json::Number(n)) => Bound::Numeric(
                n.to_string()
                    .parse()
                    .ok()
                    .or_else(|| Decimal::from_scientific(&n.to_string()).ok())?,
            ),
            _ => Bound::Null,
        },
        Form::List(item) => match value {
            Value::List(items) => {
                let bound: Option<Vec<Bound>> = items.iter().map(|value| shape(item, value)).collect();
                let mut bound = bound?;
                // Null is in no list; on Postgres one would make the whole comparison unknown.
                bound.retain(|b| !matches!(b, Bound::Null));
                Bound::List(bound)
            }
            _ => return None,
        },
        // Taken apart above.
        Form::Item(..) => return None,
    })
}

/// The smallest text that is greater than all texts that start with this one.
fn behind_prefix(prefix: &str) -> Bound {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Bound::Text(chars.into_iter().collect());
        }
    }
    Bound::Last
}

impl Bind {
    fn value<'a>(&'a self, args: &'a [Value]) -> &'a Value {
        match &self.source {
            // The caller binds the org itself.
            Source::Org => &Value::Null,
            Source::Arg(index) => args.get(*index).unwrap_or(&Value::Null),
            Source::Const(value) => value,
        }
    }

    fn shape(&self, index: usize, args: &[Value]) -> Result<Bound, BindError> {
        let value = self.value(args);
        shape(&self.form, value).ok_or_else(|| BindError {
            parameter: index + 1,
            // The kind of the value, not the value: it may be somebody's secret.
            value: value_kind(value).to_owned(),
            form: format!("{:?}", self.form),
        })
    }
}

fn value_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Integer(_) => "an integer",
        Value::Decimal(_) => "a decimal",
        Value::String(_) => "a string",
        Value::Date(_) => "a date",
        Value::DateTime(_) => "a datetime",
        Value::Id(_) => "an id",
        Value::Money { .. } => "money",
        Value::Json(_) => "JSON",
        Value::List(_) => "a list",
    }
}

/// The parameters of a statement for SQLite.
pub(crate) fn for_sqlite(binds: &[Bind], org: OrgId, args: &[Value]) -> Result<Vec<SqliteValue>, BindError> {
    binds
        .iter()
        .enumerate()
        .map(|(index, bind)| {
            if bind.source == Source::Org {
                return Ok(SqliteValue::Blob(org.0.into_bytes().to_vec()));
            }
            Ok(sqlite(&bind.form, bind.shape(index, args)?))
        })
        .collect()
}

fn sqlite(form: &Form, bound: Bound) -> SqliteValue {
    match bound {
        Bound::Null => SqliteValue::Null,
        Bound::Id(id) => SqliteValue::Blob(id.into_bytes().to_vec()),
        Bound::Bool(b) => SqliteValue::Integer(i64::from(b)),
        Bound::Integer(i) => SqliteValue::Integer(i),
        Bound::Numeric(d) => match scaled(d, scale(form)) {
            Ok(i) => SqliteValue::Integer(i),
            Err(f) => SqliteValue::Real(f),
        },
        Bound::Float(f) => SqliteValue::Real(f),
        Bound::Text(text) => SqliteValue::Text(text),
        Bound::Date(d) => SqliteValue::Text(d.to_string()),
        Bound::Time(t) => SqliteValue::Integer(t.timestamp_micros()),
        // Bytes sort behind every text.
        Bound::Last => SqliteValue::Blob(Vec::new()),
        Bound::List(items) => {
            let item = match form {
                Form::List(item) => item,
                other => other,
            };
            let items: Vec<Json> = items
                .into_iter()
                .map(|bound| match bound {
                    Bound::Id(id) => Json::String(id.simple().to_string()),
                    other => match sqlite(item, other) {
                        SqliteValue::Integer(i) => Json::from(i),
                        SqliteValue::Real(f) => Json::from(f),
                        SqliteValue::Text(text) => Json::String(text),
                        SqliteValue::Null | SqliteValue::Blob(_) => Json::Null,
                    },
                })
                .collect();
            SqliteValue::Text(Json::Array(items).to_string())
        }
    }
}

fn scale(form: &Form) -> u32 {
    match form {
        Form::Numeric(scale) => *scale,
        Form::Item(_, item) | Form::List(item) => scale(item),
        _ => 0,
    }
}

/// A decimal as a scaled integer; what has more digits than that, or is too large, as a float, which SQLite compares exactly with integers.
fn scaled(decimal: Decimal, scale: u32) -> Result<i64, f64> {
    let factor = Decimal::from(10_i64.pow(scale));
    let exact = decimal
        .checked_mul(factor)
        .filter(|scaled| scaled.fract().is_zero())
        .and_then(|scaled| scaled.to_i64());
    exact.ok_or_else(|| decimal.to_f64().unwrap_or(f64::MAX) * 10_f64.powi(scale as i32))
}

/// The parameters of a statement for Postgres.
pub(crate) fn for_postgres(binds: &[Bind], org: OrgId, args: &[Value]) -> Result<Vec<Bound>, BindError> {
    binds
        .iter()
        .enumerate()
        .map(|(index, bind)| match bind.source {
            Source::Org => Ok(Bound::Id(org.0)),
            _ => bind.shape(index, args),
        })
        .collect()
}

/// Each value as the type that [`Form::postgres_type`] makes the statement say for it.
impl ToSql for Bound {
    fn to_sql(&self, ty: &PostgresType, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Bound::Null => Ok(IsNull::Yes),
            Bound::Id(id) => id.to_sql(ty, out),
            Bound::Bool(b) => b.to_sql(ty, out),
            Bound::Integer(i) => i.to_sql(ty, out),
            Bound::Numeric(d) => d.to_sql(ty, out),
            Bound::Float(f) => f.to_sql(ty, out),
            Bound::Text(text) => text.to_sql(ty, out),
            Bound::Date(d) => d.to_sql(ty, out),
            Bound::Time(t) => t.to_sql(ty, out),
            Bound::Last => "\u{10FFFF}".to_sql(ty, out),
            Bound::List(items) => items.to_sql(ty, out),
        }
    }

    fn accepts(_: &PostgresType) -> bool {
        // The form that made the value also made the type.
        true
    }

    to_sql_checked!();
}
