//! One execution for all who ask the same and may see the same.
//!
//! What must be the same is the key: the org, the document, the operation's name, the variables (all but the cursor from which one
//! goes on), and the **permission class**. The version of the klasses is not in it: a shared execution is planned anew when they
//! change, for all who share it. Which stream is read follows from the rest.
//!
//! It runs as nobody: as an actor made from the class alone, so nothing of the one who came first can show. A message's bytes are
//! made once; each subscriber is a seat ([`klio_subscriptions::cast`]). Who comes with a cursor, or was too slow, reads the log in an
//! execution of its own until it meets the shared one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use klio_entities::klass::actor::ActorKind;
use klio_entities::klass::{Actor, OrgId, Role};
use klio_entities::store::cursor::Cursor;
use klio_subscriptions::cast::{Cast, Sat, Seat};
use klio_subscriptions::place::within;
use klio_subscriptions::ring::Bounds;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::session::Session;
use crate::error::Error;
use crate::execute::gateway::refused;
use crate::execute::{Gateway, Message, Request, Stats};

/// What waits for a slow subscriber, at most; then it reads the log at its own pace.
const RING: Bounds = Bounds {
    items: 256,
    bytes: 256 * 1024,
};
/// For how long an execution goes on that no one follows: who lost a connection comes back.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// All of an actor on which an answer may depend, in subscriptions that are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// The org.
    pub org: OrgId,
    /// Sensitive properties are seen.
    pub sees_sensitive: bool,
}

impl Class {
    /// An actor's.
    pub fn of(actor: &Actor) -> Self {
        Self {
            org: actor.org,
            sees_sensitive: actor.role.sees_sensitive(),
        }
    }

    /// Somebody who may what the class may, and no more.
    pub fn actor(&self) -> Actor {
        Actor {
            org: self.org,
            kind: ActorKind::System,
            id: Uuid::nil(),
            name: String::new(),
            role: if self.sees_sensitive { Role::Agent } else { Role::Reader },
        }
    }
}

/// See the head of this file.
pub type Key = [u8; 32];

/// One execution, and what it takes to run another of the same.
#[derive(Debug)]
pub struct Shared {
    cast: Arc<Cast<Message>>,
    actor: Actor,
    request: Arc<Request>,
    /// The message that says that all was told, for the place at which it was last said.
    caught_up: Mutex<Option<(Cursor, Message)>>,
}

