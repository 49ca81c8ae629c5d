//! Links: what a draft changes at the ends of relationships, whether a link is a column here, a column there, or a row of a table.

use std::sync::Arc;

use sea_orm::Value as Bound;
use uuid::Uuid;

use super::apply::{Doing, step};
use super::layout::{self, Layout, in_ids, parameter, quote, table};
use super::unit::{Lock, Unit, broken};
use crate::klass::draft::LinkChange;
use crate::klass::fault::Code;
use crate::klass::registry::Table;
use crate::klass::relationship::{Cardinality, Link, Relationship, Side};
use crate::klass::{End, Fault, Klass, Property, Value};
use crate::store::StoreError;

/// A change of a row of a link table.
#[derive(Clone, Debug)]
pub(crate) struct LinkOp {
    pub relationship: Arc<Relationship>,
    pub from: Uuid,
    pub to: Uuid,
    /// Klass of the far object.
    pub to_klass: String,
    /// Properties of the link; `None`: the link goes.
    pub put: Option<Vec<(Arc<Property>, Value)>>,
}

fn link_table(relationship: &Relationship) -> Option<&Table> {
    match &relationship.link {
        Link::Table { table } => Some(table),
        Link::Column { .. } => None,
    }
}

/// The same relationship, seen from the other side.
pub(super) fn other_end<'k>(klass: &'k Klass, end: &End) -> Option<&'k Arc<End>> {
    klass.ends.iter().find(|other| {
        other.side != end.side && other.relationship.klass == end.relationship.klass && other.relationship.name == end.relationship.name
    })
}

