//! The log as it grows: one hub per (org, source) and node reads it once for all its subscribers.
//!
//! A hub reads when a hint says so, and once a second when a sweep finds that a head has moved without one. A subscriber keeps
//! nothing but its place: what it has not taken yet lies in the hub's ring, and when the ring has moved on, in the log. So memory
//! is bounded by the ring, a slow reader costs no one else anything, and nothing is lost.
//!
//! From catching up to live there is no gap: a subscriber joins the ring only where the ring is complete from its place on, and
//! leaves out what it has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use klio_entities::klass::OrgId;
use klio_entities::store::cursor::{Cursor, StreamPosition, stream_hash};
use klio_entities::store::event::{Event, Events, Resync, Source};
use klio_entities::store::{Store, StoreError};
use tokio::sync::{Notify, watch};

use crate::bus::{Bus, Heard, InProcess};

mod core;

use core::{Core, Next, Place};

/// How often the heads of all streams that have subscribers are compared.
const SWEEP: Duration = Duration::from_secs(1);
/// Events of one read of the log.
const PAGE: usize = 256;
/// Events that a subscriber takes from the ring at once.
const TAKE: usize = 64;
/// First and longest pause before the log is read again after an error, or for a transaction that the feed does not show yet.
const PAUSE: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(500));

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Live {
    /// Something came to be.
    Event(Arc<Event>),
    /// All that was committed before the subscription began has been told; told once.
    CaughtUp(Cursor),
    /// The cursor cannot be continued: read afresh, subscribe anew. The last item.
    Resync {
        /// Why.
        reason: Resync,
    },
}

/// All hubs of a node. Clones are the same.
#[derive(Clone)]
pub struct Lives(Arc<Shared>);

impl std::fmt::Debug for Lives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lives").field("hubs", &self.hubs()).finish_non_exhaustive()
    }
}

struct Shared {
    store: Store,
    bus: Arc<dyn Bus>,
    hubs: Mutex<HashMap<(OrgId, Source), Arc<Hub>>>,
    started: std::sync::Once,
}

struct Hub {
    store: Store,
    org: OrgId,
    source: Source,
    /// `None` until the hub knows where the log's head is.
    state: Mutex<Option<State>>,
    subscribers: AtomicUsize,
    /// Sweeps since it had a subscriber.
    idle: AtomicUsize,
    /// Reads asked for; the reader wakes by `wake`.
    asked: AtomicU64,
    wake: Notify,
    /// Reads done, in numbers of `asked`; changes when there may be more in the ring.
    done: watch::Sender<u64>,
    /// Postgres, feed: the transaction up to which hints have told of.
    hinted: AtomicU64,
}

/// The ring, and the epoch of the log of which its places are.
struct State {
    epoch: u64,
    core: Core,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes guard is whole between any two statements, so a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lives {
    /// Hubs over a store, on one node.
    pub fn new(store: Store) -> Self {
        let bus = Arc::new(InProcess::new(store.clone()));
        Self::with_bus(store, bus)
    }

    /// Hubs over a store that hear hints by a bus.
    pub fn with_bus(store: Store, bus: Arc<dyn Bus>) -> Self {
        Self(Arc::new(Shared {
            store,
            bus,
            hubs: Mutex::default(),
            started: std::sync::Once::new(),
        }))
    }

    /// How many hubs there are: sources with subscribers.
    pub fn hubs(&self) -> usize {
        lock(&self.0.hubs).len()
    }

    /// Everything behind `after` (`None`: from now on), then [`Live::CaughtUp`], then everything as it comes. Errors of the
    /// database delay, they do not end the stream. Must be called within a tokio runtime; drop the stream to unsubscribe.
    pub fn subscribe(&self, org: OrgId, source: Source, after: Option<Cursor>) -> impl Stream<Item = Live> + Send + 'static + use<> {
        self.start();
        let subscriber = Subscriber {
            hub: self.hub(org, source),
            phase: Phase::Begin(after),
            place: Place::Stream(0),
            epoch: 0,
            told: false,
            ready: Vec::new().into_iter(),
        };
        futures_util::stream::unfold(subscriber, |mut subscriber| async move {
            let item = subscriber.next().await?;
            Some((item, subscriber))
        })
    }

