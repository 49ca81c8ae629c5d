//! A unit of work: the rows that one transaction touches, as they were and as they shall be.
//!
//! Rows are loaded under a lock, changed in memory, and written together at the end, so a bulk of drafts costs as many statements
//! as it has klasses, not as it has objects. On Postgres a row may be changed only under [`Lock::Change`] or more; a row that is
//! only linked to is held by [`Lock::Link`], which lets others change it but not remove it. On SQLite there is one writer.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use indexmap::IndexMap;
use sea_orm::Value as Bound;
use serde_json::Value as Json;
use uuid::Uuid;

use super::layout::{self, Image, Layout, in_texts};
use super::links::LinkOp;
use crate::klass::contact;
use crate::klass::fault::Code;
use crate::klass::filter::ContactKind;
use crate::klass::query::Key;
use crate::klass::{Fault, Klass, OrgId, Registry, Value};
use crate::store::{Dialect, StoreError, Tx};

mod load;

/// How firmly a row is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Lock {
    /// Others may change it, not remove it.
    Link,
    /// We may change it.
    Change,
    /// We may remove it: no one links to it meanwhile.
    Remove,
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Stays, perhaps changed, perhaps soft-deleted.
    Kept,
    /// Is removed for good.
    Destroyed,
}

/// An object that the transaction touches.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub klass: Arc<Klass>,
    pub layout: Arc<Layout>,
    pub id: Uuid,
    /// As it was; `None`: new.
    pub before: Option<Image>,
    /// As it shall be.
    pub after: Image,
    pub lock: Lock,
    pub fate: Fate,
    /// Changed by a draft or a rule (and not only in what is derived): its version rises if anything differs.
    pub touched: bool,
    /// The draft that touched it first.
    pub draft: usize,
    /// Where in the input it stands.
    pub path: Vec<String>,
    /// Ends over link tables that its own draft changed.
    pub ends: BTreeSet<String>,
    /// Ends over link tables that others' drafts changed: linked, unlinked.
    pub linked: BTreeSet<String>,
    pub unlinked: BTreeSet<String>,
    /// The event of which the change is a consequence, and how deep.
    pub cause: Option<(Uuid, u32)>,
    /// Id of its event, made when first needed.
    pub event: Uuid,
}

impl Row {
    pub fn is_new(&self) -> bool {
        self.before.is_none()
    }
    pub fn is_deleted(&self) -> bool {
        !self.after[self.layout.deleted_at].is_null()
    }
    pub fn was_live(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before[self.layout.deleted_at].is_null())
    }
    /// Exists and is not soft-deleted when all is done.
    pub fn is_live(&self) -> bool {
        self.fate == Fate::Kept && !self.is_deleted()
    }
    pub fn version(&self) -> i64 {
        match self.after[self.layout.version] {
            Value::Integer(version) => version,
            _ => 0,
        }
    }
    pub fn differs(&self) -> bool {
        self.before.as_ref() != Some(&self.after) || !self.ends.is_empty() || self.fate == Fate::Destroyed
    }
    /// What people see: `order order_01j…`.
    pub fn label(&self) -> String {
        label(&self.klass, self.id)
    }
    pub fn customer(&self) -> Option<Uuid> {
        self.layout.customer.and_then(|slot| layout::uuid_of(&self.after[slot]))
    }
    pub fn customer_before(&self) -> Option<Uuid> {
        let before = self.before.as_ref()?;
        self.layout.customer.and_then(|slot| layout::uuid_of(&before[slot]))
    }
}

/// What people see of an object: its id.
pub(crate) fn label(klass: &Klass, id: Uuid) -> String {
    crate::klass::ObjectId(id).to_text(&klass.id_prefix)
}

/// By what an object is looked up; values in one form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum By {
    Id(Uuid),
    /// Column, and the value as JSON text.
    Unique(String, String),
    /// Kind and normalised value.
    Contact(&'static str, String),
}

/// A look-up: which klass, by what.
pub(crate) type Name = (String, By);

/// A row that the drafts need.
pub(crate) struct Want {
    pub klass: Arc<Klass>,
    pub key: Key,
    pub lock: Lock,
}

/// Who writes, as told in `updated_by` and in events.
#[derive(Clone, Debug)]
pub(crate) enum Author {
    /// One for all drafts.
    One(String),
    /// One for each.
    Each(Vec<String>),
}

