//! The SQL functions that SQLite lacks and our statements (and indexes) use.
//!
//! | function | answers |
//! |---|---|
//! | `fold(text)` | the text in Unicode lower case, character by character |
//! | `matches(text, pattern)`, `matches_fold` | 1 where a regular expression (crate `regex`) matches somewhere |
//! | `near(locations, latitude, longitude, km)` | 1 where one of the locations (JSON) lies that near |
//! | `json_at(json, path)` | what stands at a path (a JSON array of keys and places), for what SQLite's own paths cannot say |
//! | `json_same(json, json)` | 1 where both say the same, whatever the order of keys |
//! | `scaled(text, digits)` | a decimal in JSON as an integer with so many digits behind the point |
//! | `micros(text)` | an instant in JSON (RFC 3339) in microseconds since 1970 |
//! | `time_bucket(micros, width, zone)` | the local start of the bucket of an instant, `2026-11-01` |
//! | `date_bucket(date, width)` | the start of the bucket of a day |
//! | `big_sum(integer)` | an exact sum; text where it exceeds 64 bits |
//! | `percentile_cont(number, fraction)` | the continuous percentile, as Postgres computes it |
//!
//! Null in, null out. All are deterministic.

use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};
use chrono_tz::Tz;
use regex::{Regex, RegexBuilder};
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Error, Result};
use rust_decimal::Decimal;
use serde_json::Value as Json;

/// Gives a connection our functions.
pub fn register(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("fold", 1, flags, |context| Ok(text(context, 0)?.map(fold)))?;
    connection.create_scalar_function("matches", 2, flags, |context| matches(context, false))?;
    connection.create_scalar_function("matches_fold", 2, flags, |context| matches(context, true))?;
    connection.create_scalar_function("near", 4, flags, near)?;
    connection.create_scalar_function("json_at", 2, flags, json_at)?;
    connection.create_scalar_function("json_same", 2, flags, json_same)?;
    connection.create_scalar_function("scaled", 2, flags, scaled)?;
    connection.create_scalar_function("micros", 1, flags, micros)?;
    connection.create_scalar_function("time_bucket", 3, flags, time_bucket)?;
    connection.create_scalar_function("date_bucket", 2, flags, date_bucket)?;
    connection.create_aggregate_function("big_sum", 1, flags, BigSum)?;
    connection.create_aggregate_function("percentile_cont", 2, flags, Percentile)
}

/// Text in lower case, character by character (so that a part of the text folds to the same part of the folded text).
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).collect()
}

fn text<'a>(context: &'a Context<'_>, index: usize) -> Result<Option<&'a str>> {
    match context.get_raw(index) {
        ValueRef::Null => Ok(None),
        other => Ok(Some(other.as_str()?)),
    }
}

fn fail(message: impl std::fmt::Display) -> Error {
    Error::UserFunctionError(message.to_string().into())
}

fn matches(context: &Context<'_>, blind: bool) -> Result<Option<bool>> {
    // The pattern is the same for all rows of a statement, so it is compiled once.
    let pattern: Arc<Regex> = match context.get_raw(1) {
        ValueRef::Null => return Ok(None),
        _ => context.get_or_create_aux(1, |value| {
            RegexBuilder::new(value.as_str()?)
                .case_insensitive(blind)
                .size_limit(1 << 20)
                .build()
                .map_err(|e| Box::new(e) as Box<dyn std::error::Error + Send + Sync>)
        })?,
    };
    Ok(text(context, 0)?.map(|text| pattern.is_match(text)))
}

/// The distance in km between two points given in degrees (haversine on a sphere of 6,371 km).
pub fn distance_km(from: (f64, f64), to: (f64, f64)) -> f64 {
    let half = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin().powi(2);
    let h = half(from.0, to.0) + from.0.to_radians().cos() * to.0.to_radians().cos() * half(from.1, to.1);
    12742.0 * h.min(1.0).sqrt().asin()
}

fn near(context: &Context<'_>) -> Result<Option<bool>> {
    let Some(json) = text(context, 0)? else { return Ok(None) };
    let point = (context.get::<f64>(1)?, context.get::<f64>(2)?);
    let km: f64 = context.get(3)?;
    let json: Json = serde_json::from_str(json).map_err(fail)?;
    let locations = match &json {
        Json::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let number = |location: &Json, part: &str| match &location[part] {
        Json::Number(n) => n.as_f64(),
        Json::String(s) => s.parse().ok(),
        _ => None,
    };
    Ok(Some(locations.iter().any(|location| {
        match (number(location, "latitude"), number(location, "longitude")) {
            (Some(latitude), Some(longitude)) => distance_km(point, (latitude, longitude)) <= km,
            _ => false,
        }
    })))
}

fn json_at(context: &Context<'_>) -> Result<Option<String>> {
    let (Some(json), Some(path)) = (text(context, 0)?, text(context, 1)?) else {
        return Ok(None);
    };
    let json: Json = serde_json::from_str(json).map_err(fail)?;
    let path: Vec<String> = serde_json::from_str(path).map_err(fail)?;
    let mut at = &json;
    for key in &path {
        let next = match at {
            Json::Array(items) => key.parse::<usize>().ok().and_then(|place| items.get(place)),
            other => other.get(key.as_str()),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at.to_string()))
}

fn scaled(context: &Context<'_>) -> Result<Option<i64>> {
    let Some(text) = text(context, 0)? else { return Ok(None) };
    let digits: u32 = context.get(1)?;
    let decimal = Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).ok();
    // What is no decimal of this size is no value.
    Ok(decimal.and_then(|mut decimal| {
        decimal.rescale(digits);
        if decimal.scale() == digits {
            i64::try_from(decimal.mantissa()).ok()
        } else {
            None
        }
    }))
}