    /// The hub of a source, with a subscriber more.
    fn hub(&self, org: OrgId, source: Source) -> Held {
        let mut hubs = lock(&self.0.hubs);
        let hub = hubs.entry((org, source.clone())).or_insert_with(|| {
            let hub = Arc::new(Hub {
                store: self.0.store.clone(),
                org,
                source,
                state: Mutex::default(),
                subscribers: AtomicUsize::new(0),
                idle: AtomicUsize::new(0),
                asked: AtomicU64::new(0),
                wake: Notify::new(),
                done: watch::Sender::new(0),
                hinted: AtomicU64::new(0),
            });
            tokio::spawn(read(Arc::downgrade(&hub)));
            hub
        });
        hub.subscribers.fetch_add(1, Ordering::SeqCst);
        Held(hub.clone())
    }

    /// Starts the tasks that wake hubs, once.
    fn start(&self) {
        self.0.started.call_once(|| {
            let hints = self.0.bus.heard();
            tokio::spawn(listen(Arc::downgrade(&self.0), hints));
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        });
    }
}

/// Wakes hubs by hints.
async fn listen(shared: Weak<Shared>, mut hints: futures_util::stream::BoxStream<'static, Heard>) {
    while let Some(heard) = hints.next().await {
        let Some(shared) = shared.upgrade() else { return };
        let hubs = lock(&shared.hubs);
        match heard {
            Heard::Lost => hubs.values().for_each(|hub| {
                hub.ask();
            }),
            Heard::Beat(_) => {}
            Heard::Hint(hint) => {
                let wake = |source: Source| {
                    if let Some(hub) = hubs.get(&(hint.org, source)) {
                        hub.hinted.fetch_max(hint.xid, Ordering::SeqCst);
                        hub.ask();
                    }
                };
                hint.streams.iter().for_each(|(stream, _)| wake(Source::Stream(stream.clone())));
                hint.klasses.iter().for_each(|klass| wake(Source::Klass(klass.clone())));
                wake(Source::Org);
            }
        }
    }
}

