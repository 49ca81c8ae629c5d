//! The second reader of [`Filter`]: in memory, on an object's image as an event holds it (column to stored JSON, see [`super::Value::to_json`]).
//!
//! It says what the SQL reader would say, or that it cannot know: conditions on related objects, on their number, on a link and on
//! contact points need the database. `None` is "not known"; it spreads only where it matters (`false and unknown` is false).

use chrono::SubsecRound;
use rust_decimal::Decimal;
use serde_json::{Map, Value as Json};

use super::accept::{self, compare};
use super::filter::{Base, Op, Operand, Quantifier, Target};
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
        Filter::Items { of, quantifier, filter } => items_match(of, *quantifier, filter, image, args),
        Filter::Related { .. } | Filter::Count { .. } => None,
    }
}

/// Under which key an item stands while it is looked at: no column is called so.
const ITEM: &str = "";

/// Conditions on the items of a list.
fn items_match(of: &Target, quantifier: Quantifier, filter: &Filter, image: &Map<String, Json>, args: &[Value]) -> Option<bool> {
    let (base, path) = match of {
        Target::Property(p) => (Base::Property(p.clone()), [].as_slice()),
        Target::Part(base, path, _) => (base.clone(), path.as_slice()),
        _ => return None,
    };
    let (mut some, mut all) = (Some(false), Some(true));
    for item in json_at(root(&base, image)?, path).as_array().into_iter().flatten() {
        let image = Map::from_iter([(ITEM.to_owned(), item.clone())]);
        match matches(filter, &image, args) {
            Some(true) => some = Some(true),
            Some(false) => all = Some(false),
            None => {
                some = some.filter(|it| *it);
                all = all.filter(|it| !*it);
            }
        }
    }
    match quantifier {
        Quantifier::Some => some,
        Quantifier::None => some.map(|it| !it),
        Quantifier::Every => all,
    }
}

/// The stored JSON of what a part belongs to. `None`: it is not in the image.
fn root<'a>(base: &Base, image: &'a Map<String, Json>) -> Option<&'a Json> {
    match base {
        Base::Property(p) => Some(image.get(&p.column).unwrap_or(&Json::Null)),
        Base::Item => Some(image.get(ITEM).unwrap_or(&Json::Null)),
        Base::Link(_) => None,
    }
}

