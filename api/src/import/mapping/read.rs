//! Expressions, read from a mapping's TOML.

use klio_entities::klass::accept;
use klio_entities::klass::duration::Duration;
use serde_json::{Map, Value as Json};
use toml::{Table, Value as Toml};

use super::super::expression::{Currency, Expression, Piece, Times};
use super::super::path::Path;
use super::{Reader, meant, under};

/// The word that tells what a table is, and what else it may hold.
const FORMS: &[(&str, &[&str])] = &[
    ("value", &[]),
    ("join", &["with"]),
    ("template", &[]),
    ("money", &["currency"]),
    ("sum", &["currency"]),
    ("list", &[]),
    ("object", &[]),
    ("split", &["by"]),
    ("start", &["step", "times", "plus"]),
    ("from", &["map", "default"]),
];

impl Reader<'_> {
    /// An expression; `objects`: a table that is none of our forms is an object.
    pub(super) fn expression(&mut self, said: &Toml, depth: usize, objects: bool, place: &[String]) -> Option<Expression> {
        let table = match said {
            Toml::String(text) => return self.path(text, depth, place).map(Expression::Path),
            Toml::Table(table) => table,
            other => {
                let remedy = format!("Write {{ value = {other} }} for what is always the same.");
                self.fault(
                    place,
                    format!("this is {}, and a path or a table was expected", other.type_str()),
                    Some(remedy),
                );
                return None;
            }
        };
        let Some((form, others)) = FORMS.iter().find(|(form, _)| table.contains_key(*form)) else {
            if objects {
                return self.object(table, depth, place);
            }
            let forms = FORMS.iter().map(|(form, _)| *form);
            let remedy = match table.keys().next() {
                Some(first) => meant(first, forms),
                None => format!("It needs one of: {}.", forms.collect::<Vec<_>>().join(", ")),
            };
            self.fault(place, "this table does not say what it makes", Some(remedy));
            return None;
        };
        let mut known = vec![*form];
        known.extend_from_slice(others);
        self.only(table, &known, place);
        let at = under(place, *form);
        match *form {
            "value" => Some(Expression::Value(json(&table["value"]))),
            "join" => {
                let parts = self.expressions(&table["join"], depth, false, &at)?;
                let with = self.text(table, "with", place).unwrap_or_default().to_owned();
                Some(Expression::Join { parts, with })
            }
            "template" => {
                let text = self.text(table, "template", place)?;
                self.template(text, depth, &at).map(Expression::Template)
            }
            "money" => {
                let amount = self.expression(&table["money"], depth, false, &at);
                let currency = self.currency(table, depth, place);
                if currency.is_none() && !table.contains_key("currency") {
                    self.fault(
                        place,
                        "the currency is not said",
                        Some("Add currency = \"USD\", or a path to it.".into()),
                    );
                }
                Some(Expression::Money {
                    amount: Box::new(amount?),
                    currency: currency?,
                })
            }
            "sum" => {
                let of = self.text(table, "sum", place)?;
                let of = self.path(of, depth, &at)?;
                let currency = self.currency(table, depth, place);
                Some(Expression::Sum { of, currency })
            }
            "list" => self.expressions(&table["list"], depth, true, &at).map(Expression::List),
            "object" => match &table["object"] {
                Toml::Table(parts) => self.object(parts, depth, &at),
                _ => {
                    self.fault(&at, "a table was expected", None);
                    None
                }
            },
            "split" => {
                let from = self.text(table, "split", place)?;
                let from = self.path(from, depth, &at)?;
                let by = self.text(table, "by", place).unwrap_or(",").to_owned();
                if by.is_empty() {
                    self.fault(&under(place, "by"), "an empty text separates nothing", None);
                }
                Some(Expression::Split { from, by })
            }
            "start" => self.time(table, depth, place),
            _ => {
                let from = self.text(table, "from", place)?;
                let from = self.path(from, depth, &at)?;
                let map = self.table(table, "map", place).map(|map| {
                    let pairs = map.iter().map(|(key, value)| (key.clone(), json(value)));
                    pairs.collect::<Map<String, Json>>()
                });
                let default = table.get("default").map(json);
                Some(Expression::From { from, map, default })
            }
        }
    }

    fn expressions(&mut self, said: &Toml, depth: usize, objects: bool, place: &[String]) -> Option<Vec<Expression>> {
        let Toml::Array(items) = said else {
            self.fault(place, format!("this is {}, and a list was expected", said.type_str()), None);
            return None;
        };
        let made: Vec<Option<Expression>> = items
            .iter()
            .enumerate()
            .map(|(i, item)| self.expression(item, depth, objects, &under(place, i.to_string())))
            .collect();
        made.into_iter().collect()
    }

    fn object(&mut self, parts: &Table, depth: usize, place: &[String]) -> Option<Expression> {
        let made: Vec<Option<(String, Expression)>> = parts
            .iter()
            .map(|(name, part)| Some((name.clone(), self.expression(part, depth, true, &under(place, name))?)))
            .collect();
        made.into_iter().collect::<Option<Vec<_>>>().map(Expression::Object)
    }

    /// Three capitals are a currency, anything else is a path to one.
    fn currency(&mut self, table: &Table, depth: usize, place: &[String]) -> Option<Currency> {
        let said = self.text(table, "currency", place)?;
        if said.len() == 3 && said.bytes().all(|b| b.is_ascii_uppercase()) {
            return Some(Currency::Code(said.to_owned()));
        }
        self.path(said, depth, &under(place, "currency")).map(Currency::At)
    }

    fn template(&mut self, text: &str, depth: usize, place: &[String]) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let Some((path, after)) = behind.split_once('}') else {
                self.fault(place, "a { is not closed", None);
                return None;
            };
            let path: Path = self.path(path, depth, place)?;
            pieces.push(Piece::Path(path));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Some(pieces)
    }

    fn time(&mut self, table: &Table, depth: usize, place: &[String]) -> Option<Expression> {
        let start = match &table["start"] {
            Toml::String(text) => accept::datetime(text),
            Toml::Datetime(at) => accept::datetime(&at.to_string()),
            _ => None,
        };
        if start.is_none() {
            let remedy = "Write a moment such as \"2025-01-01T00:00:00Z\".";
            self.fault(&under(place, "start"), "this is not a moment", Some(remedy.into()));
        }
        let mut steps = vec![self.step(table, depth, place)];
        if let Some(plus) = self.table(table, "plus", place) {
            let place = under(place, "plus");
            self.only(plus, &["step", "times"], &place);
            steps.push(self.step(plus, depth, &place));
        }
        Some(Expression::Time {
            start: start?,
            steps: steps.into_iter().collect::<Option<Vec<_>>>()?,
        })
    }

    fn step(&mut self, table: &Table, depth: usize, place: &[String]) -> Option<(Duration, Times)> {
        let step = self.text(table, "step", place).and_then(Duration::parse);
        if step.is_none() {
            let remedy = "Write step = \"PT8H\" or \"P1D\" (ISO 8601).";
            self.fault(&under(place, "step"), "this is not a duration", Some(remedy.into()));
        }
        let times = match table.get("times") {
            Some(Toml::Integer(times)) => Some(Times::Count(*times)),
            Some(Toml::String(path)) => self.path(path, depth, &under(place, "times")).map(Times::At),
            _ => {
                let remedy = "Write a path such as \"@index\", or a number.";
                self.fault(
                    &under(place, "times"),
                    "how often the step is taken is not said",
                    Some(remedy.into()),
                );
                None
            }
        };
        Some((step?, times?))
    }
}

/// TOML as JSON; moments become texts.
fn json(value: &Toml) -> Json {
    match value {
        Toml::String(text) => Json::String(text.clone()),
        Toml::Integer(number) => Json::from(*number),
        Toml::Float(number) => Json::from(*number),
        Toml::Boolean(truth) => Json::Bool(*truth),
        Toml::Datetime(at) => Json::String(at.to_string()),
        Toml::Array(items) => items.iter().map(json).collect(),
        Toml::Table(parts) => Json::Object(parts.iter().map(|(key, part)| (key.clone(), json(part))).collect()),
    }
}
