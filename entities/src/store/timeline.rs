//! The timeline's entries: which an object has, which a change of a conversation leaves.
//!
//! An object of a klass with a place on the timeline has one entry as long as it lives and belongs to a customer; it moves with
//! the object. What befell a conversation (created, status, assignment) is told by entries of their own, which stay, and go with
//! the conversation to another customer.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sea_orm::Value as Bound;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::write::layout::{self, Image, bind_json, bind_time, in_ids, parameter};
use super::write::unit::{Fate, Row, Unit, row_set};
use super::{Dialect, StoreError};
use crate::klass::Value;

/// An entry on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub customer: Uuid,
    pub at: DateTime<Utc>,
    pub kind: String,
    pub klass: String,
    pub object: Uuid,
    pub channel: Option<String>,
    pub conversation: Option<Uuid>,
    pub data: Option<Json>,
}

/// Kinds of entries that tell a change of a conversation.
pub const CONVERSATION_CREATED: &str = "conversation.created";
/// Its status changed: data `{from, to}`.
pub const CONVERSATION_STATUS: &str = "conversation.status";
/// Users or teams came or went: data `{from, to}`, each `{users: [ids], teams: [ids]}`.
pub const CONVERSATION_ASSIGNMENT: &str = "conversation.assignment";

fn entry(row: &Row, image: &Image) -> Option<Entry> {
    let place = row.klass.timeline.as_ref()?;
    let layout = &row.layout;
    if !image[layout.deleted_at].is_null() {
        return None;
    }
    let customer = layout::uuid_of(&image[layout.customer?])?;
    let at = row
        .klass
        .property(&place.at)
        .and_then(|property| layout.time(image, &property.column));
    let made = match &image[layout.created_at] {
        Value::DateTime(made) => Some(*made),
        _ => None,
    };
    let at = at.or(made)?;
    Some(Entry {
        customer,
        at,
        kind: row.klass.name.clone(),
        klass: row.klass.name.clone(),
        object: row.id,
        channel: layout.text(image, "channel").filter(|_| row.klass.standard).map(str::to_string),
        conversation: layout.uuid(image, "conversation_id").filter(|_| row.klass.standard),
        data: None,
    })
}

/// The entry that an object had.
pub(crate) fn entry_before(row: &Row) -> Option<Entry> {
    entry(row, row.before.as_ref()?)
}

/// The entry that an object shall have.
pub(crate) fn entry_after(row: &Row) -> Option<Entry> {
    entry(row, &row.after).filter(|_| row.fate == Fate::Kept)
}

/// What befell conversations in this unit.
pub(crate) fn changes(unit: &Unit<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for row in unit.rows.values() {
        let linked = !row.linked.is_empty() || !row.unlinked.is_empty();
        if !(row.klass.standard && row.klass.name == "conversation" && (row.touched || linked) && row.fate == Fate::Kept) {
            continue;
        }
        let Some(customer) = row.customer() else { continue };
        let layout = &row.layout;
        let told = |kind: &str, at, data| Entry {
            customer,
            at,
            kind: kind.to_string(),
            klass: row.klass.name.clone(),
            object: row.id,
            channel: None,
            conversation: Some(row.id),
            data,
        };
        let Some(before) = row.before.as_ref().filter(|_| row.customer_before().is_some()) else {
            // New, or new to any timeline.
            let at = if let Value::DateTime(at) = row.after[layout.created_at] {
                at
            } else {
                unit.now
            };
            entries.push(told(CONVERSATION_CREATED, at, None));
            continue;
        };
        let (from, to) = (layout.text(before, "status"), layout.text(&row.after, "status"));
        if from != to {
            entries.push(told(CONVERSATION_STATUS, unit.now, Some(json!({"from": from, "to": to}))));
        }
        let (mut gone, mut come) = ((BTreeSet::new(), BTreeSet::new()), (BTreeSet::new(), BTreeSet::new()));
        for op in unit
            .links
            .iter()
            .filter(|op| op.from == row.id && op.relationship.klass == "conversation" && op.relationship.standard)
        {
            let of = match op.relationship.name.as_str() {
                "assignedUsers" => (&mut gone.0, &mut come.0),
                "assignedTeams" => (&mut gone.1, &mut come.1),
                _ => continue,
            };
            let id = op.to.to_string();
            if op.put.is_some() {
                if !of.0.remove(&id) {
                    of.1.insert(id);
                }
            } else if !of.1.remove(&id) {
                of.0.insert(id);
            }
        }
        if !(gone.0.is_empty() && gone.1.is_empty() && come.0.is_empty() && come.1.is_empty()) {
            let side = |(users, teams): (BTreeSet<String>, BTreeSet<String>)| json!({"users": users, "teams": teams});
            entries.push(told(
                CONVERSATION_ASSIGNMENT,
                unit.now,
                Some(json!({"from": side(gone), "to": side(come)})),
            ));
        }
    }
    entries
}

fn is_moved(row: &Row) -> bool {
    row.klass.standard
        && row.klass.name == "conversation"
        && row.touched
        && !row.is_new()
        && row.fate == Fate::Kept
        && row.customer_before() != row.customer()
}

