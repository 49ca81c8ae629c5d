//! Scalars out of literals and JSON, each to its typed value or a sentence that says why not.

use std::str::FromStr;

use async_graphql_value::Value as Ast;
use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use klio_entities::klass::Value;
use klio_entities::klass::property::Format;
use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::coerce::{Input, Variables};
use crate::types::model::{Type, Types};

/// A scalar given as a literal.
pub(super) fn scalar_literal(types: &Types, name: &str, value: &Ast, variables: &Variables) -> Result<Input, String> {
    let refuse = || format!("{} cannot represent value: {value}", name);
    if name == "JSON" {
        return Ok(Input::Leaf(Value::Json(json_of_literal(value, variables)), None));
    }
    if !matches!(types.types.get(name), Some(Type::Scalar(_))) {
        return Err(format!("\"{name}\" is not an input type."));
    }
    match (name, value) {
        ("Float", Ast::Number(number)) => number.as_f64().map(Input::Float).ok_or_else(refuse),
        ("Int", Ast::Number(number)) if number.is_f64() => Err(format!("Int cannot represent non-integer value: {number}")),
        ("ID", Ast::Number(number)) if !number.is_f64() => Ok(Input::Leaf(Value::String(number.to_string()), None)),
        ("BigInt", Ast::Number(number)) if number.is_f64() => Err(refuse()),
        (_, Ast::Number(number)) => scalar_of_json(name, &Json::Number(number.clone())).map(|v| Input::Leaf(v, None)),
        ("Boolean", Ast::Boolean(it)) => Ok(Input::Leaf(Value::Bool(*it), None)),
        ("Int" | "Float" | "Boolean", _) => Err(refuse()),
        (_, Ast::String(text)) => scalar_of_json(name, &Json::String(text.clone())).map(|v| Input::Leaf(v, None)),
        _ => Err(refuse()),
    }
}

fn json_of_literal(value: &Ast, variables: &Variables) -> Json {
    match value {
        Ast::Variable(name) => variables.values.get(name.as_str()).map_or(Json::Null, Input::to_json),
        Ast::Null => Json::Null,
        Ast::Number(number) => Json::Number(number.clone()),
        Ast::String(text) => Json::String(text.clone()),
        Ast::Boolean(it) => Json::Bool(*it),
        Ast::Binary(bytes) => Json::from(bytes.to_vec()),
        Ast::Enum(name) => Json::String(name.to_string()),
        Ast::List(items) => Json::Array(items.iter().map(|item| json_of_literal(item, variables)).collect()),
        Ast::Object(fields) => Json::Object(fields.iter().map(|(k, v)| (k.to_string(), json_of_literal(v, variables))).collect()),
    }
}

/// A scalar out of JSON (not null, not `Float`).
pub fn scalar_of_json(name: &str, json: &Json) -> Result<Value, String> {
    let refuse = |why: &str| format!("{} cannot represent {why}: {}", name, short(json));
    match name {
        "Int" => {
            let number = integer(json).ok_or_else(|| refuse("non-integer value"))?;
            if i32::try_from(number).is_err() {
                return Err(refuse("non 32-bit signed integer value"));
            }
            Ok(Value::Integer(number))
        }
        "BigInt" => match json {
            Json::String(text) => text.parse().map(Value::Integer).map_err(|_| refuse("non-integer value")),
            _ => integer(json).map(Value::Integer).ok_or_else(|| refuse("non-integer value")),
        },
        "Boolean" => json.as_bool().map(Value::Bool).ok_or_else(|| refuse("a non boolean value")),
        "ID" => match json {
            Json::String(text) => Ok(Value::String(text.clone())),
            Json::Number(number) if !number.is_f64() => Ok(Value::String(number.to_string())),
            _ => Err(refuse("value")),
        },
        "JSON" => Ok(Value::Json(json.clone())),
        "Decimal" => {
            let text = match json {
                Json::String(text) => text.clone(),
                Json::Number(number) => number.to_string(),
                _ => return Err(refuse("non numeric value")),
            };
            decimal(&text).map(Value::Decimal).ok_or_else(|| refuse("non numeric value"))
        }
        "DateTime" => {
            let text = json.as_str().ok_or_else(|| refuse("non string value"))?;
            DateTime::parse_from_rfc3339(text)
                .map(|at| Value::DateTime(at.with_timezone(&Utc).trunc_subsecs(6)))
                .map_err(|_| {
                    format!(
                        "DateTime must be RFC 3339 with an offset, such as 2026-11-24T13:05:04Z: {}",
                        short(json)
                    )
                })
        }
        "Date" => {
            let text = json.as_str().ok_or_else(|| refuse("non string value"))?;
            // chrono also takes 2026-1-2; the specification of the scalar (RFC 3339 full-date) does not.
            match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
                Ok(date) if text.len() == 10 => Ok(Value::Date(date)),
                _ => Err(format!("Date must be of the form 2026-11-24: {}", short(json))),
            }
        }
        "TimeZone" => {
            let text = json.as_str().ok_or_else(|| refuse("non string value"))?;
            let wrong = |what| format!("TimeZone must be {what}: {}", short(json));
            Format::TimeZone.check(text).map_err(wrong)?;
            Ok(Value::String(text.to_owned()))
        }
        _ => match json {
            Json::String(text) if text.contains('\0') => Err(refuse("a text with the character U+0000")),
            Json::String(text) => Ok(Value::String(text.clone())),
            _ => Err(refuse("a non string value")),
        },
    }
}

/// A whole number, `3.0` included (as JavaScript clients write it), within what a double holds exactly.
fn integer(json: &Json) -> Option<i64> {
    match json {
        Json::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
        }),
        _ => None,
    }
}

/// Reads a decimal in plain or scientific form; not rounded.
pub fn decimal(text: &str) -> Option<Decimal> {
    Decimal::from_str_exact(text)
        .ok()
        .or_else(|| Decimal::from_scientific(text).ok())
        .or_else(|| {
            // A fraction longer than 28 digits ends in a plain parse, which rounds; the write path refuses more digits than the kind keeps.
            (text.len() <= 64).then(|| Decimal::from_str(text).ok()).flatten()
        })
}

/// A value as a message shows it: never long.
pub(super) fn short(json: &Json) -> String {
    clip(&json.to_string()).into_owned()
}

pub(super) fn clip(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= 80 {
        return text.into();
    }
    let end = (0..=77).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    format!("{}…", &text[..end]).into()
}
