//! The log: what came to be, in the order in which it was committed.
//!
//! Two ways to read it. A **stream** (all of one customer, or one object that belongs to none) is contiguous: 1, 2, 3, …; who asks
//! for `seq > mine` misses nothing. The **feed** of an org (all streams, or one klass of them) is in the order of `(xid, position)`
//! below `pg_snapshot_xmin(pg_current_snapshot())`, on SQLite of the row id; an event may come twice after a cursor of a mutation or
//! page (never less than once).
//!
//! The feed keeps each stream's order. A transaction may get its number early and a stream's counter late, so an event's `xid` is not
//! its transaction's but the highest that its stream has seen so far (`stream_head.xid`), and one for all streams of a transaction.
//! It is never below its transaction's, so who reads below the horizon still misses nothing: all transactions up to there have ended.
//!
//! What must never be: an event without its change or a change without its event (both are written by `write/`, in one
//! transaction); a silent hole (where one cannot be ruled out, the answer is [`Events::Resync`]).

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value as Bound};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::cursor::{Cursor, FeedPosition, NotACursor, StreamPosition, stream_hash};
use super::write::layout::{bind_time, quote, read_json, read_time, texts};
use super::{Dialect, Store, StoreError, Tx};
use crate::klass::{ObjectId, OrgId};

/// Most events that one call of [`Store::events`] answers.
pub const MAX_PAGE: usize = 1_000;
/// How many hints a receiver may lag behind before it loses some (a sweep finds what was lost).
const HINTS_KEPT: usize = 4_096;

/// Something that came to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The org.
    pub org: OrgId,
    /// `c:<customer>`, `k:<klass>:<object>` or `t:klass`.
    pub stream: String,
    /// Its place in the stream, from 1.
    pub seq: i64,
    /// Its place in the org's feed.
    pub feed: FeedPosition,
    /// Its own id: the same whenever and by whatever way it is read.
    pub id: Uuid,
    /// Name of the object's klass.
    pub klass: String,
    /// The object; `None` for changes of klasses.
    pub object: Option<ObjectId>,
    /// What happened.
    pub op: EventOp,
    /// Who did it: `kind:id:name`.
    pub actor: String,
    /// When the transaction began that did it.
    pub at: DateTime<Utc>,
    /// The event of which this is a consequence.
    pub cause: Option<Uuid>,
    /// How many consequences deep.
    pub depth: u32,
    /// Legal names of the properties and ends that changed.
    pub changed: Vec<String>,
    /// The object's row before, by column; a column that is absent was null. `None`: there was no such object.
    pub before: Option<Map<String, Json>>,
    /// The object's row after, by column; a column that is absent is null. `None`: there is no such object any more.
    pub after: Option<Map<String, Json>>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is what it says")]
pub enum EventOp {
    Created,
    Updated,
    Deleted,
    Restored,
    Destroyed,
    /// A link in a link table was made, by a write to the object at its other end.
    Linked,
    /// A link in a link table was removed, by a write to the object at its other end.
    Unlinked,
    /// A klass was defined or changed.
    Klass,
}

impl EventOp {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            EventOp::Created => "created",
            EventOp::Updated => "updated",
            EventOp::Deleted => "deleted",
            EventOp::Restored => "restored",
            EventOp::Destroyed => "destroyed",
            EventOp::Linked => "linked",
            EventOp::Unlinked => "unlinked",
            EventOp::Klass => "klass",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        use EventOp::*;
        [Created, Updated, Deleted, Restored, Destroyed, Linked, Unlinked, Klass]
            .into_iter()
            .find(|op| op.as_str() == text)
    }
}

/// Whose events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// One stream.
    Stream(String),
    /// The feed, of one klass alone.
    Klass(String),
    /// The feed.
    Org,
}

/// What [`Store::events`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Events {
    /// Events behind the cursor, in order.
    Page {
        /// The events.
        events: Vec<Arc<Event>>,
        /// Where to go on.
        cursor: Cursor,
        /// There may be more right now.
        more: bool,
    },
    /// The cursor cannot be continued: start anew from a fresh read.
    Resync(Resync),
}

