//! Messages, as records: of an object, of a klass. (Of entries of a timeline that stand for no object: [`super::entries`].)

use std::sync::Arc;

use klio_entities::klass::{Klass, ObjectId};
use klio_entities::store::event::Event;
use serde_json::Value as Json;

use super::session::Session;
use crate::execute::change::Change;
use crate::execute::follow::{Watch, at_of, channel_of};
use crate::execute::leaf;
use crate::execute::record::{Cell, Record};
use crate::types::model::{EnumMeaning, Types};

/// Where an object stands on a timeline.
pub(super) struct Place<'a> {
    pub at: Cell,
    /// As stored.
    pub channel: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// As an event says it.
    pub fn of(klass: &Klass, event: &'a Event) -> Option<Self> {
        let image = event.after.as_ref().or(event.before.as_ref())?;
        Some(Self {
            at: at_of(klass, image).map_or(Cell::NULL, instant),
            channel: channel_of(klass, image),
        })
    }
}

impl Session {
    /// A message about an object; `place`: where it stands on the timeline.
    pub(super) fn object(&self, klass: &Arc<Klass>, id: ObjectId, change: Change, place: Option<Place<'_>>, cursor: String) -> Cell {
        let object = if change == Change::Removed {
            Cell::NULL
        } else {
            Cell::Object(klass.clone(), id)
        };
        let mut fields = vec![("id", Cell::text(id.to_text(&klass.id_prefix)))];
        match &self.watch {
            Watch::Timeline { .. } => {
                fields.push(("entry", object));
                if let Some(place) = place.filter(|_| change != Change::Removed) {
                    fields.extend(self.place(place.at, &klass.name, place.channel));
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
    pub(super) fn place(&self, at: Cell, kind: &str, channel: Option<&str>) -> [(&'static str, Cell); 3] {
        let types = &self.planned.schema.types;
        let channel_type = types
            .object("TimelineChange")
            .and_then(|it| it.fields.get("channel"))
            .map_or("", |f| f.ty.name());
        let channel = channel.map_or(Cell::NULL, |channel| legal(types, channel_type, channel));
        [("at", at), ("kind", legal(types, "TimelineKind", kind)), ("channel", channel)]
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

/// The same message, with this cursor.
pub(super) fn with_cursor(mut cell: Cell, cursor: String) -> Cell {
    if let Cell::Record(Record::Made(_, fields)) = &mut cell {
        fields.retain(|(name, _)| *name != "cursor");
        fields.push(("cursor", Cell::text(cursor)));
    }
    cell
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

/// The legal name of a stored value of an enum; of another type, the value itself.
pub(super) fn legal(types: &Types, ty: &str, stored: &str) -> Cell {
    match types.enumeration(ty) {
        Some(it) => it
            .values
            .iter()
            .find(|(_, value)| matches!(&value.means, EnumMeaning::Stored(s) if s == stored))
            .map_or(Cell::NULL, |(name, _)| Cell::text(name)),
        None => Cell::text(stored),
    }
}

/// An instant as the store answers it, as responses write it.
pub(super) fn stored_instant(stored: &Json) -> Cell {
    match stored {
        Json::String(text) => instant(text),
        Json::Number(micros) => {
            let mut out = Vec::new();
            let done = micros.as_i64().and_then(|micros| leaf::micros(&mut out, micros));
            done.map_or(Cell::NULL, |()| Cell::text(String::from_utf8_lossy(&out)))
        }
        _ => Cell::NULL,
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
