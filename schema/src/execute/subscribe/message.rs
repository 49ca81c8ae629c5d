//! Messages, as records: of an object, of an entry of a timeline, of a klass.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::{Entries, Read, TimelinePage};
use klio_entities::klass::{Klass, ObjectId, Value};
use klio_entities::store::event::Event;
use serde_json::Value as Json;

use super::Session;
use crate::error::Error;
use crate::execute::change::Change;
use crate::execute::follow::{Watch, at_of, channel_of};
use crate::execute::leaf;
use crate::execute::record::{Cell, Record};
use crate::execute::watch::{uuid_of, whole};
use crate::types::model::{EnumMeaning, Types};

impl Session {
    /// A message about an object.
    pub(super) fn object(&self, klass: &Arc<Klass>, id: ObjectId, change: Change, event: &Event, cursor: String) -> Cell {
        let object = if change == Change::Removed {
            Cell::NULL
        } else {
            Cell::Object(klass.clone(), id)
        };
        let mut fields = vec![("id", Cell::text(id.to_text(&klass.id_prefix)))];
        match &self.watch {
            Watch::Timeline { .. } => {
                fields.push(("entry", object));
                if let Some(image) = event.after.as_ref().or(event.before.as_ref()).filter(|_| change != Change::Removed) {
                    let at = at_of(klass, image).map_or(Cell::NULL, instant);
                    fields.extend(self.place(at, &klass.name, channel_of(klass, image)));
                }
            }
            Watch::Conversation { .. } => {
                fields.push(("object", object));
                fields.push(("klass", Cell::text(&klass.name)));
            }
            _ => fields.push(("object", object)),
        }
        message(change.as_str(), Some(cursor), fields)
    }

