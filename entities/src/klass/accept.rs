//! From JSON to a [`Value`]: what is acceptable for a kind, and for a property with its validation. Faults in full sentences.

use chrono::{DateTime, Datelike, NaiveDate, SubsecRound, Utc};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use uuid::Uuid;

use super::fault::Code;
use super::kind::{DECIMAL_SCALE, EnumKind, MONEY_SCALE, ObjectKind};
use super::{Fault, Kind, ObjectId, Property, Value, contact};

/// Most characters of a `string`, a URL or a tree path, unless validation says otherwise.
pub const STRING_LENGTH: u32 = 1_024;
/// Most characters of a `text`, unless validation says otherwise.
pub const TEXT_LENGTH: u32 = 1 << 20;
/// Most items of a list, unless validation says otherwise.
pub const LIST_LENGTH: u32 = 10_000;
/// How deep a JSON value may nest.
pub const JSON_DEPTH: usize = 64;

impl Property {
    /// The value, if the property may have it; `path` is where it stands in the caller's input. Null is a value unless the property is
    /// required. All that is wrong with one value is one fault.
    pub fn accept(&self, json: &Json, path: &[String]) -> Result<Value, Fault> {
        if json.is_null() {
            if self.required {
                return Err(Fault::new(
                    Code::Required,
                    path.to_vec(),
                    format!("`{}` is required and cannot be null.", self.legal),
                ));
            }
            return Ok(Value::Null);
        }
        let value = accept(&self.kind, json, path)?;
        self.validate(&value, path)?;
        Ok(value)
    }

    /// Checks a value of the right kind against the property's validation (and the kind's own limits of length).
    pub fn validate(&self, value: &Value, path: &[String]) -> Result<(), Fault> {
        let bad = |message: String| Err(Fault::bad(path.to_vec(), message));
        let name = &self.legal;
        let rules = &self.validation;
        let (least, most) = (
            rules.min_length.unwrap_or(0),
            rules.max_length.unwrap_or_else(|| longest(&self.kind)),
        );
        let (length, unit) = match value {
            Value::String(s) => (Some(s.chars().count()), "characters"),
            Value::List(items) => (Some(items.len()), "items"),
            _ => (None, ""),
        };
        if let Some(length) = length {
            if length > most as usize {
                return bad(format!("`{name}` has {length} {unit}; it may have at most {most}."));
            }
            if length < least as usize {
                return bad(format!("`{name}` has {length} {unit}; it must have at least {least}."));
            }
        }
        // bounds of a list are bounds of its items
        let each = if let Value::List(items) = value {
            items.as_slice()
        } else {
            std::slice::from_ref(value)
        };
        let beyond =
            |bound: &Option<Value>, side: std::cmp::Ordering| bound.clone().filter(|b| each.iter().any(|v| compare(v, b) == Some(side)));
        if let Some(min) = beyond(&rules.min, std::cmp::Ordering::Less) {
            return bad(format!("`{name}` must not be less than {}.", plain(&min)));
        }
        if let Some(max) = beyond(&rules.max, std::cmp::Ordering::Greater) {
            return bad(format!("`{name}` must not be more than {}.", plain(&max)));
        }
        if let (Some(pattern), Value::String(text)) = (&rules.pattern, value) {
            // the pattern was compiled when the klass was defined, so it compiles again
            match cached_regex(pattern) {
                Some(regex) if regex.is_match(text) => {}
                Some(_) => return bad(format!("`{name}` does not have the form {pattern}.")),
                None => return bad(format!("The pattern of `{name}` is not a regular expression.")),
            }
        }
        if let (Some(format), Value::String(text)) = (rules.format, value)
            && let Err(what) = format.check(text)
        {
            return bad(format!(
                "`{name}`: \"{}\" is not {what}.",
                text.chars().take(64).collect::<String>()
            ));
        }
        Ok(())
    }
}

/// The most recently used patterns, compiled, one set for each thread: compiling one takes longer than everything else here.
fn cached_regex(pattern: &str) -> Option<std::rc::Rc<regex::Regex>> {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::rc::Rc;
    thread_local!(static PATTERNS: RefCell<HashMap<String, Option<Rc<regex::Regex>>>> = RefCell::default());
    PATTERNS.with_borrow_mut(|cache| {
        if let Some(known) = cache.get(pattern) {
            return known.clone();
        }
        if cache.len() >= 256 {
            cache.clear();
        }
        let made = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().ok().map(Rc::new);
        cache.insert(pattern.to_owned(), made.clone());
        made
    })
}