impl Author {
    /// Of a draft.
    pub fn of(&self, draft: usize) -> &str {
        match self {
            Self::One(author) => author,
            Self::Each(authors) => authors.get(draft).map_or("", String::as_str),
        }
    }
}

pub(crate) struct Unit<'a> {
    pub tx: &'a Tx,
    pub dialect: Dialect,
    pub registry: &'a Arc<Registry>,
    pub org: OrgId,
    pub author: Author,
    pub now: DateTime<Utc>,
    pub imported: bool,
    pub cause: Option<(Uuid, u32)>,
    pub rows: IndexMap<Uuid, Row>,
    pub found: HashMap<Name, Option<Uuid>>,
    pub links: Vec<LinkOp>,
    /// Faults by draft.
    pub faults: HashMap<usize, Vec<Fault>>,
    /// The draft at hand.
    pub draft: usize,
    /// The cause of what is done now: set while rules are applied.
    pub consequence: Option<(Uuid, u32)>,
    /// Deleted here, in order, for rules.
    pub removed: Vec<Uuid>,
    /// Klass names whose tables a statement of ours has named.
    pub klasses: HashSet<String>,
}

impl<'a> Unit<'a> {
    pub fn fault(&mut self, fault: Fault) {
        self.faults.entry(self.draft).or_default().push(fault);
    }

    /// The row, to be changed; a row that is only linked to cannot be.
    pub fn change(&mut self, id: Uuid) -> Result<&mut Row, StoreError> {
        let (draft, consequence) = (self.draft, self.consequence);
        match self.rows.get_mut(&id) {
            Some(row) if row.lock >= Lock::Change => {
                if !row.touched {
                    row.touched = true;
                    row.draft = draft;
                    row.cause = consequence.or(row.cause);
                }
                Ok(row)
            }
            Some(row) => Err(StoreError::Corrupt(format!("{} is not held firmly enough to change", row.label()))),
            None => Err(StoreError::Corrupt(format!("{id} was not loaded"))),
        }
    }

    /// Puts a new row in, with ids, times and defaults. A link to it by key is found from now on.
    pub fn create(&mut self, klass: &Arc<Klass>, path: &[String]) -> Result<Uuid, StoreError> {
        let layout = Layout::of(klass)?;
        let id = Uuid::now_v7();
        let mut after = layout.empty();
        for (slot, place) in layout.slots.iter().zip(after.iter_mut()) {
            if let Some(default) = slot.property.as_ref().and_then(|p| p.default.clone()) {
                *place = layout::settle(slot.storage, default).unwrap_or(Value::Null);
            }
        }
        if let Some(tags) = layout.slot("tags") {
            after[tags] = Value::Json(Json::Array(Vec::new()));
        }
        after[layout.id] = layout::id_value(Some(id));
        after[layout.version] = Value::Integer(1);
        after[layout.created_at] = Value::DateTime(self.now);
        after[layout.created_by] = Value::String(self.author.of(self.draft).to_owned());
        after[layout.updated_at] = Value::DateTime(self.now);
        after[layout.updated_by] = Value::String(self.author.of(self.draft).to_owned());
        if self.imported
            && let Some(slot) = layout.slot("imported_at")
        {
            after[slot] = Value::DateTime(self.now);
        }
        self.klasses.insert(klass.name.clone());
        let row = Row {
            klass: klass.clone(),
            layout,
            id,
            before: None,
            after,
            lock: Lock::Remove,
            fate: Fate::Kept,
            touched: true,
            draft: self.draft,
            path: path.to_vec(),
            ends: BTreeSet::new(),
            linked: BTreeSet::new(),
            unlinked: BTreeSet::new(),
            cause: self.consequence.or(self.cause),
            event: Uuid::now_v7(),
        };
        self.rows.insert(id, row);
        Ok(id)
    }

    /// The name of a look-up; `None` when its value cannot be looked up (a null).
    pub fn name(klass: &Klass, key: &Key) -> Option<Name> {
        let by = match key {
            Key::Id(operand) => By::Id(layout::uuid_of(operand.value(&[]))?),
            Key::Unique(property, operand) => {
                let value = operand.value(&[]);
                let value = layout::settle(layout::storage(&property.kind), value.clone())?;
                if value.is_null() {
                    return None;
                }
                let value = layout::key_value(&property.kind, value);
                By::Unique(property.column.clone(), layout::to_json(&value).to_string())
            }
            Key::Contact(kind, operand) => match operand.value(&[]) {
                Value::String(text) => By::Contact(contact_kind(*kind), contact::normalise(*kind, text)?),
                _ => return None,
            },
        };
        Some((klass.name.clone(), by))
    }

