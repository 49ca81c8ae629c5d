//! The arguments of a statement: each known from the plan, or made with each run from a leaf of the variables.

use chrono::{DateTime, Duration, Months, Utc};
use klio_entities::klass::filter::Operand;
use klio_entities::klass::kind::Kind;
use klio_entities::klass::{ObjectId, Value};

use super::coerce::{Input, Slot, Variables};
use super::cursor;
use crate::error::Error;

/// From where an argument of a statement comes.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Out of the variables, made fit.
    Slot(Slot, Fit),
    /// A list that a document writes out, with variables in it.
    List(Vec<Part>),
    /// Known, but relative to the time of each run (`P7D`).
    Timed(Value, Fit),
    /// The executor knows it (ids of objects to load).
    Given,
}

/// An item of a list that a document writes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Known.
    Known(Value),
    /// Out of the variables.
    Slot(Slot, Fit),
}

/// How a leaf is made fit for what it is compared with. A list is made fit item by item.
#[derive(Clone, Debug, PartialEq)]
pub enum Fit {
    /// As it is.
    As,
    /// A client's id: of this klass (prefix and legal type name).
    Id(String, String),
    /// A client's id, of any klass: only the UUID counts.
    AnyId,
    /// An integer as a decimal.
    Decimal,
    /// A telephone number: `+` and digits.
    Phone,
    /// Lower case.
    Lower,
    /// A page's size.
    PageSize(u32),
    /// A duration (`P7D`) before now, as an instant or (true) as a day.
    Ago(bool),
    /// A duration after now.
    Ahead(bool),
    /// An element of a cursor, of this kind. Money: its amount.
    Cursor {
        /// Which element.
        index: usize,
        /// The hash of the order for which the cursor must be.
        order: u32,
        /// What the element is.
        kind: Box<Kind>,
        /// Decimals are scaled.
        scaled: bool,
    },
}

/// What a plan relies on beside the shape of the variables.
#[derive(Clone, Debug, PartialEq)]
pub enum Guard {
    /// A leaf that became a part of the statement.
    Equals(Slot, Value),
    /// A cursor, of which only what is null became a part of it.
    CursorNulls(Slot, u64),
}

impl Guard {
    /// Whether it holds for these variables.
    pub fn holds(&self, variables: &Variables) -> bool {
        match self {
            Guard::Equals(slot, value) => variables.leaves.get(*slot) == Some(value),
            Guard::CursorNulls(slot, nulls) => match variables.leaves.get(*slot) {
                Some(Value::String(text)) => cursor::nulls(text) == *nulls,
                _ => false,
            },
        }
    }
}

impl Fit {
    /// Makes a value fit. `now` is the time of the request.
    pub fn apply(&self, value: &Value, now: DateTime<Utc>) -> Result<Value, String> {
        Ok(match (self, value) {
            (_, Value::Null) => Value::Null,
            (Fit::As, value) => value.clone(),
            (fit, Value::List(items)) if !matches!(fit, Fit::Cursor { .. }) => {
                Value::List(items.iter().map(|item| fit.apply(item, now)).collect::<Result<_, _>>()?)
            }
            (Fit::Id(prefix, name), Value::String(text)) => match ObjectId::parse(text) {
                Some((given, id)) if given == prefix => Value::Id(id),
                Some(_) => {
                    return Err(format!(
                        "\"{}\" is not the id of {name}: such ids begin with \"{prefix}_\".",
                        clip(text)
                    ));
                }
                None => {
                    return Err(format!(
                        "\"{}\" is not an id; ids of {name} look like \"{prefix}_01h455vb4pex5vsknk084sn02q\".",
                        clip(text)
                    ));
                }
            },
            (Fit::AnyId, Value::String(text)) => match ObjectId::parse(text) {
                Some((_, id)) => Value::Id(id),
                None => return Err(format!("\"{}\" is not an id.", clip(text))),
            },
            (Fit::Decimal, Value::Integer(number)) => Value::Decimal((*number).into()),
            (Fit::Phone, Value::String(text)) => Value::String(phone(text)),
            (Fit::Lower, Value::String(text)) => Value::String(text.to_lowercase()),
            (Fit::PageSize(most), Value::Integer(number)) => {
                if *number < 0 {
                    return Err(format!("a page cannot have {number} objects."));
                }
                if *number > i64::from(*most) {
                    return Err(format!("a page has at most {most} objects, {number} were asked for."));
                }
                value.clone()
            }
            (Fit::Ago(day), Value::String(text)) => instant_or_day(shift(now, text, true)?, *day),
            (Fit::Ahead(day), Value::String(text)) => instant_or_day(shift(now, text, false)?, *day),
            (
                Fit::Cursor {
                    index,
                    order,
                    kind,
                    scaled,
                },
                Value::String(text),
            ) => cursor::element(text, *order, *index, kind, *scaled)?,
            (_, value) => value.clone(),
        })
    }
}