/// Why a cursor cannot be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Resync {
    /// It is of another log (a database was restored, or failed over).
    #[error("the log is not the one that this cursor is of: the database was restored or failed over")]
    Epoch,
    /// What follows it is no longer kept.
    #[error("what follows this cursor is no longer kept")]
    Expired,
    /// It is of another stream.
    #[error("this cursor is of another stream")]
    Elsewhere,
    /// It is ahead of the log.
    #[error("this cursor is ahead of the log")]
    Ahead,
}

/// Told after a commit: these streams grew. A hint may be lost; the log is the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The org.
    pub org: OrgId,
    /// Each stream and its new head.
    pub streams: Vec<(String, i64)>,
    /// Klasses whose objects changed.
    pub klasses: Vec<String>,
    /// Postgres: the events' `xid`. The feed shows them once all transactions up to it have ended.
    pub xid: u64,
}

/// What all clones of a store know of the log.
#[derive(Debug)]
pub(crate) struct Log {
    hints: broadcast::Sender<Hint>,
    identity: tokio::sync::RwLock<Option<Arc<Identity>>>,
}

/// Which log it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// Changes when acknowledged events may be gone.
    pub epoch: u64,
    secret: Vec<u8>,
}

impl Identity {
    /// A cursor's text for clients.
    pub fn encode(&self, org: OrgId, cursor: &Cursor) -> String {
        cursor.encode(org, &self.secret)
    }

    /// The cursor in a client's text.
    pub fn decode(&self, org: OrgId, text: &str) -> Result<Cursor, NotACursor> {
        Cursor::decode(text, org, &self.secret)
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            hints: broadcast::Sender::new(HINTS_KEPT),
            identity: Default::default(),
        }
    }
}

/// The stream of a customer.
pub fn customer_stream(customer: Uuid) -> String {
    format!("c:{customer}")
}

/// The stream of an object that belongs to no customer.
pub fn object_stream(klass: &str, object: Uuid) -> String {
    format!("k:{klass}:{object}")
}

/// The stream of an org's changes of klasses.
pub const KLASS_STREAM: &str = "t:klass";

impl Event {
    /// The place right behind it in its stream.
    pub fn stream_cursor(&self, epoch: u64) -> Cursor {
        Cursor {
            epoch,
            stream: Some(StreamPosition {
                hash: stream_hash(&self.stream),
                seq: self.seq,
            }),
            feed: None,
        }
    }

    /// The place right behind it in the feed.
    pub fn feed_cursor(&self, epoch: u64) -> Cursor {
        Cursor {
            epoch,
            stream: None,
            feed: Some(self.feed),
        }
    }
}

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

