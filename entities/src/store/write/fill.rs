//! Defaults filled in when a change of klasses asks for it: the one way to write, with the klasses as they are to be. Each object that
//! gets a value gets a version and an event, as if someone had written it; whoever follows it hears of it.

use std::sync::Arc;

use chrono::{SubsecRound, Utc};
use uuid::Uuid;

use super::layout::{self, Layout, quote, table};
use super::links::LinkOp;
use super::unit::{Author, Lock, Unit, broken};
use crate::klass::registry::Table;
use crate::klass::relationship::{Relationship, Side};
use crate::klass::{Klass, Property, Registry, Value};
use crate::store::event::NewEvent;
use crate::store::{Dialect, StoreError, Tx, timeline};

/// A default that is filled in.
#[derive(Clone, Debug)]
pub(crate) struct Filling {
    /// The klasses as they are to be; their tables are there.
    pub registry: Arc<Registry>,
    /// Who changes them, as stored in `updated_by`.
    pub by: String,
    /// Of this klass (of links: the one that declares the relationship).
    pub klass: Arc<Klass>,
    pub property: Arc<Property>,
    pub value: Value,
}

impl Filling {
    fn unit<'a>(&'a self, tx: &'a Tx) -> Unit<'a> {
        Unit {
            tx,
            dialect: tx.dialect(),
            registry: &self.registry,
            org: self.registry.org,
            author: Author::One(self.by.clone()),
            now: Utc::now().trunc_subsecs(6),
            imported: false,
            cause: None,
            rows: Default::default(),
            found: Default::default(),
            links: Vec::new(),
            faults: Default::default(),
            draft: 0,
            consequence: None,
            removed: Vec::new(),
            klasses: Default::default(),
        }
    }

    /// Those of these objects that have no value get it. Answers their events, which the caller appends before the commit.
    pub async fn objects(&self, tx: &Tx, ids: &[Uuid]) -> Result<Vec<NewEvent>, StoreError> {
        let mut unit = self.unit(tx);
        unit.load_ids(&self.klass, ids, Lock::Change).await?;
        let layout = Layout::of(&self.klass)?;
        let slot = layout
            .slot(&self.property.column)
            .ok_or_else(|| StoreError::Corrupt(format!("{} has no column {}", self.klass.name, self.property.column)))?;
        let value = layout::settle(layout::storage(&self.property.kind), self.value.clone()).unwrap_or(Value::Null);
        // What has gone or got a value meanwhile is left alone.
        let empty: Vec<Uuid> = unit
            .rows
            .values()
            .filter(|row| row.after[slot].is_null())
            .map(|row| row.id)
            .collect();
        for id in empty {
            unit.change(id)?.after[slot] = value.clone();
        }
        self.written(unit).await
    }

    /// The same for the links between these pairs, from the declaring side; the objects at both ends hear of it.
    pub async fn links(
        &self,
        tx: &Tx,
        relationship: &Arc<Relationship>,
        of: &Table,
        pairs: &[(Uuid, Uuid)],
    ) -> Result<Vec<NewEvent>, StoreError> {
        let mut unit = self.unit(tx);
        let end = self
            .klass
            .ends
            .iter()
            .find(|end| end.side == Side::From && end.relationship == *relationship);
        let Some(end) = end.cloned() else {
            return Err(StoreError::Corrupt(format!("{} has no end {}", self.klass.name, relationship.name)));
        };
        // As other writers do it: the objects first, then the links. Those that went meanwhile are not made again.
        let from: Vec<Uuid> = pairs.iter().map(|(from, _)| *from).collect();
        unit.load_ids(&self.klass, &from, Lock::Change).await?;
        unit.load_any(&end, pairs).await?;
        let lock = if unit.dialect == Dialect::Postgres { " for update" } else { "" };
        let sql = format!(
            "select from_id, to_id from {} where {} is null and from_id {}{lock}",
            table(unit.dialect, of),
            quote(&self.property.column),
            layout::in_ids(unit.dialect, 1),
        );
        let empty = tx.query(sql, vec![layout::ids(unit.dialect, &from)]).await?;
        for row in &empty {
            let (from, to): (Uuid, Uuid) = (row.try_get_by_index(0).map_err(broken)?, row.try_get_by_index(1).map_err(broken)?);
            if !pairs.contains(&(from, to)) || !unit.rows.contains_key(&from) {
                continue;
            }
            unit.change(from)?.ends.insert(end.legal.clone());
            unit.tell_far(&end, to, true);
            unit.links.push(LinkOp {
                relationship: end.relationship.clone(),
                from,
                to,
                to_klass: unit.rows.get(&to).map(|row| row.klass.name.clone()).unwrap_or_default(),
                put: Some(vec![(self.property.clone(), self.value.clone())]),
            });
        }
        self.written(unit).await
    }

    async fn written(&self, mut unit: Unit<'_>) -> Result<Vec<NewEvent>, StoreError> {
        unit.settle();
        unit.flush().await?;
        timeline::write(&unit).await?;
        Ok(unit.events().events)
    }
}
