//! Reading the log: heads, a stream, the feed.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sea_orm::{QueryResult, Value as Bound};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::retention::FEED_FLOOR;
use super::{Event, EventOp, Events, MAX_PAGE, Resync, Source, get, signed, unsigned};
use crate::klass::{ObjectId, OrgId};
use crate::store::cursor::{Cursor, FeedPosition, Own, StreamPosition, stream_hash};
use crate::store::write::layout::{read_json, read_time, texts};
use crate::store::{Dialect, Store, StoreError};

/// SQLite: the place behind an org's last event, though it may no longer be kept.
const FEED_HEAD: &str = "max(coalesce((select max(position) from event where org_id = $1), 0), \
     coalesce((select seq from stream_head where org_id = $1 and stream = 't:floor'), 0))";

/// The columns of an event that [`read_event`] reads.
fn columns(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => {
            "e.stream, e.seq, e.xid::text::bigint, e.position, e.id, e.klass, e.object_id, e.op, e.actor, e.at, e.cause, e.depth, e.changed, e.before, e.after"
        }
        Dialect::Sqlite => {
            "e.stream, e.seq, 0, e.position, e.id, e.klass, e.object_id, e.op, e.actor, e.at, e.cause, e.depth, e.changed, e.before, e.after"
        }
    }
}

fn object(json: Option<Json>) -> Option<Map<String, Json>> {
    match json {
        Some(Json::Object(map)) => Some(map),
        _ => None,
    }
}

fn read_event(dialect: Dialect, org: OrgId, row: &QueryResult, from: usize) -> Result<Event, StoreError> {
    let op: String = get(row, from + 7)?;
    let changed = match read_json(dialect, row, &mut (from + 12))? {
        Some(Json::Array(names)) => names.into_iter().filter_map(|name| name.as_str().map(str::to_string)).collect(),
        _ => Vec::new(),
    };
    let after = object(read_json(dialect, row, &mut (from + 14))?);
    let before = match (object(read_json(dialect, row, &mut (from + 13))?), &after) {
        // Only what differs is stored.
        (Some(difference), Some(after)) => {
            let mut whole = after.clone();
            for (column, value) in difference {
                if value.is_null() {
                    whole.shift_remove(&column);
                } else {
                    whole.insert(column, value);
                }
            }
            Some(whole)
        }
        (before, _) => before,
    };
    let depth: i32 = get(row, from + 11)?;
    let feed = FeedPosition {
        xid: unsigned(get::<i64>(row, from + 2)?),
        position: get(row, from + 3)?,
        own: Own::NONE,
    };
    Ok(Event {
        org,
        stream: get(row, from)?,
        seq: get(row, from + 1)?,
        feed,
        id: get(row, from + 4)?,
        klass: get(row, from + 5)?,
        object: get::<Option<Uuid>>(row, from + 6)?.map(ObjectId),
        op: EventOp::parse(&op).ok_or_else(|| StoreError::Corrupt(format!("an event's op is {op}")))?,
        actor: get(row, from + 8)?,
        at: read_time(dialect, row, &mut (from + 9))?.unwrap_or_default(),
        cause: get(row, from + 10)?,
        depth: depth.unsigned_abs(),
        changed,
        before,
        after,
    })
}

impl Store {
    /// The place behind all that is committed now. Take it, then read: what the read does not show yet follows the cursor.
    pub fn head<'a>(&'a self, org: OrgId, source: &'a Source) -> BoxFuture<'a, Result<Cursor, StoreError>> {
        Box::pin(async move {
            let identity = self.identity().await?;
            let stream = match source {
                Source::Stream(stream) => stream.as_str(),
                _ => "",
            };
            let sql = match self.dialect() {
                Dialect::Postgres => {
                    "select coalesce((select seq from stream_head where org_id = $1 and stream = $2), 0), \
                 pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1, 9223372036854775807"
                }
                Dialect::Sqlite => {
                    &format!("select coalesce((select seq from stream_head where org_id = $1 and stream = $2), 0), 0, {FEED_HEAD}")
                }
            };
            let rows = self.rows(sql, vec![org.0.into(), stream.into()]).await?;
            let row = rows.first().ok_or_else(|| StoreError::Corrupt("a head without a row".into()))?;
            Ok(Cursor {
                epoch: identity.epoch,
                stream: match source {
                    Source::Stream(stream) => Some(StreamPosition {
                        hash: stream_hash(stream),
                        seq: get(row, 0)?,
                    }),
                    _ => None,
                },
                feed: Some(FeedPosition {
                    xid: unsigned(get(row, 1)?),
                    position: get(row, 2)?,
                    own: Own::NONE,
                }),
                part: 0,
            })
        })
    }