fn get<T: sea_orm::TryGetable>(row: &QueryResult, index: usize) -> Result<T, StoreError> {
    row.try_get_by_index(index)
        .map_err(|e| StoreError::Corrupt(format!("an event: {e}")))
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
        own: 0,
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

/// Transaction numbers are whole numbers of 64 bits without a sign in Postgres, of which no cluster will ever use the last bit.
fn unsigned(xid: i64) -> u64 {
    xid.unsigned_abs()
}

fn signed(xid: u64) -> i64 {
    i64::try_from(xid).unwrap_or(i64::MAX)
}

impl Store {
    /// A receiver of hints of what this node commits. Who lags loses hints, not events.
    pub fn hints(&self) -> broadcast::Receiver<Hint> {
        self.0.log.hints.subscribe()
    }

    /// Tells this node's listeners; for hints that came from other nodes too.
    pub fn hint(&self, hint: Hint) {
        // No one listens: fine.
        let _ = self.0.log.hints.send(hint);
    }

    /// Which log it is; read once and kept. See [`Store::refresh_identity`].
    pub async fn identity(&self) -> Result<Arc<Identity>, StoreError> {
        if let Some(identity) = self.0.log.identity.read().await.as_ref() {
            return Ok(identity.clone());
        }
        self.refresh_identity().await
    }

    /// Reads anew which log it is: after a connection was lost the database may be another (failed over, restored).
    pub async fn refresh_identity(&self) -> Result<Arc<Identity>, StoreError> {
        let row = self.rows("select epoch, secret from log_epoch where id = 1", vec![]).await?;
        let row = row.first().ok_or_else(|| StoreError::Corrupt("log_epoch is empty".into()))?;
        let mut hash = Sha256::new();
        hash.update(get::<Uuid>(row, 0)?.as_bytes());
        if self.dialect() == Dialect::Postgres {
            // Another cluster, or this one gone back in time, is another log though the table says the same.
            let told = self
                .rows(
                    "select s.system_identifier::text, c.timeline_id::text from pg_control_system() s, pg_control_checkpoint() c",
                    vec![],
                )
                .await?;
            for row in &told {
                hash.update(get::<String>(row, 0)?.as_bytes());
                hash.update(get::<String>(row, 1)?.as_bytes());
            }
        }
        let digest = hash.finalize();
        let identity = Arc::new(Identity {
            epoch: digest[..8].iter().fold(0, |n, &b| (n << 8) | u64::from(b)),
            secret: get(row, 1)?,
        });
        let mut kept = self.0.log.identity.write().await;
        if let Some(known) = kept.as_ref()
            && *known == identity
        {
            return Ok(known.clone());
        }
        *kept = Some(identity.clone());
        Ok(identity)
    }

    /// Makes this another log: all cursors get RESYNC. To be done after a backup was put back on SQLite, where nothing shows it.
    pub async fn renew_epoch(&self) -> Result<(), StoreError> {
        self.transact(|tx| {
            Box::pin(async move {
                tx.execute("update log_epoch set epoch = $1 where id = 1", vec![Uuid::new_v4().into()])
                    .await?;
                Ok(())
            })
        })
        .await?;
        self.refresh_identity().await?;
        Ok(())
    }

    /// The place behind all that is committed now. Take it, then read: what the read does not show yet follows the cursor.
    pub async fn head(&self, org: OrgId, source: &Source) -> Result<Cursor, StoreError> {
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
                "select coalesce((select seq from stream_head where org_id = $1 and stream = $2), 0), 0, \
                 coalesce((select max(position) from event where org_id = $1), 0)"
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
                own: 0,
            }),
        })
    }

    /// The heads of many streams of one org; those that have none yet are left out.
    pub async fn heads(&self, org: OrgId, streams: &[String]) -> Result<HashMap<String, i64>, StoreError> {
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
    }

    /// Events behind a cursor, at most `limit` (and [`MAX_PAGE`]).
    pub async fn events(&self, org: OrgId, source: &Source, after: &Cursor, limit: usize) -> Result<Events, StoreError> {
        let identity = self.identity().await?;
        if after.epoch != identity.epoch {
            return Ok(Events::Resync(Resync::Epoch));
        }
        let limit = limit.clamp(1, MAX_PAGE);
        match source {
            Source::Stream(stream) => self.stream_events(org, stream, after, limit).await,
            Source::Klass(klass) => self.feed_events(org, Some(klass), after, limit).await,
            Source::Org => self.feed_events(org, None, after, limit).await,
        }
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
            },
            more: seq < head,
            events,
        })
    }

    /// The last event of a stream that a place in the feed has surely seen; `None` when it is below what is kept.
    async fn stream_place(&self, org: OrgId, stream: &str, feed: &FeedPosition) -> Result<Option<i64>, StoreError> {
        let condition = match self.dialect() {
            Dialect::Postgres => "(e.xid, e.position) > ($3::text::xid8, $4)",
            Dialect::Sqlite => "e.position > $4 and $3 = $3 and $5 = $5",
        };
        // A transaction that is in the stream itself says it exactly: what it came behind there was committed before it.
        let exact = match self.dialect() {
            Dialect::Postgres => {
                "(select max(e.seq) from event e where e.org_id = $1 and e.stream = $2 and e.xid = $5::text::xid8), \
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
                    feed.own.to_string().into(),
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

    async fn feed_events(&self, org: OrgId, klass: Option<&str>, after: &Cursor, limit: usize) -> Result<Events, StoreError> {
        let Some(place) = after.feed else {
            return Ok(Events::Resync(Resync::Elsewhere));
        };
        let dialect = self.dialect();
        let of_klass = if klass.is_some() { "and klass = $5" } else { "and $5 = ''" };
        let sql = match dialect {
            Dialect::Postgres => format!(
                "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, \
                 coalesce((select seq from stream_head where org_id = $1 and stream = '{FEED_FLOOR}'), 0), {columns} from (select 1) one \
                 left join (select * from event where org_id = $1 and (xid, position) > ($2::text::xid8, $3) \
                   and xid < pg_snapshot_xmin(pg_current_snapshot()) and xid <> $4::text::xid8 {of_klass} \
                   order by xid, position limit {limit}) e on true order by e.xid, e.position",
                columns = columns(dialect)
            ),
            Dialect::Sqlite => format!(
                "select coalesce((select max(position) from event where org_id = $1), 0), \
                 coalesce((select seq from stream_head where org_id = $1 and stream = '{FEED_FLOOR}'), 0), {columns} from (select 1) one \
                 left join (select * from event where org_id = $1 and $2 = $2 and position > $3 and $4 = $4 {of_klass} \
                   order by position limit {limit}) e on true order by e.position",
                columns = columns(dialect)
            ),
        };
        let values: Vec<Bound> = vec![
            org.0.into(),
            place.xid.to_string().into(),
            place.position.into(),
            place.own.to_string().into(),
            klass.unwrap_or_default().into(),
        ];
        let rows = self.rows(sql, values).await?;
        let Some(first) = rows.first() else {
            return Err(StoreError::Corrupt("a feed without a row".into()));
        };
        let (horizon, floor): (i64, i64) = (get(first, 0)?, get(first, 1)?);
        if self.below_floor(&place, floor) {
            return Ok(Events::Resync(Resync::Expired));
        }
        let none = get::<Option<String>>(first, 2)?.is_none();
        let mut events = Vec::with_capacity(rows.len());
        if !none {
            for row in &rows {
                let mut event = read_event(dialect, org, row, 2)?;
                // What the cursor had seen ahead goes along in the event's own cursor.
                event.feed.own = if place.own > event.feed.xid { place.own } else { 0 };
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
                    own: if place.own >= unsigned(horizon) { place.own } else { 0 },
                },
                Dialect::Sqlite => FeedPosition {
                    xid: 0,
                    position: horizon.max(place.position),
                    own: 0,
                },
            },
        };
        Ok(Events::Page {
            events,
            cursor: Cursor {
                epoch: after.epoch,
                stream: None,
                feed: Some(place),
            },
            more: full,
        })
    }

    /// Removes events older than `before`, in batches, and raises the floors: cursors below them get RESYNC. Answers how many.
    pub async fn forget_events(&self, before: DateTime<Utc>, batch: u32) -> Result<u64, StoreError> {
        let mut gone = 0;
        loop {
            let n = self.transact(move |tx| Box::pin(forget_batch(tx, before, batch))).await?;
            gone += n;
            if n < u64::from(batch.max(1)) {
                return Ok(gone);
            }
        }
    }

    /// Rows of a read on the plain pool.
    pub(crate) async fn rows(&self, sql: impl Into<String>, values: Vec<Bound>) -> Result<Vec<QueryResult>, StoreError> {
        let connection = self.connection();
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        Ok(connection.query_all_raw(statement).await?)
    }
}

/// The row of `stream_head` whose `seq` is the floor of the org's feed: the last transaction (SQLite: position) of which
/// something is no longer kept. No stream has this name.
const FEED_FLOOR: &str = "t:floor";

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

/// An event on its way into the log.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub stream: String,
    pub id: Uuid,
    pub klass: String,
    pub object: Option<Uuid>,
    pub op: EventOp,
    pub cause: Option<Uuid>,
    pub depth: u32,
    pub changed: Vec<String>,
    /// What differs from `after`; the whole row when `after` is `None`.
    pub before: Option<Map<String, Json>>,
    pub after: Option<Map<String, Json>>,
}