fn micros(context: &Context<'_>) -> Result<Option<i64>> {
    let at = text(context, 0)?.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    Ok(at.map(|at| at.timestamp_micros()))
}

fn json_same(context: &Context<'_>) -> Result<Option<bool>> {
    let (Some(left), Some(right)) = (text(context, 0)?, text(context, 1)?) else {
        return Ok(None);
    };
    if left == right {
        return Ok(Some(true));
    }
    let left: Json = serde_json::from_str(left).map_err(fail)?;
    let right: Json = serde_json::from_str(right).map_err(fail)?;
    Ok(Some(left == right))
}

fn time_bucket(context: &Context<'_>) -> Result<Option<String>> {
    let ValueRef::Integer(micros) = context.get_raw(0) else {
        return Ok(None);
    };
    let zone: Arc<Tz> = context.get_or_create_aux(2, |value| {
        value
            .as_str()?
            .parse::<Tz>()
            .map_err(|e| Box::new(e) as Box<dyn std::error::Error + Send + Sync>)
    })?;
    let Some(width) = text(context, 1)? else { return Ok(None) };
    let at = DateTime::from_timestamp_micros(micros).ok_or_else(|| fail("no such instant"))?;
    Ok(start(at.with_timezone(zone.as_ref()).naive_local(), width))
}

fn date_bucket(context: &Context<'_>) -> Result<Option<String>> {
    let (Some(date), Some(width)) = (text(context, 0)?, text(context, 1)?) else {
        return Ok(None);
    };
    let date: NaiveDate = date.parse().map_err(fail)?;
    Ok(start(date.into(), width))
}

/// The start of the bucket in which a local time lies.
fn start(at: NaiveDateTime, width: &str) -> Option<String> {
    let date = at.date();
    let date = match width {
        "hour" => return Some(format!("{date}T{:02}:00", at.hour())),
        "week" => date - chrono::Days::new(u64::from(date.weekday().num_days_from_monday())),
        "month" => date.with_day(1)?,
        "quarter" => NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1)?,
        "year" => NaiveDate::from_ymd_opt(date.year(), 1, 1)?,
        _ => date,
    };
    Some(date.to_string())
}

struct BigSum;

impl Aggregate<Option<i128>, ToSqlOutput<'static>> for BigSum {
    fn init(&self, _: &mut Context<'_>) -> Result<Option<i128>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut Option<i128>) -> Result<()> {
        if let ValueRef::Integer(i) = context.get_raw(0) {
            // 2^64 rows of 2^63 fit.
            *sum = Some(sum.unwrap_or(0) + i128::from(i));
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<Option<i128>>) -> Result<ToSqlOutput<'static>> {
        Ok(ToSqlOutput::Owned(match sum.flatten() {
            None => Value::Null,
            Some(sum) => i64::try_from(sum).map_or_else(|_| Value::Text(sum.to_string()), Value::Integer),
        }))
    }
}

struct Percentile;

#[derive(Default)]
struct Numbers {
    all: Vec<f64>,
    fraction: f64,
}

impl Aggregate<Numbers, Option<f64>> for Percentile {
    fn init(&self, _: &mut Context<'_>) -> Result<Numbers> {
        Ok(Numbers::default())
    }

    fn step(&self, context: &mut Context<'_>, numbers: &mut Numbers) -> Result<()> {
        let number = match context.get_raw(0) {
            ValueRef::Integer(i) => i as f64,
            ValueRef::Real(f) => f,
            _ => return Ok(()),
        };
        if numbers.all.is_empty() {
            numbers.fraction = context.get(1)?;
        }
        numbers.all.push(number);
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, numbers: Option<Numbers>) -> Result<Option<f64>> {
        Ok(numbers.and_then(|numbers| percentile(numbers.all, numbers.fraction)))
    }
}