impl Source {
    /// The argument of this run. `Given` is filled in by the executor and is null here.
    pub fn value(&self, variables: &Variables, now: DateTime<Utc>) -> Result<Value, Error> {
        let leaf = |slot: &Slot, fit: &Fit| {
            let value = variables
                .leaves
                .get(*slot)
                .ok_or_else(|| Error::internal(format!("no leaf {slot} in the variables of a plan")))?;
            fit.apply(value, now).map_err(Error::bad)
        };
        match self {
            Source::Slot(slot, fit) => leaf(slot, fit),
            Source::List(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Known(value) => Ok(value.clone()),
                    Part::Slot(slot, fit) => leaf(slot, fit),
                })
                .collect::<Result<_, _>>()
                .map(Value::List),
            Source::Timed(value, fit) => fit.apply(value, now).map_err(Error::bad),
            Source::Given => Ok(Value::Null),
        }
    }
}

/// Collects the arguments of one statement while it is compiled.
#[derive(Debug)]
pub struct Arguments {
    /// All so far.
    pub sources: Vec<Source>,
    /// Make every operand a constant (drafts and filters of mutations, filters of subscriptions).
    pub constant: bool,
    /// The time to which relative dates refer.
    pub now: DateTime<Utc>,
}

impl Arguments {
    /// None yet.
    pub fn new(constant: bool, now: DateTime<Utc>) -> Self {
        Self {
            sources: Vec::new(),
            constant,
            now,
        }
    }

    /// An argument that the executor gives.
    pub fn given(&mut self) -> Operand {
        self.sources.push(Source::Given);
        Operand::Arg(self.sources.len() - 1)
    }

    /// An operand out of an input: a constant where it is known now, else an argument.
    pub fn operand(&mut self, input: &Input, fit: &Fit) -> Result<Operand, String> {
        match input {
            Input::Leaf(value, None) => {
                let fitted = fit.apply(value, self.now)?;
                // The duration is known, but what it is relative to is the time of each run.
                if matches!(fit, Fit::Ago(_) | Fit::Ahead(_)) && !self.constant {
                    self.sources.push(Source::Timed(value.clone(), fit.clone()));
                    return Ok(Operand::Arg(self.sources.len() - 1));
                }
                Ok(Operand::Const(fitted))
            }
            Input::Leaf(value, Some(slot)) => {
                // Made fit now as well, so that what is wrong shows before anything runs.
                let fitted = fit.apply(value, self.now)?;
                if self.constant {
                    return Ok(Operand::Const(fitted));
                }
                let source = Source::Slot(*slot, fit.clone());
                if let Some(index) = self.sources.iter().position(|s| *s == source) {
                    return Ok(Operand::Arg(index));
                }
                self.sources.push(source);
                Ok(Operand::Arg(self.sources.len() - 1))
            }
            Input::Enum(name) => Ok(Operand::Const(Value::String(name.to_string()))),
            Input::Float(number) => Ok(Operand::Const(
                rust_decimal::Decimal::try_from(*number)
                    .map(Value::Decimal)
                    .map_err(|_| format!("{number} is out of range."))?,
            )),
            Input::Null => Ok(Operand::Const(Value::Null)),
            Input::List(items) => {
                let mut parts = Vec::with_capacity(items.len());
                for item in items {
                    parts.push(match item {
                        Input::Leaf(value, Some(slot)) if !self.constant => {
                            fit.apply(value, self.now)?;
                            Part::Slot(*slot, fit.clone())
                        }
                        Input::Leaf(value, _) => Part::Known(fit.apply(value, self.now)?),
                        Input::Enum(name) => Part::Known(Value::String(name.to_string())),
                        Input::Null => Part::Known(Value::Null),
                        other => return Err(format!("{} is not a scalar.", other.to_json())),
                    });
                }
                if parts.iter().all(|part| matches!(part, Part::Known(_))) {
                    let known = parts.into_iter().filter_map(|part| match part {
                        Part::Known(value) => Some(value),
                        Part::Slot(..) => None,
                    });
                    return Ok(Operand::Const(Value::List(known.collect())));
                }
                self.sources.push(Source::List(parts));
                Ok(Operand::Arg(self.sources.len() - 1))
            }
            Input::Object(_) => Ok(Operand::Const(Value::Json(input.to_json()))),
        }
    }
}

