//! The second reader of [`Filter`]: in memory, on an object's image as an event holds it (column to stored JSON, see [`super::Value::to_json`]).
//!
//! It says what the SQL reader would say, or that it cannot know: conditions on related objects, on their number, on a link and on
//! contact points need the database. `None` is "not known"; it spreads only where it matters (`false and unknown` is false).

use chrono::SubsecRound;
use rust_decimal::Decimal;
use serde_json::{Map, Value as Json};

use super::accept::{self, compare};
use super::filter::{Op, Operand, Target};
use super::relationship::Link;
use super::{Filter, Kind, ObjectId, Property, Value};

/// Whether an object with this image matches; `args` are the arguments of the run. `None`: ask the database.
pub fn matches(filter: &Filter, image: &Map<String, Json>, args: &[Value]) -> Option<bool> {
    match filter {
        Filter::And(all) => {
            let mut known = Some(true);
            for it in all {
                match matches(it, image, args) {
                    Some(false) => return Some(false),
                    Some(true) => {}
                    None => known = None,
                }
            }
            known
        }
        Filter::Or(any) => {
            let mut known = Some(false);
            for it in any {
                match matches(it, image, args) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => known = None,
                }
            }
            known
        }
        Filter::Not(it) => matches(it, image, args).map(|m| !m),
        Filter::Compare { target, op, operand } => compare_target(target, *op, operand, image, args),
        Filter::Related { .. } | Filter::Count { .. } => None,
    }
}

fn compare_target(target: &Target, op: Op, operand: &Operand, image: &Map<String, Json>, args: &[Value]) -> Option<bool> {
    let operand = operand.value(args);
    let (value, kind) = match target {
        Target::Property(p) => (read(p, image)?, &p.kind),
        Target::Amount(p) => match read(p, image)? {
            Value::Money { amount, .. } => (Value::Decimal(amount), &Kind::Decimal),
            _ => (Value::Null, &Kind::Decimal),
        },
        Target::Currency(p) => match read(p, image)? {
            Value::Money { currency, .. } => (Value::String(currency), &Kind::String),
            _ => (Value::Null, &Kind::String),
        },
        Target::Path(p, path) => (at_path(image.get(&p.column).unwrap_or(&Json::Null), path, operand), &Kind::String),
        Target::Reference(end) => match &end.relationship.link {
            Link::Column { column, .. } if end.side == super::relationship::Side::From => {
                let id = image.get(column).and_then(Json::as_str).and_then(|s| s.parse().ok());
                (id.map_or(Value::Null, |id| Value::Id(ObjectId(id))), &Kind::Id)
            }
            _ => return None,
        },
        Target::Link(_) | Target::Contact(_) => return None,
    };
    test(&value, kind, op, operand)
}

/// The value of a property in an image; absent is null. `None` when the image does not hold what the kind says.
fn read(property: &Property, image: &Map<String, Json>) -> Option<Value> {
    let json = image.get(&property.column).unwrap_or(&Json::Null);
    accept::accept(&property.kind, json, &[])
        .ok()
        .or_else(|| stored(&property.kind, json))
}

/// A stored value that the kind would no longer accept (a value that an enum lost): still compared, by its storage.
fn stored(kind: &Kind, json: &Json) -> Option<Value> {
    Some(match (kind, json) {
        (Kind::List(item), Json::Array(items)) => Value::List(
            items
                .iter()
                .map(|i| accept::accept(item, i, &[]).ok().or_else(|| stored(item, i)))
                .collect::<Option<_>>()?,
        ),
        (Kind::Object(_) | Kind::Json, json) => Value::Json(json.clone()),
        (_, Json::String(s)) => Value::String(s.clone()),
        (Kind::Integer { .. }, Json::Number(n)) => Value::Integer(n.as_i64()?),
        _ => return None,
    })
}

