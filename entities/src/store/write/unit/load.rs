//! Rows that a transaction works on are read, and locked, in sets: one statement for each way to name them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;
use sea_orm::{QueryResult, Value as Bound};
use uuid::Uuid;

use super::{By, Fate, Lock, Name, Row, Unit, Want, broken, values_condition};
use crate::klass::property::Home;
use crate::klass::query::Key;
use crate::klass::{Klass, Property, Value};
use crate::store::write::layout::{self, Layout, in_ids, in_texts, parameter, quote, table};
use crate::store::{Dialect, StoreError};

impl Unit<'_> {
    /// Loads what is wanted and not here yet: a statement per klass, sort of key and lock.
    pub async fn load(&mut self, wants: Vec<Want>) -> Result<(), StoreError> {
        // The firmest lock that anyone wants of a name.
        let mut locks: IndexMap<Name, (Arc<Klass>, Key, Lock)> = IndexMap::new();
        for want in wants {
            let Some(name) = Self::name(&want.klass, &want.key) else { continue };
            let lock = locks.entry(name).or_insert((want.klass, want.key, want.lock));
            lock.2 = lock.2.max(want.lock);
        }
        type Group = (Arc<Klass>, Option<Arc<Property>>, Vec<(Name, Value)>);
        let mut groups: IndexMap<(String, String, Lock), Group> = IndexMap::new();
        for (name, (klass, key, lock)) in locks {
            let sort = match &name.1 {
                By::Id(id) => {
                    if self
                        .rows
                        .get(id)
                        .is_some_and(|row| row.lock >= lock || row.klass.name != klass.name)
                    {
                        continue;
                    }
                    "id".to_string()
                }
                By::Unique(column, _) => format!("u:{column}"),
                By::Contact(kind, _) => format!("c:{kind}"),
            };
            let (property, value) = match &key {
                Key::Unique(property, operand) => (Some(property.clone()), operand.value(&[]).clone()),
                Key::Id(operand) | Key::Contact(_, operand) => (None, operand.value(&[]).clone()),
            };
            let group = groups
                .entry((klass.name.clone(), sort, lock))
                .or_insert((klass, property, Vec::new()));
            group.2.push((name, value));
        }
        for ((_, _, lock), (klass, property, names)) in groups {
            match property {
                Some(property) => self.load_unique(&klass, &property, names, lock).await?,
                None => match &names[0].0.1 {
                    By::Contact(kind, _) => self.load_contacts(&klass, kind, names, lock).await?,
                    _ => {
                        let ids: Vec<Uuid> = names.iter().filter_map(|(_, value)| layout::uuid_of(value)).collect();
                        self.load_ids(&klass, &ids, lock).await?;
                    }
                },
            }
        }
        Ok(())
    }

    /// Loads objects of a klass by id, those that are not held firmly enough yet.
    pub async fn load_ids(&mut self, klass: &Arc<Klass>, ids: &[Uuid], lock: Lock) -> Result<(), StoreError> {
        let mut missing: Vec<Uuid> = ids
            .iter()
            .copied()
            .filter(|id| self.rows.get(id).is_none_or(|row| row.lock < lock))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let condition = match self.dialect {
            // One is by far the most usual; the plain form has the plain plan.
            Dialect::Postgres if missing.len() == 1 => "t.\"id\" = any($2)".to_string(),
            dialect => format!("t.\"id\" {}", in_ids(dialect, 2)),
        };
        let parameter = layout::ids(self.dialect, &missing);
        self.load_where(klass, &condition, vec![parameter], lock).await?;
        Ok(())
    }

    async fn load_unique(
        &mut self,
        klass: &Arc<Klass>,
        property: &Arc<Property>,
        names: Vec<(Name, Value)>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        let storage = layout::storage(&property.kind);
        let alias = if property.home == Home::Extension { 'x' } else { 't' };
        let column = layout::key_column(self.dialect, &property.kind, &format!("{alias}.{}", quote(&property.column)));
        let values: Vec<Value> = names
            .iter()
            .map(|(_, value)| layout::key_value(&property.kind, value.clone()))
            .collect();
        let (condition, parameter) = values_condition(self.dialect, storage, &column, 2, values.iter())?;
        // The unique keys of shared tables begin with the org.
        let ids = self.load_rows(klass, &condition, vec![parameter], lock, "").await?;
        for (name, _) in &names {
            self.found.entry(name.clone()).or_insert(None);
        }
        let slot = Layout::of(klass)?.slot(&property.column);
        for id in ids {
            let Some((row, slot)) = self.rows.get(&id).zip(slot) else {
                continue;
            };
            // As it is in the database: a change of it that is under way here was put into `found` when it was made.
            let image = row.before.as_ref().unwrap_or(&row.after);
            let value = layout::key_value(&property.kind, image[slot].clone());
            let value = layout::to_json(&value).to_string();
            self.found
                .insert((klass.name.clone(), By::Unique(property.column.clone(), value)), Some(id));
        }
        Ok(())
    }

    async fn load_contacts(
        &mut self,
        klass: &Arc<Klass>,
        kind: &'static str,
        names: Vec<(Name, Value)>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        let values: Vec<&str> = names
            .iter()
            .filter_map(|(name, _)| match &name.1 {
                By::Contact(_, value) => Some(value.as_str()),
                _ => None,
            })
            .collect();
        let sql = format!(
            "select value, customer_id from contact_point where org_id = {} and kind = {} and value {}",
            parameter(self.dialect, 1),
            parameter(self.dialect, 2),
            in_texts(self.dialect, 3)
        );
        let rows = self
            .tx
            .query(
                sql,
                vec![self.org.0.into(), kind.into(), layout::texts(self.dialect, values.into_iter())],
            )
            .await?;
        let mut holders = HashMap::new();
        for row in &rows {
            holders.insert(
                row.try_get_by_index::<String>(0).map_err(broken)?,
                row.try_get_by_index::<Uuid>(1).map_err(broken)?,
            );
        }
        let ids: Vec<Uuid> = holders.values().copied().collect();
        self.load_ids(klass, &ids, lock).await?;
        for (name, _) in names {
            if self.found.get(&name).is_some_and(Option::is_some) {
                continue;
            }
            let holder = match &name.1 {
                By::Contact(_, value) => holders.get(value).copied(),
                _ => None,
            };
            self.found.insert(name, holder);
        }
        Ok(())
    }

    /// Loads the rows of a klass under a condition on `t` (and `x`), whose parameters begin at 2 (1 is the org); answers their ids.
    pub async fn load_where(
        &mut self,
        klass: &Arc<Klass>,
        condition: &str,
        parameters: Vec<Bound>,
        lock: Lock,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.load_rows(klass, condition, parameters, lock, layout::aside(self.dialect))
            .await
    }

    async fn load_rows(
        &mut self,
        klass: &Arc<Klass>,
        condition: &str,
        parameters: Vec<Bound>,
        lock: Lock,
        aside: &str,
    ) -> Result<Vec<Uuid>, StoreError> {
        let layout = Layout::of(klass)?;
        self.klasses.insert(klass.name.clone());
        let mut sql = format!("select {} from {} t", layout.select(), table(self.dialect, &klass.table));
        if let Some(extension) = klass.extension.as_ref().filter(|_| layout.extended) {
            sql.push_str(&format!(" left join {} x on x.id = t.id", table(self.dialect, extension)));
        }
        let one = parameter(self.dialect, 1);
        if klass.table.shared {
            sql.push_str(&format!(" where {aside}t.org_id = {one} and {condition}"));
        } else {
            // The parameter must be named for its place to count; a table of an org's own holds no other's rows.
            let kind = if self.dialect == Dialect::Postgres { "::uuid" } else { "" };
            sql.push_str(&format!(" where {one}{kind} is not null and {condition}"));
        }
        if self.dialect == Dialect::Postgres {
            sql.push_str(" order by t.id ");
            sql.push_str(match lock {
                Lock::Link => "for key share of t",
                Lock::Change => "for no key update of t",
                Lock::Remove => "for update of t",
            });
        }
        let mut values = vec![Bound::from(self.org.0)];
        values.extend(parameters);
        let found = self.tx.query(sql, values).await?;
        let mut ids = Vec::with_capacity(found.len());
        for row in &found {
            ids.push(self.take_in(klass, &layout, row, lock)?);
        }
        Ok(ids)
    }

    fn take_in(&mut self, klass: &Arc<Klass>, layout: &Arc<Layout>, row: &QueryResult, lock: Lock) -> Result<Uuid, StoreError> {
        let image = layout.read(self.dialect, row, 0)?;
        let id =
            layout::uuid_of(&image[layout.id]).ok_or_else(|| StoreError::Corrupt(format!("an object of {} without id", klass.name)))?;
        match self.rows.get_mut(&id) {
            // Held already: what is here is newer, unless it was only linked to and others could change it meanwhile.
            Some(known) if known.lock >= Lock::Change => known.lock = known.lock.max(lock),
            Some(known) => {
                known.lock = known.lock.max(lock);
                known.before = Some(image.clone());
                known.after = image;
            }
            None => {
                self.rows.insert(
                    id,
                    Row {
                        klass: klass.clone(),
                        layout: layout.clone(),
                        id,
                        before: Some(image.clone()),
                        after: image,
                        lock,
                        fate: Fate::Kept,
                        touched: false,
                        draft: self.draft,
                        path: Vec::new(),
                        ends: BTreeSet::new(),
                        linked: BTreeSet::new(),
                        unlinked: BTreeSet::new(),
                        cause: self.cause,
                        event: Uuid::now_v7(),
                    },
                );
            }
        }
        Ok(id)
    }
}
