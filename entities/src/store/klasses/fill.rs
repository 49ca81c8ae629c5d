//! Defaults that a change fills in: objects (or links) without a value get it in batches before the switch, while others go on, and the
//! few that were written meanwhile in the switch. Each with its event, so that no one who listens misses it.

use std::sync::Arc;

use sea_orm::Value as Bound;
use uuid::Uuid;

use super::data::{BATCH, Place};
use super::run::Change;
use super::work::{Rows, Work};
use crate::klass::{Property, Value};
use crate::store::ddl::{Name, quote};
use crate::store::event::{self, Hint, NewEvent};
use crate::store::write::fill::Filling;
use crate::store::{Dialect, Store, StoreError, Tx};

/// What lacks a value: an object, or a link by both its ends.
type Lacking = (Uuid, Uuid);

impl Work {
    /// Before the switch, batch by batch, each a transaction with its events.
    pub(super) async fn fill(&self, store: &Store, change: &Change, to: &Arc<Property>, value: &Value) -> Result<(), StoreError> {
        let mut after = (Uuid::nil(), Uuid::nil());
        loop {
            let lacking = self.lacking(Place::Store(store), change, to, after).await?;
            let Some(last) = lacking.last() else { return Ok(()) };
            after = *last;
            let over = lacking.len() < BATCH;
            let (filling, rows, org) = (self.filling(change, to, value), self.rows.clone(), change.org);
            let appended = store
                .transact(move |tx| {
                    let (filling, rows, lacking) = (filling.clone(), rows.clone(), lacking.clone());
                    Box::pin(async move {
                        let events = put(tx, &filling, &rows, &lacking).await?;
                        event::append(tx, org, chrono::Utc::now(), &events).await
                    })
                })
                .await?;
            if !appended.heads.is_empty() {
                store.hint(Hint {
                    org,
                    streams: appended.heads,
                    klasses: vec![self.klass.name.clone()],
                    xid: appended.feed.map_or(0, |feed| feed.own.xid),
                });
            }
            if over {
                return Ok(());
            }
        }
    }

    /// In the switch: those that are left. The caller appends the events.
    pub(super) async fn fill_rest(&self, tx: &Tx, change: &Change, to: &Arc<Property>, value: &Value) -> Result<Vec<NewEvent>, StoreError> {
        let filling = self.filling(change, to, value);
        let mut events = Vec::new();
        let mut after = (Uuid::nil(), Uuid::nil());
        loop {
            let lacking = self.lacking(Place::Tx(tx), change, to, after).await?;
            let Some(last) = lacking.last() else { return Ok(events) };
            after = *last;
            events.extend(put(tx, &filling, &self.rows, &lacking).await?);
        }
    }

    fn filling(&self, change: &Change, to: &Arc<Property>, value: &Value) -> Filling {
        Filling {
            registry: change.after.clone(),
            by: change.plan.actor.clone(),
            klass: self.klass.clone(),
            property: to.clone(),
            value: value.clone(),
        }
    }

    /// The next batch of those without a value, behind `after`.
    async fn lacking(&self, place: Place<'_>, change: &Change, to: &Property, after: Lacking) -> Result<Vec<Lacking>, StoreError> {
        let dialect = place.dialect();
        let (table, column) = (self.table().sql(dialect), quote(&to.column));
        let base = Name::from(&self.klass.table).sql(dialect);
        let mut values: Vec<Bound> = vec![after.0.into()];
        let sql = match &self.rows {
            Rows::Table => format!("select b.id, b.id from {base} b where b.{column} is null and b.id > $1 order by b.id limit {BATCH}"),
            Rows::Extension(_) => {
                values.push(change.org.0.into());
                format!(
                    "select b.id, b.id from {base} b left join {table} t on t.id = b.id \
                     where b.org_id = $2 and t.{column} is null and b.id > $1 order by b.id limit {BATCH}"
                )
            }
            Rows::Links(..) => {
                values.push(after.1.into());
                format!(
                    "select from_id, to_id from {table} where {column} is null and (from_id, to_id) > ($1, $2) \
                     order by from_id, to_id limit {BATCH}"
                )
            }
        };
        let rows = place.rows(&sql, values).await?;
        rows.iter()
            .map(|row| {
                let id = |i: usize| row.try_get_by_index::<Uuid>(i).map_err(|e| StoreError::Corrupt(e.to_string()));
                Ok((id(0)?, id(1)?))
            })
            .collect()
    }
}

async fn put(tx: &Tx, filling: &Filling, rows: &Rows, lacking: &[Lacking]) -> Result<Vec<NewEvent>, StoreError> {
    if tx.dialect() == Dialect::Postgres {
        // As long as the largest batch may take; the store's own limit is meant for requests.
        tx.batch("set local statement_timeout = '10min'").await?;
    }
    match rows {
        Rows::Table | Rows::Extension(_) => {
            let ids: Vec<Uuid> = lacking.iter().map(|(id, _)| *id).collect();
            filling.objects(tx, &ids).await
        }
        Rows::Links(relationship, table) => filling.links(tx, relationship, table, lacking).await,
    }
}
