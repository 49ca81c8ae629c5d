//! What carries news between nodes: hints that a stream grew (never what it grew by), beats of presence, and withdrawals of tokens.
//! News may be lost, doubled or late; none does harm: hubs read the log, presence is told again and again, and tokens are looked up
//! anew all the time.
//!
//! A bus over a server ([`redis`]) sends on what [`Store::hints`] says of this node's commits and what [`Bus::beat`] is given, and
//! brings what all nodes said, this one included.

use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use klio_entities::klass::OrgId;
use klio_entities::store::{Hint, Store};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

pub mod place;
pub mod redis;

/// How many beats and withdrawals a listener may lag behind before it loses some.
const SAID_KEPT: usize = 1_024;

/// What a bus brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A commit, on this node or another.
    Hint(Hint),
    /// Somebody is there, on this node or another.
    Beat(Beat),
    /// A token was withdrawn, or may less than before.
    Withdrawn(Uuid),
    /// Some news was lost: look everywhere.
    Lost,
}

/// A bus is away: this node hears only itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Since when.
    pub since: Instant,
    /// Why, as far as is known.
    pub why: String,
}

impl Away {
    /// From now on.
    pub fn since_now(why: &str) -> Self {
        Self {
            since: Instant::now(),
            why: why.to_owned(),
        }
    }
}

/// What a bus has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Pieces of news sent to other nodes.
    pub sent: u64,
    /// Pieces of news heard from other nodes.
    pub heard: u64,
    /// Pieces of news that could not be sent.
    pub lost: u64,
    /// How often a connection was made.
    pub connected: u64,
}

/// Somebody looks at an object, or types there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The org.
    pub org: OrgId,
    /// The object.
    pub of: Uuid,
    /// Who, as events name them: `kind:id:name`.
    pub actor: String,
    /// Types, and does not only look.
    pub typing: bool,
    /// For how long this is good, in milliseconds; 0: they have gone.
    pub millis: u32,
}

/// Brings the news of all nodes.
pub trait Bus: Send + Sync + 'static {
    /// News from now on, of this node too. The stream ends when the bus does.
    fn heard(&self) -> BoxStream<'static, Heard>;
    /// Tells all nodes that somebody is there. Must not block; what cannot be sent is lost.
    fn beat(&self, beat: Beat);
    /// Tells all nodes that a token was withdrawn. Must not block; what cannot be sent is lost.
    fn withdraw(&self, token: Uuid);
    /// That other nodes are not heard just now. Then one has to look into the log more often.
    fn away(&self) -> Option<Away> {
        None
    }
    /// What it has done so far, for metrics.
    fn told(&self) -> Told {
        Told::default()
    }
}

/// News out of a channel.
fn heard_of(receiver: broadcast::Receiver<Heard>) -> BoxStream<'static, Heard> {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Ok(heard) => Some((heard, receiver)),
            Err(RecvError::Lagged(_)) => Some((Heard::Lost, receiver)),
            Err(RecvError::Closed) => None,
        }
    })
    .boxed()
}

/// The bus of a single node: its own news.
#[derive(Clone, Debug)]
pub struct InProcess {
    store: Store,
    said: broadcast::Sender<Heard>,
}

impl InProcess {
    /// Over a store.
    pub fn new(store: Store) -> Self {
        let said = broadcast::Sender::new(SAID_KEPT);
        Self { store, said }
    }
}

impl Bus for InProcess {
    fn heard(&self) -> BoxStream<'static, Heard> {
        let hints = futures_util::stream::unfold(self.store.hints(), |mut receiver| async move {
            match receiver.recv().await {
                Ok(hint) => Some((Heard::Hint(hint), receiver)),
                Err(RecvError::Lagged(_)) => Some((Heard::Lost, receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        futures_util::stream::select(hints, heard_of(self.said.subscribe())).boxed()
    }

    fn beat(&self, beat: Beat) {
        // No one listens: fine.
        let _ = self.said.send(Heard::Beat(beat));
    }

    fn withdraw(&self, token: Uuid) {
        let _ = self.said.send(Heard::Withdrawn(token));
    }
}
