//! A change of a related row is a change of the object that reads it: its selection, or the filter that it must match. The objects are
//! found by one statement for each path, whatever the number of events and rows, and told at the first event of the batch that bears
//! on them: what is told is read behind all of them, and whoever comes back before that event hears of it again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use klio_entities::klass::filter::{Op, Operand, Target};
use klio_entities::klass::query::{Output, Page, Read, Rows};
use klio_entities::klass::registry::CustomerLink;
use klio_entities::klass::{Actor, Filter, Klass, ObjectId, Registry, Value, filter_memory};
use klio_entities::store::event::{Event, EventOp};
use serde_json::Value as Json;

use super::path::{self, Path, Paths, Start};
use super::session::Session;
use crate::error::Error;
use crate::execute::Gateway;
use crate::execute::change::Judgement;
use crate::execute::follow::{Matter, Watch, conversation_end};
use crate::execute::gateway::Prepared;
use crate::execute::run::Run;
use crate::execute::watch::{uuid_of, whole};
use crate::plan::Record;
use crate::plan::shape::Shape;

/// So many objects are told one by one of a change of what they read; of more, that there are.
const MOST: usize = 1_000;

/// The klasses of the objects of which a subscription may tell.
fn told_of(registry: &Registry, watch: &Watch) -> Vec<Arc<Klass>> {
    match watch {
        Watch::Klass { klass, .. } => vec![klass.clone()],
        Watch::Klasses => Vec::new(),
        _ => registry
            .enabled()
            .filter(|klass| in_view(watch, klass, false).is_some())
            .cloned()
            .collect(),
    }
}

/// Which of a klass's objects a subscription tells of; `None`: none. `any`: whether they match its filter or not.
fn in_view(watch: &Watch, klass: &Arc<Klass>, any: bool) -> Option<Vec<Filter>> {
    let compare = |target, op, value| Filter::Compare {
        target,
        op,
        operand: Operand::Const(value),
    };
    let is = |id: &ObjectId| Some(compare(Target::Property(klass.property("id")?.clone()), Op::Eq, Value::Id(*id)));
    match watch {
        Watch::Klass { klass: its, id, filter } => {
            let mut all = Vec::new();
            if let Some(id) = id {
                all.push(is(id)?);
            }
            all.extend(filter.clone().filter(|_| !any));
            (its.name == klass.name).then_some(all)
        }
        Watch::Conversation { id, .. } if klass.standard && klass.name == "conversation" => Some(vec![is(id)?]),
        Watch::Conversation { id, .. } => {
            let end = conversation_end(klass)?;
            Some(vec![compare(Target::Reference(end.clone()), Op::Eq, Value::Id(*id))])
        }
        Watch::Timeline { customer, kinds, channels } => {
            let CustomerLink::Through(end) = &klass.customer else { return None };
            if klass.timeline.is_none() || kinds.as_ref().is_some_and(|kinds| !kinds.contains(&klass.name)) {
                return None;
            }
            let mut all = vec![compare(Target::Reference(klass.end(end)?.clone()), Op::Eq, Value::Id(*customer))];
            if let Some(channels) = channels {
                let channel = klass.property("channel").filter(|_| klass.standard)?;
                let values = channels.iter().map(|it| Value::String(it.clone())).collect();
                all.push(compare(Target::Property(channel.clone()), Op::In, Value::List(values)));
            }
            Some(all)
        }
        Watch::Klasses => None,
    }
}

impl Gateway {
    /// The paths to all that a planned subscription reads beside the objects of which it tells; those of its filter come first.
    pub(in crate::execute) fn paths(&self, actor: &Actor, planned: &Prepared, record: &Record, watch: &Watch) -> Vec<Path> {
        let schema = &planned.schema;
        let run = Run::new(&self.store, schema, actor, &planned.variables, &self.limits, planned.plan.kind);
        let ground = run.ground();
        let mut paths = Paths::default();
        if let Watch::Klass { klass, filter, .. } = watch {
            paths.filter(klass, filter.as_ref());
        }
        let fields = match &record.shape {
            Shape::Object(fields) => fields.fields.as_slice(),
            _ => &[],
        };
        for klass in told_of(&schema.registry, watch) {
            for field in fields {
                let Shape::Load(site) = &field.shape else { continue };
                let stands = |it: &&crate::types::model::ObjectType| it.name == klass.legal.type_name;
                if schema.types.possible(&site.on).iter().any(stands)
                    // What is wrong with it is told where it is read.
                    && let Ok(arm) = site.arm(&ground, &klass)
                    && let Read::Many { outputs, .. } = &arm.read
                {
                    paths.read(&klass, outputs);
                }
            }
        }
        paths.0.retain(|path| path.filters || !path.steps.is_empty());
        paths.0
    }
}