/// Where new events came to stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Appended {
    /// Per event, in the order given: its sequence number.
    pub seqs: Vec<i64>,
    /// The new head of each stream.
    pub heads: Vec<(String, i64)>,
    /// The place in the feed behind which everything later is, our own transaction seen.
    pub feed: Option<FeedPosition>,
    /// The org's klass version, read in the same statement.
    pub klass_version: Option<i64>,
}

/// Appends events to the log. The **last** statements before a commit: they take each stream's counter, in sorted order.
pub(crate) async fn append(tx: &Tx, org: OrgId, actor: &str, at: DateTime<Utc>, events: &[NewEvent]) -> Result<Appended, StoreError> {
    if events.is_empty() {
        return Ok(Appended::default());
    }
    let dialect = tx.dialect();
    let mut counts: std::collections::BTreeMap<&str, i64> = Default::default();
    let mut offsets = Vec::with_capacity(events.len());
    for event in events {
        let count = counts.entry(&event.stream).or_default();
        *count += 1;
        offsets.push(*count);
    }
    let rows: Vec<Json> = events
        .iter()
        .zip(&offsets)
        .map(|(event, offset)| {
            let id = |id: Uuid| match dialect {
                Dialect::Postgres => id.to_string(),
                Dialect::Sqlite => id.simple().to_string(),
            };
            let image = |image: &Option<Map<String, Json>>| match (image, dialect) {
                (Some(map), Dialect::Sqlite) => Json::String(text_of(map)),
                // On Postgres they go beside the rows; see `images`.
                _ => Json::Null,
            };
            let changed = Json::from(event.changed.clone());
            Json::Array(vec![
                event.stream.clone().into(),
                (*offset).into(),
                id(event.id).into(),
                event.klass.clone().into(),
                event.object.map(id).into(),
                event.op.as_str().into(),
                event.cause.map(id).into(),
                event.depth.into(),
                if dialect == Dialect::Sqlite {
                    changed.to_string().into()
                } else {
                    changed
                },
                image(&event.before),
                image(&event.after),
            ])
        })
        .collect();
    let streams: Vec<Json> = counts.iter().map(|(stream, n)| serde_json::json!([stream, n])).collect();
    match dialect {
        Dialect::Postgres => append_postgres(tx, org, actor, at, rows, streams, &offsets, events).await,
        Dialect::Sqlite => append_sqlite(tx, org, actor, at, rows, streams, &offsets, events).await,
    }
}

