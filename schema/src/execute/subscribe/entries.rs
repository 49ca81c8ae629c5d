//! Entries of a timeline that stand for no object: what befell a conversation. They are written with the conversation, stay, and go
//! with it to another customer.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::{Entries, Read, TimelinePage};
use klio_entities::klass::{Klass, ObjectId, Value};
use klio_entities::store::event::Event;
use serde_json::Value as Json;

use super::message::{legal, message, stored_instant};
use super::session::Session;
use crate::error::{Code, Error};
use crate::execute::change::Change;
use crate::execute::follow::Watch;
use crate::execute::record::{Cell, Record};
use crate::execute::watch::{uuid_of, whole};
use crate::types::model::Types;
use crate::types::timeline::EVENTS;

/// So many entries of a conversation that goes to another customer are told one by one, among those of the others there.
const MOST: usize = 1_000;

/// Which entries of a customer's are looked for.
struct Sought<'a> {
    customer: ObjectId,
    kinds: Vec<&'a str>,
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    most: usize,
}

impl Session {
    /// A message about an entry that was written.
    pub(super) async fn entry(
        &self,
        kind: &'static str,
        conversation: ObjectId,
        event: &Event,
        cursor: String,
    ) -> Result<Option<Cell>, Box<Error>> {
        let Watch::Timeline { customer, .. } = &self.watch else {
            return Ok(None);
        };
        let at = match (kind, created(event)) {
            ("conversation.created", Some(at)) => at,
            _ => event.at,
        };
        let sought = Sought {
            customer: *customer,
            kinds: vec![kind],
            since: at,
            until: Some(at + Duration::microseconds(1)),
            most: 100,
        };
        let rows = self.entries(&sought).await?;
        // If it is not there, it went with the conversation to another customer since; the event that says so is on its way.
        let row = rows.iter().find(|row| is_of(row, conversation));
        Ok(row.and_then(|row| self.entry_added(row, conversation, Some(cursor))))
    }

    /// The entries that come with a conversation from another customer, or go with it to one: messages without their cursors. `None`:
    /// that cannot be told.
    pub(super) async fn moved_entries(&self, conversation: ObjectId, came: bool, event: &Event) -> Result<Option<Vec<Cell>>, Box<Error>> {
        let (Watch::Timeline { customer, kinds, channels }, Some(klass)) =
            (&self.watch, self.planned.schema.registry.klass("conversation"))
        else {
            return Ok(None);
        };
        let wanted = |kind: &&str| channels.is_none() && kinds.as_ref().is_none_or(|kinds| kinds.contains(*kind));
        let kinds: Vec<&str> = EVENTS.iter().map(|(_, stored, ..)| *stored).filter(wanted).collect();
        if kinds.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let whose = match self.gateway.customer(&self.actor, &self.planned.schema, klass, conversation).await {
            Ok(whose) => whose,
            Err(error) if error.code == Code::NotFound => None,
            Err(error) => return Err(Box::new(error)),
        };
        let (Some(whose), Some(since)) = (whose, created(event)) else {
            // Nobody has them any more: which they were is not known.
            return Ok((came).then(Vec::new));
        };
        if (whose == *customer) != came {
            // It has gone on since; the event that says so is on its way.
            return Ok(Some(Vec::new()));
        }
        let sought = Sought {
            customer: whose,
            kinds,
            since,
            until: None,
            most: MOST,
        };
        let rows = self.entries(&sought).await?;
        if rows.len() >= MOST {
            return Ok(None);
        }
        let its = rows.iter().filter(|row| is_of(row, conversation));
        let told = its.filter_map(|row| {
            if came {
                self.entry_added(row, conversation, None)
            } else {
                let id = row.get(0).and_then(|place| uuid_of(place.get(1)?))?;
                Some(message(
                    Change::Removed.as_str(),
                    None,
                    vec![("id", Cell::text(id.to_text("entry")))],
                ))
            }
        });
        Ok(Some(told.collect()))
    }

    /// Rows of entries: when and id, kind, klass, object, channel, row, data.
    async fn entries(&self, sought: &Sought<'_>) -> Result<Vec<Json>, Error> {
        let constant = |value: Value| Some(Operand::Const(value));
        let kinds = sought.kinds.iter().map(|kind| Value::String((*kind).to_owned())).collect();
        let page = TimelinePage {
            kinds: constant(Value::List(kinds)),
            channels: None,
            since: constant(Value::DateTime(sought.since)),
            until: sought.until.and_then(|until| constant(Value::DateTime(until))),
            window: whole(sought.most),
            entries: Some(Entries {
                place: true,
                object: true,
                data: true,
                ..Entries::default()
            }),
            total: false,
        };
        let customer = Operand::Const(Value::Id(sought.customer));
        let read = Read::Timeline { customer, page };
        let json = self.gateway.ask(&self.actor, &self.planned.schema, &read).await?;
        let mut rows = json.get(0).and_then(Json::as_array).cloned().unwrap_or_default();
        rows.truncate(sought.most);
        Ok(rows)
    }

    /// The message that an entry is there.
    fn entry_added(&self, row: &Json, conversation: ObjectId, cursor: Option<String>) -> Option<Cell> {
        let klass = self.planned.schema.registry.klass("conversation")?;
        let id = row.get(0).and_then(|place| uuid_of(place.get(1)?))?;
        let at = stored_instant(row.pointer("/0/0")?);
        let kind = row.get(1)?.as_str()?;
        let part = |name| row.pointer(name).cloned().unwrap_or(Json::Null);
        let types = &self.planned.schema.types;
        let entry = entry_record(types, klass, kind, id, at.clone(), conversation, part("/6/from"), part("/6/to"));
        let mut fields = vec![("id", Cell::text(id.to_text("entry"))), ("entry", Cell::Record(entry))];
        fields.extend(self.place(at, kind, None));
        Some(message(Change::Added.as_str(), cursor, fields))
    }
}

fn is_of(row: &Json, conversation: ObjectId) -> bool {
    row.get(3).and_then(uuid_of) == Some(conversation)
}

/// When the object of an event was made.
fn created(event: &Event) -> Option<DateTime<Utc>> {
    let text = event.after.as_ref()?.get("created_at")?.as_str()?;
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc))
}

/// The record of an entry of the timeline that stands for no object.
#[allow(clippy::too_many_arguments, reason = "they are the columns of the entry")]
fn entry_record(
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