fn instant_or_day(at: DateTime<Utc>, day: bool) -> Value {
    if day { Value::Date(at.date_naive()) } else { Value::DateTime(at) }
}

fn clip(text: &str) -> &str {
    let end = (0..=64.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    &text[..end]
}

/// A telephone number as it is kept: `+` and digits.
pub fn phone(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '+' if out.is_empty() => out.push('+'),
            '0'..='9' => out.push(c),
            _ => {}
        }
    }
    out
}

/// A time so far before or after another: an ISO 8601 duration (`P7D`, `PT12H`, `P1Y2M3DT4H5M6S`, `P2W`).
pub fn shift(from: DateTime<Utc>, duration: &str, back: bool) -> Result<DateTime<Utc>, String> {
    let wrong = || format!("\"{}\" is not a duration; write such as P7D, PT12H or P1Y6M.", clip(duration));
    let rest = duration.strip_prefix('P').ok_or_else(wrong)?;
    let (date, time) = match rest.split_once('T') {
        Some((_, "")) => return Err(wrong()),
        Some((date, time)) => (date, time),
        None => (rest, ""),
    };
    if date.is_empty() && time.is_empty() {
        return Err(wrong());
    }
    let (mut months, mut span) = (0u32, Duration::zero());
    for (part, units) in [(date, "YMWD"), (time, "HMS")] {
        let mut number = String::new();
        let mut last = 0;
        for c in part.chars() {
            if c.is_ascii_digit() && number.len() < 7 {
                number.push(c);
                continue;
            }
            let place = units.find(c).ok_or_else(wrong)? + 1;
            if place <= last {
                return Err(wrong());
            }
            last = place;
            let amount: u32 = number.parse().map_err(|_| wrong())?;
            number.clear();
            match (c, units) {
                ('Y', _) => months = months.checked_add(amount.checked_mul(12).ok_or_else(wrong)?).ok_or_else(wrong)?,
                ('M', "YMWD") => months = months.checked_add(amount).ok_or_else(wrong)?,
                ('W', _) => span += Duration::weeks(amount.into()),
                ('D', _) => span += Duration::days(amount.into()),
                ('H', _) => span += Duration::hours(amount.into()),
                ('M', _) => span += Duration::minutes(amount.into()),
                _ => span += Duration::seconds(amount.into()),
            }
        }
        if !number.is_empty() {
            return Err(wrong());
        }
    }
    let far = || format!("\"{}\" leads too far.", clip(duration));
    if back {
        from.checked_sub_months(Months::new(months))
            .and_then(|at| at.checked_sub_signed(span))
            .ok_or_else(far)
    } else {
        from.checked_add_months(Months::new(months))
            .and_then(|at| at.checked_add_signed(span))
            .ok_or_else(far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let now = "2026-11-24T13:00:00Z".parse::<DateTime<Utc>>().expect("a time");
        let back = |text| shift(now, text, true).map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
        assert_eq!(back("P7D").as_deref(), Ok("2026-11-17T13:00:00Z"));
        assert_eq!(back("P1Y2M3DT4H5M6S").as_deref(), Ok("2025-09-21T08:54:54Z"));
        assert_eq!(back("PT90M").as_deref(), Ok("2026-11-24T11:30:00Z"));
        assert_eq!(back("P2W").as_deref(), Ok("2026-11-10T13:00:00Z"));
        for wrong in ["", "P", "7D", "PT", "P7", "P7X", "P1D2Y", "P1M1M", "P-1D", "P99999999Y"] {
            assert!(back(wrong).is_err(), "{wrong}");
        }
        assert!(back("P9999999Y").is_err());
    }

    #[test]
    fn ids_must_be_of_the_klass() {
        let id = ObjectId::new();
        let fit = Fit::Id("order".into(), "Order".into());
        assert_eq!(fit.apply(&Value::String(id.to_text("order")), Utc::now()), Ok(Value::Id(id)));
        assert!(fit.apply(&Value::String(id.to_text("note")), Utc::now()).is_err());
        assert!(fit.apply(&Value::String("17".into()), Utc::now()).is_err());
    }
}