/// A row's image as JSON text.
fn text_of(map: &Map<String, Json>) -> String {
    // Maps of strings to JSON can always be written.
    serde_json::to_string(map).unwrap_or_default()
}

/// The images before and after of all events, each as JSON text (empty: none): taken apart once, where they are stored.
fn images(events: &[NewEvent]) -> [Bound; 2] {
    let list = |image: fn(&NewEvent) -> &Option<Map<String, Json>>| {
        let texts: Vec<Bound> = events
            .iter()
            .map(|event| Bound::String(Some(image(event).as_ref().map(text_of).unwrap_or_default())))
            .collect();
        Bound::Array(sea_orm::sea_query::ArrayType::String, Some(Box::new(texts)))
    };
    [list(|event| &event.before), list(|event| &event.after)]
}

/// One stream, one statement: its counter, then its events with their numbers.
const APPEND_ONE: &str = "with head as (insert into stream_head (org_id, stream, seq, xid) values ($1, $2, $3, pg_current_xact_id()) \
      on conflict (org_id, stream) do update set seq = stream_head.seq + excluded.seq, xid = greatest(stream_head.xid, excluded.xid) \
      returning seq, xid), \
    put as (insert into event (org_id, stream, seq, xid, id, klass, object_id, op, actor, at, cause, depth, changed, before, after) \
      select $1, r->>0, h.seq - $3 + (r->>1)::bigint, h.xid, (r->>2)::uuid, r->>3, (r->>4)::uuid, r->>5, $5, $6, (r->>6)::uuid, (r->>7)::int, \
        r->8, nullif(b, '')::jsonb, nullif(a, '')::jsonb \
      from rows from (jsonb_array_elements($4), unnest($7::text[]), unnest($8::text[])) with ordinality as t(r, b, a, i), head h order by i) \
    select $2, seq, xid::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint, \
      (select klass_version from org where id = $1) from head";