/// A compiled pattern with the size limit that validation and `matches` share; `None` when it is not a regular expression (or too large).
pub fn pattern(text: &str, fold: bool) -> Option<std::rc::Rc<regex::Regex>> {
    if fold {
        cached_regex(&format!("(?i){text}"))
    } else {
        cached_regex(text)
    }
}

/// Most characters or items that a kind takes when nothing else is said.
pub(super) fn longest(kind: &Kind) -> u32 {
    match kind {
        Kind::Text => TEXT_LENGTH,
        Kind::List(_) => LIST_LENGTH,
        _ => STRING_LENGTH,
    }
}

/// The value of this kind that the JSON says, in any of its forms: numbers for decimals or strings, enums by stored value or legal name.
/// Null is [`Value::Null`].
pub fn accept(kind: &Kind, json: &Json, path: &[String]) -> Result<Value, Fault> {
    if json.is_null() {
        return Ok(Value::Null);
    }
    let wrong = |wanted: &str| Err(Fault::bad(path.to_vec(), format!("{} is not {wanted}.", quote(json))));
    let text = |wanted: &str| match json.as_str() {
        Some(s) if s.contains('\0') => Err(Fault::bad(path.to_vec(), "A text cannot hold the character U+0000.")),
        Some(s) => Ok(s),
        None => Err(Fault::bad(path.to_vec(), format!("{} is not {wanted}.", quote(json)))),
    };
    Ok(match kind {
        Kind::Id => match text("an id")?.parse::<Uuid>() {
            Ok(id) => Value::Id(ObjectId(id)),
            Err(_) => return wrong("an id"),
        },
        Kind::Actor | Kind::String | Kind::Text => Value::String(text("a text")?.to_owned()),
        Kind::Integer { big } => match integer(json) {
            None => return wrong("a whole number"),
            Some(i) if !big && i32::try_from(i).is_err() => return wrong("a whole number of 32 bits"),
            Some(i) => Value::Integer(i),
        },
        Kind::Decimal => Value::Decimal(decimal(json, DECIMAL_SCALE, 12, path)?),
        Kind::Boolean => match json.as_bool() {
            Some(b) => Value::Bool(b),
            None => return wrong("true or false"),
        },
        Kind::Date => match date(text("a date such as 2026-11-24")?) {
            Some(d) => Value::Date(d),
            None => return wrong("a date such as 2026-11-24"),
        },
        Kind::DateTime => match datetime(text("a time such as 2026-11-24T13:05:04Z")?) {
            Some(t) => Value::DateTime(t),
            None => return wrong("a time such as 2026-11-24T13:05:04Z"),
        },
        Kind::Url => {
            let given = text("a URL")?.trim();
            match url::Url::parse(given) {
                Ok(url) if url.has_host() => Value::String(given.to_owned()),
                _ => return wrong("an absolute URL with a host, such as https://example.com/a"),
            }
        }
        Kind::Email => match contact::email(text("an e-mail address")?) {
            Some(email) => Value::String(email),
            None => return wrong("an e-mail address"),
        },
        Kind::Phone => match contact::phone(text("a telephone number")?) {
            Some(phone) => Value::String(phone),
            None => return wrong("a telephone number such as +1 512 555 0101"),
        },
        Kind::Enum(values) => enum_value(values, text("one of the values")?, path)?,
        Kind::Tree { paths } => {
            let given = text("a path")?;
            if !paths.iter().any(|p| p == given) {
                let fault = Fault::bad(path.to_vec(), format!("There is no path {} in the tree.", quote(json)));
                return Err(match super::name::nearest(given, paths.iter().map(String::as_str)) {
                    Some(meant) => fault.remedy(format!("Did you mean \"{meant}\"?")),
                    None => fault,
                });
            }
            Value::String(given.to_owned())
        }
        Kind::Money => money(json, path)?,
        Kind::Json => {
            check_json(json, JSON_DEPTH).map_err(|message| Fault::bad(path.to_vec(), message))?;
            Value::Json(json.clone())
        }
        Kind::Object(object_kind) => object(object_kind, json, path)?,
        Kind::List(item) => match json.as_array() {
            None => return wrong("a list"),
            Some(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, it) in items.iter().enumerate() {
                    let path = step(path, i.to_string());
                    match accept(item, it, &path)? {
                        Value::Null => return Err(Fault::bad(path, "A list cannot hold null.")),
                        // the kind's own limit holds for each item
                        Value::String(s) if s.chars().count() > longest(item) as usize => {
                            return Err(Fault::bad(path, format!("An item may have at most {} characters.", longest(item))));
                        }
                        value => out.push(value),
                    }
                }
                Value::List(out)
            }
        },
    })
}

