//! Deleting, restoring, destroying; and what a delete does to those that point to the deleted.
//!
//! No race: whoever links to an object holds it by [`Lock::Link`], and whoever deletes it by [`Lock::Remove`], which excludes that.
//! So the look for those that point to it, which follows the lock, sees all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::layout::{self, aside, bind_time, in_ids, parameter, quote, table};
use super::unit::{Fate, Lock, Unit, broken};
use crate::klass::fault::Code;
use crate::klass::relationship::{Link, OnDelete, Side};
use crate::klass::{End, Fault, Klass, Value};
use crate::store::StoreError;

/// How many objects one delete may take along.
const MOST: usize = 100_000;

impl Unit<'_> {
    /// Deletes (softly, or for good) an object that is held by [`Lock::Remove`]. Its rules are applied by [`Unit::apply_rules`].
    pub fn remove(&mut self, id: Uuid, destroy: bool) -> Result<(), StoreError> {
        let now = self.now;
        let row = self.change(id)?;
        if row.fate == Fate::Destroyed || (!destroy && row.is_deleted()) {
            return Ok(());
        }
        if row.lock < Lock::Remove {
            return Err(StoreError::Corrupt(format!("{} is not held firmly enough to delete", row.label())));
        }
        if destroy {
            row.fate = Fate::Destroyed;
        } else {
            let slot = row.layout.deleted_at;
            row.after[slot] = Value::DateTime(now);
        }
        self.removed.push(id);
        Ok(())
    }

    /// Does to those that point to deleted objects what their relationships say, and on, until nothing follows.
    pub async fn apply_rules(&mut self) -> Result<(), StoreError> {
        let mut done = 0;
        while done < self.removed.len() {
            if self.removed.len() > MOST {
                self.fault(
                    Fault::new(Code::TooMany, ["id"], format!("this would delete more than {MOST} objects"))
                        .remedy("delete what points to it first, in parts"),
                );
                return Ok(());
            }
            let batch: Vec<Uuid> = self.removed[done..].to_vec();
            done = self.removed.len();
            let mut by_klass: BTreeMap<(String, bool), (Arc<Klass>, Vec<Uuid>)> = BTreeMap::new();
            for id in batch {
                let row = &self.rows[&id];
                let destroy = row.fate == Fate::Destroyed;
                by_klass
                    .entry((row.klass.name.clone(), destroy))
                    .or_insert_with(|| (row.klass.clone(), Vec::new()))
                    .1
                    .push(id);
            }
            for ((_, destroy), (klass, ids)) in by_klass {
                for end in &klass.ends {
                    match (&end.relationship.link, end.side) {
                        (Link::Column { .. }, Side::To) => self.rule_columns(end, &ids, destroy).await?,
                        (Link::Table { .. }, Side::To) => self.rule_rows(end, &ids, destroy).await?,
                        // What it points to itself: the links stay for a restore, and go with it when it is destroyed.
                        (Link::Table { .. }, Side::From) if destroy => {
                            let pairs = self.stored_links(end, &ids, &[]).await?;
                            self.drop_links(end, &pairs).await?;
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    async fn rule_columns(&mut self, end: &Arc<End>, ids: &[Uuid], destroy: bool) -> Result<(), StoreError> {
        let Some(klass) = self.registry.klass(&end.relationship.klass).cloned() else {
            return Ok(());
        };
        let lock = match end.relationship.on_delete {
            OnDelete::Restrict => Lock::Link,
            OnDelete::Unlink => Lock::Change,
            OnDelete::Cascade => Lock::Remove,
        };
        let rule = end.relationship.on_delete;
        if rule == OnDelete::Restrict {
            // Counting is enough, and may be all that is feasible.
            return self.restrict(end, &klass, ids, destroy).await;
        }
        // A destroyed object must not be pointed to by deleted ones either.
        let narrowed = if destroy { None } else { Some(("is null", None)) };
        let pointing = self.pointing(&klass, end, ids, lock, narrowed).await?;
        for id in pointing {
            let row = &self.rows[&id];
            if row.fate == Fate::Destroyed || (row.is_deleted() && !destroy) {
                continue;
            }
            let Some((slot, _)) = row.layout.link(end) else { continue };
            let Some(far) = layout::uuid_of(&row.after[slot]) else { continue };
            self.as_consequence(far, |unit| match rule {
                OnDelete::Cascade => unit.remove(id, destroy),
                _ => unit.untie(id, end, &["id".to_string()]),
            })?;
        }
        Ok(())
    }

    /// Does something as a consequence of the change of another object.
    fn as_consequence<T>(&mut self, of: Uuid, what: impl FnOnce(&mut Self) -> T) -> T {
        let (draft, consequence) = (self.draft, self.consequence);
        if let Some(row) = self.rows.get(&of) {
            self.draft = row.draft;
            self.consequence = Some((row.event, row.cause.map_or(0, |(_, depth)| depth) + 1));
        }
        let result = what(self);
        (self.draft, self.consequence) = (draft, consequence);
        result
    }

    async fn restrict(&mut self, end: &Arc<End>, klass: &Arc<Klass>, ids: &[Uuid], destroy: bool) -> Result<(), StoreError> {
        let Link::Column {
            column,
            klass_column,
            home,
        } = &end.relationship.link
        else {
            return Ok(());
        };
        let (alias, from) = match (&klass.extension, home) {
            (Some(extension), crate::klass::property::Home::Extension) => (
                'x',
                format!(
                    "{} t join {} x on x.id = t.id",
                    table(self.dialect, &klass.table),
                    table(self.dialect, extension)
                ),
            ),
            _ => ('t', format!("{} t", table(self.dialect, &klass.table))),
        };
        let mut sql = format!(
            "select {alias}.{column}, t.id, t.deleted_at is not null from {from} where {alias}.{column} {}",
            in_ids(self.dialect, 1),
            column = quote(column)
        );
        let mut values = vec![layout::ids(self.dialect, ids)];
        if klass.table.shared {
            values.push(self.org.0.into());
            sql.push_str(&format!(
                " and {}t.org_id = {}",
                aside(self.dialect),
                parameter(self.dialect, values.len())
            ));
        }
        if let Some(column) = klass_column {
            values.push(end.klass.clone().into());
            sql.push_str(&format!(
                " and {alias}.{} = {}",
                quote(column),
                parameter(self.dialect, values.len())
            ));
        }
        if !destroy {
            sql.push_str(" and t.deleted_at is null");
        }
        // Those that go or were moved away in this same transaction do not count, so a few more than one are looked at.
        sql.push_str(&format!(" limit {}", 100 + self.rows.len()));
        let mut holders: BTreeMap<Uuid, Vec<(Uuid, bool)>> = BTreeMap::new();
        for row in self.tx.query(sql, values).await? {
            let (far, id): (Uuid, Uuid) = (row.try_get_by_index(0).map_err(broken)?, row.try_get_by_index(1).map_err(broken)?);
            let deleted = match self.dialect {
                crate::store::Dialect::Postgres => row.try_get_by_index::<bool>(2).map_err(broken)?,
                crate::store::Dialect::Sqlite => row.try_get_by_index::<i64>(2).map_err(broken)? != 0,
            };
            holders.entry(far).or_default().push((id, deleted));
        }
        for (far, pointing) in holders {
            let still: Vec<&(Uuid, bool)> = pointing
                .iter()
                .filter(|(id, _)| match self.rows.get(id) {
                    Some(row) => {
                        (row.is_live() || (destroy && row.fate == Fate::Kept))
                            && row
                                .layout
                                .link(end)
                                .is_some_and(|(slot, _)| layout::uuid_of(&row.after[slot]) == Some(far))
                    }
                    None => true,
                })
                .collect();
            let Some((first, deleted)) = still.first() else { continue };
            self.restricted(end, klass, far, *first, *deleted, still.len());
        }
        Ok(())
    }

    fn restricted(&mut self, end: &End, klass: &Klass, far: Uuid, first: Uuid, deleted: bool, count: usize) {
        let row = &self.rows[&far];
        let (label, draft) = (row.label(), row.draft);
        let more = if count > 1 { " and others" } else { "" };
        let state = if deleted { " (deleted)" } else { "" };
        let message = format!(
            "{label} cannot go: {}{state}{more} still has it as {}",
            super::unit::label(klass, first),
            end.relationship.name
        );
        let remedy = if deleted {
            "destroy those first"
        } else {
            "delete those first, or tie them to another object"
        };
        let fault = Fault::new(Code::Restricted, ["id"], message).remedy(remedy);
        self.faults.entry(draft).or_default().push(fault);
    }

    async fn rule_rows(&mut self, end: &Arc<End>, ids: &[Uuid], destroy: bool) -> Result<(), StoreError> {
        let pairs = self.stored_links(end, ids, &[]).await?;
        if pairs.is_empty() {
            return Ok(());
        }
        let Some(klass) = self.registry.klass(&end.relationship.klass).cloned() else {
            return Ok(());
        };
        let others: Vec<Uuid> = pairs.iter().map(|(_, from)| *from).collect();
        match end.relationship.on_delete {
            OnDelete::Unlink => self.drop_links(end, &pairs).await,
            OnDelete::Restrict => {
                self.load_ids(&klass, &others, Lock::Link).await?;
                for (id, from) in &pairs {
                    let live = self.rows.get(from).is_some_and(|row| row.is_live());
                    if live && from != id {
                        self.restricted(end, &klass, *id, *from, false, 1);
                    }
                }
                if destroy {
                    self.drop_links(end, &pairs).await?;
                }
                Ok(())
            }
            OnDelete::Cascade => {
                self.load_ids(&klass, &others, Lock::Remove).await?;
                for (id, from) in &pairs {
                    if self.rows.contains_key(from) {
                        self.as_consequence(*id, |unit| unit.remove(*from, destroy))?;
                    }
                }
                if destroy {
                    self.drop_links(end, &pairs).await?;
                }
                Ok(())
            }
        }
    }

    /// Undoes a soft delete, and with it that of the objects which it took along.
    pub async fn restore(&mut self, id: Uuid) -> Result<(), StoreError> {
        let mut todo = vec![id];
        let mut restored = Vec::new();
        while let Some(id) = todo.pop() {
            let row = &self.rows[&id];
            let Value::DateTime(at) = row.after[row.layout.deleted_at] else {
                continue;
            };
            if row.fate == Fate::Destroyed {
                continue;
            }
            let klass = row.klass.clone();
            let slot = row.layout.deleted_at;
            self.change(id)?.after[slot] = Value::Null;
            restored.push(id);
            for end in &klass.ends {
                if end.side != Side::To || end.relationship.on_delete != OnDelete::Cascade {
                    continue;
                }
                let Some(far) = self.registry.klass(&end.relationship.klass).cloned() else {
                    continue;
                };
                let same = Some(bind_time(self.dialect, Some(at)));
                let taken = match end.relationship.link {
                    Link::Column { .. } => self.pointing(&far, end, &[id], Lock::Change, Some(("= ", same))).await?,
                    Link::Table { .. } => {
                        let froms: Vec<Uuid> = self.stored_links(end, &[id], &[]).await?.iter().map(|(_, from)| *from).collect();
                        self.load_ids(&far, &froms, Lock::Change).await?;
                        froms
                    }
                };
                for other in taken {
                    let Some(row) = self.rows.get(&other) else { continue };
                    if row.after[row.layout.deleted_at] == Value::DateTime(at) {
                        todo.push(other);
                        let (event, depth) = self
                            .rows
                            .get(&id)
                            .map_or((Uuid::nil(), 0), |row| (row.event, row.cause.map_or(0, |c| c.1)));
                        if let Some(row) = self.rows.get_mut(&other) {
                            row.cause = Some((event, depth + 1));
                        }
                    }
                }
            }
        }
        // What it must belong to must be there.
        for id in restored {
            let klass = self.rows[&id].klass.clone();
            for end in klass
                .ends
                .iter()
                .filter(|end| end.side == Side::From && end.relationship.on_delete != OnDelete::Unlink)
            {
                let row = &self.rows[&id];
                let Some(far) = row.layout.link(end).and_then(|(slot, _)| layout::uuid_of(&row.after[slot])) else {
                    continue;
                };
                let there = match row.layout.link(end).and_then(|(_, klass)| klass).map(|slot| &row.after[slot]) {
                    Some(Value::String(name)) => Some(name.clone()),
                    _ => end.to.first().cloned(),
                };
                if let Some(klass) = there.and_then(|name| self.registry.klass(&name).cloned()) {
                    self.load_ids(&klass, &[far], Lock::Link).await?;
                }
                if let Some(other) = self.rows.get(&far)
                    && !other.is_live()
                {
                    let message = format!("{} belongs to {}, which is deleted", self.rows[&id].label(), other.label());
                    self.fault(
                        Fault::new(Code::Conflict, ["id"], message).remedy("restore that one; this comes back with it if it went with it"),
                    );
                }
            }
        }
        Ok(())
    }
}