    /// The heads of many streams of one org; those that have none yet are left out.
    pub fn heads<'a>(&'a self, org: OrgId, streams: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, i64>, StoreError>> {
        Box::pin(async move {
            let sql = match self.dialect() {
                Dialect::Postgres => "select stream, seq from stream_head where org_id = $1 and stream = any($2)",
                Dialect::Sqlite => "select stream, seq from stream_head where org_id = $1 and stream in (select value from json_each($2))",
            };
            let names = texts(self.dialect(), streams.iter().map(String::as_str));
            let mut heads = HashMap::new();
            for row in self.rows(sql, vec![org.0.into(), names]).await? {
                heads.insert(get(&row, 0)?, get(&row, 1)?);
            }
            Ok(heads)
        })
    }

    /// Events behind a cursor, at most `limit` (and [`MAX_PAGE`]).
    pub fn events<'a>(
        &'a self,
        org: OrgId,
        source: &'a Source,
        after: &'a Cursor,
        limit: usize,
    ) -> BoxFuture<'a, Result<Events, StoreError>> {
        Box::pin(async move {
            let identity = self.identity().await?;
            if after.epoch != identity.epoch {
                return Ok(Events::Resync(Resync::Epoch));
            }
            let limit = limit.clamp(1, MAX_PAGE);
            match source {
                Source::Stream(stream) => self.stream_events(org, stream, after, limit).await,
                Source::Klass(klass) => self.feed_events(org, Some(std::slice::from_ref(klass)), after, limit).await,
                Source::Klasses(klasses) => self.feed_events(org, Some(klasses), after, limit).await,
                Source::Org => self.feed_events(org, None, after, limit).await,
            }
        })
    }

    async fn stream_events(&self, org: OrgId, stream: &str, after: &Cursor, limit: usize) -> Result<Events, StoreError> {
        let dialect = self.dialect();
        let hash = stream_hash(stream);
        let seq = match (&after.stream, &after.feed) {
            (Some(position), _) if position.hash == hash => position.seq,
            // A cursor of another object's write: the feed says where in this stream that was.
            (_, Some(feed)) => match self.stream_place(org, stream, feed).await? {
                Some(seq) => seq,
                None => return Ok(Events::Resync(Resync::Expired)),
            },
            _ => return Ok(Events::Resync(Resync::Elsewhere)),
        };
        // One statement, so head, floor and events are of one snapshot.
        let sql = format!(
            "select coalesce(h.seq, 0), coalesce(h.floor, 0), {columns} from (select 1) one \
             left join stream_head h on h.org_id = $1 and h.stream = $2 \
             left join (select * from event where org_id = $1 and stream = $2 and seq > $3 order by seq limit {limit}) e on true \
             order by e.seq",
            columns = columns(dialect)
        );
        let rows = self.rows(sql, vec![org.0.into(), stream.into(), seq.into()]).await?;
        let Some(first) = rows.first() else {
            return Err(StoreError::Corrupt("a stream without a row".into()));
        };
        let (head, floor): (i64, i64) = (get(first, 0)?, get(first, 1)?);
        if seq > head {
            return Ok(Events::Resync(Resync::Ahead));
        }
        if seq < floor {
            return Ok(Events::Resync(Resync::Expired));
        }
        let mut events = Vec::with_capacity(rows.len());
        if head > seq {
            for row in &rows {
                let event = read_event(dialect, org, row, 2)?;
                if event.seq != seq + 1 + events.len() as i64 {
                    return Err(StoreError::Corrupt(format!("stream {stream} has a hole before {}", event.seq)));
                }
                events.push(Arc::new(event));
            }
        }
        let seq = seq + events.len() as i64;
        Ok(Events::Page {
            cursor: Cursor {
                epoch: after.epoch,
                stream: Some(StreamPosition { hash, seq }),
                feed: None,
                part: 0,
            },
            hidden: 0,
            more: seq < head,
            events,
        })
    }

    /// The last event of a stream that a place in the feed has surely seen; `None` when it is below what is kept.
    async fn stream_place(&self, org: OrgId, stream: &str, feed: &FeedPosition) -> Result<Option<i64>, StoreError> {
        let condition = match self.dialect() {
            Dialect::Postgres => "(e.xid, e.position) > ($3::text::xid8, $4)",
            Dialect::Sqlite => "e.position > $4 and $3 = $3 and $5 = $5 and $6 = $6",
        };
        // A transaction that is in the stream itself says it exactly: what it came behind there was committed before it.
        let exact = match self.dialect() {
            Dialect::Postgres => {
                "(select max(e.seq) from event e where e.org_id = $1 and e.stream = $2 and e.xid = $5::text::xid8 and e.position <= $6), \
                 (select max(e.seq) from event e where e.org_id = $1 and e.stream = $2 and e.xid = $3::text::xid8), "
            }
            Dialect::Sqlite => "",
        };
        let sql = format!(
            "select coalesce({exact}(select min(e.seq) - 1 from event e where e.org_id = $1 and e.stream = $2 and {condition}), \
             (select seq from stream_head where org_id = $1 and stream = $2), 0), \
             coalesce((select seq from stream_head where org_id = $1 and stream = '{FEED_FLOOR}'), 0)"
        );
        let rows = self
            .rows(
                sql,
                vec![
                    org.0.into(),
                    stream.into(),
                    feed.xid.to_string().into(),
                    feed.position.into(),
                    feed.own.xid.to_string().into(),
                    feed.own.position.into(),
                ],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let floor: i64 = get(row, 1)?;
        Ok((!self.below_floor(feed, floor)).then_some(get(row, 0)?))
    }

    fn below_floor(&self, feed: &FeedPosition, floor: i64) -> bool {
        match self.dialect() {
            // Of the floor's own number some may be gone, unless all of it was seen.
            Dialect::Postgres => signed(feed.xid) < floor || (floor > 0 && signed(feed.xid) == floor && feed.position != i64::MAX),
            Dialect::Sqlite => feed.position < floor,
        }
    }

    async fn feed_events(&self, org: OrgId, klasses: Option<&[String]>, after: &Cursor, limit: usize) -> Result<Events, StoreError> {
        let Some(place) = after.feed else {
            return Ok(Events::Resync(Resync::Elsewhere));
        };
        let dialect = self.dialect();
        let of_klass = match (dialect, klasses) {
            (Dialect::Postgres, Some(_)) => "and klass = any($5)",
            (Dialect::Postgres, None) => "and cardinality($5::text[]) = 0",
            (Dialect::Sqlite, Some(_)) => "and klass in (select value from json_each($5))",
            (Dialect::Sqlite, None) => "and $5 = $5",
        };
        let sql = match dialect {
            Dialect::Postgres => format!(
                "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, \
                 coalesce((select seq from stream_head where org_id = $1 and stream = '{FEED_FLOOR}'), 0), \
                 coalesce((select xid::text::bigint from event where org_id = $1 and xid >= pg_snapshot_xmin(pg_current_snapshot()) \
                   {of_klass} order by xid desc limit 1), 0), {columns} from (select 1) one \
                 left join (select * from event where org_id = $1 and (xid, position) > ($2::text::xid8, $3) \
                   and xid < pg_snapshot_xmin(pg_current_snapshot()) and (xid <> $4::text::xid8 or position > $6) {of_klass} \
                   order by xid, position limit {limit}) e on true order by e.xid, e.position",
                columns = columns(dialect)
            ),
            Dialect::Sqlite => format!(
                "select {FEED_HEAD}, \
                 coalesce((select seq from stream_head where org_id = $1 and stream = '{FEED_FLOOR}'), 0), 0, {columns} from (select 1) one \
                 left join (select * from event where org_id = $1 and $2 = $2 and position > $3 and $4 = $4 and $6 = $6 {of_klass} \
                   order by position limit {limit}) e on true order by e.position",
                columns = columns(dialect)
            ),
        };
        let values: Vec<Bound> = vec![
            org.0.into(),
            place.xid.to_string().into(),
            place.position.into(),
            place.own.xid.to_string().into(),
            texts(dialect, klasses.unwrap_or_default().iter().map(String::as_str)),
            place.own.position.into(),
        ];
        let rows = self.rows(sql, values).await?;
        let Some(first) = rows.first() else {
            return Err(StoreError::Corrupt("a feed without a row".into()));
        };
        let (horizon, floor, hidden): (i64, i64, i64) = (get(first, 0)?, get(first, 1)?, get(first, 2)?);
        if self.below_floor(&place, floor) {
            return Ok(Events::Resync(Resync::Expired));
        }
        let none = get::<Option<String>>(first, 3)?.is_none();
        let mut events = Vec::with_capacity(rows.len());
        if !none {
            for row in &rows {
                let mut event = read_event(dialect, org, row, 3)?;
                // What the cursor had seen ahead goes along in the event's own cursor.
                event.feed.own = place.own.ahead_of(event.feed.xid);
                events.push(Arc::new(event));
            }
        }
        let full = events.len() >= limit;
        let place = match events.last() {
            // `own` goes with us as long as it lies ahead.
            Some(last) if full => last.feed,
            // All there was, so everything below the horizon has been seen.
            _ => match dialect {
                Dialect::Postgres => FeedPosition {
                    xid: unsigned(horizon).saturating_sub(1).max(place.xid),
                    position: i64::MAX,
                    own: place.own.ahead_of(unsigned(horizon).saturating_sub(1)),
                },
                Dialect::Sqlite => FeedPosition {
                    xid: 0,
                    position: horizon.max(place.position),
                    own: Own::NONE,
                },
            },
        };
        Ok(Events::Page {
            events,
            cursor: Cursor {
                epoch: after.epoch,
                stream: None,
                feed: Some(place),
                part: 0,
            },
            hidden: unsigned(hidden),
            more: full,
        })
    }
}
