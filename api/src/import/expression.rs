//! How a property's value is made of a record: a path alone, or a table that says more.

use chrono::{DateTime, Utc};
use klio_entities::klass::duration::Duration;
use klio_entities::klass::value::{datetime_text, decimal_text};
use rust_decimal::Decimal;
use serde_json::{Map, Value as Json, json};

use super::path::{Path, Scope};

/// How a value is made.
#[derive(Clone, Debug)]
pub enum Expression {
    /// What stands at a path.
    Path(Path),
    /// Always this.
    Value(Json),
    /// What stands at a path, put into other words; or something else where nothing stands there.
    From {
        from: Path,
        map: Option<Map<String, Json>>,
        default: Option<Json>,
    },
    /// Texts, one behind the other; those that are not there are left out.
    Join { parts: Vec<Expression>, with: String },
    /// A text with values in it.
    Template(Vec<Piece>),
    /// An amount of money.
    Money { amount: Box<Expression>, currency: Currency },
    /// The sum of all numbers at a path.
    Sum { of: Path, currency: Option<Currency> },
    /// A list of values; those that are not there are left out.
    List(Vec<Expression>),
    /// An object of values; those that are not there are left out.
    Object(Vec<(String, Expression)>),
    /// A text, cut where a separator stands.
    Split { from: Path, by: String },
    /// A moment that is counted out.
    Time {
        start: DateTime<Utc>,
        steps: Vec<(Duration, Times)>,
    },
}

/// A part of a template.
#[derive(Clone, Debug)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// What stands at a path.
    Path(Path),
}

/// Which currency.
#[derive(Clone, Debug)]
pub enum Currency {
    /// This one.
    Code(String),
    /// The one at a path.
    At(Path),
}

/// How often a step is taken.
#[derive(Clone, Debug)]
pub enum Times {
    /// So often.
    Count(i64),
    /// As often as the number at a path says.
    At(Path),
}

/// What an expression makes: a value, or nothing (the property is left as it is), or why it makes none.
pub type Made = Result<Option<Json>, String>;