/// What stands behind these keys; null where nothing does.
fn json_at<'a>(json: &'a Json, path: &[String]) -> &'a Json {
    path.iter().fold(json, |at, key| at.get(key).unwrap_or(&Json::Null))
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
        Target::Path(base, path) => (at_path(root(base, image)?, path, operand), &Kind::String),
        Target::Part(base, path, kind) => {
            let json = json_at(root(base, image)?, path);
            let value = accept::accept(kind, json, &[]).ok().or_else(|| stored(kind, json))?;
            (value, &**kind)
        }
        Target::Reference(end) => match &end.relationship.link {
            Link::Column { column, .. } if end.side == super::relationship::Side::From => {
                let id = image.get(column).and_then(Json::as_str).and_then(|s| s.parse().ok());
                (id.map_or(Value::Null, |id| Value::Id(ObjectId(id))), &Kind::Id)
            }
            _ => return None,
        },
        Target::Link(_) | Target::LinkCurrency(_) | Target::Contact(_) => return None,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::klass::definition::{PropertyDefinition, SettledProperty};
    use crate::klass::property::Home;
    use crate::klass::{OrgId, read, resolve};

    fn property(name: &str, definition: &str) -> Arc<Property> {
        let text = format!("name = \"x\"\n[properties]\n{name} = {definition}");
        let klass = read::from_toml(&text).expect("a definition");
        let written: &PropertyDefinition = &klass.properties[name];
        let settled = SettledProperty {
            legal: name.into(),
            column: name.into(),
            ..Default::default()
        };
        Arc::new(resolve::property(name, written, &settled, Home::Table, false, &[]).expect("a property"))
    }

    fn s(text: &str) -> Value {
        Value::String(text.into())
    }

    fn list(items: &[&str]) -> Value {
        Value::List(items.iter().map(|i| s(i)).collect())
    }

    fn d(text: &str) -> Value {
        Value::Decimal(Decimal::from_str_exact(text).expect("a decimal"))
    }

    /// What a comparison says of an image with the property at this JSON.
    fn says(definition: &str, json: Json, target: fn(Arc<Property>) -> Target, op: Op, operand: Value) -> Option<bool> {
        let image = Map::from_iter([("p".to_owned(), json)]);
        let filter = Filter::Compare {
            target: target(property("p", definition)),
            op,
            operand: Operand::Arg(1),
        };
        matches(&filter, &image, &[Value::Null, operand])
    }

    #[test]
    fn each_operator_on_each_sort_of_value() {
        let p = Target::Property;
        let text = "\"string\"";
        let fold = true;
        let cases: Vec<(&str, Json, Op, Value, bool)> = vec![
            (text, "Abc".into(), Op::Eq, s("Abc"), true),
            (text, "Abc".into(), Op::Eq, s("abc"), false),
            (text, "Abc".into(), Op::EqFold, s("aBC"), true),
            (text, "Abc".into(), Op::Ne, s("x"), true),
            (text, "Abc".into(), Op::In, list(&["x", "Abc"]), true),
            (text, "Abc".into(), Op::NotIn, list(&["x", "Abc"]), false),
            (text, "Abc".into(), Op::In, Value::List(vec![]), false),
            (text, "Abc".into(), Op::Gt, s("Abb"), true),
            (text, "Abc".into(), Op::Contains { fold: false }, s("bc"), true),
            (text, "Abc".into(), Op::Contains { fold: false }, s("BC"), false),
            (text, "ÄBC".into(), Op::Contains { fold }, s("äb"), true),
            (text, "Abc".into(), Op::StartsWith { fold }, s("aB"), true),
            (text, "Abc".into(), Op::EndsWith { fold: false }, s("bc"), true),
            (text, "Abc".into(), Op::EndsWith { fold: false }, s(""), true),
            (text, "50%".into(), Op::Contains { fold: false }, s("0%"), true),
            (text, "Abc".into(), Op::Matches { fold: false }, s("^A.c$"), true),
            (text, "Abc".into(), Op::Matches { fold }, s("^a"), true),
            (text, "Abc".into(), Op::IsNull, Value::Bool(false), true),
            (text, Json::Null, Op::IsNull, Value::Bool(true), true),
            // null is found by these alone
            (text, Json::Null, Op::Ne, s("x"), true),
            (text, Json::Null, Op::NotIn, list(&["x"]), true),
            (text, Json::Null, Op::Eq, s("x"), false),
            (text, Json::Null, Op::Gt, s(""), false),
            (text, Json::Null, Op::Contains { fold }, s(""), false),
            ("\"email\"", "Ann@X.com".into(), Op::Eq, s("ann@x.COM"), true),
            ("\"integer\"", 5.into(), Op::Lte, Value::Integer(5), true),
            ("\"decimal\"", "10.50".into(), Op::Eq, d("10.5"), true),
            ("\"decimal\"", "9".into(), Op::Lt, d("10"), true),
            (
                "\"datetime\"",
                "2026-11-24T13:05:04.000000Z".into(),
                Op::Gt,
                Value::DateTime(accept::datetime("2026-11-24T13:05:03+00:00").expect("a time")),
                true,
            ),
            (
                "\"date\"",
                "2026-11-24".into(),
                Op::Lt,
                Value::Date(accept::date("2026-11-25").expect("a day")),
                true,
            ),
            ("\"boolean\"", true.into(), Op::Eq, Value::Bool(true), true),
            (
                "{ kind = \"tree\", paths = [\"a/b\", \"ab\"] }",
                "a/b".into(),
                Op::Under,
                s("a"),
                true,
            ),
            (
                "{ kind = \"tree\", paths = [\"a/b\", \"ab\"] }",
                "ab".into(),
                Op::Under,
                s("a"),
                false,
            ),
            (
                "\"list of string\"",
                serde_json::json!(["a", "b"]),
                Op::HasAny,
                list(&["b", "c"]),
                true,
            ),
            (
                "\"list of string\"",
                serde_json::json!(["a", "b"]),
                Op::HasAll,
                list(&["b", "c"]),
                false,
            ),
            ("\"list of string\"", serde_json::json!(["a", "b"]), Op::HasAll, list(&[]), true),
            ("\"list of string\"", serde_json::json!(["a", "b"]), Op::HasNone, list(&["c"]), true),
            ("\"list of string\"", Json::Null, Op::HasNone, list(&["c"]), true),
            ("\"list of string\"", Json::Null, Op::HasAll, list(&[]), false),
            // a value that the enum has lost is still compared
            ("{ kind = \"enum\", values = [\"a\"] }", "lost".into(), Op::Eq, s("lost"), true),
            (
                "\"list of Location\"",
                serde_json::json!([{ "latitude": "48.2", "longitude": "16.37" }]),
                Op::Near,
                Value::List(vec![d("48.15"), d("17.11"), d("60")]),
                true,
            ),
            (
                "\"list of Location\"",
                serde_json::json!([{ "latitude": "48.2", "longitude": "16.37" }, { "city": "Rome" }]),
                Op::Near,
                Value::List(vec![d("48.15"), d("17.11"), d("50")]),
                false,
            ),
        ];
        for (definition, json, op, operand, expected) in cases {
            let shown = format!("{definition} {json} {op:?} {operand:?}");
            assert_eq!(says(definition, json, p, op, operand), Some(expected), "{shown}");
        }
    }

    #[test]
    fn parts_of_money_and_places_in_json() {
        let money = serde_json::json!({ "amount": "12.5", "currency": "USD" });
        assert_eq!(says("\"money\"", money.clone(), Target::Amount, Op::Gte, d("12.50")), Some(true));
        assert_eq!(says("\"money\"", money.clone(), Target::Currency, Op::Eq, s("USD")), Some(true));
        let whole = Value::Money {
            amount: Decimal::from(13),
            currency: "EUR".into(),
        };
        assert_eq!(says("\"money\"", money, Target::Property, Op::Lt, whole), Some(true));
        fn place(p: Arc<Property>) -> Target {
            Target::Path(Base::Property(p), vec!["a".into(), "0".into(), "b".into()])
        }
        let json = serde_json::json!({ "a": [{ "b": 7 }] });
        assert_eq!(says("\"json\"", json.clone(), place, Op::Gt, Value::Integer(6)), Some(true));
        assert_eq!(says("\"json\"", json.clone(), place, Op::Eq, s("7")), Some(true));
        assert_eq!(
            says("\"json\"", serde_json::json!({ "a": [] }), place, Op::IsNull, Value::Bool(true)),
            Some(true)
        );
    }

    #[test]
    fn not_knowing_spreads_only_where_it_matters() {
        let registry = resolve::resolve(OrgId(uuid::Uuid::nil()), "acme", 1, &[]).expect("the standard klasses");
        let conversation = registry.klass("conversation").expect("a standard klass");
        let related = Filter::Related {
            end: conversation.end("messages").expect("an end").clone(),
            klass: registry.klass("message").expect("a standard klass").clone(),
            quantifier: Quantifier::Some,
            filter: Box::new(Filter::And(vec![])),
        };
        let image = Map::from_iter([("customer_id".to_owned(), Json::from("01890a5d-ac96-774b-bcce-b302099a8057"))]);
        let is_customer = |id: &str| Filter::Compare {
            target: Target::Reference(conversation.end("customer").expect("an end").clone()),
            op: Op::Eq,
            operand: Operand::Const(Value::Id(ObjectId(id.parse().expect("a UUID")))),
        };
        let (yes, no) = (
            is_customer("01890a5d-ac96-774b-bcce-b302099a8057"),
            is_customer("00000000-0000-0000-0000-000000000000"),
        );
        let says = |filter: Filter| matches(&filter, &image, &[]);
        assert_eq!(says(related.clone()), None);
        assert_eq!(says(Filter::And(vec![related.clone(), no.clone()])), Some(false));
        assert_eq!(says(Filter::And(vec![related.clone(), yes.clone()])), None);
        assert_eq!(says(Filter::Or(vec![related.clone(), yes.clone()])), Some(true));
        assert_eq!(says(Filter::Or(vec![related.clone(), no])), None);
        assert_eq!(says(Filter::Not(Box::new(related))), None);
        assert_eq!(says(Filter::Not(Box::new(yes))), Some(false));
        assert_eq!(says(Filter::And(vec![])), Some(true));
        assert_eq!(says(Filter::Or(vec![])), Some(false));
    }
}
