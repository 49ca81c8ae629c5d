//! A value of one kind as a value of another, where nothing is lost by it. Pure.

use chrono::NaiveTime;
use serde_json::Value as Json;

use crate::klass::value::decimal_text;
use crate::klass::{Kind, Property, Value, accept};

/// The value as the property would have it, or why it cannot have it. Null stays null, even where it is required: that is another question.
pub(super) fn convert(value: &Value, to: &Property, path: &[String]) -> Result<Value, String> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let unlike = || format!("{} has no form as {}", show(value), to.kind.name());
    let Some(json) = candidate(value, &to.kind).ok_or_else(unlike)? else {
        return Ok(Value::Null);
    };
    to.accept(&json, path).map_err(|fault| fault.message)
}

/// The JSON with which one would write it. `None`: there is none; `Some(None)`: it is no value (an empty list as a single value).
fn candidate(value: &Value, to: &Kind) -> Option<Option<Json>> {
    let json = match (value, to) {
        // Lists and single values.
        (Value::List(_) | Value::Json(Json::Array(_)), Kind::List(_) | Kind::Json) => value.to_json(),
        (Value::Json(Json::Array(items)), _) => match items.as_slice() {
            [] => return Some(None),
            [one] => return candidate(&Value::Json(one.clone()), to),
            _ => return None,
        },
        (_, Kind::List(item)) => return Some(candidate(value, item)?.map(|one| Json::Array(vec![one]))),
        // Anything can be said in JSON.
        (_, Kind::Json) => value.to_json(),
        (Value::Json(json), Kind::Object(_)) => json.clone(),
        (Value::Json(Json::Object(_)), Kind::Money) => value.to_json(),
        (Value::Json(Json::Object(_)), _) => return None,
        (Value::Json(Json::String(s)), _) => return candidate(&Value::String(s.clone()), to),
        (Value::Json(Json::Bool(b)), _) => return candidate(&Value::Bool(*b), to),
        (Value::Json(Json::Number(n)), _) => return candidate(&Value::Decimal(n.to_string().parse().ok()?), to),
        (Value::Json(Json::Null), _) => return Some(None),
        // Text says any scalar.
        (Value::String(text), _) => return from_text(text, to).map(Some),
        (_, Kind::String | Kind::Text) => Json::String(as_text(value)?),
        (_, Kind::Enum(_)) => Json::String(as_text(value)?),
        // Numbers.
        (Value::Integer(_), Kind::Integer { .. }) => value.to_json(),
        (Value::Integer(i), Kind::Decimal) => Json::String(i.to_string()),
        (Value::Integer(i @ (0 | 1)), Kind::Boolean) => Json::Bool(*i == 1),
        (Value::Bool(b), Kind::Integer { .. }) => Json::from(i64::from(*b)),
        (Value::Decimal(d), Kind::Integer { .. }) if d.fract().is_zero() => Json::from(i64::try_from(*d).ok()?),
        (Value::Decimal(_), Kind::Decimal) => value.to_json(),
        // Times.
        (Value::Date(d), Kind::DateTime) => Json::String(format!("{}T00:00:00Z", d.format("%Y-%m-%d"))),
        (Value::DateTime(t), Kind::Date) if t.time() == NaiveTime::MIN => Json::String(t.format("%Y-%m-%d").to_string()),
        // The same kind, otherwise bounded.
        (Value::Bool(_), Kind::Boolean)
        | (Value::Date(_), Kind::Date)
        | (Value::DateTime(_), Kind::DateTime)
        | (Value::Money { .. }, Kind::Money) => value.to_json(),
        _ => return None,
    };
    Some(Some(json))
}

fn from_text(text: &str, to: &Kind) -> Option<Json> {
    let text = text.trim();
    Some(match to {
        Kind::Integer { .. } => Json::from(text.parse::<i64>().ok()?),
        Kind::Boolean => Json::Bool(match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            _ => return None,
        }),
        Kind::Money => {
            let (amount, currency) = text.split_once(' ')?;
            serde_json::json!({ "amount": amount, "currency": currency })
        }
        Kind::Json | Kind::Object(_) => serde_json::from_str(text).ok()?,
        Kind::DateTime if accept::date(text).is_some() => Json::String(format!("{text}T00:00:00Z")),
        _ => Json::String(text.to_string()),
    })
}