/// The executions under way.
#[derive(Debug, Default)]
pub struct Shares {
    all: Mutex<HashMap<Key, Arc<Shared>>>,
    states: Mutex<HashMap<Key, Arc<Cast<Message>>>>,
    runs: AtomicUsize,
    /// Tests show that without the permission class in the key they fail.
    #[cfg(test)]
    pub(crate) blind: std::sync::atomic::AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes guard is whole between any two statements, so a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shares {
    /// How many executions are shared now.
    pub fn count(&self) -> usize {
        lock(&self.all).len() + lock(&self.states).len()
    }

    /// How many batches shared executions have turned into messages so far, and states were told.
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    /// What those share who may; `after` is the cursor that the request brings.
    pub(super) fn key(&self, class: &Class, request: &Request, after: Option<&str>) -> Key {
        #[cfg(not(test))]
        let class_counts = true;
        #[cfg(test)]
        let class_counts = !self.blind.load(Ordering::Relaxed);
        let is_cursor = |name: &str, value: &Json| match after {
            Some(after) => value.as_str() == Some(after),
            None => name == "after" && value.is_null(),
        };
        let mut variables: Vec<(&String, &Json)> = request.variables.iter().filter(|(name, value)| !is_cursor(name, value)).collect();
        variables.sort_by_key(|(name, _)| *name);
        let variables = serde_json::to_vec(&variables).unwrap_or_default();
        let sees: &[u8] = if class_counts { &[u8::from(class.sees_sensitive)] } else { &[] };
        let mut hash = Sha256::new();
        for part in [
            class.org.0.as_bytes(),
            sees,
            request.query.as_bytes(),
            request.operation.as_deref().unwrap_or_default().as_bytes(),
            &variables,
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// A seat at an execution that is under way.
    pub(super) fn known(&self, key: &Key) -> Option<(Arc<Shared>, Seat<Message>)> {
        let all = lock(&self.all);
        let shared = all.get(key)?;
        Some((shared.clone(), shared.cast.sit()))
    }

    /// Starts an execution, unless somebody else just did.
    pub(super) fn start(&self, key: Key, session: Session) -> (Arc<Shared>, Seat<Message>) {
        let mut all = lock(&self.all);
        if let Some(shared) = all.get(&key) {
            return (shared.clone(), shared.cast.sit());
        }
        let shared = Arc::new(Shared {
            cast: Cast::new(RING),
            actor: session.actor.clone(),
            request: session.request.clone(),
            caught_up: Mutex::default(),
        });
        let seat = shared.cast.sit();
        all.insert(key, shared.clone());
        drop(all);
        tokio::spawn(keep(session.gateway.shares.clone(), key, shared.clone(), session));
        (shared, seat)
    }
}

impl Shares {
    /// A seat at a state that is under way.
    pub(super) fn known_state(&self, key: &Key) -> Option<Seat<Message>> {
        lock(&self.states).get(key).map(Cast::sit)
    }

    /// Starts a state, unless somebody else just did.
    pub(super) fn start_state<F>(&self, key: Key, keep: impl FnOnce(Arc<Cast<Message>>) -> F) -> Seat<Message>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut states = lock(&self.states);
        if let Some(cast) = states.get(&key) {
            return cast.sit();
        }
        let cast = Cast::newest();
        let seat = cast.sit();
        states.insert(key, cast.clone());
        drop(states);
        tokio::spawn(keep(cast));
        seat
    }

    /// A state has ended.
    pub(super) fn end_state(&self, key: &Key) {
        lock(&self.states).remove(key);
    }

    /// Ends a state at which no one sits; whether that was so.
    pub(super) fn end_unused_state(&self, key: &Key, cast: &Cast<Message>) -> bool {
        let mut states = lock(&self.states);
        // Under the lock under which seats are given, so no one sits down at what ends.
        let unused = cast.seats() == 0;
        if unused {
            states.remove(key);
        }
        unused
    }

    /// A state was told.
    pub(super) fn ran(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes messages for all who sit there, until no one does.
async fn keep(shares: Arc<Shares>, key: Key, shared: Arc<Shared>, mut session: Session) {
    let cast = &shared.cast;
    let mut wish = cast.wanted();
    let mut begun = false;
    loop {
        let alone = cast.seats() == 0;
        let batch = tokio::select! {
            batch = session.wait() => batch,
            () = cast.work() => {
                if wish.is_none() {
                    wish = cast.wanted();
                    if wish.is_some() {
                        session.again();
                    }
                }
                continue;
            }
            () = tokio::time::sleep(LINGER), if alone => {
                let mut all = lock(&shares.all);
                // Under the lock under which seats are given, so no one sits down at what ends.
                if cast.seats() == 0 {
                    all.remove(&key);
                    return;
                }
                continue;
            }
        };
        let step = Box::pin(session.make(batch)).await;
        if !step.items.is_empty() {
            shares.runs.fetch_add(1, Ordering::Relaxed);
        }
        if !begun {
            // All that comes from the first message on is here.
            let first = step.items.first().and_then(|item| item.at.map(|at| within(&item.behind, &at, 0)));
            begun = first.is_some() || step.fresh || step.over;
            if begun {
                cast.jump(first.unwrap_or_else(|| session.stands()));
            }
        }
        if begun {
            let (over, edge) = (step.over, session.stands());
            if step.jumps {
                let behind = step.items.last().map_or(edge, |item| item.behind);
                cast.push(step.items, behind);
                cast.jump(edge);
            } else {
                cast.push(step.items, edge);
            }
            if over {
                lock(&shares.all).remove(&key);
                cast.end();
                return;
            }
        }
        if step.fresh {
            if let Some(wish) = wish.take() {
                cast.fulfil(wish);
            }
            wish = cast.wanted();
            if wish.is_some() {
                session.again();
            }
        }
    }
}

struct Listener {
    gateway: Gateway,
    shared: Arc<Shared>,
    seat: Seat<Message>,
    phase: Phase,
    ready: VecDeque<Message>,
    over: bool,
}

enum Phase {
    /// Shares what is made for all.
    Seated,
    /// Is to go on from a place by itself.
    Alone(Cursor),
    /// Does so.
    Own(Box<Session>, Meeting),
}

/// Whether who goes on by itself meets those who share. They may have begun behind the place at which it stands, though nothing lies
/// between: once they have begun, it looks anew where the log stands, and is there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    /// It has not told all yet.
    No,
    /// It has, and waits for them to begin.
    Waits,
    /// It has looked anew.
    Asked,
}

/// The messages of a seat: from `after` on, or from now on.
pub(super) fn listen(gateway: Gateway, shared: Arc<Shared>, seat: Seat<Message>, after: Option<Cursor>) -> BoxStream<'static, Message> {
    let listener = Listener {
        gateway,
        shared,
        seat,
        phase: after.map_or(Phase::Seated, Phase::Alone),
        ready: VecDeque::new(),
        over: false,
    };
    futures_util::stream::unfold(listener, |mut listener| async move {
        let message = listener.next().await?;
        Some((message, listener))
    })
    .boxed()
}

impl Listener {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            if self.over {
                return None;
            }
            match &mut self.phase {
                Phase::Seated => match std::future::poll_fn(|cx| self.seat.poll(cx)).await {
                    Sat::Item(message) => return Some(message),
                    Sat::Fresh => {
                        let told = Box::pin(self.caught_up()).await;
                        self.told(told);
                    }
                    Sat::Behind => self.phase = Phase::Alone(self.seat.place()),
                    Sat::Over => return None,
                },
                Phase::Alone(place) => {
                    let place = *place;
                    if self.seat.join(place) {
                        self.phase = Phase::Seated;
                        continue;
                    }
                    let Shared { actor, request, .. } = &*self.shared;
                    match Box::pin(Session::resume(&self.gateway, actor, request.clone(), place)).await {
                        Ok(session) => self.phase = Phase::Own(Box::new(session), Meeting::No),
                        Err(error) => self.told(Err(error)),
                    }
                }
                Phase::Own(session, meeting) => {
                    let batch = tokio::select! {
                        batch = session.wait() => batch,
                        () = self.seat.begun(), if *meeting == Meeting::Waits => {
                            *meeting = Meeting::Asked;
                            session.again();
                            continue;
                        }
                    };
                    let step = Box::pin(session.make(batch)).await;
                    let place = session.stands();
                    self.ready.extend(step.items.into_iter().map(|item| item.what));
                    self.over = step.over;
                    if step.over {
                        continue;
                    }
                    if self.seat.join(place) {
                        self.phase = Phase::Seated;
                    } else if step.fresh {
                        match meeting {
                            Meeting::No => *meeting = Meeting::Waits,
                            Meeting::Waits => {}
                            // They follow something else by now (the object went to another customer): it goes on by itself.
                            Meeting::Asked if self.seat.content() => {
                                let Shared { actor, request, .. } = &*self.shared;
                                let told = Box::pin(Session::caught_up(&self.gateway, actor, request, &place)).await;
                                self.told(told);
                            }
                            Meeting::Asked => {}
                        }
                    }
                }
            }
        }
    }

    fn told(&mut self, told: Result<Message, Error>) {
        match told {
            Ok(message) => self.ready.push_back(message),
            Err(error) => {
                self.ready.push_back(Message::of(refused(vec![error], Stats::default()).body));
                self.over = true;
            }
        }
    }

    /// That all was told; made once for all who stand at the same place.
    async fn caught_up(&self) -> Result<Message, Error> {
        let place = self.seat.place();
        let known = lock(&self.shared.caught_up).clone();
        if let Some((_, message)) = known.filter(|(at, _)| *at == place) {
            return Ok(message);
        }
        let Shared { actor, request, .. } = &*self.shared;
        let message = Session::caught_up(&self.gateway, actor, request, &place).await?;
        *lock(&self.shared.caught_up) = Some((place, message.clone()));
        Ok(message)
    }
}