/// Several streams: their counters first, in sorted order.
const RAISE_MANY: &str = "insert into stream_head (org_id, stream, seq, xid) \
      select $1, r->>0, (r->>1)::bigint, pg_current_xact_id() from jsonb_array_elements($2) r order by 1, 2 \
      on conflict (org_id, stream) do update set seq = stream_head.seq + excluded.seq, xid = greatest(stream_head.xid, excluded.xid) \
      returning stream, seq, xid::text::bigint";

/// Then the events, all with the highest number that one of the streams has seen.
const APPEND_MANY: &str = "with raised as (update stream_head set xid = $5::text::xid8 where org_id = $1 and stream = any($6) and xid < $5::text::xid8), \
    put as (insert into event (org_id, stream, seq, xid, id, klass, object_id, op, actor, at, cause, depth, changed, before, after) \
      select $1, r->>0, (r->>1)::bigint, $5::text::xid8, (r->>2)::uuid, r->>3, (r->>4)::uuid, r->>5, $3, $4, (r->>6)::uuid, (r->>7)::int, \
        r->8, nullif(b, '')::jsonb, nullif(a, '')::jsonb \
      from rows from (jsonb_array_elements($2), unnest($7::text[]), unnest($8::text[])) with ordinality as t(r, b, a, i) order by i) \
    select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, (select klass_version from org where id = $1)";

#[allow(clippy::too_many_arguments, reason = "the two halves of one function")]
async fn append_postgres(
    tx: &Tx,
    org: OrgId,
    actor: &str,
    at: DateTime<Utc>,
    mut rows: Vec<Json>,
    streams: Vec<Json>,
    offsets: &[i64],
    events: &[NewEvent],
) -> Result<Appended, StoreError> {
    let json = |rows: Vec<Json>| Bound::Json(Some(Box::new(Json::Array(rows))));
    let counts: HashMap<String, i64> = streams
        .iter()
        .filter_map(|pair| Some((pair[0].as_str()?.to_string(), pair[1].as_i64()?)))
        .collect();
    let [before, after] = images(events);
    let missing = || StoreError::Corrupt("events without a head".into());
    let mut heads = HashMap::new();
    let (key, horizon, klass_version): (i64, i64, Option<i64>);
    if let (1, Some((stream, count))) = (counts.len(), counts.iter().next()) {
        let values = vec![
            org.0.into(),
            stream.clone().into(),
            (*count).into(),
            json(rows),
            actor.into(),
            Bound::ChronoDateTimeUtc(Some(at)),
            before,
            after,
        ];
        let row = tx.query_one(APPEND_ONE, values).await?.ok_or_else(missing)?;
        heads.insert(get::<String>(&row, 0)?, get::<i64>(&row, 1)?);
        (key, horizon, klass_version) = (get(&row, 2)?, get(&row, 3)?, get(&row, 4)?);
    } else {
        let mut highest = 0;
        for row in tx.query(RAISE_MANY, vec![org.0.into(), json(streams)]).await? {
            heads.insert(get::<String>(&row, 0)?, get::<i64>(&row, 1)?);
            highest = get::<i64>(&row, 2)?.max(highest);
        }
        let numbered = appended(heads.clone(), &counts, offsets, events)?;
        for (row, seq) in rows.iter_mut().zip(numbered.seqs) {
            row[1] = seq.into();
        }
        let values = vec![
            org.0.into(),
            json(rows),
            actor.into(),
            Bound::ChronoDateTimeUtc(Some(at)),
            highest.to_string().into(),
            texts(Dialect::Postgres, counts.keys().map(String::as_str)),
            before,
            after,
        ];
        let row = tx.query_one(APPEND_MANY, values).await?.ok_or_else(missing)?;
        (key, horizon, klass_version) = (highest, get(&row, 0)?, get(&row, 1)?);
    }
    Ok(Appended {
        feed: Some(FeedPosition {
            xid: unsigned(horizon).saturating_sub(1),
            position: i64::MAX,
            own: unsigned(key),
        }),
        klass_version,
        ..appended(heads, &counts, offsets, events)?
    })
}

