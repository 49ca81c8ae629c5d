//! What a state is, and on what it depends.

use std::sync::Arc;

use chrono::{Duration, Utc};
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::{Key, Output, Page, Read};
use klio_entities::klass::{Actor, Filter, Klass, ObjectId, Registry, Value};
use klio_subscriptions::presence::Present;
use klio_subscriptions::route::Term;
use serde_json::Value as Json;

use super::{Of, State};
use crate::error::{Code, Error};
use crate::execute::Gateway;
use crate::execute::gateway::Prepared;
use crate::execute::leaf;
use crate::execute::record::{Cell, Record};
use crate::execute::subscribe::message::stored_instant;
use crate::execute::subscribe::terms;
use crate::execute::watch::{given_id, record_of};
use crate::plan::coerce::Arguments;
use crate::types::model::Meaning;

/// The customer's properties of which its state tells, in the order in which they are read.
const AT_A_GLANCE: [&str; 6] = [
    "conversationCountOpen",
    "conversationCountSnoozed",
    "conversationCountDone",
    "conversationCountAll",
    "lastActivityAt",
    "sentiment",
];

impl Gateway {
    /// What a planned subscription to a state is of; an error when there is no such object.
    pub(super) async fn state_of(&self, actor: &Actor, planned: &Prepared) -> Result<Of, Error> {
        let (record, arguments) = record_of(planned)?;
        match &record.means {
            Meaning::Counted(_) => Ok(Of::Count),
            Meaning::CustomerState(klass) => {
                let id = given_id(&arguments, "id", klass)?.ok_or_else(|| Error::bad("`id` is not given."))?;
                self.customer(actor, &planned.schema, klass, id).await?;
                Ok(Of::Customer(id))
            }
            Meaning::PresenceState => {
                let (klass, id) = any_object(&planned.schema.registry, &arguments)?;
                self.customer(actor, &planned.schema, &klass, id).await?;
                Ok(Of::Presence(id))
            }
            _ => Err(Error::internal("a field of Subscription has no meaning")),
        }
    }
}

/// The object of any klass that `of` says.
pub(in crate::execute) fn any_object(registry: &Registry, arguments: &Arguments) -> Result<(Arc<Klass>, ObjectId), Error> {
    let text = arguments.given("of").and_then(|it| it.as_str()).unwrap_or_default();
    let found = ObjectId::parse(text).and_then(|(prefix, id)| {
        let klass = registry.klass_by_prefix(prefix).filter(|klass| klass.enabled)?;
        Some((klass.clone(), id))
    });
    found.ok_or_else(|| Error::new(Code::NotFound, "There is no object with this id."))
}

impl State {
    /// Which events could change it, and whether time alone could.
    pub(super) fn interest(&self) -> Result<(Vec<Term>, bool), Box<Error>> {
        let (record, arguments) = record_of(&self.planned)?;
        Ok(match (&record.means, self.of) {
            (Meaning::CustomerState(klass), Of::Customer(id)) => {
                let names = AT_A_GLANCE.iter().map(|name| (*name).to_owned()).collect();
                let term = Term {
                    klass: klass.name.clone(),
                    equal: vec![("id".into(), vec![Json::String(id.0.to_string())])],
                    changed: Some(names),
                };
                (vec![term], false)
            }
            (Meaning::Counted(klass), _) => {
                let filter = |now| self.gateway.filter_at(&self.actor, &self.planned, record, klass, &arguments, now);
                let now = Utc::now();
                let its = filter(now)?;
                // One that says "within the last day" is another a moment later.
                let ticks = its != filter(now + Duration::seconds(1))?;
                (terms::of_count(klass, its.as_ref()), ticks)
            }
            _ => (Vec::new(), false),
        })
    }