impl Unit<'_> {
    /// Applies the changes at one end of an object.
    pub fn link<'b>(&'b mut self, id: Uuid, end: &'b Arc<End>, changes: &'b [LinkChange], path: &'b [String]) -> Doing<'b, ()> {
        Box::pin(async move {
            if end.cardinality == Cardinality::One && changes.iter().filter(|c| !matches!(c, LinkChange::Disconnect { .. })).count() > 1 {
                self.fault(Fault::bad(path.to_vec(), format!("{} is one object, not several", end.legal)));
                return Ok(());
            }
            match (&end.relationship.link, end.side) {
                (Link::Column { .. }, Side::From) => self.link_here(id, end, changes, path).await,
                (Link::Column { .. }, Side::To) => self.link_there(id, end, changes, path).await,
                (Link::Table { .. }, _) => self.link_rows(id, end, changes, path).await,
            }
        })
    }

    /// The object that a change ties to: found or made. `None`: a fault.
    async fn far(&mut self, end: &End, change: &LinkChange, path: &[String]) -> Result<Option<(Arc<Klass>, Uuid)>, StoreError> {
        let (klass, id) = match change {
            LinkChange::Connect { klass, key, .. } => (klass, self.target(klass, key, &step(path, "connect"))),
            LinkChange::Create { object, .. } => {
                let id = self.create(&object.klass, &object.path)?;
                self.object(id, object).await?;
                (&object.klass, Some(id))
            }
            LinkChange::Upsert { key, create, update, .. } => {
                let path = step(path, "upsert");
                (&create.klass, self.upsert(key, create, update, &path).await?)
            }
            LinkChange::Disconnect { .. } => return Ok(None),
        };
        if !end.to.contains(&klass.name) {
            self.fault(Fault::bad(path.to_vec(), format!("{} does not lead to {}", end.legal, klass.name)));
            return Ok(None);
        }
        Ok(id.map(|id| (klass.clone(), id)))
    }

    /// The link is a column of this object.
    async fn link_here(&mut self, id: Uuid, end: &Arc<End>, changes: &[LinkChange], path: &[String]) -> Result<(), StoreError> {
        let layout = self.rows[&id].layout.clone();
        let Some((slot, klass_slot)) = layout.link(end) else {
            return Err(StoreError::Corrupt(format!("{} has no column", end.legal)));
        };
        for change in changes {
            let far = match change {
                LinkChange::Disconnect { object } => {
                    if let Some((klass, key)) = object
                        && layout::uuid_of(&self.rows[&id].after[slot]) != self.find(klass, key)
                    {
                        continue;
                    }
                    None
                }
                change => match self.far(end, change, path).await? {
                    Some(far) => Some(far),
                    None => continue,
                },
            };
            if far.is_none() && end.relationship.required && !self.rows[&id].after[slot].is_null() && changes.len() == 1 {
                self.fault(Fault::new(Code::Required, path.to_vec(), format!("{} is required", end.legal)));
                continue;
            }
            let value = layout::id_value(far.as_ref().map(|(_, far)| *far));
            if self.rows[&id].after[slot] == value {
                continue;
            }
            if end.relationship.inverse_cardinality == Cardinality::One
                && let Some((_, far)) = &far
            {
                self.untie_others(end, id, *far, path).await?;
            }
            let row = self.change(id)?;
            row.after[slot] = value;
            if let Some(slot) = klass_slot {
                row.after[slot] = far.map_or(Value::Null, |(klass, _)| Value::String(klass.name.clone()));
            }
        }
        Ok(())
    }

    /// One-to-one: whoever else of `end`'s klass points to `far` lets go of it.
    async fn untie_others(&mut self, end: &Arc<End>, id: Uuid, far: Uuid, path: &[String]) -> Result<(), StoreError> {
        let Some(klass) = self.registry.klass(&end.relationship.klass).cloned() else {
            return Ok(());
        };
        for other in self.pointing(&klass, end, &[far], Lock::Change, None).await? {
            if other != id {
                self.untie(other, end, path)?;
            }
        }
        Ok(())
    }

    /// Objects of the declaring klass whose link column points to one of `far` (loaded, as they shall be), perhaps narrowed by a
    /// condition on `t.deleted_at`.
    pub async fn pointing(
        &mut self,
        klass: &Arc<Klass>,
        end: &End,
        far: &[Uuid],
        lock: Lock,
        deleted: Option<(&str, Option<Bound>)>,
    ) -> Result<Vec<Uuid>, StoreError> {
        let layout = Layout::of(klass)?;
        let Link::Column {
            column,
            klass_column,
            home,
        } = &end.relationship.link
        else {
            return Ok(vec![]);
        };
        let Some(slot) = layout.slot(column) else { return Ok(vec![]) };
        let alias = if *home == crate::klass::property::Home::Extension {
            'x'
        } else {
            't'
        };
        let stored: Vec<Uuid> = far
            .iter()
            .copied()
            .filter(|id| self.rows.get(id).is_none_or(|row| !row.is_new()))
            .collect();
        if !stored.is_empty() {
            let mut condition = format!("{alias}.{} {}", quote(column), in_ids(self.dialect, 2));
            let mut parameters = vec![layout::ids(self.dialect, &stored)];
            if let Some(column) = klass_column {
                let near = if end.side == Side::To { &end.klass } else { &end.to[0] };
                condition.push_str(&format!(
                    " and {alias}.{} = {}",
                    quote(column),
                    parameter(self.dialect, 2 + parameters.len())
                ));
                parameters.push(near.clone().into());
            }
            if let Some((text, bound)) = deleted {
                condition.push_str(&format!(" and t.deleted_at {text}"));
                if let Some(bound) = bound {
                    condition.push_str(&parameter(self.dialect, 2 + parameters.len()));
                    parameters.push(bound);
                }
            }
            self.load_where(klass, &condition, parameters, lock).await?;
        }
        // As they shall be: those that were moved away do not count, those that were moved here do.
        Ok(self
            .rows
            .values()
            .filter(|row| row.klass.name == klass.name && layout::uuid_of(&row.after[slot]).is_some_and(|id| far.contains(&id)))
            .map(|row| row.id)
            .collect())
    }

    /// Clears the link column of an object of the declaring klass.
    pub fn untie(&mut self, id: Uuid, end: &End, path: &[String]) -> Result<(), StoreError> {
        if end.relationship.required {
            let row = &self.rows[&id];
            let message = format!("{} must have {}, so it cannot be untied", row.label(), end.relationship.name);
            self.fault(Fault::new(Code::Restricted, path.to_vec(), message).remedy("tie it to another object, or delete it"));
            return Ok(());
        }
        let row = self.change(id)?;
        let Some((slot, klass_slot)) = row.layout.link(end) else {
            return Ok(());
        };
        row.after[slot] = Value::Null;
        if let Some(slot) = klass_slot {
            row.after[slot] = Value::Null;
        }
        Ok(())
    }

    /// The link is a column of the far objects.
    async fn link_there(&mut self, id: Uuid, end: &Arc<End>, changes: &[LinkChange], path: &[String]) -> Result<(), StoreError> {
        let Some(klass) = self.registry.klass(&end.relationship.klass).cloned() else {
            return Err(StoreError::Corrupt(format!("{} leads to no klass", end.legal)));
        };
        let near = self.rows[&id].klass.name.clone();
        for change in changes {
            if let LinkChange::Disconnect { object } = change {
                let those = match object {
                    Some((klass, key)) => self.find(klass, key).into_iter().collect(),
                    None => self.pointing(&klass, end, &[id], Lock::Change, None).await?,
                };
                for far in those {
                    let row = &self.rows[&far];
                    let tied = row
                        .layout
                        .link(end)
                        .is_some_and(|(slot, _)| layout::uuid_of(&row.after[slot]) == Some(id));
                    if tied {
                        self.untie(far, end, path)?;
                    }
                }
                continue;
            }
            let Some((_, far)) = self.far(end, change, path).await? else {
                continue;
            };
            if end.cardinality == Cardinality::One {
                for other in self.pointing(&klass, end, &[id], Lock::Change, None).await? {
                    if other != far {
                        self.untie(other, end, path)?;
                    }
                }
            }
            let row = self.change(far)?;
            let Some((slot, klass_slot)) = row.layout.link(end) else { continue };
            row.after[slot] = layout::id_value(Some(id));
            if let Some(slot) = klass_slot {
                row.after[slot] = Value::String(near.clone());
            }
        }
        Ok(())
    }

    /// The links are rows of a table.
    async fn link_rows(&mut self, id: Uuid, end: &Arc<End>, changes: &[LinkChange], path: &[String]) -> Result<(), StoreError> {
        let relationship = end.relationship.clone();
        let (mine, theirs) = match end.side {
            Side::From => (relationship.cardinality, relationship.inverse_cardinality),
            Side::To => (relationship.inverse_cardinality, relationship.cardinality),
        };
        for change in changes {
            let (link, far) = match change {
                LinkChange::Disconnect { object } => {
                    let far = match object {
                        Some((klass, key)) => match self.find(klass, key) {
                            Some(far) => Some(far),
                            None => continue,
                        },
                        None => None,
                    };
                    self.unlink_rows(end, Some(id), far, None).await?;
                    continue;
                }
                LinkChange::Connect { link, .. } | LinkChange::Create { link, .. } | LinkChange::Upsert { link, .. } => {
                    (link, self.far(end, change, path).await?)
                }
            };
            let Some((klass, far)) = far else { continue };
            if mine == Cardinality::One {
                self.unlink_rows(end, Some(id), None, Some(far)).await?;
            }
            if theirs == Cardinality::One {
                self.unlink_rows(end, None, Some(far), Some(id)).await?;
            }
            let present = self.link_rows_of(end, Some(id), Some(far)).await?;
            let pending = self.pending(&relationship, end, id, far);
            let mut put = link.clone();
            if pending.unwrap_or(!present.is_empty()) {
                if pending.is_none() && !put.is_empty() {
                    // What it has already is no change.
                    self.retain_new(end, id, far, &mut put).await?;
                }
                if put.is_empty() {
                    continue;
                }
            } else {
                for property in &relationship.properties {
                    let given = put.iter().any(|(p, value)| p.column == property.column && !value.is_null());
                    if given {
                        continue;
                    }
                    match &property.default {
                        Some(default) => put.push((property.clone(), default.clone())),
                        None if property.required => {
                            let message = format!("{} of {} is required", property.legal, end.legal);
                            self.fault(Fault::new(Code::Required, step(path, &property.legal), message));
                        }
                        None => {}
                    }
                }
            }
            self.change(id)?.ends.insert(end.legal.clone());
            self.tell_far(end, far, true);
            let (from, to, to_klass) = match end.side {
                Side::From => (id, far, klass.name.clone()),
                Side::To => (far, id, self.rows[&id].klass.name.clone()),
            };
            self.links.push(LinkOp {
                relationship: relationship.clone(),
                from,
                to,
                to_klass,
                put: Some(put),
            });
        }
        Ok(())
    }

    /// What the unit is about to do to a link: `Some(true)` make, `Some(false)` remove.
    fn pending(&self, relationship: &Relationship, end: &End, near: Uuid, far: Uuid) -> Option<bool> {
        let (from, to) = if end.side == Side::From { (near, far) } else { (far, near) };
        self.links
            .iter()
            .rev()
            .find(|op| {
                op.from == from && op.to == to && op.relationship.klass == relationship.klass && op.relationship.name == relationship.name
            })
            .map(|op| op.put.is_some())
    }

    /// Notes that the object at the far end gets an event.
    pub(super) fn tell_far(&mut self, end: &End, far: Uuid, linked: bool) {
        let Some(row) = self.rows.get_mut(&far) else { return };
        let Some(other) = other_end(&row.klass, end) else { return };
        let names = if linked { &mut row.linked } else { &mut row.unlinked };
        names.insert(other.legal.clone());
    }

    /// Links in the database: (near, far), of a near object, a far one, or both.
    async fn link_rows_of(&mut self, end: &End, near: Option<Uuid>, far: Option<Uuid>) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        // A new object has none yet.
        let new = |id: Option<Uuid>| id.is_some_and(|id| self.rows.get(&id).is_some_and(|row| row.is_new()));
        if new(near) || new(far) {
            return Ok(vec![]);
        }
        let near: Vec<Uuid> = near.into_iter().collect();
        let far: Vec<Uuid> = far.into_iter().collect();
        self.stored_links(end, &near, &far).await
    }

    /// Links in the database, (near, far), whose near object is one of `near` and whose far one is one of `far`; empty: any.
    pub async fn stored_links(&mut self, end: &End, near: &[Uuid], far: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        let Some(links) = link_table(&end.relationship) else {
            return Ok(vec![]);
        };
        let (near_column, far_column) = if end.side == Side::From {
            ("from_id", "to_id")
        } else {
            ("to_id", "from_id")
        };
        let mut conditions = Vec::new();
        let mut values: Vec<Bound> = Vec::new();
        if links.shared {
            values.push(self.org.0.into());
            conditions.push(format!("org_id = {}", parameter(self.dialect, 1)));
        }
        for (column, ids) in [(near_column, near), (far_column, far)] {
            if !ids.is_empty() {
                values.push(layout::ids(self.dialect, ids));
                conditions.push(format!("{column} {}", in_ids(self.dialect, values.len())));
            }
        }
        let sql = format!(
            "select {near_column}, {far_column} from {} where {}",
            table(self.dialect, links),
            conditions.join(" and ")
        );
        let mut found = Vec::new();
        for row in self.tx.query(sql, values).await? {
            found.push((row.try_get_by_index(0).map_err(broken)?, row.try_get_by_index(1).map_err(broken)?));
        }
        Ok(found)
    }

    /// Leaves of a stored link's new values those that differ from what it has.
    async fn retain_new(&self, end: &End, near: Uuid, far: Uuid, put: &mut Vec<(Arc<Property>, Value)>) -> Result<(), StoreError> {
        let Some(links) = link_table(&end.relationship) else {
            return Ok(());
        };
        let (from, to) = if end.side == Side::From { (near, far) } else { (far, near) };
        let mut columns = Vec::new();
        for (property, _) in put.iter() {
            columns.push(quote(&property.column));
            if layout::storage(&property.kind) == layout::Storage::Money {
                columns.push(quote(&format!("{}_currency", property.column)));
            }
        }
        let mut values: Vec<Bound> = vec![from.into(), to.into()];
        let mut sql = format!(
            "select {} from {} where from_id = {} and to_id = {}",
            columns.join(", "),
            table(self.dialect, links),
            parameter(self.dialect, 1),
            parameter(self.dialect, 2)
        );
        if links.shared {
            values.push(self.org.0.into());
            sql.push_str(&format!(" and org_id = {}", parameter(self.dialect, 3)));
        }
        let Some(row) = self.tx.query_one(sql, values).await? else {
            return Ok(());
        };
        let mut index = 0;
        let mut stored = Vec::with_capacity(put.len());
        for (property, _) in put.iter() {
            stored.push(layout::read(self.dialect, layout::storage(&property.kind), &row, &mut index)?);
        }
        let mut stored = stored.into_iter();
        put.retain(|(property, value)| {
            let new = layout::settle(layout::storage(&property.kind), value.clone());
            stored.next() != new
        });
        Ok(())
    }

    /// Removes the links of a near object, a far one, or between both; all but those that touch `but` at the open side.
    async fn unlink_rows(&mut self, end: &Arc<End>, near: Option<Uuid>, far: Option<Uuid>, but: Option<Uuid>) -> Result<(), StoreError> {
        let mut pairs = self.link_rows_of(end, near, far).await?;
        let ours: Vec<(Uuid, Uuid)> = self
            .links
            .iter()
            .filter(|op| {
                op.put.is_some() && op.relationship.klass == end.relationship.klass && op.relationship.name == end.relationship.name
            })
            .map(|op| {
                if end.side == Side::From {
                    (op.from, op.to)
                } else {
                    (op.to, op.from)
                }
            })
            .filter(|(n, f)| near.is_none_or(|near| near == *n) && far.is_none_or(|far| far == *f))
            .collect();
        pairs.extend(ours);
        pairs.retain(|(n, f)| but.is_none_or(|but| if near.is_some() { *f != but } else { *n != but }));
        pairs.retain(|(n, f)| self.pending(&end.relationship, end, *n, *f) != Some(false));
        pairs.sort_unstable();
        pairs.dedup();
        self.drop_links(end, &pairs).await
    }

    /// Removes links, (near, far), and tells both sides.
    pub async fn drop_links(&mut self, end: &Arc<End>, pairs: &[(Uuid, Uuid)]) -> Result<(), StoreError> {
        if pairs.is_empty() {
            return Ok(());
        }
        self.load_any(end, pairs).await?;
        for (near, far) in pairs {
            match self.rows.get_mut(near) {
                Some(row) if row.lock >= Lock::Change => {
                    self.change(*near)?.ends.insert(end.legal.clone());
                }
                Some(row) => {
                    row.unlinked.insert(end.legal.clone());
                }
                None => {}
            }
            self.tell_far(end, *far, false);
            let (from, to) = if end.side == Side::From { (*near, *far) } else { (*far, *near) };
            self.links.push(LinkOp {
                relationship: end.relationship.clone(),
                from,
                to,
                to_klass: String::new(),
                put: None,
            });
        }
        Ok(())
    }

    /// Loads both sides of links, of whichever of the possible klasses they are.
    pub(super) async fn load_any(&mut self, end: &End, pairs: &[(Uuid, Uuid)]) -> Result<(), StoreError> {
        let near: Vec<Uuid> = pairs.iter().map(|(near, _)| *near).collect();
        let far: Vec<Uuid> = pairs.iter().map(|(_, far)| *far).collect();
        let registry = self.registry.clone();
        let near_klasses = std::slice::from_ref(&end.klass);
        for (ids, klasses) in [(near, near_klasses), (far, end.to.as_slice())] {
            for name in klasses {
                let missing: Vec<Uuid> = ids.iter().copied().filter(|id| !self.rows.contains_key(id)).collect();
                if let Some(klass) = registry.klass(name) {
                    self.load_ids(klass, &missing, Lock::Link).await?;
                }
            }
        }
        Ok(())
    }
}
