//! The operations under way on one connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{AbortHandle, Abortable, BoxStream, SelectAll};
use futures_util::{FutureExt, Stream, StreamExt};
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
    /// Most connections have one operation: it is polled as it is. What comes beside it shares a set, which costs each message a little.
    first: Option<Abortable<Running>>,
    others: SelectAll<Abortable<Running>>,
    /// Whose turn it is to be asked first: neither starves the other.
    turn: bool,
    aborts: HashMap<Key, AbortHandle>,
    /// Those that end by themselves: queries and mutations, and what is not known yet. The gateway's end waits for them.
    ending: HashSet<Key>,
}

/// An operation, and what it says.
struct Running {
    key: Key,
    state: State,
}

/// What is begun lies in a box of its own, which is gone once it has begun: it is larger than what a subscription keeps.
enum State {
    Begins(BoxFuture<'static, BoxStream<'static, Said>>),
    Says(BoxStream<'static, Said>),
}

impl Stream for Running {
    type Item = (Key, Said);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(Key, Said)>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Begins(operation) => this.state = State::Says(ready!(operation.poll_unpin(cx))),
                State::Says(stream) => return stream.poll_next_unpin(cx).map(|said| Some((this.key, said?))),
            }
        }
    }
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
            first: None,
            others: SelectAll::new(),
            turn: false,
            aborts: HashMap::new(),
            ending: HashSet::new(),
        }
    }

    /// Starts one.
    pub fn start(&mut self, key: Key, actor: Arc<Actor>, request: Request, allow: Allow) {
        let operation = operation(self.app.clone(), actor, self.way, request, allow);
        self.run(key, State::Begins(operation.boxed()));
    }

    /// Takes in one that was started elsewhere.
    pub fn add(&mut self, key: Key, operation: BoxStream<'static, Said>) {
        self.run(key, State::Says(operation));
    }

    fn run(&mut self, key: Key, state: State) {
        let (abort, registration) = AbortHandle::new_pair();
        let running = Abortable::new(Running { key, state }, registration);
        match &self.first {
            None => self.first = Some(running),
            Some(_) => self.others.push(running),
        }
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
        self.first = None;
        self.others = SelectAll::new();
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

    /// What one of them says; [`Said::Lasts`] is for the operations themselves and is not told.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Key, Said)> {
        loop {
            let Poll::Ready((key, said)) = self.poll_any(cx) else {
                return Poll::Pending;
            };
            match said {
                Said::Lasts => {
                    self.ending.remove(&key);
                    continue;
                }
                Said::Done | Said::Failed(_) => {
                    self.forget(key);
                }
                Said::Next(_) => {}
            }
            return Poll::Ready((key, said));
        }
    }

    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<(Key, Said)> {
        self.turn = !self.turn;
        for of_first in [self.turn, !self.turn] {
            let polled = match (&mut self.first, of_first) {
                (Some(first), true) => first.poll_next_unpin(cx),
                (None, true) => continue,
                (_, false) => self.others.poll_next_unpin(cx),
            };
            match polled {
                Poll::Ready(Some(said)) => return Poll::Ready(said),
                // It has ended, and who comes next takes its place.
                Poll::Ready(None) if of_first => self.first = None,
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        Poll::Pending
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
