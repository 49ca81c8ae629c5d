//! What carries hints to hubs: that a stream grew, never what it grew by. A hint may be lost, doubled or late; none does harm.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use klio_entities::store::{Hint, Store};
use tokio::sync::broadcast::error::RecvError;

/// What a bus brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A commit, on this node or another.
    Hint(Hint),
    /// Some hints were lost: look everywhere.
    Lost,
}

/// Brings the hints of all nodes.
pub trait Bus: Send + Sync + 'static {
    /// Hints from now on, of this node's commits too. The stream ends when the bus does.
    fn hints(&self) -> BoxStream<'static, Heard>;
}

/// The bus of a single node: its own commits.
#[derive(Clone, Debug)]
pub struct InProcess(Store);

impl InProcess {
    /// Over a store.
    pub fn new(store: Store) -> Self {
        Self(store)
    }
}

impl Bus for InProcess {
    fn hints(&self) -> BoxStream<'static, Heard> {
        let receiver = self.0.hints();
        futures_util::stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(hint) => Some((Heard::Hint(hint), receiver)),
                Err(RecvError::Lagged(_)) => Some((Heard::Lost, receiver)),
                Err(RecvError::Closed) => None,
            }
        })
        .boxed()
    }
}