/// The safety net: wakes hubs whose head has moved without a hint, and lets go of those that no one needs.
async fn sweep(shared: Weak<Shared>) {
    let mut tick = tokio::time::interval(SWEEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let mut streams: HashMap<OrgId, HashMap<String, Arc<Hub>>> = HashMap::new();
        {
            let mut hubs = lock(&shared.hubs);
            // Under the lock under which a subscriber is added, so none is lost.
            hubs.retain(|_, hub| {
                let used = hub.subscribers.load(Ordering::SeqCst) > 0;
                let idle = if used { 0 } else { hub.idle.load(Ordering::SeqCst) + 1 };
                hub.idle.store(idle, Ordering::SeqCst);
                if idle > 1 {
                    hub.wake.notify_one();
                }
                idle <= 1
            });
            for hub in hubs.values() {
                match &hub.source {
                    Source::Stream(stream) => {
                        streams.entry(hub.org).or_default().insert(stream.clone(), hub.clone());
                    }
                    Source::Klass(_) | Source::Org => {
                        hub.ask();
                    }
                }
            }
        }
        for (org, hubs) in streams {
            let names: Vec<String> = hubs.keys().cloned().collect();
            for chunk in names.chunks(5_000) {
                match shared.store.heads(org, chunk).await {
                    Ok(heads) => {
                        for (stream, head) in heads {
                            let Some(hub) = hubs.get(&stream) else { continue };
                            let place = lock(&hub.state).as_ref().map(|state| state.core.place());
                            let behind = matches!(place, Some(Place::Stream(seq)) if seq < head);
                            if behind {
                                hub.ask();
                            }
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the heads of streams could not be compared"),
                }
            }
        }
        if let Err(error) = shared.store.refresh_identity().await {
            tracing::debug!(%error, "the log's identity could not be read");
        }
    }
}

/// Reads the log for a hub, whenever it is asked to, until the hub is gone.
async fn read(hub: Weak<Hub>) {
    let mut pause = PAUSE.0;
    loop {
        let Some(strong) = hub.upgrade() else { return };
        let asked = strong.asked.load(Ordering::SeqCst);
        if asked == *strong.done.borrow() {
            tokio::select! {
                () = strong.wake.notified() => {}
                () = tokio::time::sleep(SWEEP * 2) => {}
            }
            // Let go of by the sweep, or alone in the world since all hubs are gone.
            if strong.idle.load(Ordering::SeqCst) > 1 || Arc::strong_count(&strong) == 1 {
                return;
            }
            continue;
        }
        match strong.pull().await {
            Ok(shown) => {
                strong.done.send_replace(asked);
                if shown {
                    pause = PAUSE.0;
                    continue;
                }
                // A hint told of a transaction that others before it still hide.
                strong.ask();
            }
            Err(error) => {
                tracing::warn!(%error, source = ?strong.source, "the log could not be read; trying again");
                pause = pause.max(Duration::from_millis(50));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

impl Hub {
    /// Asks for a read that begins after this call; answers its number.
    fn ask(&self) -> u64 {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        number
    }

    /// Waits for a read that began after this call.
    async fn fresh(&self) {
        let mut done = self.done.subscribe();
        let number = self.ask();
        // The hub holds the sender, so this cannot err while we hold the hub.
        let _ = done.wait_for(|done| *done >= number).await;
    }

    /// Reads all that is new into the ring; `false`: a hint told of something that the feed does not show yet.
    async fn pull(&self) -> Result<bool, StoreError> {
        loop {
            let known = lock(&self.state).as_ref().map(|state| (state.epoch, state.core.place()));
            let epoch = self.store.identity().await?.epoch;
            let Some((_, place)) = known.filter(|(known, _)| *known == epoch) else {
                return self.begin().await.map(|()| true);
            };
            let cursor = self.cursor(&place, epoch);
            match self.store.events(self.org, &self.source, &cursor, PAGE).await? {
                Events::Page { events, cursor, more } => {
                    let place = self.place(&cursor)?;
                    if let Some(state) = lock(&self.state).as_mut() {
                        state.core.push(events, place);
                    }
                    if more {
                        // Subscribers need not wait for the rest.
                        self.done.send_modify(|_| {});
                        continue;
                    }
                    return Ok(match place {
                        Place::Feed(feed) => feed.xid >= self.hinted.load(Ordering::SeqCst),
                        Place::Stream(_) => true,
                    });
                }
                Events::Resync(reason) => {
                    tracing::warn!(%reason, source = ?self.source, "a hub's place in the log is lost");
                    self.begin().await?;
                    return Ok(true);
                }
            }
        }
    }

    /// Begins (again) at the log's head.
    async fn begin(&self) -> Result<(), StoreError> {
        let head = self.store.head(self.org, &self.source).await?;
        let place = self.place(&head)?;
        let mut state = lock(&self.state);
        match state.as_mut() {
            Some(state) => {
                state.epoch = head.epoch;
                state.core.reset(place);
            }
            None => {
                *state = Some(State {
                    epoch: head.epoch,
                    core: Core::new(place),
                });
            }
        }
        Ok(())
    }

    fn place(&self, cursor: &Cursor) -> Result<Place, StoreError> {
        let place = match self.source {
            Source::Stream(_) => cursor.stream.map(|stream| Place::Stream(stream.seq)),
            Source::Klass(_) | Source::Org => cursor.feed.map(Place::Feed),
        };
        place.ok_or_else(|| StoreError::Corrupt("a cursor without the place of its source".into()))
    }

    fn cursor(&self, place: &Place, epoch: u64) -> Cursor {
        match (place, &self.source) {
            (Place::Stream(seq), Source::Stream(stream)) => Cursor {
                epoch,
                stream: Some(StreamPosition {
                    hash: stream_hash(stream),
                    seq: *seq,
                }),
                feed: None,
            },
            (Place::Feed(feed), _) => Cursor {
                epoch,
                stream: None,
                feed: Some(*feed),
            },
            (Place::Stream(_), _) => Cursor {
                epoch,
                stream: None,
                feed: None,
            },
        }
    }
}

/// A hub that one subscriber holds.
struct Held(Arc<Hub>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.subscribers.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Subscriber {
    hub: Held,
    phase: Phase,
    place: Place,
    /// Of the log of which the place is.
    epoch: u64,
    /// Whether [`Live::CaughtUp`] was told.
    told: bool,
    ready: std::vec::IntoIter<Arc<Event>>,
}

enum Phase {
    /// Not begun.
    Begin(Option<Cursor>),
    /// Reads the log from this cursor.
    Behind(Cursor),
    /// Reads the ring from this ordinal.
    Live(u64),
    /// Has been told to start anew.
    Over,
}

impl Subscriber {
    async fn next(&mut self) -> Option<Live> {
        loop {
            if let Some(event) = self.ready.next() {
                return Some(Live::Event(event));
            }
            match &self.phase {
                Phase::Over => return None,
                Phase::Begin(after) => {
                    let after = *after;
                    // Whatever was committed before this subscription is in the ring or behind it from here on.
                    self.hub.0.fresh().await;
                    let known = self.known();
                    self.phase = match (after, known) {
                        (_, None) => continue,
                        (None, Some((epoch, place, first))) => {
                            (self.epoch, self.place) = (epoch, place);
                            Phase::Live(first)
                        }
                        // Its place in this source may have to be found, or be no place at all: the log knows.
                        (Some(cursor), Some(_)) => self.joined(&cursor).unwrap_or(Phase::Behind(cursor)),
                    };
                }
                Phase::Behind(cursor) => {
                    let cursor = *cursor;
                    let hub = self.hub.0.clone();
                    match hub.store.events(hub.org, &hub.source, &cursor, PAGE).await {
                        Ok(Events::Page { events, cursor, .. }) => {
                            let none = events.is_empty();
                            self.ready = events.into_iter();
                            self.phase = match self.joined(&cursor) {
                                Some(phase) => phase,
                                None => {
                                    if none {
                                        hub.fresh().await;
                                    }
                                    Phase::Behind(cursor)
                                }
                            };
                        }
                        Ok(Events::Resync(reason)) => {
                            self.phase = Phase::Over;
                            return Some(Live::Resync { reason });
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a subscriber could not read the log; trying again");
                            tokio::time::sleep(PAUSE.1).await;
                        }
                    }
                }
                Phase::Live(ordinal) => {
                    let ordinal = *ordinal;
                    let mut changed = self.hub.0.done.subscribe();
                    let next = lock(&self.hub.0.state)
                        .as_ref()
                        .map(|state| state.core.next(ordinal, &self.place, TAKE));
                    match next {
                        Some(Next::Events(events, ordinal, place)) => {
                            self.ready = events.into_iter();
                            self.place = place;
                            self.phase = Phase::Live(ordinal);
                        }
                        // The cursor bears the epoch of its place: if the log is another by now, reading it will say so.
                        Some(Next::Behind) => self.phase = Phase::Behind(self.hub.0.cursor(&self.place, self.epoch)),
                        Some(Next::Edge(ordinal, place)) => {
                            self.place = place;
                            self.phase = Phase::Live(ordinal);
                            if !self.told {
                                self.told = true;
                                return Some(Live::CaughtUp(self.hub.0.cursor(&place, self.epoch)));
                            }
                            // The hub holds the sender, and we hold the hub.
                            let _ = changed.changed().await;
                        }
                        None => self.hub.0.fresh().await,
                    }
                }
            }
        }
    }

    /// Where the ring stands: its epoch and place, and an ordinal from which what lies behind that place can be read.
    fn known(&self) -> Option<(u64, Place, u64)> {
        let state = lock(&self.hub.0.state);
        let State { epoch, core } = state.as_ref()?;
        let place = core.place();
        core.join(&place).map(|first| (*epoch, place, first))
    }

    /// Joins the ring at a cursor, if the ring is complete from there on.
    fn joined(&mut self, cursor: &Cursor) -> Option<Phase> {
        let hub = &self.hub.0;
        if let (Source::Stream(stream), Some(position)) = (&hub.source, &cursor.stream)
            && position.hash != stream_hash(stream)
        {
            return None;
        }
        let place = hub.place(cursor).ok()?;
        let state = lock(&hub.state);
        let State { epoch, core } = state.as_ref()?;
        if *epoch != cursor.epoch {
            return None;
        }
        if let (Place::Stream(mine), Place::Stream(head)) = (place, core.place())
            && mine > head
        {
            // Ahead of the log, or of the ring alone: the log knows.
            return None;
        }
        let ordinal = core.join(&place)?;
        (self.epoch, self.place) = (cursor.epoch, place);
        Some(Phase::Live(ordinal))
    }
}

#[cfg(test)]
mod tests;