/// A whole number, given as a number or as a string of digits.
fn integer(json: &Json) -> Option<i64> {
    match json {
        Json::Number(n) => n.as_i64().or_else(|| {
            let f = n.as_f64()?;
            // beyond 2^53 a float no longer says which whole number it means
            (f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0).then_some(f as i64)
        }),
        Json::String(s) if !s.starts_with('+') => s.parse().ok(),
        _ => None,
    }
}

/// An exact decimal from a string or number, with at most so many digits behind and before the point.
fn decimal(json: &Json, scale: u32, whole_digits: u32, path: &[String]) -> Result<Decimal, Fault> {
    let text = match json {
        Json::Number(n) => n.to_string(),
        Json::String(s) => s.trim().to_owned(),
        _ => return Err(Fault::bad(path.to_vec(), format!("{} is not a decimal number.", quote(json)))),
    };
    let parsed = if text.contains(['e', 'E']) {
        Decimal::from_scientific(&text).ok()
    } else {
        Decimal::from_str_exact(&text).ok()
    };
    let Some(number) = parsed.map(|d| d.normalize()) else {
        return Err(Fault::bad(path.to_vec(), format!("{} is not a decimal number.", quote(json))));
    };
    if number.scale() > scale {
        let message = format!(
            "{} has {} digits behind the point; at most {scale} are kept.",
            quote(json),
            number.scale()
        );
        return Err(Fault::bad(path.to_vec(), message).remedy("Round it first."));
    }
    if number.trunc().abs() >= Decimal::from(10u64.pow(whole_digits)) {
        return Err(Fault::bad(
            path.to_vec(),
            format!("{} has more than {whole_digits} digits before the point.", quote(json)),
        ));
    }
    Ok(number)
}

fn money(json: &Json, path: &[String]) -> Result<Value, Fault> {
    let Some(map) = json.as_object() else {
        let fault = Fault::bad(path.to_vec(), format!("{} is not an amount of money.", quote(json)));
        return Err(fault.remedy("Give {amount: \"12.50\", currency: \"USD\"}."));
    };
    if let Some(other) = map.keys().find(|k| *k != "amount" && *k != "currency") {
        return Err(Fault::bad(
            step(path, other),
            format!("Money has no `{other}`; it has `amount` and `currency`."),
        ));
    }
    let missing = |key: &str| Fault::new(Code::Required, step(path, key), format!("Money needs its `{key}`."));
    let amount = map.get("amount").filter(|a| !a.is_null()).ok_or_else(|| missing("amount"))?;
    let amount = decimal(amount, MONEY_SCALE, 14, &step(path, "amount"))?;
    let currency = map.get("currency").filter(|c| !c.is_null()).ok_or_else(|| missing("currency"))?;
    match currency.as_str().map(str::to_ascii_uppercase) {
        Some(code) if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) => Ok(Value::Money { amount, currency: code }),
        _ => Err(
            Fault::bad(step(path, "currency"), format!("{} is not a currency.", quote(currency)))
                .remedy("Give an ISO 4217 code, such as USD."),
        ),
    }
}

fn enum_value(kind: &EnumKind, given: &str, path: &[String]) -> Result<Value, Fault> {
    let found = kind
        .values
        .iter()
        .find(|v| v.value == given)
        .or_else(|| kind.values.iter().find(|v| v.legal == given));
    match found {
        Some(v) => Ok(Value::String(v.value.clone())),
        None => {
            let fault = Fault::bad(path.to_vec(), format!("\"{given}\" is not one of the values."));
            Err(match super::name::nearest(given, kind.values.iter().map(|v| v.value.as_str())) {
                Some(meant) => fault.remedy(format!("Did you mean \"{meant}\"?")),
                None => {
                    let known: Vec<_> = kind.values.iter().take(20).map(|v| v.value.as_str()).collect();
                    fault.remedy(format!(
                        "It may be: {}{}.",
                        known.join(", "),
                        if kind.values.len() > 20 { ", …" } else { "" }
                    ))
                }
            })
        }
    }
}