impl Expression {
    /// Makes the value.
    pub fn make(&self, scope: &Scope<'_>) -> Made {
        Ok(match self {
            Expression::Path(path) => path.get(scope),
            Expression::Value(value) => Some(value.clone()),
            Expression::From { from, map, default } => match (from.get(scope), map) {
                (None | Some(Json::Null), _) if default.is_some() => default.clone(),
                (None, _) => None,
                (Some(Json::Null), _) => Some(Json::Null),
                (Some(value), None) => Some(value),
                (Some(Json::Array(values)), Some(map)) => {
                    let mapped: Result<Vec<Json>, String> = values.iter().map(|value| mapped(map, value)).collect();
                    Some(Json::Array(mapped?))
                }
                (Some(value), Some(map)) => Some(mapped(map, &value)?),
            },
            Expression::Join { parts, with } => {
                let mut texts = Vec::with_capacity(parts.len());
                for part in parts {
                    match part.make(scope)? {
                        None | Some(Json::Null) => {}
                        Some(value) => texts.push(plain(&value)?),
                    }
                }
                texts.retain(|text| !text.is_empty());
                (!texts.is_empty()).then(|| Json::String(texts.join(with)))
            }
            Expression::Template(pieces) => {
                let mut text = String::new();
                let mut found = !pieces.iter().any(|piece| matches!(piece, Piece::Path(_)));
                for piece in pieces {
                    match piece {
                        Piece::Text(piece) => text.push_str(piece),
                        Piece::Path(path) => match path.get(scope) {
                            None | Some(Json::Null) => {}
                            Some(value) => {
                                found = true;
                                text.push_str(&plain(&value)?);
                            }
                        },
                    }
                }
                found.then_some(Json::String(text))
            }
            Expression::Money { amount, currency } => match amount.make(scope)? {
                None => None,
                Some(Json::Null) => Some(Json::Null),
                Some(amount) => Some(json!({ "amount": amount, "currency": currency.get(scope)? })),
            },
            Expression::Sum { of, currency } => match of.get(scope) {
                None => None,
                Some(found) => {
                    let items = match found {
                        Json::Array(items) => items,
                        Json::Null => Vec::new(),
                        single => vec![single],
                    };
                    let mut sum = Decimal::ZERO;
                    for item in items.iter().filter(|item| !item.is_null()) {
                        let number = number(item).ok_or_else(|| format!("{item} at `{}` is not a number", of.text))?;
                        sum = sum
                            .checked_add(number)
                            .ok_or_else(|| format!("the sum of `{}` is too large", of.text))?;
                    }
                    let sum = decimal_text(sum);
                    Some(match currency {
                        Some(currency) => json!({ "amount": sum, "currency": currency.get(scope)? }),
                        None => Json::String(sum),
                    })
                }
            },
            Expression::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.extend(item.make(scope)?.filter(|value| !value.is_null()));
                }
                Some(Json::Array(list))
            }
            Expression::Object(parts) => {
                let mut object = Map::new();
                let mut said = false;
                for (name, part) in parts {
                    if let Some(value) = part.make(scope)?.filter(|value| !value.is_null()) {
                        // What is always so says nothing about whether there is anything.
                        said |= !matches!(part, Expression::Value(_));
                        object.insert(name.clone(), value);
                    }
                }
                said.then_some(Json::Object(object))
            }
            Expression::Split { from, by } => match from.get(scope) {
                None => None,
                Some(Json::Null) => Some(Json::Array(Vec::new())),
                Some(value) => Some(
                    plain(&value)?
                        .split(by.as_str())
                        .map(str::trim)
                        .filter(|part| !part.is_empty())
                        .map(Json::from)
                        .collect(),
                ),
            },
            Expression::Time { start, steps } => {
                let mut at = *start;
                for (step, times) in steps {
                    let times = match times {
                        Times::Count(times) => *times,
                        Times::At(path) => match path.get(scope).as_ref().and_then(Json::as_i64) {
                            Some(times) => times,
                            None => return Err(format!("`{}` is not a whole number", path.text)),
                        },
                    };
                    at = stepped(at, *step, times).ok_or("the time is out of range")?;
                }
                Some(Json::String(datetime_text(at)))
            }
        })
    }
}

impl Currency {
    fn get(&self, scope: &Scope<'_>) -> Result<Json, String> {
        match self {
            Currency::Code(code) => Ok(Json::String(code.clone())),
            Currency::At(path) => path.get(scope).ok_or_else(|| format!("there is no currency at `{}`", path.text)),
        }
    }
}

fn stepped(at: DateTime<Utc>, step: Duration, times: i64) -> Option<DateTime<Utc>> {
    let count = times.unsigned_abs();
    let whole = Duration {
        months: step.months.checked_mul(u32::try_from(count).ok()?)?,
        days: step.days.checked_mul(count.try_into().ok()?)?,
        micros: step.micros.checked_mul(count)?,
    };
    Some(if times < 0 { whole.before(at) } else { whole.after(at) })
}

fn mapped(map: &Map<String, Json>, value: &Json) -> Result<Json, String> {
    let text = plain(value)?;
    map.get(&text).cloned().ok_or_else(|| {
        let known: Vec<&str> = map.keys().take(20).map(String::as_str).collect();
        format!("\"{text}\" is not in the map; it knows {}", known.join(", "))
    })
}

/// A single value as text.
pub fn plain(value: &Json) -> Result<String, String> {
    match value {
        Json::String(text) => Ok(text.clone()),
        Json::Number(number) => Ok(number.to_string()),
        Json::Bool(truth) => Ok(truth.to_string()),
        Json::Null => Ok(String::new()),
        Json::Array(_) => Err("a list cannot be made one text".into()),
        Json::Object(_) => Err("an object cannot be made one text".into()),
    }
}

fn number(value: &Json) -> Option<Decimal> {
    let text = match value {
        Json::Number(number) => number.to_string(),
        Json::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()
}
