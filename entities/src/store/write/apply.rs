//! Drafts into rows: what a draft wishes, done in memory. Every fault is noted; nothing is written here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::layout;
use super::unit::{By, Lock, Unit, Want, told};
use crate::klass::draft::{LinkChange, Object};
use crate::klass::fault::Code;
use crate::klass::filter::ContactKind;
use crate::klass::property::Writable;
use crate::klass::query::Key;
use crate::klass::relationship::{Link, Side};
use crate::klass::{Draft, Fault, Klass, Value};
use crate::store::StoreError;

pub(super) type Doing<'b, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'b>>;

/// Everything that the drafts look up by a key, with the lock that it needs.
pub(super) fn wants(draft: &Draft, out: &mut Vec<Want>) {
    let by_id = |klass: &Arc<Klass>, id: crate::klass::ObjectId, lock| Want {
        klass: klass.clone(),
        key: Key::Id(crate::klass::filter::Operand::Const(Value::Id(id))),
        lock,
    };
    match draft {
        Draft::Create(object) => object_wants(object, out),
        Draft::Update { key, set, .. } => {
            out.push(Want {
                klass: set.klass.clone(),
                key: key.clone(),
                lock: Lock::Change,
            });
            object_wants(set, out);
        }
        Draft::Upsert { key, create, update } => {
            out.push(Want {
                klass: create.klass.clone(),
                key: key.clone(),
                lock: Lock::Change,
            });
            object_wants(create, out);
            object_wants(update, out);
        }
        Draft::Delete { klass, id, .. } | Draft::Destroy { klass, id } => out.push(by_id(klass, *id, Lock::Remove)),
        Draft::Restore { klass, id } => out.push(by_id(klass, *id, Lock::Change)),
        // Their objects are found by filter; see `mod.rs`.
        Draft::UpdateAll { set, .. } => object_wants(set, out),
        Draft::DeleteAll { .. } => {}
    }
}

fn object_wants(object: &Object, out: &mut Vec<Want>) {
    for (end, changes) in &object.links {
        // The far row holds the link itself, so it changes; customers and conversations change in what is derived.
        let far_changes = end.side == Side::To && matches!(end.relationship.link, Link::Column { .. });
        let lock = |klass: &Klass| {
            if far_changes || (klass.standard && matches!(klass.name.as_str(), "customer" | "conversation")) {
                Lock::Change
            } else {
                Lock::Link
            }
        };
        for change in changes {
            match change {
                LinkChange::Connect { klass, key, .. } => out.push(Want {
                    klass: klass.clone(),
                    key: key.clone(),
                    lock: lock(klass),
                }),
                LinkChange::Create { object, .. } => object_wants(object, out),
                LinkChange::Upsert { key, create, update, .. } => {
                    out.push(Want {
                        klass: create.klass.clone(),
                        key: key.clone(),
                        lock: Lock::Change,
                    });
                    object_wants(create, out);
                    object_wants(update, out);
                }
                LinkChange::Disconnect {
                    object: Some((klass, key)),
                } => out.push(Want {
                    klass: klass.clone(),
                    key: key.clone(),
                    lock: lock(klass),
                }),
                LinkChange::Disconnect { object: None } => {}
            }
        }
    }
}

/// Whether a draft holds an upsert anywhere: then a unique violation may be a race that a second look settles.
pub(super) fn has_upsert(draft: &Draft) -> bool {
    fn within(object: &Object) -> bool {
        object.links.iter().flat_map(|(_, changes)| changes).any(|change| match change {
            LinkChange::Upsert { .. } => true,
            LinkChange::Create { object, .. } => within(object),
            _ => false,
        })
    }
    match draft {
        Draft::Upsert { .. } => true,
        Draft::Create(object) | Draft::Update { set: object, .. } | Draft::UpdateAll { set: object, .. } => within(object),
        _ => false,
    }
}

/// The path of a key's fault.
fn key_path(key: &Key) -> Vec<String> {
    vec![match key {
        Key::Id(_) => "id".into(),
        Key::Unique(property, _) => property.legal.clone(),
        Key::Contact(ContactKind::Email, _) => "email".into(),
        Key::Contact(ContactKind::Phone, _) => "phone".into(),
        Key::Contact(ContactKind::ExternalId, _) => "externalId".into(),
    }]
}