    /// Where an entry stands on the timeline, by legal names.
    fn place(&self, at: Cell, kind: &str, channel: Option<&str>) -> [(&'static str, Cell); 3] {
        let types = &self.planned.schema.types;
        let channel_type = types
            .object("TimelineChange")
            .and_then(|it| it.fields.get("channel"))
            .map_or("", |f| f.ty.name());
        let channel = channel.map_or(Cell::NULL, |channel| legal(types, channel_type, channel));
        [("at", at), ("kind", legal(types, "TimelineKind", kind)), ("channel", channel)]
    }

    /// A message about an entry that stands for no object.
    pub(super) async fn entry(
        &self,
        kind: &'static str,
        conversation: ObjectId,
        event: &Event,
        cursor: String,
    ) -> Result<Option<Cell>, Box<Error>> {
        let (Watch::Timeline { customer, .. }, Some(klass)) = (&self.watch, self.planned.schema.registry.klass("conversation")) else {
            return Ok(None);
        };
        let created = event.after.as_ref().and_then(|it| it.get("created_at")).and_then(Json::as_str);
        let at = match (kind, created.and_then(|text| DateTime::parse_from_rfc3339(text).ok())) {
            ("conversation.created", Some(at)) => at.with_timezone(&Utc),
            _ => event.at,
        };
        let constant = |value: Value| Some(Operand::Const(value));
        let page = TimelinePage {
            kinds: constant(Value::List(vec![Value::String(kind.to_owned())])),
            channels: None,
            since: constant(Value::DateTime(at)),
            until: constant(Value::DateTime(at + Duration::microseconds(1))),
            window: whole(100),
            entries: Some(Entries {
                place: true,
                object: true,
                data: true,
                ..Entries::default()
            }),
            total: false,
        };
        let customer = Operand::Const(Value::Id(*customer));
        let read = Read::Timeline { customer, page };
        let json = self.gateway.ask(&self.actor, &self.planned, &read).await?;
        let mut rows = json.get(0).and_then(Json::as_array).into_iter().flatten();
        let Some(row) = rows.find(|row| row.get(3).and_then(uuid_of) == Some(conversation)) else {
            // It went with the conversation to another customer since; the event that says so is on its way.
            return Ok(None);
        };
        let Some(id) = row.get(0).and_then(|place| uuid_of(place.get(1)?)) else {
            return Ok(None);
        };
        let (from, to) = (
            row.pointer("/6/from").cloned().unwrap_or(Json::Null),
            row.pointer("/6/to").cloned().unwrap_or(Json::Null),
        );
        let at = instant(&at.to_rfc3339());
        let entry = entry_record(&self.planned.schema.types, klass, kind, id, at.clone(), conversation, from, to);
        let mut fields = vec![("id", Cell::text(id.to_text("entry"))), ("entry", Cell::Record(entry))];
        fields.extend(self.place(at, kind, None));
        Ok(Some(message(Change::Added.as_str(), Some(cursor), fields)))
    }

    /// A message about a klass.
    pub(super) fn klass(&self, name: &str, event: &Event, cursor: String) -> Cell {
        let registry = &self.planned.schema.registry;
        let klass = registry.klass(name);
        let change = match klass {
            Some(klass) if klass.enabled => {
                if event.before.is_none() {
                    Change::Added
                } else {
                    Change::Updated
                }
            }
            _ => Change::Removed,
        };
        let record = klass.map_or(Cell::NULL, |klass| Cell::Record(Record::Klass(registry.clone(), klass.clone())));
        message(change.as_str(), Some(cursor), vec![("klass", record), ("name", Cell::text(name))])
    }
}

/// A message's record.
pub(super) fn message(change: &str, cursor: Option<String>, mut fields: Vec<(&'static str, Cell)>) -> Cell {
    fields.push(("change", Cell::text(change)));
    fields.push(("cursor", Cell::optional(&cursor)));
    Cell::Record(Record::Made("Change".into(), fields))
}

/// Whether a message's record says only that all was told.
pub(super) fn is_caught_up(cell: &Cell) -> bool {
    match cell {
        Cell::Record(Record::Made(_, fields)) => fields
            .iter()
            .any(|(name, cell)| *name == "change" && matches!(cell, Cell::Leaf(Json::String(text)) if text == "CAUGHT_UP")),
        _ => false,
    }
}

/// The cursor in a message's record.
pub(super) fn cursor_of(cell: &Cell) -> Option<Arc<str>> {
    match cell {
        Cell::Record(Record::Made(_, fields)) => fields.iter().find_map(|(name, cell)| match cell {
            Cell::Leaf(Json::String(text)) if *name == "cursor" => Some(text.as_str().into()),
            _ => None,
        }),
        _ => None,
    }
}

pub(super) fn resync(reason: &str, cursor: String) -> Cell {
    message("RESYNC", Some(cursor), vec![("reason", Cell::text(reason))])
}

/// The record of an entry of the timeline that stands for no object.
#[allow(clippy::too_many_arguments, reason = "they are the columns of the entry")]
pub fn entry_record(
    types: &Types,
    conversation: &Arc<Klass>,
    kind: &str,
    id: ObjectId,
    at: Cell,
    of: ObjectId,
    from: Json,
    to: Json,
) -> Record {
    let (name, value): (_, fn(&Types, Json) -> Cell) = match kind {
        "conversation.status" => ("ConversationStatusChange", |types, stored| {
            let ty = types
                .object("ConversationStatusChange")
                .and_then(|it| it.fields.get("to"))
                .map_or("", |f| f.ty.name());
            stored.as_str().map_or(Cell::NULL, |stored| legal(types, ty, stored))
        }),
        "conversation.assignment" => ("ConversationAssignmentChange", |_, json| Cell::Leaf(json)),
        _ => ("ConversationCreated", |_, _| Cell::NULL),
    };
    let fields = vec![
        ("id", Cell::text(id.to_text("entry"))),
        ("at", at),
        ("conversation", Cell::Object(conversation.clone(), of)),
        ("from", value(types, from)),
        ("to", value(types, to)),
    ];
    Record::Made(name.into(), fields)
}

/// The legal name of a stored value of an enum; of another type, the value itself.
fn legal(types: &Types, ty: &str, stored: &str) -> Cell {
    match types.enumeration(ty) {
        Some(it) => it
            .values
            .iter()
            .find(|(_, value)| matches!(&value.means, EnumMeaning::Stored(s) if s == stored))
            .map_or(Cell::NULL, |(name, _)| Cell::text(name)),
        None => Cell::text(stored),
    }
}

/// An instant as responses write it.
fn instant(text: &str) -> Cell {
    let mut out = Vec::new();
    match leaf::instant_text(&mut out, text) {
        Some(()) => Cell::text(String::from_utf8_lossy(&out)),
        None => Cell::text(text),
    }
}