    /// As it is now.
    pub(super) async fn cell(&self) -> Result<Cell, Box<Error>> {
        let (record, arguments) = record_of(&self.planned)?;
        let cell = match (&record.means, self.of) {
            (Meaning::CustomerState(klass), Of::Customer(id)) => self.customer(klass, id).await?,
            (Meaning::PresenceState, Of::Presence(id)) => {
                let (klass, _) = any_object(&self.planned.schema.registry, &arguments)?;
                let fields = vec![("id", Cell::text(id.to_text(&klass.id_prefix))), ("present", self.present())];
                Cell::Record(Record::Made("ObjectPresence".into(), fields))
            }
            (Meaning::Counted(klass), _) => {
                let filter = self
                    .gateway
                    .filter_at(&self.actor, &self.planned, record, klass, &arguments, Utc::now())?;
                let count = self.count(klass, filter).await?;
                Cell::Record(Record::Made("ObjectCount".into(), vec![("count", Cell::Leaf(count))]))
            }
            _ => return Err(Box::new(Error::internal("a state that is of nothing"))),
        };
        Ok(cell)
    }

    async fn count(&self, klass: &Arc<Klass>, filter: Option<Filter>) -> Result<Json, Error> {
        let read = Read::Page(Page {
            klass: klass.clone(),
            filter,
            deleted: false,
            rows: None,
            total: true,
            aggregates: Vec::new(),
            groups: Vec::new(),
        });
        let page = self.gateway.ask(&self.actor, &self.planned.schema, &read).await?;
        Ok(page.get(1).cloned().unwrap_or(Json::Null))
    }

    async fn customer(&self, klass: &Arc<Klass>, id: ObjectId) -> Result<Cell, Error> {
        let properties: Vec<_> = AT_A_GLANCE
            .iter()
            .filter_map(|name| Some((*name, klass.property(name)?.clone())))
            .filter(|(_, property)| !property.sensitive || self.actor.role.sees_sensitive())
            .collect();
        let read = Read::One {
            klass: klass.clone(),
            key: Key::Id(Operand::Const(Value::Id(id))),
            deleted: true,
            outputs: properties.iter().map(|(_, property)| Output::Value(property.clone())).collect(),
        };
        let row = self.gateway.ask(&self.actor, &self.planned.schema, &read).await?;
        if row.is_null() {
            return Err(Error::new(Code::NotFound, "There is no customer with this id any more."));
        }
        let value = |name: &str| {
            let at = properties.iter().position(|(it, _)| *it == name);
            at.and_then(|at| row.get(at)).cloned().unwrap_or(Json::Null)
        };
        let counts = vec![
            ("open", Cell::Leaf(value("conversationCountOpen"))),
            ("snoozed", Cell::Leaf(value("conversationCountSnoozed"))),
            ("done", Cell::Leaf(value("conversationCountDone"))),
            ("all", Cell::Leaf(value("conversationCountAll"))),
        ];
        let sentiment = match value("sentiment") {
            Json::Object(parts) => {
                let part = |name: &'static str| (name, Cell::Leaf(parts.get(name).cloned().unwrap_or(Json::Null)));
                Cell::Record(Record::Made("Sentiment".into(), vec![part("polarity"), part("confidence")]))
            }
            _ => Cell::NULL,
        };
        let fields = vec![
            ("id", Cell::text(id.to_text(&klass.id_prefix))),
            ("conversations", Cell::Record(Record::Made("ConversationCounts".into(), counts))),
            ("lastActivityAt", stored_instant(&value("lastActivityAt"))),
            ("sentiment", sentiment),
            ("viewers", self.present()),
        ];
        Ok(Cell::Record(Record::Made("CustomerState".into(), fields)))
    }

    /// Those who are there.
    fn present(&self) -> Cell {
        let list = self.present.as_ref().map(|present| present.borrow().clone()).unwrap_or_default();
        Cell::List(list.iter().map(present).collect())
    }
}

fn present(it: &Present) -> Cell {
    let mut parts = it.actor.splitn(3, ':');
    let mut part = || parts.next().unwrap_or_default();
    let (kind, id, name) = (part().to_uppercase(), part(), part());
    let id = if id == uuid::Uuid::nil().to_string() {
        Cell::NULL
    } else {
        Cell::text(id)
    };
    let actor = vec![("kind", Cell::text(kind)), ("id", id), ("name", Cell::text(name))];
    let mut since = Vec::new();
    leaf::instant(&mut since, it.since);
    let fields = vec![
        ("actor", Cell::Record(Record::Made("Actor".into(), actor))),
        ("typing", it.typing.into()),
        ("since", Cell::text(String::from_utf8_lossy(&since))),
    ];
    Cell::Record(Record::Made("PresentActor".into(), fields))
}