/// A path and one more step.
pub(super) fn step(path: &[String], step: &str) -> Vec<String> {
    let mut path = path.to_vec();
    path.push(step.to_string());
    path
}

impl Unit<'_> {
    /// Applies a draft; answers the objects that it is about (none when it has a fault). `matched`: those that its filter found.
    pub async fn apply(&mut self, draft: &Draft, matched: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        match draft {
            Draft::Create(object) => {
                let id = self.create(&object.klass, &object.path)?;
                self.object(id, object).await?;
                Ok(vec![id])
            }
            Draft::Update { key, version, set } => {
                let Some(id) = self.target(&set.klass, key, &key_path(key)) else {
                    return Ok(vec![]);
                };
                if self.is_stale(id, *version) {
                    return Ok(vec![]);
                }
                self.set(id, set).await?;
                Ok(vec![id])
            }
            Draft::Upsert { key, create, update } => Ok(self.upsert(key, create, update, &key_path(key)).await?.into_iter().collect()),
            Draft::Delete { klass, id, version } => {
                let Some(id) = self.exists(klass, id.0) else { return Ok(vec![]) };
                if self.is_stale(id, *version) {
                    return Ok(vec![]);
                }
                self.remove(id, false)?;
                Ok(vec![id])
            }
            Draft::Destroy { klass, id } => {
                let Some(id) = self.exists(klass, id.0) else { return Ok(vec![]) };
                self.remove(id, true)?;
                Ok(vec![id])
            }
            Draft::Restore { klass, id } => {
                let Some(id) = self.exists(klass, id.0) else { return Ok(vec![]) };
                self.restore(id).await?;
                Ok(vec![id])
            }
            Draft::UpdateAll { set, .. } => {
                for id in matched {
                    self.set(*id, set).await?;
                }
                Ok(matched.to_vec())
            }
            Draft::DeleteAll { .. } => {
                for id in matched {
                    self.remove(*id, false)?;
                }
                Ok(matched.to_vec())
            }
        }
    }

    fn exists(&mut self, klass: &Arc<Klass>, id: Uuid) -> Option<Uuid> {
        let found = self.rows.get(&id).is_some_and(|row| row.klass.name == klass.name);
        if !found {
            let id = super::unit::label(klass, id);
            self.fault(Fault::new(
                Code::NotFound,
                ["id"],
                format!("there is no {} with id {id}", klass.name),
            ));
        }
        found.then_some(id)
    }

    fn is_stale(&mut self, id: Uuid, version: Option<i64>) -> bool {
        let row = &self.rows[&id];
        let present = row.version();
        match version {
            Some(version) if version != present => {
                let message = format!("{} has version {present}, not {version}: someone changed it meanwhile", row.label());
                self.fault(Fault::new(Code::Conflict, ["version"], message).remedy("read it again and decide anew"));
                true
            }
            _ => false,
        }
    }

    async fn set(&mut self, id: Uuid, set: &Object) -> Result<(), StoreError> {
        let row = self.change(id)?;
        if row.path.is_empty() {
            row.path = set.path.clone();
        }
        self.object(id, set).await
    }

    /// Changes the object of a key, or makes it; `None`: a fault.
    pub fn upsert<'b>(&'b mut self, key: &'b Key, create: &'b Object, update: &'b Object, path: &'b [String]) -> Doing<'b, Option<Uuid>> {
        Box::pin(async move {
            let klass = &create.klass;
            if Self::name(klass, key).is_none() {
                self.fault(Fault::new(Code::Required, path.to_vec(), "the key has no value"));
                return Ok(None);
            }
            if let Some(id) = self.find(klass, key) {
                let row = &self.rows[&id];
                if !row.is_live() {
                    let message = format!("{} holds {} and is deleted", row.label(), told(klass, key));
                    self.fault(Fault::new(Code::Conflict, path.to_vec(), message).remedy("restore or destroy it first"));
                    return Ok(None);
                }
                self.set(id, update).await?;
                return Ok(Some(id));
            }
            if let Key::Id(_) = key {
                self.fault(Fault::new(
                    Code::NotFound,
                    path.to_vec(),
                    format!("there is no {} with {}", klass.name, told(klass, key)),
                ));
                return Ok(None);
            }
            let id = self.create(klass, &create.path)?;
            self.set_key(id, key, create);
            self.object(id, create).await?;
            Ok(Some(id))
        })
    }

    /// Gives a new object the value of the key by which it was looked for, unless it is given one anyway.
    fn set_key(&mut self, id: Uuid, key: &Key, create: &Object) {
        let given = |column: &str| create.values.iter().any(|(property, _)| property.column == column);
        match key {
            Key::Unique(property, operand) if !given(&property.column) => {
                self.put_value(id, &property.column, operand.value(&[]).clone());
            }
            Key::Contact(kind, operand) => {
                let Value::String(text) = operand.value(&[]) else { return };
                match kind {
                    ContactKind::Email if !given("email") && !given("emails") => {
                        self.put_value(id, "email", Value::String(text.clone()));
                    }
                    ContactKind::Phone if !given("phone") && !given("phones") => {
                        self.put_value(id, "phone", Value::String(text.clone()));
                    }
                    ContactKind::ExternalId if !given("external_ids") => {
                        self.put_value(id, "external_ids", Value::Json(json!([{"externalId": text}])));
                    }
                    _ => {}
                }
                if let Some(name) = Self::name(&create.klass, key) {
                    self.found.insert(name, Some(id));
                }
            }
            _ => {}
        }
    }

    fn put_value(&mut self, id: Uuid, column: &str, value: Value) {
        let path = self.rows.get(&id).map(|row| row.path.clone()).unwrap_or_default();
        let Some(row) = self.rows.get(&id) else { return };
        let Some(slot) = row.layout.slot(column) else { return };
        let Some(value) = layout::settle(row.layout.slots[slot].storage, value) else {
            return;
        };
        self.claim(id, slot, &value, &path);
        if let Some(row) = self.rows.get_mut(&id) {
            row.after[slot] = value;
        }
    }

    /// Applies values and links to an object that is here.
    pub fn object<'b>(&'b mut self, id: Uuid, object: &'b Object) -> Doing<'b, ()> {
        Box::pin(async move {
            self.values(id, object)?;
            for (end, changes) in &object.links {
                self.link(id, end, changes, &step(&object.path, &end.legal)).await?;
            }
            Ok(())
        })
    }

    fn values(&mut self, id: Uuid, object: &Object) -> Result<(), StoreError> {
        for (property, value) in &object.values {
            let path = step(&object.path, &property.legal);
            let row = &self.rows[&id];
            let slot = row
                .layout
                .slot(&property.column)
                .filter(|&slot| row.layout.slots[slot].property.is_some());
            let Some(slot) = slot else {
                self.fault(Fault::bad(
                    path,
                    format!("klass {} has no property {}", object.klass.name, property.legal),
                ));
                continue;
            };
            let storage = row.layout.slots[slot].storage;
            let Some(value) = layout::settle(storage, value.clone()) else {
                self.fault(Fault::bad(path, format!("this is no value of {}", property.legal)));
                continue;
            };
            if has_nul(&value) {
                self.fault(Fault::bad(path, "text cannot hold the character U+0000").remedy("leave it out"));
                continue;
            }
            match property.writable {
                Writable::Always => {}
                Writable::OnCreate if row.is_new() || row.after[slot] == value => {}
                Writable::OnCreate => {
                    self.fault(Fault::bad(
                        path,
                        format!("{} can be given only when the object is made", property.legal),
                    ));
                    continue;
                }
                Writable::Never => {
                    self.fault(Fault::bad(
                        path,
                        format!("{} is kept by the gateway and cannot be set", property.legal),
                    ));
                    continue;
                }
            }
            if value.is_null() && property.required {
                self.fault(Fault::new(
                    Code::Required,
                    path,
                    format!("{} is required and cannot be null", property.legal),
                ));
                continue;
            }
            if row.after[slot] == value {
                continue;
            }
            self.claim(id, slot, &value, &path);
            self.change(id)?.after[slot] = value;
        }
        Ok(())
    }

    /// Notes who holds a unique value from now on; a fault if another object that is here holds it.
    fn claim(&mut self, id: Uuid, slot: usize, value: &Value, path: &[String]) {
        let row = &self.rows[&id];
        let place = &row.layout.slots[slot];
        let unique = place.property.as_ref().is_some_and(|p| p.unique) || Some(slot) == row.layout.external_id;
        if !unique {
            return;
        }
        let name = |value: &Value| {
            let kind = place.property.as_ref().map(|property| &property.kind);
            let value = kind.map_or_else(|| value.clone(), |kind| layout::key_value(kind, value.clone()));
            let text = layout::to_json(&value).to_string();
            (row.klass.name.clone(), By::Unique(place.column.clone(), text))
        };
        let old = (!row.after[slot].is_null()).then(|| name(&row.after[slot]));
        let new = (!value.is_null()).then(|| name(value));
        let legal = place.legal.clone();
        if let Some(new) = new {
            let holder = self.found.get(&new).copied().flatten().filter(|&holder| holder != id);
            let holder = holder
                .and_then(|holder| self.rows.get(&holder))
                .filter(|other| name(&other.after[slot]) == name(value));
            if let Some(other) = holder {
                let fault = duplicate(path, &legal, value, &other.label(), other.is_deleted(), other.is_new());
                self.fault(fault);
                return;
            }
            self.found.insert(new, Some(id));
        }
        if let Some(old) = old
            && self.found.get(&old) == Some(&Some(id))
        {
            self.found.insert(old, None);
        }
    }

    /// What must be there and is not, of all rows that drafts touched.
    pub fn check_required(&mut self) {
        let mut faults = Vec::new();
        for row in self.rows.values() {
            if !row.touched || !row.is_live() {
                continue;
            }
            let missing = |slot: usize| row.after[slot].is_null() && row.before.as_ref().is_none_or(|before| !before[slot].is_null());
            for (slot, place) in row.layout.slots.iter().enumerate() {
                if let Some(property) = &place.property
                    && property.required
                    && !property.system
                    && missing(slot)
                {
                    let fault = Fault::new(
                        Code::Required,
                        step(&row.path, &property.legal),
                        format!("{} is required", property.legal),
                    );
                    faults.push((row.draft, fault));
                }
            }
            for end in row
                .klass
                .ends
                .iter()
                .filter(|end| end.side == Side::From && end.relationship.required)
            {
                if let Some((slot, _)) = row.layout.link(end)
                    && missing(slot)
                {
                    let fault = Fault::new(Code::Required, step(&row.path, &end.legal), format!("{} is required", end.legal));
                    faults.push((row.draft, fault));
                }
            }
        }
        for (draft, fault) in faults {
            let of_draft = self.faults.entry(draft).or_default();
            if !of_draft.iter().any(|f| f.path == fault.path) {
                of_draft.push(fault);
            }
        }
    }
}

/// That another object holds a unique value.
pub(super) fn duplicate(path: &[String], legal: &str, value: &Value, holder: &str, deleted: bool, new: bool) -> Fault {
    let value = match value {
        Value::String(text) => format!("\"{text}\""),
        value => layout::to_json(value).to_string(),
    };
    let (who, remedy) = match (new, deleted) {
        (true, _) => ("another object of the same request".to_string(), "give each its own value"),
        (_, true) => (
            format!("{holder}, which is deleted,"),
            "restore or destroy that object, or give another value",
        ),
        _ => (holder.to_string(), "change that object instead, or give another value"),
    };
    Fault::new(Code::Duplicate, path.to_vec(), format!("{who} has {legal} {value} already")).remedy(remedy)
}

fn has_nul(value: &Value) -> bool {
    fn within(json: &Json) -> bool {
        match json {
            Json::String(text) => text.contains('\0'),
            Json::Array(items) => items.iter().any(within),
            Json::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || within(value)),
            _ => false,
        }
    }
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Money { currency, .. } => currency.contains('\0'),
        Value::Json(json) => within(json),
        _ => false,
    }
}
