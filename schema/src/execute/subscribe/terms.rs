//! By which columns the events of a subscription are found, so that no one walks over all subscriptions for an event.

use klio_entities::klass::filter::{Op, Operand, Target};
use klio_entities::klass::relationship::{Link, Side};
use klio_entities::klass::{Filter, Kind, Value};
use klio_subscriptions::route::{Interest, Term};
use serde_json::Value as Json;

use crate::execute::follow::Watch;

/// Which events concern a subscription, by what can be told of them without asking it.
pub(super) fn interest(watch: &Watch) -> Interest {
    match watch {
        Watch::Klass { klass, id: None, filter } => Interest::Any(vec![Term {
            klass: klass.name.clone(),
            equal: filter.as_ref().map(equalities).unwrap_or_default(),
            changed: None,
        }]),
        _ => Interest::All,
    }
}

/// What must be equal, of columns, for a filter to hold. (What it says beyond that is judged on the images.)
fn equalities(filter: &Filter) -> Vec<(String, Vec<Json>)> {
    match filter {
        Filter::And(all) => all.iter().flat_map(equalities).collect(),
        Filter::Compare {
            target,
            op,
            operand: Operand::Const(value),
        } => {
            let column = match target {
                Target::Property(property) if matches!(property.kind, Kind::Enum(_)) => property.column.clone(),
                Target::Reference(end) if end.side == Side::From => match &end.relationship.link {
                    Link::Column { column, .. } => column.clone(),
                    Link::Table { .. } => return Vec::new(),
                },
                _ => return Vec::new(),
            };
            let values: Vec<Json> = match (op, value) {
                (Op::Eq, value) => vec![value.to_json()],
                (Op::In, Value::List(values)) => values.iter().map(Value::to_json).collect(),
                _ => return Vec::new(),
            };
            // Null is absent from an image; whoever asks for it is asked.
            if values.iter().all(Json::is_string) {
                vec![(column, values)]
            } else {
                Vec::new()
            }
        }
        _ => Vec::new(),
    }
}
