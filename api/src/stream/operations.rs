//! The operations under way on one connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{AbortHandle, Abortable, BoxStream, SelectAll};
use futures_util::{FutureExt, StreamExt};
use klio_entities::klass::Actor;
use klio_schema::execute::{Allow, Request};

use super::operation::{Said, operation};
use crate::App;

/// An operation under way: never used twice on a connection, while a client may use an id again.
pub type Key = u64;

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Operations under way at once.
    pub operations: usize,
    /// Operations started within a second.
    pub starts_per_second: u32,
}

/// Whether one more operation may be started. Without a clock: times are told, since the connection began.
#[derive(Debug)]
pub struct Pace {
    limits: Limits,
    /// When the latest operations were started, no more than the limit of a second.
    starts: VecDeque<Duration>,
}

impl Pace {
    /// Of a connection that was opened just now.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            starts: VecDeque::new(),
        }
    }

    /// One more is started, while so many are under way.
    ///
    /// # Errors
    /// Why it may not be, in a sentence.
    pub fn start(&mut self, under_way: usize, at: Duration) -> Result<(), String> {
        let second_ago = at.saturating_sub(Duration::from_secs(1));
        while self.starts.front().is_some_and(|start| *start < second_ago) {
            self.starts.pop_front();
        }
        if under_way >= self.limits.operations {
            return Err(format!(
                "This connection has {under_way} operations under way, which is the limit. Complete one first."
            ));
        }
        if self.starts.len() >= self.limits.starts_per_second as usize {
            return Err(format!(
                "More than {} operations were started within a second. Slow down.",
                self.limits.starts_per_second
            ));
        }
        self.starts.push_back(at);
        Ok(())
    }
}

/// See the head of this file. What is not polled waits: a subscription keeps its place in the log and goes on from there.
pub struct Operations {
    app: Arc<App>,
    way: &'static str,
    running: SelectAll<Abortable<BoxStream<'static, (Key, Said)>>>,
    aborts: HashMap<Key, AbortHandle>,
    /// Those that end by themselves: queries and mutations, and what is not known yet. The gateway's end waits for them.
    ending: HashSet<Key>,
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operations")
            .field("under_way", &self.aborts.len())
            .finish_non_exhaustive()
    }
}

impl Operations {
    /// None yet. `way`: by which transport they come.
    pub fn new(app: Arc<App>, way: &'static str) -> Self {
        Self {
            app,
            way,
            running: SelectAll::new(),
            aborts: HashMap::new(),
            ending: HashSet::new(),
        }
    }

    /// Starts one.
    pub fn start(&mut self, key: Key, actor: Arc<Actor>, request: Request, allow: Allow) {
        // In a box of its own, which is gone once a subscription has begun: 3 KB that a socket would keep for as long as it listens.
        let operation = operation(self.app.clone(), actor, self.way, request, allow).boxed();
        self.add(key, operation.flatten_stream().boxed());
    }

    /// Takes in one that was started elsewhere.
    pub fn add(&mut self, key: Key, operation: BoxStream<'static, Said>) {
        let (abort, registration) = AbortHandle::new_pair();
        let operation = operation.map(move |said| (key, said)).boxed();
        self.running.push(Abortable::new(operation, registration));
        self.aborts.insert(key, abort);
        self.ending.insert(key);
        self.app.metrics.operations.inc();
    }

    /// Ends one; whatever it still says is dropped.
    pub fn stop(&mut self, key: Key) {
        if let Some(abort) = self.forget(key) {
            abort.abort();
        }
    }

    /// Ends all.
    pub fn clear(&mut self) {
        for (_, abort) in self.aborts.drain() {
            self.app.metrics.operations.dec();
            abort.abort();
        }
        self.ending.clear();
        self.running = SelectAll::new();
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.aborts.len()
    }

    /// None is under way.
    pub fn is_empty(&self) -> bool {
        self.aborts.is_empty()
    }

    /// Something is under way that ends by itself.
    pub fn is_busy(&self) -> bool {
        !self.ending.is_empty()
    }

    /// What one of them says. Never ready with `None`; [`Said::Lasts`] is for the operations themselves and is not told.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Key, Said)> {
        loop {
            match self.running.poll_next_unpin(cx) {
                Poll::Ready(Some((key, Said::Lasts))) => {
                    self.ending.remove(&key);
                }
                Poll::Ready(Some((key, said))) => {
                    if matches!(said, Said::Done | Said::Failed(_)) {
                        self.forget(key);
                    }
                    return Poll::Ready((key, said));
                }
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn forget(&mut self, key: Key) -> Option<AbortHandle> {
        self.ending.remove(&key);
        let abort = self.aborts.remove(&key)?;
        self.app.metrics.operations.dec();
        Some(abort)
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        self.clear();
    }
}