#[allow(clippy::too_many_arguments, reason = "the two halves of one function")]
async fn append_sqlite(
    tx: &Tx,
    org: OrgId,
    actor: &str,
    at: DateTime<Utc>,
    mut rows: Vec<Json>,
    streams: Vec<Json>,
    offsets: &[i64],
    events: &[NewEvent],
) -> Result<Appended, StoreError> {
    let counts: HashMap<String, i64> = streams
        .iter()
        .filter_map(|pair| Some((pair[0].as_str()?.to_string(), pair[1].as_i64()?)))
        .collect();
    let answer = tx
        .query(
            "insert into stream_head (org_id, stream, seq) select $1, r.value ->> 0, r.value ->> 1 from json_each($2) r where true \
             on conflict (org_id, stream) do update set seq = stream_head.seq + excluded.seq \
             returning stream, seq, (select klass_version from org where id = $1)",
            vec![org.0.into(), Json::Array(streams).to_string().into()],
        )
        .await?;
    let mut heads: HashMap<String, i64> = HashMap::new();
    let mut klass_version = None;
    for row in &answer {
        heads.insert(get(row, 0)?, get(row, 1)?);
        klass_version = get(row, 2)?;
    }
    let done = appended(heads, &counts, offsets, events)?;
    for (row, seq) in rows.iter_mut().zip(&done.seqs) {
        row[1] = (*seq).into();
    }
    let answer = tx
        .query(
            "insert into event (org_id, stream, seq, id, klass, object_id, op, actor, at, cause, depth, changed, before, after) \
             select $1, r.value ->> 0, r.value ->> 1, unhex(r.value ->> 2), r.value ->> 3, unhex(r.value ->> 4), r.value ->> 5, $3, $4, \
             unhex(r.value ->> 6), r.value ->> 7, r.value ->> 8, r.value ->> 9, r.value ->> 10 from json_each($2) r order by r.key returning position",
            vec![
                org.0.into(),
                Json::Array(rows).to_string().into(),
                actor.into(),
                bind_time(Dialect::Sqlite, Some(at)),
            ],
        )
        .await?;
    let mut last = 0;
    for row in &answer {
        last = get::<i64>(row, 0)?.max(last);
    }
    Ok(Appended {
        feed: Some(FeedPosition {
            xid: 0,
            position: last,
            own: 0,
        }),
        klass_version,
        ..done
    })
}

fn appended(
    heads: HashMap<String, i64>,
    counts: &HashMap<String, i64>,
    offsets: &[i64],
    events: &[NewEvent],
) -> Result<Appended, StoreError> {
    let mut seqs = Vec::with_capacity(events.len());
    for (event, offset) in events.iter().zip(offsets) {
        let (Some(head), Some(count)) = (heads.get(&event.stream), counts.get(&event.stream)) else {
            return Err(StoreError::Corrupt(format!("{} got no head", quote(&event.stream))));
        };
        seqs.push(head - count + offset);
    }
    Ok(Appended {
        seqs,
        heads: heads.into_iter().collect(),
        ..Appended::default()
    })
}