fn id_of(matter: &Matter) -> Option<ObjectId> {
    match matter {
        Matter::Related { id, .. } => Some(*id),
        _ => None,
    }
}

/// What a batch of events means beyond the objects themselves.
pub(super) struct Related {
    /// For each event, what is to be told because of it.
    pub matters: Vec<Vec<Matter>>,
    /// Of objects whose filter reads what has changed: whether they matched before, as far as that can be told.
    pub before: HashMap<ObjectId, Judgement>,
}

impl Session {
    /// What events mean to objects that read what they changed. Each object is told once; those in `told` are told anyhow.
    pub(super) async fn related(&self, events: &[Arc<Event>], mut told: HashSet<ObjectId>) -> Result<Related, Box<Error>> {
        let mut matters: Vec<Vec<Matter>> = events.iter().map(|_| Vec::new()).collect();
        let mut before: HashMap<ObjectId, Judgement> = HashMap::new();
        for path in &self.paths {
            let starts = events.iter().enumerate().filter_map(|(at, event)| Some((at, path.start(event)?)));
            let starts: Vec<(usize, Start)> = starts.collect();
            let Some((first, start)) = starts.first() else { continue };
            let mut all = start.clone();
            for (_, start) in &starts[1..] {
                all.ids.extend(&start.ids);
            }
            all.ids.sort();
            all.ids.dedup();
            let Some(found) = self.leading_to(path, &all).await? else {
                continue;
            };
            if found.len() > MOST {
                matters[*first].push(Matter::Reshaped("more objects read what has changed than are told one by one"));
                continue;
            }
            if path.filters && !found.is_empty() {
                let events: Vec<&Event> = starts.iter().map(|(at, _)| &*events[*at]).collect();
                let matched = self.matched_before(path, &events, &found).await?;
                for id in found.iter().filter_map(id_of) {
                    // What two paths say together is not known.
                    let known = matched.get(&id).copied();
                    before.entry(id).and_modify(|it| *it = None).or_insert(known);
                }
            }
            let news = found.into_iter().filter(|it| id_of(it).is_some_and(|id| told.insert(id)));
            matters[*first].extend(news);
        }
        Ok(Related { matters, before })
    }

    /// Whether an event changes what the filter reads of the object itself.
    pub(super) fn touches_filter(&self, event: &Event) -> bool {
        let updates = matches!(event.op, EventOp::Updated | EventOp::Linked | EventOp::Unlinked);
        let own = self.paths.iter().find(|path| path.filters && path.steps.is_empty());
        let names = own.and_then(|path| path.names.as_ref());
        !updates || names.is_none_or(|names| event.changed.iter().any(|name| names.contains(name)))
    }

    /// The objects in view that lead to others along a path; `None`: there are none that could.
    async fn leading_to(&self, path: &Path, start: &Start) -> Result<Option<Vec<Matter>>, Box<Error>> {
        let klass = &path.of;
        let (Some(mut all), Some(id), Some(leads)) = (in_view(&self.watch, klass, path.filters), klass.property("id"), path.lead_to(start))
        else {
            return Ok(None);
        };
        all.push(leads);
        let mut outputs = vec![Output::Value(id.clone())];
        if let (Watch::Timeline { .. }, Some(place)) = (&self.watch, &klass.timeline) {
            for name in [&place.at, "createdAt", "channel"] {
                let there = klass.property(name).filter(|_| name != "channel" || klass.standard);
                outputs.push(Output::Value(there.unwrap_or(id).clone()));
            }
        }
        let rows = self.rows(klass, Filter::And(all), outputs, MOST + 1).await?;
        let place = klass.property("channel").is_some() && klass.standard;
        let matter = |row: &Json| {
            let at = row.get(1).filter(|at| !at.is_null()).or(row.get(2));
            let channel = row.get(3).filter(|_| place).and_then(Json::as_str);
            Some(Matter::Related {
                klass: klass.clone(),
                id: uuid_of(row.get(0)?)?,
                after: (!path.filters).then_some(true),
                at: at.cloned().unwrap_or(Json::Null),
                channel: channel.map(str::to_owned),
            })
        };
        Ok(Some(rows.iter().filter_map(matter).collect()))
    }

