//! By which columns the events of a subscription are found, so that no one walks over all subscriptions for an event.

use std::sync::Arc;

use klio_entities::klass::filter::{Op, Operand, Target};
use klio_entities::klass::relationship::{Link, Side};
use klio_entities::klass::{Filter, Kind, Klass, ObjectId, Registry, Value};
use klio_subscriptions::route::{Interest, Term};
use serde_json::Value as Json;

use super::path::{Path, Paths};
use crate::execute::follow::{Watch, conversation_column, customer_column};

/// Which events concern a subscription, by what can be told of them without asking it. In a stream all that stands there comes; in
/// the feed what is followed is found by its columns, and beside it what is read along the paths.
pub(super) fn interest(registry: &Registry, watch: &Watch, paths: &[Path], in_feed: bool) -> Interest {
    if !in_feed {
        return Interest::All;
    }
    let id = |id: &ObjectId| vec![Json::String(id.0.to_string())];
    let equal = |klass: &Klass, column: &str, id: Vec<Json>| Term {
        klass: klass.name.clone(),
        equal: vec![(column.to_owned(), id)],
        changed: None,
    };
    let mut terms = Vec::new();
    let mut only = None;
    match watch {
        Watch::Klass { klass, id: Some(it), .. } => {
            only = Some(*it);
            terms.push(equal(klass, "id", id(it)));
        }
        Watch::Klass { klass, id: None, filter } => terms.push(Term {
            klass: klass.name.clone(),
            equal: filter.as_ref().map(equalities).unwrap_or_default(),
            changed: None,
        }),
        Watch::Conversation { id: it, .. } => {
            for klass in registry.enabled() {
                if klass.standard && klass.name == "conversation" {
                    terms.push(equal(klass, "id", id(it)));
                } else if let Some(column) = conversation_column(klass) {
                    terms.push(equal(klass, column, id(it)));
                }
            }
        }
        Watch::Timeline { customer, .. } => {
            let stands = |klass: &&Arc<Klass>| klass.timeline.is_some() || (klass.standard && klass.name == "conversation");
            for klass in registry.enabled().filter(stands) {
                terms.extend(customer_column(klass).map(|column| equal(klass, column, id(customer))));
            }
        }
        Watch::Klasses => {}
    }
    let related = paths.iter().filter(|path| !path.steps.is_empty());
    terms.extend(related.map(|path| path.term(only)));
    Interest::Any(terms)
}

/// Which events may change how many objects match: of the klass itself, and of the klasses that the filter looks into.
pub(super) fn of_count(klass: &Arc<Klass>, filter: Option<&Filter>) -> Vec<Term> {
    let mut paths = Paths::default();
    paths.filter(klass, filter);
    let mut terms: Vec<Term> = paths.0.iter().map(|path| path.term(None)).collect();
    // What holds of an object that matches need not hold of one that is only related to it.
    if let (Some(own), Some(filter)) = (terms.first_mut(), filter) {
        own.equal = equalities(filter);
    }
    terms
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
