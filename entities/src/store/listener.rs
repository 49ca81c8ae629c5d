//! How far listeners have come in an org's feed, and which node works for each: leases by the database's clock.
//!
//! What must never be: two nodes that move one listener's place at once. A place is moved only by who holds the lease; a node that
//! lost its lease learns so by the move that changes nothing.

use std::time::Duration;

use sea_orm::Value as Bound;
use uuid::Uuid;

use super::event::Event;
use super::{Cursor, Dialect, Store, StoreError};
use crate::klass::OrgId;

/// An event that a listener could not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The event.
    pub event: Uuid,
    /// Its stream, and its place there.
    pub stream: String,
    /// See `stream`.
    pub seq: i64,
    /// How often it was tried.
    pub tries: u32,
    /// Why it was given up.
    pub why: String,
}

impl Aside {
    /// Of an event.
    pub fn of(event: &Event, tries: u32, why: &str) -> Self {
        Self {
            event: event.id,
            stream: event.stream.clone(),
            seq: event.seq,
            tries,
            // What a failing backend says may be long.
            why: why.chars().take(1_000).collect(),
        }
    }
}

/// Milliseconds since 1970, by the database.
fn now(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "(extract(epoch from clock_timestamp()) * 1000)::bigint",
        Dialect::Sqlite => "cast(unixepoch('subsec') * 1000 as integer)",
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Store {
    /// Takes the lease of a listener in an org for a node, or holds it longer; answers the listener's place, which is `first` when it was
    /// never there. `None`: another node works for it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn lease(&self, org: OrgId, name: &str, node: Uuid, time: Duration, first: &Cursor) -> Result<Option<Cursor>, StoreError> {
        let identity = self.identity().await?;
        let now = now(self.dialect());
        let sql = format!(
            "insert into listener (org_id, name, place, node, leased_until) values ($1, $2, $3, $4, {now} + $5) \
             on conflict (org_id, name) do update set node = excluded.node, leased_until = excluded.leased_until \
             where listener.node is null or listener.node = excluded.node or listener.leased_until < {now} \
             returning place"
        );
        let values: Vec<Bound> = vec![
            org.0.into(),
            name.into(),
            identity.encode(org, first).into(),
            node.into(),
            millis(time).into(),
        ];
        let row = self
            .transact(move |tx| {
                let (sql, values) = (sql.clone(), values.clone());
                Box::pin(async move { tx.query_one(sql, values).await })
            })
            .await?;
        let Some(row) = row else { return Ok(None) };
        let text: String = row
            .try_get_by_index(0)
            .map_err(|error| StoreError::Corrupt(format!("a listener's place: {error}")))?;
        // A place that cannot be read is of another log: the read says so.
        Ok(Some(identity.decode(org, &text).unwrap_or(Cursor::NOWHERE)))
    }

    /// Moves a listener's place and holds the lease longer, with what was set aside on the way; `false`: the lease is another node's, and
    /// nothing was done.
    ///
    /// # Errors
    /// What the database says.
    pub async fn move_on(
        &self,
        org: OrgId,
        name: &str,
        node: Uuid,
        time: Duration,
        place: &Cursor,
        aside: Vec<Aside>,
    ) -> Result<bool, StoreError> {
        let identity = self.identity().await?;
        let now = now(self.dialect());
        let (name, place) = (name.to_owned(), identity.encode(org, place));
        self.transact(move |tx| {
            let (name, place, aside) = (name.clone(), place.clone(), aside.clone());
            Box::pin(async move {
                let moved = tx
                    .execute(
                        format!("update listener set place = $3, leased_until = {now} + $5 where org_id = $1 and name = $2 and node = $4"),
                        vec![org.0.into(), name.clone().into(), place.into(), node.into(), millis(time).into()],
                    )
                    .await?;
                if moved == 0 {
                    return Ok(false);
                }
                for it in aside {
                    tx.execute(
                        format!(
                            "insert into listener_aside (org_id, name, event_id, stream, seq, tries, why, at) \
                             values ($1, $2, $3, $4, $5, $6, $7, {now}) on conflict (org_id, name, event_id) do nothing"
                        ),
                        vec![
                            org.0.into(),
                            name.clone().into(),
                            it.event.into(),
                            it.stream.into(),
                            it.seq.into(),
                            i64::from(it.tries).into(),
                            it.why.into(),
                        ],
                    )
                    .await?;
                }
                Ok(true)
            })
        })
        .await
    }

    /// Gives a lease back, so that another node need not wait for its end.
    ///
    /// # Errors
    /// What the database says.
    pub async fn release(&self, org: OrgId, name: &str, node: Uuid) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.transact(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                tx.execute(
                    "update listener set node = null, leased_until = 0 where org_id = $1 and name = $2 and node = $3",
                    vec![org.0.into(), name.into(), node.into()],
                )
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// What a listener has set aside in an org, in the order of streams.
    ///
    /// # Errors
    /// What the database says.
    pub async fn set_aside(&self, org: OrgId, name: &str) -> Result<Vec<Aside>, StoreError> {
        let sql =
            "select event_id, stream, seq, tries, why from listener_aside where org_id = $1 and name = $2 order by stream, seq limit 1000";
        let rows = self.rows(sql, vec![org.0.into(), name.into()]).await?;
        let corrupt = |error: sea_orm::DbErr| StoreError::Corrupt(format!("an event set aside: {error}"));
        rows.iter()
            .map(|row| {
                let tries: i64 = row.try_get_by_index(3).map_err(corrupt)?;
                Ok(Aside {
                    event: row.try_get_by_index(0).map_err(corrupt)?,
                    stream: row.try_get_by_index(1).map_err(corrupt)?,
                    seq: row.try_get_by_index(2).map_err(corrupt)?,
                    tries: u32::try_from(tries).unwrap_or(u32::MAX),
                    why: row.try_get_by_index(4).map_err(corrupt)?,
                })
            })
            .collect()
    }
}