fn as_text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Bool(b) => b.to_string(),
        Value::Integer(i) => i.to_string(),
        Value::Decimal(d) => decimal_text(*d),
        Value::Money { amount, currency } => format!("{} {currency}", decimal_text(*amount)),
        Value::String(s) => s.clone(),
        Value::Date(_) | Value::DateTime(_) | Value::Id(_) => value.to_json().as_str()?.to_string(),
        Value::Null | Value::Json(_) | Value::List(_) => return None,
    })
}

fn show(value: &Value) -> String {
    let text = value.to_json().to_string();
    if text.chars().count() > 60 {
        format!("{}…", text.chars().take(60).collect::<String>())
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::klass::{OrgId, read, resolve, settle, standard};

    fn property(kind: &str) -> Property {
        let text = format!("name = \"thing\"\n[properties]\nit = {kind}\n");
        let stored = settle::settle(standard::standard(), &[], vec![read::from_toml(&text).expect("well formed")]);
        let registry = resolve::resolve(OrgId(uuid::Uuid::nil()), "a", 1, &stored).expect("fits");
        let klass = registry.klass("thing").expect("is there");
        (**klass.property("it").expect("is there")).clone()
    }

    #[test]
    fn what_fits_and_what_does_not() {
        let go = |value: Value, kind: &str| convert(&value, &property(kind), &[]).map(|v| v.to_json().to_string());
        let text = |s: &str| Value::String(s.into());
        assert_eq!(go(text(" 42 "), "{ kind = \"integer\" }").as_deref(), Ok("42"));
        assert!(go(text("4.5"), "{ kind = \"integer\" }").is_err());
        assert_eq!(go(text("4.50"), "{ kind = \"decimal\" }").as_deref(), Ok("\"4.5\""));
        assert_eq!(go(text("yes"), "{ kind = \"boolean\" }").as_deref(), Ok("true"));
        assert_eq!(
            go(text("2026-11-24"), "{ kind = \"datetime\" }").as_deref(),
            Ok("\"2026-11-24T00:00:00.000000Z\"")
        );
        assert_eq!(
            go(text("a"), "{ kind = \"enum\", values = [\"a\", \"b\"] }").as_deref(),
            Ok("\"a\"")
        );
        assert!(go(text("c"), "{ kind = \"enum\", values = [\"a\", \"b\"] }").is_err());
        assert_eq!(go(Value::Integer(7), "{ kind = \"string\" }").as_deref(), Ok("\"7\""));
        assert!(go(Value::Integer(5_000_000_000), "{ kind = \"integer\" }").is_err());
        assert_eq!(go(Value::Integer(7), "{ kind = \"list of integer\" }").as_deref(), Ok("[7]"));
        assert_eq!(
            go(Value::Json(serde_json::json!([1])), "{ kind = \"integer\" }").as_deref(),
            Ok("1")
        );
        assert_eq!(
            go(Value::Json(serde_json::json!([])), "{ kind = \"integer\" }").as_deref(),
            Ok("null")
        );
        assert!(go(Value::Json(serde_json::json!([1, 2])), "{ kind = \"integer\" }").is_err());
        let money = Value::Money {
            amount: "12.50".parse().expect("a number"),
            currency: "EUR".into(),
        };
        assert_eq!(go(money.clone(), "{ kind = \"string\" }").as_deref(), Ok("\"12.5 EUR\""));
        assert_eq!(
            go(text("12.5 EUR"), "{ kind = \"money\" }").as_deref(),
            Ok("{\"amount\":\"12.5\",\"currency\":\"EUR\"}")
        );
        // Its currency would be lost.
        assert!(go(money, "{ kind = \"decimal\" }").is_err());
        assert_eq!(go(Value::Null, "{ kind = \"string\", required = true }").as_deref(), Ok("null"));
    }
}
