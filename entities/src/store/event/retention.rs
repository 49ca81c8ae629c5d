//! How long the log is kept, and what goes when.

use chrono::{DateTime, Duration, Utc};
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::get;
use crate::store::write::layout::bind_time;
use crate::store::{Dialect, Store, StoreError, Tx};

/// For how long events are kept.
pub const EVENTS_KEPT: Duration = Duration::days(30);
/// How many events go in one transaction.
const BATCH: u32 = 1_000;

impl Store {
    /// Forgets what is kept long enough: events ([`EVENTS_KEPT`]) and idempotency keys (24 hours). For a task that runs now and then.
    pub fn forget_old<'a>(&'a self) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let events = self.forget_events(Utc::now() - EVENTS_KEPT, BATCH).await?;
            let keys = self.forget_idempotency().await?;
            if events + keys > 0 {
                tracing::info!(events, keys, "forgot old events and idempotency keys");
            }
            Ok(())
        })
    }

    /// Removes events older than `before`, in batches, and raises the floors: cursors below them get RESYNC. Answers how many.
    pub fn forget_events<'a>(&'a self, before: DateTime<Utc>, batch: u32) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut gone = 0;
            loop {
                let n = self.transact(move |tx| Box::pin(forget_batch(tx, before, batch))).await?;
                gone += n;
                if n < u64::from(batch.max(1)) {
                    return Ok(gone);
                }
            }
        })
    }
}

/// The row of `stream_head` whose `seq` is the floor of the org's feed: the last transaction (SQLite: position) of which
/// something is no longer kept. No stream has this name.
pub(super) const FEED_FLOOR: &str = "t:floor";

async fn forget_batch(tx: &Tx, before: DateTime<Utc>, batch: u32) -> Result<u64, StoreError> {
    let dialect = tx.dialect();
    let batch = batch.max(1);
    // Whole streams' beginnings: an event goes only with all that come before it, since `at` rises with `seq` but for skew of clocks.
    let (key, feed) = match dialect {
        Dialect::Postgres => ("ctid", "e.xid::text::bigint"),
        Dialect::Sqlite => ("position", "e.position"),
    };
    let sql = format!(
        "delete from event as e where e.{key} in (select o.{key} from event o where o.at < $1 order by o.at limit {batch}) \
         returning e.org_id, e.stream, e.seq, {}",
        if dialect == Dialect::Sqlite { "position" } else { feed }
    );
    let sql = if dialect == Dialect::Sqlite {
        sql.replace("e.org_id, e.stream, e.seq", "org_id, stream, seq")
    } else {
        sql
    };
    let rows = tx.query(sql, vec![bind_time(dialect, Some(before))]).await?;
    let mut floors: std::collections::BTreeMap<(Uuid, String), (i64, i64)> = Default::default();
    for row in &rows {
        let (org, stream, seq, feed): (Uuid, String, i64, i64) = (get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?);
        let stream = floors.entry((org, stream)).or_default();
        stream.0 = stream.0.max(seq);
        let all = floors.entry((org, FEED_FLOOR.to_string())).or_default();
        all.1 = all.1.max(feed);
    }
    for ((org, stream), (seq, feed)) in floors {
        if stream == FEED_FLOOR {
            let sql = format!(
                "insert into stream_head (org_id, stream, seq, floor) values ($1, $2, $3, 0) on conflict (org_id, stream) \
                 do update set seq = {greatest}(stream_head.seq, excluded.seq)",
                greatest = if dialect == Dialect::Postgres { "greatest" } else { "max" }
            );
            tx.execute(sql, vec![org.into(), stream.into(), feed.into()]).await?;
        } else {
            tx.execute(
                "update stream_head set floor = $3 where org_id = $1 and stream = $2 and floor < $3",
                vec![org.into(), stream.clone().into(), seq.into()],
            )
            .await?;
            // Clocks of nodes differ, so an earlier event may bear a later time: it goes too, or the stream would have a hole.
            tx.execute(
                "delete from event where org_id = $1 and stream = $2 and seq < $3",
                vec![org.into(), stream.into(), seq.into()],
            )
            .await?;
        }
    }
    Ok(rows.len() as u64)
}
