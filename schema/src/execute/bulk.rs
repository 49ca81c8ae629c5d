//! Mutations of many objects: a draft for each item, or one change of all that match a filter.

use std::sync::Arc;

use chrono::Utc;
use klio_entities::klass::draft::Object;
use klio_entities::klass::fault::Code;
use klio_entities::klass::{Draft, Fault, Faults, Filter, Klass, ObjectId, Role};
use serde_json::json;

use super::input::Inputs;
use super::mutate::{Failure, Mutation, errors, nothing, path, target, upsert};
use super::record::{Cell, Record};
use crate::plan::coerce::{Input, Variables};
use crate::plan::compiler::Ground;
use crate::plan::filter;
use crate::types::model::{TypeRef, Write};

/// How many items a bulk mutation takes.
pub const MAX_ITEMS: usize = 1_000;

impl Mutation<'_> {
    // ---- many objects, a draft each

    pub(super) async fn bulk(&self, klass: &Arc<Klass>, write: &Write) -> Result<Cell, Failure> {
        let items = self.argument("inputs").items();
        let atomic = self.arguments().given("atomic").and_then(|v| v.as_bool()).unwrap_or(false);
        let options = match (self.forbidden(Role::can_write, "write"), self.options(atomic)) {
            (Some(fault), _) | (None, Err(fault)) => return Ok(bulk_payload(Vec::new(), None, vec![fault])),
            (None, Ok(_)) if items.len() > MAX_ITEMS => {
                let fault = Fault::new(
                    Code::TooMany,
                    ["inputs"],
                    format!("{} items are given; one mutation takes at most {MAX_ITEMS}.", items.len()),
                );
                return Ok(bulk_payload(
                    Vec::new(),
                    None,
                    vec![fault.remedy("Give them in several mutations.")],
                ));
            }
            (None, Ok(options)) => options,
        };
        let drafted: Vec<Result<Draft, Faults>> = items.iter().enumerate().map(|(i, item)| self.item(klass, write, i, item)).collect();
        let refused = drafted.iter().any(Result::is_err);
        if drafted.is_empty() {
            return Ok(bulk_payload(Vec::new(), None, Vec::new()));
        }
        if atomic && refused {
            // None is written. Those without fault say so by having neither an object nor an error.
            let results = drafted.into_iter().map(|d| self.item_payload(klass, None, d.err())).collect();
            return Ok(bulk_payload(results, None, vec![undone()]));
        }
        let mut targets = Vec::with_capacity(drafted.len());
        let mut wishes = Vec::with_capacity(drafted.len());
        let mut faulty = Vec::new();
        for item in drafted {
            match item {
                Ok(draft) => {
                    targets.push(Ok(target(&draft)));
                    wishes.push(draft);
                }
                Err(faults) => {
                    targets.push(Err(()));
                    faulty.push(faults);
                }
            }
        }
        let expected = wishes.len();
        let results = if wishes.is_empty() {
            Vec::new()
        } else {
            self.store(wishes, options).await?
        };
        if results.len() != expected {
            // The request was refused as a whole (its idempotency key).
            let faults = results.into_iter().filter_map(Result::err).flat_map(|f| f.0).collect();
            return Ok(bulk_payload(Vec::new(), None, faults));
        }
        let failed = results.iter().any(Result::is_err);
        let cursor = results.iter().rev().find_map(|r| r.as_ref().ok()?.cursor.clone());
        let (mut results, mut faulty) = (results.into_iter(), faulty.into_iter());
        let cells = targets
            .into_iter()
            .map(|target| match target {
                Ok(target) => match results.next() {
                    Some(Err(faults)) => self.item_payload(klass, target, Some(faults)),
                    Some(Ok(written)) => self.payload(klass, target, Ok(written)),
                    None => self.item_payload(klass, target, None),
                },
                Err(()) => self.item_payload(klass, None, faulty.next()),
            })
            .collect();
        let errors = if atomic && failed { vec![undone()] } else { Vec::new() };
        Ok(bulk_payload(cells, cursor, errors))
    }

    /// A result of an item of which nothing was written.
    fn item_payload(&self, klass: &Arc<Klass>, target: Option<ObjectId>, faults: Option<Faults>) -> Cell {
        self.payload(klass, target, Err(faults.unwrap_or(Faults(Vec::new()))))
    }

    fn item(&self, klass: &Arc<Klass>, write: &Write, index: usize, item: &Input) -> Result<Draft, Faults> {
        let mut inputs = Inputs::new(self.types);
        let ty = self.type_of("inputs");
        let item_type = match ty.nullable() {
            TypeRef::List(item) => (**item).clone(),
            other => other.clone(),
        };
        let path = path(&["inputs", &index.to_string()]);
        let draft = match write {
            Write::CreateMany(_) => Some(Draft::Create(inputs.object(klass, &item_type, item, &path))),
            _ => {
                let at = |name: &str| [path.clone(), vec![name.to_owned()]].concat();
                let field = |name: &str| {
                    self.types
                        .input(item_type.name())
                        .and_then(|i| i.fields.get(name))
                        .map(|a| a.ty.clone())
                };
                let part = |inputs: &mut Inputs<'_>, name: &str| match (field(name), item.get(name)) {
                    (Some(ty), Some(value)) => inputs.object(klass, &ty, value, &at(name)),
                    _ => Object {
                        klass: klass.clone(),
                        values: Vec::new(),
                        links: Vec::new(),
                        path: at(name),
                    },
                };
                let key = match (field("key"), item.get("key")) {
                    (Some(ty), Some(value)) => inputs.key(klass, &ty, value, &at("key")),
                    _ => None,
                };
                let create = part(&mut inputs, "create");
                let update = part(&mut inputs, "update");
                key.and_then(|key| upsert(&mut inputs, key, create, update, &at("key")))
            }
        };
        match draft {
            Some(draft) if inputs.faults.is_empty() => Ok(draft),
            _ if inputs.faults.is_empty() => Err(nothing()),
            _ => Err(Faults(inputs.faults)),
        }
    }

    // ---- all that match

    pub(super) async fn all(&self, klass: &Arc<Klass>, write: &Write) -> Result<Cell, Failure> {
        let drafted = match self.forbidden(Role::can_write, "write") {
            Some(fault) => Err(vec![fault]),
            None => self.draft_all(klass, write),
        };
        let result = match drafted.and_then(|draft| Ok((draft, self.options(true).map_err(|f| vec![f])?))) {
            Ok((draft, options)) => self.store(vec![draft], options).await?.pop().unwrap_or_else(|| Err(nothing())),
            Err(faults) => Err(Faults(faults)),
        };
        let (ids, cursor, faults) = match result {
            Ok(written) => (written.ids, written.cursor, Vec::new()),
            Err(faults) => (Vec::new(), None, faults.0),
        };
        let fields = vec![
            ("count", Cell::Leaf(json!(ids.len()))),
            (
                "ids",
                Cell::List(ids.iter().map(|id| Cell::text(id.to_text(&klass.id_prefix))).collect()),
            ),
            (
                "objects",
                Cell::List(ids.iter().map(|id| Cell::Object(klass.clone(), *id)).collect()),
            ),
            ("cursor", Cell::optional(&cursor)),
            ("errors", errors(faults, None)),
        ];
        Ok(Cell::Record(Record::Made("ManyPayload".into(), fields)))
    }

    fn draft_all(&self, klass: &Arc<Klass>, write: &Write) -> Result<Draft, Vec<Fault>> {
        let mut inputs = Inputs::new(self.types);
        let filter = self.filter(klass);
        let at_most = self.arguments().given("atMost").and_then(|v| v.as_i64()).unwrap_or(1);
        let at_most = match u32::try_from(at_most) {
            Ok(most) if most as usize <= MAX_ITEMS => most,
            _ => {
                let message = format!("`atMost` is {at_most}; it may be from 0 to {MAX_ITEMS}.");
                inputs
                    .faults
                    .push(Fault::bad(["atMost"], message).remedy("Change more than that in several mutations."));
                0
            }
        };
        let draft = match write {
            Write::UpdateMany(_) => {
                let set = self.object(&mut inputs, klass, "set");
                filter.map(|filter| Draft::UpdateAll {
                    klass: klass.clone(),
                    filter,
                    set,
                    at_most,
                })
            }
            _ => filter.map(|filter| Draft::DeleteAll {
                klass: klass.clone(),
                filter,
                at_most,
            }),
        };
        match draft {
            Ok(draft) if inputs.faults.is_empty() => Ok(draft),
            Ok(_) => Err(inputs.faults),
            Err(fault) => {
                inputs.faults.insert(0, fault);
                Err(inputs.faults)
            }
        }
    }

    fn filter(&self, klass: &Arc<Klass>) -> Result<Filter, Fault> {
        let variables = Variables::default();
        let ground = Ground {
            types: self.types,
            variables: &variables,
            sees_sensitive: self.actor.role.sees_sensitive(),
            scaled: self.store.dialect().scaled(),
            page_most: 0,
            page_default: 0,
            now: Utc::now(),
        };
        let ty = self.type_of("filter");
        let filter =
            filter::constant(&ground, klass, ty.name(), self.argument("filter")).map_err(|error| Fault::bad(["filter"], error.message))?;
        if truth(&filter) == Some(true) {
            return Err(Fault::bad(["filter"], "The filter is empty: every object matches it.")
                .remedy("Say which objects are meant. To mean all of them, say so: {id: {isNull: false}}."));
        }
        Ok(filter)
    }
}

/// What a filter is worth whatever the object: `{}` is true, `{or: []}` is false.
fn truth(filter: &Filter) -> Option<bool> {
    match filter {
        Filter::And(all) => {
            let mut known = true;
            for it in all {
                match truth(it) {
                    Some(false) => return Some(false),
                    Some(true) => {}
                    None => known = false,
                }
            }
            known.then_some(true)
        }
        Filter::Or(any) => {
            let mut known = true;
            for it in any {
                match truth(it) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => known = false,
                }
            }
            known.then_some(false)
        }
        Filter::Not(it) => truth(it).map(|it| !it),
        Filter::Compare { .. } | Filter::Items { .. } | Filter::Related { .. } | Filter::Count { .. } => None,
    }
}

fn bulk_payload(results: Vec<Cell>, cursor: Option<String>, faults: Vec<Fault>) -> Cell {
    let fields = vec![
        ("results", Cell::List(results)),
        ("cursor", Cell::optional(&cursor)),
        ("errors", errors(faults, None)),
    ];
    Cell::Record(Record::Made("BulkPayload".into(), fields))
}

fn undone() -> Fault {
    Fault::bad(["inputs"], "Nothing was written: an item is at fault, and `atomic` is set.").remedy("See the errors of the results.")
}