    /// The object of a look-up that [`Unit::load`] has made: its id, if there is one (perhaps soft-deleted).
    pub fn find(&self, klass: &Klass, key: &Key) -> Option<Uuid> {
        let name = Self::name(klass, key)?;
        if let By::Id(id) = name.1 {
            return self.rows.get(&id).filter(|row| row.klass.name == klass.name).map(|row| row.id);
        }
        self.found.get(&name).copied().flatten()
    }

    /// The live object of a key, or a fault that says why not.
    pub fn target(&mut self, klass: &Arc<Klass>, key: &Key, path: &[String]) -> Option<Uuid> {
        let Some(id) = self.find(klass, key) else {
            self.fault(Fault::new(
                Code::NotFound,
                path.to_vec(),
                format!("there is no {} with {}", klass.name, told(klass, key)),
            ));
            return None;
        };
        let row = &self.rows[&id];
        if row.is_live() {
            return Some(id);
        }
        let fault = if row.fate == Fate::Destroyed {
            Fault::new(
                Code::NotFound,
                path.to_vec(),
                format!("there is no {} with {}", klass.name, told(klass, key)),
            )
        } else {
            Fault::new(Code::Conflict, path.to_vec(), format!("{} is deleted", row.label())).remedy("restore it first")
        };
        self.fault(fault);
        None
    }
}

/// A condition that a column is one of some values, and its parameter.
pub(crate) fn values_condition<'v>(
    dialect: Dialect,
    storage: layout::Storage,
    column: &str,
    n: usize,
    values: impl Iterator<Item = &'v Value>,
) -> Result<(String, Bound), StoreError> {
    if storage == layout::Storage::Text {
        let texts: Vec<&str> = values
            .filter_map(|value| match value {
                Value::String(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        return Ok((
            format!("{column} {}", in_texts(dialect, n)),
            layout::texts(dialect, texts.into_iter()),
        ));
    }
    let mut rows = Vec::new();
    for value in values {
        let mut cells = Vec::new();
        layout::cell(
            dialect,
            storage,
            &layout::settle(storage, value.clone()).unwrap_or(Value::Null),
            &mut cells,
        )?;
        rows.push(Json::Array(cells));
    }
    let cell = storage.cell(dialect, 0, 0);
    let (from, bound) = row_set(dialect, n, rows);
    Ok((format!("{column} in (select {cell} from {from})"), bound))
}

/// Rows sent as one JSON text: the `from` clause that makes them `r`, and the parameter.
pub(crate) fn row_set(dialect: Dialect, n: usize, rows: Vec<Json>) -> (String, Bound) {
    match dialect {
        Dialect::Postgres => (
            format!("jsonb_array_elements(${n}) r"),
            Bound::Json(Some(Box::new(Json::Array(rows)))),
        ),
        Dialect::Sqlite => (format!("json_each(?{n}) r"), Bound::String(Some(Json::Array(rows).to_string()))),
    }
}

/// The stored name of a sort of contact point.
pub(crate) fn contact_kind(kind: ContactKind) -> &'static str {
    match kind {
        ContactKind::Email => "email",
        ContactKind::Phone => "phone",
        ContactKind::ExternalId => "externalId",
    }
}

/// A key as people say it: `externalId "A-1"`.
pub(crate) fn told(klass: &Klass, key: &Key) -> String {
    let (name, value) = match key {
        Key::Id(operand) => {
            return match layout::uuid_of(operand.value(&[])) {
                Some(id) => format!("id {}", label(klass, id)),
                None => "that id".into(),
            };
        }
        Key::Unique(property, operand) => (property.legal.as_str(), operand.value(&[])),
        Key::Contact(ContactKind::Email, operand) => ("email", operand.value(&[])),
        Key::Contact(ContactKind::Phone, operand) => ("phone", operand.value(&[])),
        Key::Contact(ContactKind::ExternalId, operand) => ("external id", operand.value(&[])),
    };
    format!("{name} {}", layout::to_json(value))
}

pub(crate) fn broken(error: impl Into<sea_orm::DbErr>) -> StoreError {
    StoreError::Corrupt(error.into().to_string())
}