/// Customers from whom or to whom conversations go.
pub(crate) fn customers_of_moved(unit: &Unit<'_>) -> Vec<Uuid> {
    let moved = unit.rows.values().filter(|row| is_moved(row));
    moved.flat_map(|row| [row.customer_before(), row.customer()]).flatten().collect()
}

/// Writes the entries of a unit: at most three statements.
pub(crate) async fn write(unit: &Unit<'_>) -> Result<(), StoreError> {
    let dialect = unit.dialect;
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    let mut destroyed = Vec::new();
    for row in unit.rows.values().filter(|row| row.touched) {
        if row.fate == Fate::Destroyed {
            destroyed.push(row.id);
            continue;
        }
        let (old, entry) = (entry_before(row), entry_after(row));
        if old == entry {
            continue;
        }
        if old.is_some() {
            gone.push(row.id);
        }
        new.extend(entry);
    }
    if !destroyed.is_empty() {
        // All that was ever told of it, and for a customer all of its timeline.
        let sql = format!(
            "delete from timeline_entry where org_id = {} and (object_id {ids} or customer_id {ids})",
            parameter(dialect, 1),
            ids = in_ids(dialect, 2)
        );
        unit.tx
            .execute(sql, vec![unit.org.0.into(), layout::ids(dialect, &destroyed)])
            .await?;
    }
    if !gone.is_empty() {
        let sql = format!(
            "delete from timeline_entry where org_id = {} and object_id {} and kind = klass",
            parameter(dialect, 1),
            in_ids(dialect, 2)
        );
        unit.tx.execute(sql, vec![unit.org.0.into(), layout::ids(dialect, &gone)]).await?;
    }
    for row in unit.rows.values().filter(|row| is_moved(row) && row.customer_before().is_some()) {
        let (org, object) = (parameter(dialect, 1), parameter(dialect, 2));
        let which = format!("where org_id = {org} and object_id = {object} and klass = 'conversation'");
        let mut values: Vec<Bound> = vec![unit.org.0.into(), row.id.into()];
        let sql = match row.customer() {
            Some(to) => {
                values.push(to.into());
                format!("update timeline_entry set customer_id = {} {which}", parameter(dialect, 3))
            }
            None => format!("delete from timeline_entry {which}"),
        };
        unit.tx.execute(sql, values).await?;
    }
    new.extend(changes(unit));
    insert(unit, &new).await
}

async fn insert(unit: &Unit<'_>, entries: &[Entry]) -> Result<(), StoreError> {
    const COLUMNS: &str = "(org_id, id, customer_id, at, kind, klass, object_id, channel, conversation_id, data)";
    let dialect = unit.dialect;
    match entries {
        [] => Ok(()),
        [one] => {
            let values: Vec<Bound> = vec![
                unit.org.0.into(),
                Uuid::now_v7().into(),
                one.customer.into(),
                bind_time(dialect, Some(one.at)),
                one.kind.clone().into(),
                one.klass.clone().into(),
                one.object.into(),
                one.channel.clone().into(),
                one.conversation.into(),
                bind_json(dialect, one.data.clone()),
            ];
            let places: Vec<String> = (1..=values.len()).map(|n| parameter(dialect, n)).collect();
            unit.tx
                .execute(
                    format!("insert into timeline_entry {COLUMNS} values ({})", places.join(", ")),
                    values,
                )
                .await?;
            Ok(())
        }
        many => {
            use layout::Storage::{Json as J, Text, Time, Uuid as Id};
            let storages = [Id, Id, Time, Text, Text, Id, Text, Id, J];
            let mut rows = Vec::with_capacity(many.len());
            for one in many {
                let values = [
                    layout::id_value(Some(Uuid::now_v7())),
                    layout::id_value(Some(one.customer)),
                    Value::DateTime(one.at),
                    Value::String(one.kind.clone()),
                    Value::String(one.klass.clone()),
                    layout::id_value(Some(one.object)),
                    one.channel.clone().map_or(Value::Null, Value::String),
                    layout::id_value(one.conversation),
                    one.data.clone().map_or(Value::Null, Value::Json),
                ];
                let mut cells = Vec::with_capacity(storages.len());
                for (storage, value) in storages.iter().zip(&values) {
                    layout::cell(dialect, *storage, value, &mut cells)?;
                }
                rows.push(Json::Array(cells));
            }
            let cells: Vec<String> = storages
                .iter()
                .enumerate()
                .map(|(i, storage)| storage.cell(dialect, i, 0))
                .collect();
            let (from, bound) = row_set(dialect, 2, rows);
            let org = match dialect {
                Dialect::Postgres => "$1::uuid",
                Dialect::Sqlite => "?1",
            };
            let sql = format!(
                "insert into timeline_entry {COLUMNS} select {org}, {} from {from}",
                cells.join(", ")
            );
            unit.tx.execute(sql, vec![unit.org.0.into(), bound]).await?;
            Ok(())
        }
    }
}