/// A place in JSON as text, or as a number where the operand is one.
fn at_path(json: &Json, path: &[String], operand: &Value) -> Value {
    let mut here = json;
    for step in path {
        let next = match here {
            Json::Object(map) => map.get(step),
            Json::Array(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => None,
        };
        match next {
            Some(it) => here = it,
            None => return Value::Null,
        }
    }
    let first = match operand {
        Value::List(items) => items.first().unwrap_or(&Value::Null),
        other => other,
    };
    let numeric = matches!(first, Value::Integer(_) | Value::Decimal(_));
    match here {
        Json::Null => Value::Null,
        Json::Number(n) if numeric => number(n).map_or(Value::Null, Value::Decimal),
        _ if numeric => Value::Null,
        Json::String(s) => Value::String(s.clone()),
        // as `->>` writes it
        other => Value::String(other.to_string()),
    }
}

fn number(n: &serde_json::Number) -> Option<Decimal> {
    let text = n.to_string();
    Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()
}

/// One comparison. Two-valued: a null target matches `Ne`, `NotIn`, `HasNone` and `IsNull(true)`, and nothing else.
/// `None` only where the operator does not fit the target, which no plan makes.
fn test(value: &Value, kind: &Kind, op: Op, operand: &Value) -> Option<bool> {
    if op == Op::IsNull {
        return match operand {
            Value::Bool(wanted) => Some(value.is_null() == *wanted),
            _ => None,
        };
    }
    if operand.is_null() {
        // nothing is equal to, or behind, nothing
        return Some(matches!(op, Op::Ne | Op::NotIn | Op::HasNone));
    }
    if value.is_null() {
        return Some(matches!(op, Op::Ne | Op::NotIn | Op::HasNone));
    }
    // one address is compared in lower case; those in a list as they stand
    let fold_email = *kind == Kind::Email;
    let same = |a: &Value, b: &Value| equal(a, b, fold_email);
    Some(match op {
        Op::Eq => same(value, operand),
        Op::Ne => !same(value, operand),
        Op::In => items(operand).iter().any(|i| same(value, i)),
        Op::NotIn => !items(operand).iter().any(|i| same(value, i)),
        Op::Gt => ordered(value, operand)?.is_gt(),
        Op::Gte => ordered(value, operand)?.is_ge(),
        Op::Lt => ordered(value, operand)?.is_lt(),
        Op::Lte => ordered(value, operand)?.is_le(),
        Op::Contains { fold } => on_text(value, operand, fold, |a, b| a.contains(b))?,
        Op::StartsWith { fold } => on_text(value, operand, fold, |a, b| a.starts_with(b))?,
        Op::EndsWith { fold } => on_text(value, operand, fold, |a, b| a.ends_with(b))?,
        Op::EqFold => on_text(value, operand, true, |a, b| a == b)?,
        Op::Matches { fold } => accept::pattern(text(operand)?, fold)?.is_match(text(value)?),
        Op::HasAny => items(operand).iter().any(|i| items(value).iter().any(|v| same(v, i))),
        Op::HasAll => items(operand).iter().all(|i| items(value).iter().any(|v| same(v, i))),
        Op::HasNone => !items(operand).iter().any(|i| items(value).iter().any(|v| same(v, i))),
        Op::Under => {
            let above = text(operand)?;
            items(value)
                .iter()
                .filter_map(text)
                .any(|path| path == above || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/')))
        }
        Op::Near => near(value, operand)?,
        Op::IsNull => return None, // answered above
    })
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::List(items) => items,
        single => std::slice::from_ref(single),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(s) => Some(s),
        _ => None,
    }
}

fn on_text(value: &Value, operand: &Value, fold: bool, test: impl Fn(&str, &str) -> bool) -> Option<bool> {
    let (a, b) = (text(value)?, text(operand)?);
    Some(if fold { test(&lower(a), &lower(b)) } else { test(a, b) })
}

/// Unicode lower case letter by letter, without regard to the neighbours (as the databases do it).
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// E-mail addresses are equal without regard to case; money as a whole by its amount.
fn equal(a: &Value, b: &Value, fold_email: bool) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) if fold_email => lower(a) == lower(b),
        (Value::Json(a), Value::Json(b)) => a == b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b, fold_email)),
        (Value::DateTime(a), Value::DateTime(b)) => a.trunc_subsecs(6) == b.trunc_subsecs(6),
        _ => compare(a, b).is_some_and(std::cmp::Ordering::is_eq),
    }
}

fn ordered(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    compare(a, b)
}

/// Whether any of the locations lies within so many km of a point, on a sphere of 6,371 km.
fn near(value: &Value, operand: &Value) -> Option<bool> {
    let float = |v: &Value| match v {
        Value::Decimal(d) => d.to_string().parse::<f64>().ok(),
        Value::Integer(i) => Some(*i as f64),
        _ => None,
    };
    let [latitude, longitude, km] = items(operand) else { return None };
    let (latitude, longitude, km) = (float(latitude)?, float(longitude)?, float(km)?);
    let coordinate = |place: &Json, key: &str| match place.get(key)? {
        Json::Number(n) => n.as_f64(),
        Json::String(s) => s.parse().ok(),
        _ => None,
    };
    let close = |place: &Json| {
        let (Some(lat), Some(lon)) = (coordinate(place, "latitude"), coordinate(place, "longitude")) else {
            return false;
        };
        distance(latitude, longitude, lat, lon) <= km
    };
    Some(items(value).iter().any(|item| match item {
        Value::Json(place) => close(place),
        _ => false,
    }))
}

/// Kilometres between two points on a sphere of 6,371 km (haversine), in the order of operations of the SQL function.
pub fn distance(lat1: f64, lon1: f64, lat2: f64, lon2: f64) -> f64 {
    let half = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin().powi(2);
    let h = half(lat1, lat2) + lat1.to_radians().cos() * lat2.to_radians().cos() * half(lon1, lon2);
    12_742.0 * h.min(1.0).sqrt().asin()
}
