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

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value as Bound};
use serde_json::{Map, Value as Json};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::cursor::{Cursor, FeedPosition, StreamPosition, stream_hash};
use super::silence::answered;
use super::{Store, StoreError, point};
use crate::klass::{ObjectId, OrgId};

mod append;
mod identity;
mod read;
mod retention;

pub(crate) use append::{Appended, NewEvent, append};
pub use identity::Identity;
pub use retention::EVENTS_KEPT;

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
    /// The feed, of these klasses.
    Klasses(Vec<String>),
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
        /// Postgres, feed: the highest `xid` of what is committed and not shown yet, since older transactions are open; 0: nothing.
        hidden: u64,
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
    /// Held while it is read anew: who read it earlier does not write over what was read later.
    refreshing: tokio::sync::Mutex<()>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            hints: broadcast::Sender::new(HINTS_KEPT),
            identity: Default::default(),
            refreshing: Default::default(),
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
            part: 0,
        }
    }

    /// The place right behind it in the feed.
    pub fn feed_cursor(&self, epoch: u64) -> Cursor {
        Cursor {
            epoch,
            stream: None,
            feed: Some(self.feed),
            part: 0,
        }
    }
}

fn get<T: sea_orm::TryGetable>(row: &QueryResult, index: usize) -> Result<T, StoreError> {
    row.try_get_by_index(index)
        .map_err(|e| StoreError::Corrupt(format!("an event: {e}")))
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
        point::pass("write.committed");
        // No one listens: fine.
        let _ = self.0.log.hints.send(hint);
    }

    /// Rows of a read on the plain pool.
    pub(crate) async fn rows(&self, sql: impl Into<String>, values: Vec<Bound>) -> Result<Vec<QueryResult>, StoreError> {
        let statement = Statement::from_sql_and_values(self.connection().get_database_backend(), sql, values);
        self.noticed(async |connection| answered(Some(self.patience()), connection.query_all_raw(statement)).await)
            .await
    }
}