    /// Rows of a klass, as many as that.
    async fn rows(&self, klass: &Arc<Klass>, filter: Filter, outputs: Vec<Output>, most: usize) -> Result<Vec<Json>, Error> {
        let read = Read::Page(Page {
            klass: klass.clone(),
            filter: Some(filter),
            deleted: false,
            rows: Some(Rows {
                order: Vec::new(),
                window: whole(most),
                outputs,
            }),
            total: false,
            aggregates: Vec::new(),
            groups: Vec::new(),
        });
        let page = self.gateway.ask(&self.actor, &self.planned.schema, &read).await?;
        let mut rows = page.get(0).and_then(Json::as_array).cloned().unwrap_or_default();
        rows.truncate(most);
        Ok(rows)
    }

    /// Which of these objects matched the filter before related rows changed, as far as that can be told: the filter is asked anew with
    /// these rows as they were.
    async fn matched_before(&self, path: &Path, events: &[&Event], found: &[Matter]) -> Result<HashMap<ObjectId, bool>, Box<Error>> {
        let Watch::Klass { filter: Some(filter), .. } = &self.watch else {
            return Ok(HashMap::new());
        };
        let Some(condition) = path::condition(filter, path) else {
            return Ok(HashMap::new());
        };
        // As each was before the first of these events.
        let mut earliest: Vec<&Event> = Vec::new();
        for event in events {
            if earliest.iter().all(|it| it.object != event.object) {
                earliest.push(event);
            }
        }
        let rows: Vec<ObjectId> = earliest.iter().filter_map(|event| event.object).collect();
        // Which of several rows each leads to is known where the rows themselves say it.
        if rows.len() > 1 && !path.is_held_there() {
            return Ok(HashMap::new());
        }
        let (mut did, mut did_not) = (Vec::new(), Vec::new());
        for matter in found {
            let Some(id) = id_of(matter) else { continue };
            let images = earliest.iter().filter_map(|event| path::led_to(path, event, id));
            match any(images.map(|image| filter_memory::matches(&condition, image, &[]))) {
                Some(true) => did.push(id),
                Some(false) => did_not.push(id),
                None => {}
            }
        }
        let Some(id) = path.of.property("id") else {
            return Ok(HashMap::new());
        };
        let mut either = Vec::new();
        for (ids, then) in [(&did, true), (&did_not, false)] {
            let Some(before) = path::before(filter, path, &rows, then).filter(|_| !ids.is_empty()) else {
                continue;
            };
            let among = Filter::Compare {
                target: Target::Property(id.clone()),
                op: Op::In,
                operand: Operand::Const(Value::List(ids.iter().map(|id| Value::Id(*id)).collect())),
            };
            either.push(Filter::And(vec![among, before]));
        }
        if either.is_empty() {
            return Ok(HashMap::new());
        }
        let matched = self
            .rows(
                &path.of,
                Filter::Or(either),
                vec![Output::Value(id.clone())],
                did.len() + did_not.len(),
            )
            .await?;
        let matched: HashSet<ObjectId> = matched.iter().filter_map(|row| uuid_of(row.get(0)?)).collect();
        Ok(did.into_iter().chain(did_not).map(|id| (id, matched.contains(&id))).collect())
    }
}

/// Whether one of these is true; unknown if none is and one is unknown.
fn any(all: impl Iterator<Item = Judgement>) -> Judgement {
    let mut known = Some(false);
    for it in all {
        match it {
            Some(true) => return it,
            Some(false) => {}
            None => known = None,
        }
    }
    known
}