/// The continuous percentile: between the two numbers next to the place, by proportion.
pub fn percentile(mut numbers: Vec<f64>, fraction: f64) -> Option<f64> {
    let last = numbers.len().checked_sub(1)?;
    let place = fraction.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let (_, low, above) = numbers.select_nth_unstable_by(below, f64::total_cmp);
    let low = *low;
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    Some(low + (high - low) * (place - below as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(sql: &str) -> Value {
        let connection = Connection::open_in_memory().unwrap();
        register(&connection).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn text_folds_character_by_character() {
        assert_eq!(ask("select fold('ÄÖÜ Straße ΑΣ ΑΣΑ')"), Value::Text("äöü straße ασ ασα".into()));
        assert_eq!(ask("select fold(null)"), Value::Null);
    }

    #[test]
    fn patterns_match_anywhere_and_bad_ones_fail() {
        assert_eq!(ask("select matches('order 42', '\\d+')"), Value::Integer(1));
        assert_eq!(ask("select matches('ÄPFEL', 'äpfel')"), Value::Integer(0));
        assert_eq!(ask("select matches_fold('ÄPFEL', 'äpfel')"), Value::Integer(1));
        assert_eq!(ask("select matches(null, 'a')"), Value::Null);
        let connection = Connection::open_in_memory().unwrap();
        register(&connection).unwrap();
        assert!(
            connection
                .query_row("select matches('a', '(')", [], |row| row.get::<_, Value>(0))
                .is_err()
        );
    }

    #[test]
    fn buckets_start_in_their_zone() {
        // 2026-11-01T04:30:00Z is still October in Chicago (UTC-5), before the clocks change at 07:00Z.
        let at = 1_793_507_400_000_000_i64;
        let bucket = |width: &str, zone: &str| ask(&format!("select time_bucket({at}, '{width}', '{zone}')"));
        assert_eq!(bucket("month", "UTC"), Value::Text("2026-11-01".into()));
        assert_eq!(bucket("month", "America/Chicago"), Value::Text("2026-10-01".into()));
        assert_eq!(bucket("hour", "America/Chicago"), Value::Text("2026-10-31T23:00".into()));
        assert_eq!(bucket("week", "UTC"), Value::Text("2026-10-26".into()));
        assert_eq!(bucket("quarter", "UTC"), Value::Text("2026-10-01".into()));
        assert_eq!(ask("select date_bucket('2026-08-15', 'quarter')"), Value::Text("2026-07-01".into()));
        assert_eq!(ask("select date_bucket('2024-02-29', 'year')"), Value::Text("2024-01-01".into()));
    }

    #[test]
    fn sums_are_exact_beyond_64_bits() {
        assert_eq!(ask("select big_sum(value) from json_each('[1,2,null,3]')"), Value::Integer(6));
        assert_eq!(ask("select big_sum(value) from json_each('[]')"), Value::Null);
        assert_eq!(
            ask("select big_sum(value) from json_each('[9223372036854775807,9223372036854775807]')"),
            Value::Text("18446744073709551614".into())
        );
    }

    #[test]
    fn percentiles_lie_between() {
        let ask = |numbers: &str, fraction: f64| ask(&format!("select percentile_cont(value, {fraction}) from json_each('{numbers}')"));
        assert_eq!(ask("[4,1,3,2]", 0.5), Value::Real(2.5));
        assert_eq!(ask("[4,1,3,2]", 0.0), Value::Real(1.0));
        assert_eq!(ask("[4,1,3,2]", 1.0), Value::Real(4.0));
        assert_eq!(ask("[10,20,30,40,50]", 0.9), Value::Real(46.0));
        assert_eq!(ask("[]", 0.5), Value::Null);
    }

    #[test]
    fn berlin_is_near_potsdam() {
        let places = r#"[{"latitude":"52.52","longitude":"13.405"},{"city":"nowhere"}]"#;
        assert_eq!(ask(&format!("select near('{places}', 52.39, 13.06, 30.0)")), Value::Integer(1));
        assert_eq!(ask(&format!("select near('{places}', 52.39, 13.06, 20.0)")), Value::Integer(0));
        assert_eq!(ask("select near(null, 52.39, 13.06, 20.0)"), Value::Null);
    }

    #[test]
    fn values_in_json_are_read_as_columns_are() {
        assert_eq!(ask("select scaled('48.2', 6)"), Value::Integer(48_200_000));
        assert_eq!(
            ask("select scaled('-123456789012.123456', 6)"),
            Value::Integer(-123_456_789_012_123_456)
        );
        assert_eq!(ask("select scaled('x', 6)"), Value::Null);
        assert_eq!(ask("select scaled(null, 4)"), Value::Null);
        assert_eq!(ask("select micros('1970-01-01T00:00:01.000002Z')"), Value::Integer(1_000_002));
        assert_eq!(ask("select micros('yesterday')"), Value::Null);
    }

    #[test]
    fn odd_keys_are_found() {
        assert_eq!(
            ask(r#"select json_at('{"a\"b":{"c":5}}', '["a\"b","c"]')"#),
            Value::Text("5".into())
        );
        assert_eq!(ask(r#"select json_at('{"a":1}', '["b"]')"#), Value::Null);
        assert_eq!(
            ask(r#"select json_at('{"a":[1,{"b":2}]}', '["a","1","b"]')"#),
            Value::Text("2".into())
        );
        assert_eq!(ask(r#"select json_same('{"a":1,"b":2}', '{"b":2,"a":1}')"#), Value::Integer(1));
        assert_eq!(ask(r#"select json_same('[1,2]', '[2,1]')"#), Value::Integer(0));
        assert_eq!(ask("select json_same(null, '1')"), Value::Null);
    }
}