/// The parts in the order of the kind, absent ones left out.
fn object(kind: &ObjectKind, json: &Json, path: &[String]) -> Result<Value, Fault> {
    let Some(map) = json.as_object() else {
        return Err(Fault::bad(path.to_vec(), format!("{} is not an object.", quote(json))));
    };
    if let Some(other) = map.keys().find(|k| !kind.parts.iter().any(|p| p.name == **k)) {
        let fault = Fault::bad(step(path, other), format!("There is no part `{other}`."));
        let names = || kind.parts.iter().map(|p| p.name.as_str());
        return Err(match super::name::nearest(other, names()) {
            Some(meant) => fault.remedy(format!("Did you mean `{meant}`?")),
            None => fault.remedy(format!("It may have: {}.", names().collect::<Vec<_>>().join(", "))),
        });
    }
    let mut out = serde_json::Map::new();
    for part in &kind.parts {
        let path = step(path, &part.name);
        let value = accept(&part.kind, map.get(&part.name).unwrap_or(&Json::Null), &path)?;
        match value {
            Value::Null if part.required => return Err(Fault::new(Code::Required, path, format!("`{}` is required.", part.name))),
            Value::Null => {}
            Value::String(s) if s.chars().count() > longest(&part.kind) as usize => {
                return Err(Fault::bad(
                    path,
                    format!("`{}` may have at most {} characters.", part.name, longest(&part.kind)),
                ));
            }
            value => {
                out.insert(part.name.clone(), value.to_json());
            }
        }
    }
    Ok(Value::Json(Json::Object(out)))
}

/// `2026-11-24`, years 1 to 9999.
pub fn date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { *b == b'-' } else { b.is_ascii_digit() });
    shaped
        .then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok())
        .flatten()
        .filter(|d| d.year() >= 1)
}

/// RFC 3339 with any offset, truncated to microseconds, years 1 to 9999.
pub fn datetime(text: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc).trunc_subsecs(6);
    (1..=9999).contains(&at.year()).then_some(at)
}

/// What a database cannot keep in JSON: U+0000, and nesting without end.
fn check_json(json: &Json, depth: usize) -> Result<(), String> {
    if depth == 0 {
        return Err(format!("JSON may nest at most {JSON_DEPTH} levels."));
    }
    match json {
        Json::String(s) if s.contains('\0') => Err("A text cannot hold the character U+0000.".into()),
        Json::Array(items) => items.iter().try_for_each(|i| check_json(i, depth - 1)),
        Json::Object(map) => map.iter().try_for_each(|(key, value)| {
            if key.contains('\0') {
                return Err("A key cannot hold the character U+0000.".into());
            }
            check_json(value, depth - 1)
        }),
        _ => Ok(()),
    }
}

/// The order of two values of one kind; `None` when they have none. Money compares amounts.
pub fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    Some(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Integer(a), Value::Decimal(b)) => Decimal::from(*a).cmp(b),
        (Value::Decimal(a), Value::Integer(b)) => a.cmp(&Decimal::from(*b)),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::Money { amount: a, .. }, Value::Money { amount: b, .. } | Value::Decimal(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Money { amount: b, .. }) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::DateTime(a), Value::DateTime(b)) => a.cmp(b),
        (Value::Id(a), Value::Id(b)) => a.cmp(b),
        _ => return None,
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::Money { amount, .. } => super::value::decimal_text(*amount),
        other => match other.to_json() {
            Json::String(s) => s,
            json => json.to_string(),
        },
    }
}

fn quote(json: &Json) -> String {
    let text = json.to_string();
    if text.chars().count() <= 60 {
        return text;
    }
    format!("{}…", text.chars().take(60).collect::<String>())
}

fn step(path: &[String], step: impl Into<String>) -> Vec<String> {
    let mut out = Vec::with_capacity(path.len() + 1);
    out.extend_from_slice(path);
    out.push(step.into());
    out
}
