//! What carries news between nodes: hints that a stream grew (never what it grew by), and beats of presence. News may be lost,
//! doubled or late; none does harm: hubs read the log, and presence is told again and again.
//!
//! A bus over a server (Redis) sends on what [`Store::hints`] says of this node's commits and what [`Bus::beat`] is given, and
//! brings what all nodes said, this one included.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use klio_entities::klass::OrgId;
use klio_entities::store::{Hint, Store};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

/// How many beats a listener may lag behind before it loses some (they come again).
const BEATS_KEPT: usize = 1_024;

/// What a bus brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A commit, on this node or another.
    Hint(Hint),
    /// Somebody is there, on this node or another.
    Beat(Beat),
    /// Some news was lost: look everywhere.
    Lost,
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
}

/// The bus of a single node: its own news.
#[derive(Clone, Debug)]
pub struct InProcess {
    store: Store,
    beats: broadcast::Sender<Beat>,
}

impl InProcess {
    /// Over a store.
    pub fn new(store: Store) -> Self {
        let beats = broadcast::Sender::new(BEATS_KEPT);
        Self { store, beats }
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
        let beats = futures_util::stream::unfold(self.beats.subscribe(), |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(beat) => return Some((Heard::Beat(beat), receiver)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        futures_util::stream::select(hints, beats).boxed()
    }

    fn beat(&self, beat: Beat) {
        // No one listens: fine.
        let _ = self.beats.send(beat);
    }
}
