//! Rows to statements: what a unit holds, written with as few of them as it has klasses and shapes.
//!
//! A few rows go as `values (…)`, many as one JSON parameter that the database takes apart: one text for every length.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sea_orm::Value as Bound;
use serde_json::Value as Json;
use uuid::Uuid;

use super::layout::{self, Layout, Slot, Storage, aside, in_ids, parameter, quote, table};
use super::unit::{Fate, Row, Unit, row_set};
use crate::klass::contact;
use crate::klass::filter::ContactKind;
use crate::klass::property::Home;
use crate::klass::registry::Table;
use crate::klass::relationship::Cardinality;
use crate::klass::{Klass, Value};
use crate::store::{Dialect, StoreError};

mod contacts;
mod links;

/// Up to so many rows go as `values`.
const FEW: usize = 3;
/// So many rows go in one statement at most.
const MANY: usize = 1_000;

/// A contact point that identifies a customer: kind and normalised value.
pub(super) type Contact = (&'static str, String);

/// The contact points that a customer's row says.
pub(super) fn contacts(row: &Row, image: &layout::Image) -> BTreeSet<Contact> {
    let mut points = BTreeSet::new();
    let mut put = |kind: ContactKind, text: Option<&str>| {
        if let Some(value) = text.and_then(|text| contact::normalise(kind, text)) {
            points.insert((super::unit::contact_kind(kind), value));
        }
    };
    put(ContactKind::Email, row.layout.text(image, "email"));
    put(ContactKind::Phone, row.layout.text(image, "phone"));
    for (kind, column, part) in [
        (ContactKind::Email, "emails", "email"),
        (ContactKind::Phone, "phones", "phone"),
        (ContactKind::ExternalId, "external_ids", "externalId"),
    ] {
        if let Some(slot) = row.layout.slot(column)
            && let Value::Json(Json::Array(items)) = &image[slot]
        {
            items.iter().for_each(|item| put(kind, item.get(part).and_then(Json::as_str)));
        }
    }
    points
}

/// The contact points that a row gains and loses.
pub(super) fn contact_changes(row: &Row) -> (BTreeSet<Contact>, BTreeSet<Contact>) {
    if !(row.klass.standard && row.klass.name == "customer") || row.fate == Fate::Destroyed {
        return Default::default();
    }
    let before = row.before.as_ref().map(|image| contacts(row, image)).unwrap_or_default();
    let after = contacts(row, &row.after);
    (
        after.difference(&before).cloned().collect(),
        before.difference(&after).cloned().collect(),
    )
}

impl Unit<'_> {
    /// Writes all rows, links and contact points.
    pub async fn flush(&mut self) -> Result<(), StoreError> {
        self.flush_lost_contacts().await?;
        self.release().await?;
        for (klass, ids) in self.levels(|row| row.is_new() && row.fate == Fate::Kept) {
            for chunk in ids.chunks(MANY) {
                self.insert(&klass, chunk).await?;
            }
        }
        self.flush_updates().await?;
        self.flush_links().await?;
        self.flush_gained_contacts().await?;
        self.flush_destroyed().await
    }

    /// Lets go of unique values that pass from one row to another in this unit: the database checks row by row.
    async fn release(&self) -> Result<(), StoreError> {
        let unique = |row: &Row, slot: usize| match &row.layout.slots[slot].property {
            Some(property) => (property.unique || Some(slot) == row.layout.external_id) && !property.required,
            None => row.klass.ends.iter().any(|end| {
                end.relationship.inverse_cardinality == Cardinality::One && row.layout.link(end).is_some_and(|(link, _)| link == slot)
            }),
        };
        let kept = || self.rows.values().filter(|row| row.fate == Fate::Kept);
        let mut taken: HashMap<(&str, usize, String), Uuid> = HashMap::new();
        let mut leaving = Vec::new();
        for row in kept() {
            for slot in 0..row.after.len() {
                let before = row.before.as_ref().map(|before| &before[slot]);
                if before == Some(&row.after[slot]) || !unique(row, slot) {
                    continue;
                }
                if !row.after[slot].is_null() {
                    taken.insert((&row.klass.name, slot, layout::to_json(&row.after[slot]).to_string()), row.id);
                }
                if let Some(before) = before.filter(|before| !before.is_null()) {
                    leaving.push((row, slot, layout::to_json(before).to_string()));
                }
            }
        }
        for (row, slot, value) in leaving {
            if !taken.contains_key(&(row.klass.name.as_str(), slot, value)) {
                continue;
            }
            let place = &row.layout.slots[slot];
            let home = match (&row.klass.extension, place.home) {
                (Some(extension), Home::Extension) => extension,
                _ => &row.klass.table,
            };
            let set: Vec<String> = column_names(place).iter().map(|column| format!("{column} = null")).collect();
            let sql = format!(
                "update {} set {} where id = {}",
                table(self.dialect, home),
                set.join(", "),
                parameter(self.dialect, 1)
            );
            self.tx.execute(sql, vec![row.id.into()]).await?;
        }
        Ok(())
    }

    /// Rows of a sort, by klass, in an order in which each comes after those that it points to.
    fn levels(&self, which: impl Fn(&Row) -> bool) -> Vec<(Arc<Klass>, Vec<Uuid>)> {
        let chosen: Vec<&Row> = self.rows.values().filter(|row| which(row)).collect();
        let ids: BTreeSet<Uuid> = chosen.iter().map(|row| row.id).collect();
        let mut level: HashMap<Uuid, u32> = HashMap::new();
        // As often as the longest chain; a circle (which takes rows that exist) ends at the number of rows.
        for _ in 0..=chosen.len() {
            let mut moved = false;
            for row in &chosen {
                let mut mine = level.get(&row.id).copied().unwrap_or(0);
                for (slot, value) in row.layout.slots.iter().zip(&row.after) {
                    if slot.property.is_none()
                        && let Some(far) = layout::uuid_of(value)
                        && far != row.id
                        && ids.contains(&far)
                    {
                        mine = mine.max(level.get(&far).copied().unwrap_or(0) + 1);
                    }
                }
                if level.insert(row.id, mine).unwrap_or(0) != mine {
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        let mut groups: BTreeMap<(u32, String), (Arc<Klass>, Vec<Uuid>)> = BTreeMap::new();
        for row in chosen {
            let key = (level.get(&row.id).copied().unwrap_or(0), row.klass.name.clone());
            groups.entry(key).or_insert_with(|| (row.klass.clone(), Vec::new())).1.push(row.id);
        }
        groups.into_values().collect()
    }

    async fn insert(&self, klass: &Arc<Klass>, ids: &[Uuid]) -> Result<(), StoreError> {
        let rows: Vec<&Row> = ids.iter().map(|id| &self.rows[id]).collect();
        let layout = Layout::of(klass)?;
        let given: Vec<usize> = (0..layout.slots.len())
            .filter(|&i| rows.iter().any(|row| !row.after[i].is_null()))
            .collect();
        let here: Vec<usize> = given.iter().copied().filter(|&i| layout.slots[i].home == Home::Table).collect();
        self.put(&klass.table, &layout, &here, &rows, "").await?;
        let mut there: Vec<usize> = given.into_iter().filter(|&i| layout.slots[i].home == Home::Extension).collect();
        if let (Some(extension), false) = (&klass.extension, there.is_empty()) {
            there.insert(0, layout.id);
            self.put(extension, &layout, &there, &rows, "").await?;
        }
        Ok(())
    }

    /// Inserts slots of rows into a table.
    async fn put(&self, into: &Table, layout: &Layout, slots: &[usize], rows: &[&Row], conflict: &str) -> Result<(), StoreError> {
        let dialect = self.dialect;
        let mut columns = Vec::new();
        if into.shared {
            columns.push(quote("org_id"));
        }
        for &i in slots {
            columns.extend(column_names(&layout.slots[i]));
        }
        let head = format!("insert into {} ({})", table(dialect, into), columns.join(", "));
        if rows.len() <= FEW {
            let mut values: Vec<Bound> = Vec::new();
            let mut tuples = Vec::new();
            for row in rows {
                let from = values.len();
                if into.shared {
                    values.push(self.org.0.into());
                }
                for &i in slots {
                    layout::bind(dialect, layout.slots[i].storage, &row.after[i], &mut values)?;
                }
                let places: Vec<String> = (from + 1..=values.len()).map(|n| parameter(dialect, n)).collect();
                tuples.push(format!("({})", places.join(", ")));
            }
            self.tx
                .execute(format!("{head} values {}{conflict}", tuples.join(", ")), values)
                .await?;
            return Ok(());
        }
        let mut cells = Vec::new();
        let mut at = 0;
        for &i in slots {
            let storage = layout.slots[i].storage;
            for part in 0..storage.types().len() {
                cells.push(storage.cell(dialect, at, part));
                at += 1;
            }
        }
        let mut set = Vec::with_capacity(rows.len());
        for row in rows {
            let mut values = Vec::with_capacity(at);
            for &i in slots {
                layout::cell(dialect, layout.slots[i].storage, &row.after[i], &mut values)?;
            }
            set.push(Json::Array(values));
        }
        let (mut values, mut org) = (Vec::new(), String::new());
        if into.shared {
            values.push(self.org.0.into());
            org = if dialect == Dialect::Postgres {
                "$1::uuid, ".into()
            } else {
                "?1, ".into()
            };
        }
        let (from, bound) = row_set(dialect, values.len() + 1, set);
        values.push(bound);
        // SQLite would read `on conflict` as a join's `on`.
        let end = if conflict.is_empty() { "" } else { " where true" };
        self.tx
            .execute(
                format!("{head} select {org}{} from {from}{end}{conflict}", cells.join(", ")),
                values,
            )
            .await?;
        Ok(())
    }

    async fn flush_updates(&self) -> Result<(), StoreError> {
        // By klass: one statement sets what any of its rows changes, in the others to what they hold (they are locked). Not one for
        // each set of columns: of what is derived there are as many sets as there are histories.
        type Groups<'r> = BTreeMap<String, (Arc<Klass>, Vec<(&'r Row, Vec<usize>)>)>;
        let mut groups = Groups::new();
        for row in self.rows.values() {
            let Some(before) = row.before.as_ref().filter(|_| row.fate == Fate::Kept) else {
                continue;
            };
            let changed: Vec<usize> = (0..before.len()).filter(|&i| before[i] != row.after[i]).collect();
            if !changed.is_empty() {
                groups
                    .entry(row.klass.name.clone())
                    .or_insert_with(|| (row.klass.clone(), Vec::new()))
                    .1
                    .push((row, changed));
            }
        }
        for (klass, rows) in groups.into_values() {
            let layout = Layout::of(&klass)?;
            for home in [Home::Table, Home::Extension] {
                let is_here = |&i: &usize| layout.slots[i].home == home;
                let here: Vec<&Row> = rows
                    .iter()
                    .filter(|(_, changed)| changed.iter().any(is_here))
                    .map(|(row, _)| *row)
                    .collect();
                let slots: BTreeSet<usize> = rows
                    .iter()
                    .flat_map(|(_, changed)| changed.iter().copied())
                    .filter(is_here)
                    .collect();
                let slots: Vec<usize> = slots.into_iter().collect();
                for rows in here.chunks(MANY) {
                    match (&klass.extension, home) {
                        (Some(extension), Home::Extension) => {
                            let columns: Vec<String> = slots.iter().flat_map(|&i| column_names(&layout.slots[i])).collect();
                            let set: Vec<String> = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
                            let mut slots = slots.clone();
                            slots.insert(0, layout.id);
                            let conflict = format!(" on conflict (id) do update set {}", set.join(", "));
                            self.put(extension, &layout, &slots, rows, &conflict).await?;
                        }
                        _ => self.update(&klass.table, &layout, &slots, rows).await?,
                    }
                }
            }
        }
        Ok(())
    }

    async fn update(&self, of: &Table, layout: &Layout, slots: &[usize], rows: &[&Row]) -> Result<(), StoreError> {
        let dialect = self.dialect;
        let columns: Vec<String> = slots.iter().flat_map(|&i| column_names(&layout.slots[i])).collect();
        let touched = if let [row] = rows {
            let mut values: Vec<Bound> = Vec::new();
            for &i in slots {
                layout::bind(dialect, layout.slots[i].storage, &row.after[i], &mut values)?;
            }
            let set: Vec<String> = columns
                .iter()
                .enumerate()
                .map(|(n, column)| format!("{column} = {}", parameter(dialect, n + 1)))
                .collect();
            values.push(row.id.into());
            let mut sql = format!(
                "update {} set {} where id = {}",
                table(dialect, of),
                set.join(", "),
                parameter(dialect, values.len())
            );
            if of.shared {
                values.push(self.org.0.into());
                sql.push_str(&format!(" and {}org_id = {}", aside(dialect), parameter(dialect, values.len())));
            }
            self.tx.execute(sql, values).await?
        } else {
            let mut cells = vec![format!("{} as c0", Storage::Uuid.cell(dialect, 0, 0))];
            let mut at = 1;
            for &i in slots {
                let storage = layout.slots[i].storage;
                for part in 0..storage.types().len() {
                    cells.push(format!("{} as c{at}", storage.cell(dialect, at, part)));
                    at += 1;
                }
            }
            let set: Vec<String> = columns
                .iter()
                .enumerate()
                .map(|(n, column)| format!("{column} = n.c{}", n + 1))
                .collect();
            let mut json = Vec::with_capacity(rows.len());
            for row in rows {
                let mut values = Vec::with_capacity(at);
                layout::cell(dialect, Storage::Uuid, &layout::id_value(Some(row.id)), &mut values)?;
                for &i in slots {
                    layout::cell(dialect, layout.slots[i].storage, &row.after[i], &mut values)?;
                }
                json.push(Json::Array(values));
            }
            let mut values = Vec::new();
            let mut org = String::new();
            if of.shared {
                values.push(self.org.0.into());
                org = format!(" and {}t.org_id = {}", aside(dialect), parameter(dialect, 1));
            }
            let (from, bound) = row_set(dialect, values.len() + 1, json);
            values.push(bound);
            let sql = format!(
                "update {} as t set {} from (select {} from {from}) n where t.id = n.c0{org}",
                table(dialect, of),
                set.join(", "),
                cells.join(", ")
            );
            self.tx.execute(sql, values).await?
        };
        if touched != rows.len() as u64 {
            return Err(StoreError::Corrupt(format!(
                "{touched} of {} rows of {} were there to update",
                rows.len(),
                of.name
            )));
        }
        Ok(())
    }

    async fn flush_destroyed(&self) -> Result<(), StoreError> {
        let dialect = self.dialect;
        let destroyed = self.levels(|row| row.fate == Fate::Destroyed && !row.is_new());
        for (klass, ids) in destroyed.into_iter().rev() {
            let bound = || layout::ids(dialect, &ids);
            if klass.standard && klass.name == "customer" {
                let sql = format!(
                    "delete from contact_point where org_id = {} and customer_id {}",
                    parameter(dialect, 1),
                    in_ids(dialect, 2)
                );
                self.tx.execute(sql, vec![self.org.0.into(), bound()]).await?;
            }
            if let Some(extension) = &klass.extension {
                let sql = format!("delete from {} where id {}", table(dialect, extension), in_ids(dialect, 1));
                self.tx.execute(sql, vec![bound()]).await?;
            }
            let mut sql = format!("delete from {} where id {}", table(dialect, &klass.table), in_ids(dialect, 1));
            let mut values = vec![bound()];
            if klass.table.shared {
                values.push(self.org.0.into());
                sql.push_str(&format!(" and {}org_id = {}", aside(dialect), parameter(dialect, 2)));
            }
            self.tx.execute(sql, values).await?;
        }
        Ok(())
    }

    /// Writes what a recount changed since [`Unit::flush`]: `flushed` are the images that were written.
    pub async fn flush_recounted(&mut self, flushed: HashMap<Uuid, layout::Image>) -> Result<(), StoreError> {
        let mut held: Vec<(Uuid, Option<layout::Image>)> = Vec::new();
        for (id, image) in flushed {
            if let Some(row) = self.rows.get_mut(&id) {
                held.push((id, row.before.replace(image)));
            }
        }
        // Only these rows differ now from what is written.
        let others: Vec<(Uuid, Option<layout::Image>)> = self
            .rows
            .values_mut()
            .filter(|row| !held.iter().any(|(id, _)| *id == row.id))
            .map(|row| (row.id, row.before.replace(row.after.clone())))
            .collect();
        let result = self.flush_updates().await;
        for (id, before) in held.into_iter().chain(others) {
            if let Some(row) = self.rows.get_mut(&id) {
                row.before = before;
            }
        }
        result
    }
}

fn column_names(slot: &Slot) -> Vec<String> {
    let mut names = vec![quote(&slot.column)];
    if slot.storage == Storage::Money {
        names.push(quote(&format!("{}_currency", slot.column)));
    }
    names
}
