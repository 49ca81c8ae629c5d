//! One source of one org on one node: read once, handed to all whom it concerns.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use klio_entities::klass::OrgId;
use klio_entities::store::cursor::Cursor;
use klio_entities::store::event::{Event, Events, Source};
use klio_entities::store::{Store, StoreError};
use serde_json::{Map, Value as Json};
use tokio::sync::{Notify, watch};

use super::{PAGE, PAUSE, SWEEP, lock};
use crate::place::{At, behind};
use crate::ring::{Bounds, Item, Ring};
use crate::route::{Interest, Router};

/// How much a hub's ring holds.
const RING: Bounds = Bounds {
    items: 256,
    bytes: 1 << 20,
};
/// How many events wait for a subscriber.
const QUEUE: usize = 256;

/// What a hub reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Which {
    Stream(String),
    /// The org's feed, of the klasses that its subscribers are interested in.
    Feed,
}

pub(super) struct Hub {
    pub store: Store,
    pub org: OrgId,
    pub which: Which,
    pub state: Mutex<State>,
    pub subscribers: AtomicUsize,
    /// Sweeps since it had a subscriber.
    pub idle: AtomicUsize,
    /// Reads asked for; the reader wakes by `wake`.
    asked: AtomicU64,
    pub wake: Notify,
    /// Reads done, in numbers of `asked`; changes when there may be more.
    pub done: watch::Sender<u64>,
    /// Postgres, feed: the transaction up to which there is something to be shown.
    expected: AtomicU64,
    delays: Arc<Delays>,
}

/// How late the hubs of a node read.
#[derive(Default)]
pub(super) struct Delays {
    pub events: AtomicU64,
    pub micros: AtomicU64,
}

impl Delays {
    /// Events that were read just now.
    fn add(&self, events: &[Arc<Event>]) {
        let now = chrono::Utc::now();
        // Another node's clock may be ahead of this one's.
        let micros = |event: &Arc<Event>| u64::try_from((now - event.at).num_microseconds().unwrap_or_default()).unwrap_or_default();
        self.events.fetch_add(events.len() as u64, Ordering::Relaxed);
        self.micros.fetch_add(events.iter().map(micros).sum(), Ordering::Relaxed);
    }
}

#[derive(Default)]
pub(super) struct State {
    /// `None` until the hub knows where the log's head is.
    pub ring: Option<Ring<Arc<Event>>>,
    router: Router,
    taps: Vec<Option<Tap>>,
    free: Vec<usize>,
    /// Feed: the klasses that are read (`None`: all), and how often they changed.
    klasses: Option<BTreeSet<String>>,
    version: u64,
    /// Whom an event concerns; kept for its memory.
    to: BTreeSet<usize>,
}

/// What waits for a subscriber.
pub(super) struct Tap {
    pub queue: VecDeque<Arc<Event>>,
    /// It is handed what comes; if not, it reads the log.
    pub live: bool,
    pub woken: Arc<Notify>,
}

impl State {
    /// A subscriber more.
    pub fn enter(&mut self, interest: Interest, woken: Arc<Notify>) -> usize {
        let tap = Tap {
            queue: VecDeque::new(),
            live: false,
            woken,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.taps[place] = Some(tap);
                place
            }
            None => {
                self.taps.push(Some(tap));
                self.taps.len() - 1
            }
        };
        self.router.add(place, interest);
        self.renew();
        place
    }

    /// A subscriber less.
    pub fn leave(&mut self, place: usize) {
        if self.taps.get_mut(place).and_then(Option::take).is_some() {
            self.free.push(place);
            self.router.remove(place);
            self.renew();
        }
    }

    pub fn tap(&mut self, place: usize) -> Option<&mut Tap> {
        self.taps.get_mut(place)?.as_mut()
    }

    /// Which klasses are read from now on. What was read so far lacks those that are new, so no one may join there.
    fn renew(&mut self) {
        let klasses = self.router.klasses();
        if klasses == self.klasses {
            return;
        }
        let grows = match (&self.klasses, &klasses) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(old), Some(new)) => !new.is_subset(old),
        };
        self.klasses = klasses;
        if grows {
            self.version += 1;
            if let Some(ring) = &mut self.ring {
                ring.forget();
            }
        }
    }

    /// Everyone reads the log: it is another one, or has gone on elsewhere.
    fn all_behind(&mut self) {
        for tap in self.taps.iter_mut().flatten() {
            tap.live = false;
            tap.queue = VecDeque::new();
            tap.woken.notify_one();
        }
    }

    fn hand(&mut self, event: &Arc<Event>) {
        let mut to = std::mem::take(&mut self.to);
        to.clear();
        self.router.route(event, &mut to);
        for place in &to {
            let Some(tap) = self.taps.get_mut(*place).and_then(Option::as_mut).filter(|tap| tap.live) else {
                continue;
            };
            if tap.queue.len() < QUEUE {
                tap.queue.push_back(event.clone());
            } else {
                tap.live = false;
                tap.queue = VecDeque::new();
            }
            tap.woken.notify_one();
        }
        self.to = to;
    }
}

/// A hub that is needed.
pub(super) struct Held(pub Arc<Hub>);

impl Held {
    pub fn new(hub: &Arc<Hub>) -> Self {
        hub.subscribers.fetch_add(1, Ordering::SeqCst);
        Self(hub.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.subscribers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Roughly the memory of an event, in bytes.
fn weight(event: &Event) -> usize {
    let image = |image: &Option<Map<String, Json>>| {
        let value = |value: &Json| match value {
            Json::String(text) => text.len(),
            Json::Array(items) => items.len() * 64,
            Json::Object(map) => map.len() * 128,
            _ => 0,
        };
        image
            .iter()
            .flatten()
            .map(|(column, it)| column.len() + 64 + value(it))
            .sum::<usize>()
    };
    256 + image(&event.before) + image(&event.after)
}

impl Hub {
    pub fn new(store: Store, org: OrgId, which: Which, delays: Arc<Delays>) -> Self {
        Self {
            store,
            org,
            which,
            state: Mutex::new(State {
                klasses: Some(BTreeSet::new()),
                ..State::default()
            }),
            subscribers: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            wake: Notify::new(),
            done: watch::Sender::new(0),
            expected: AtomicU64::new(0),
            delays,
        }
    }

    /// Asks for a read that begins after this call; answers its number.
    pub fn ask(&self) -> u64 {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        number
    }

    /// Waits for a read that began after this call.
    pub async fn fresh(&self) {
        let mut done = self.done.subscribe();
        let number = self.ask();
        // The hub holds the sender, so this cannot err while we hold the hub.
        let _ = done.wait_for(|done| *done >= number).await;
    }

    /// There is something of this transaction to be shown, once those before it have ended.
    pub fn expect(&self, xid: u64) {
        self.expected.fetch_max(xid, Ordering::SeqCst);
    }

    /// Up to which transaction there is something to be shown.
    pub fn expected(&self) -> u64 {
        self.expected.load(Ordering::SeqCst)
    }

    /// Whether objects of one of these klasses are followed here.
    pub fn concerns(&self, klasses: &[String]) -> bool {
        lock(&self.state)
            .klasses
            .as_ref()
            .is_none_or(|mine| klasses.iter().any(|klass| mine.contains(klass)))
    }

    /// Whether a stream's head lies ahead of the hub.
    pub fn is_before(&self, head: i64) -> bool {
        let edge = lock(&self.state).ring.as_ref().and_then(|ring| ring.edge().stream);
        edge.is_some_and(|edge| edge.seq < head)
    }

    /// What is read, for whom this concerns.
    pub fn source(&self, klasses: Option<Vec<String>>) -> Source {
        match (&self.which, klasses) {
            (Which::Stream(stream), _) => Source::Stream(stream.clone()),
            (Which::Feed, None) => Source::Org,
            (Which::Feed, Some(klasses)) => Source::Klasses(klasses),
        }
    }

    /// Where an event stands, as it is read here.
    pub fn at(&self, event: &Event) -> At {
        match self.which {
            Which::Stream(_) => At::stream(event),
            Which::Feed => At::feed(event),
        }
    }

    /// Of a place, what counts here.
    pub fn own(&self, cursor: &Cursor) -> Cursor {
        match self.which {
            Which::Stream(_) => Cursor {
                feed: None,
                part: 0,
                ..*cursor
            },
            Which::Feed => Cursor {
                stream: None,
                part: 0,
                ..*cursor
            },
        }
    }

    /// Reads all that is new and hands it on; `false`: there is something that the feed does not show yet.
    async fn pull(&self) -> Result<bool, StoreError> {
        loop {
            let (edge, klasses, version) = {
                let state = lock(&self.state);
                let klasses = state.klasses.as_ref().map(|klasses| klasses.iter().cloned().collect());
                (state.ring.as_ref().map(Ring::edge), klasses, state.version)
            };
            let epoch = self.store.identity().await?.epoch;
            let Some(edge) = edge.filter(|edge| edge.epoch == epoch) else {
                self.begin().await?;
                continue;
            };
            let source = self.source(klasses);
            match self.store.events(self.org, &source, &edge, PAGE).await? {
                Events::Page {
                    events,
                    cursor,
                    more,
                    hidden,
                } => {
                    self.delays.add(&events);
                    let mut state = lock(&self.state);
                    for event in events {
                        state.hand(&event);
                        if let Some(ring) = &mut state.ring {
                            let at = self.at(&event);
                            ring.push(Item {
                                at: Some(at),
                                index: 0,
                                behind: behind(&ring.edge(), &at),
                                size: weight(&event),
                                what: event,
                            });
                        }
                    }
                    let changed = state.version != version;
                    if let Some(ring) = &mut state.ring {
                        ring.stand(self.own(&cursor));
                        if changed {
                            // This was read without the klasses that have come in meanwhile.
                            ring.forget();
                        }
                    }
                    drop(state);
                    if more {
                        // Subscribers need not wait for the rest.
                        self.done.send_modify(|_| {});
                        continue;
                    }
                    self.expect(hidden);
                    return Ok(cursor.feed.is_none_or(|feed| feed.xid >= self.expected()));
                }
                Events::Resync(reason) => {
                    tracing::warn!(%reason, which = ?self.which, "a hub's place in the log is lost");
                    self.begin().await?;
                    return Ok(true);
                }
            }
        }
    }

    /// Begins (again) at the log's head.
    async fn begin(&self) -> Result<(), StoreError> {
        let head = self.own(&self.store.head(self.org, &self.source(None)).await?);
        let mut state = lock(&self.state);
        match &mut state.ring {
            Some(ring) => {
                ring.forget();
                ring.jump(head);
                state.all_behind();
                self.expected.store(0, Ordering::SeqCst);
            }
            none => *none = Some(Ring::new(head, RING)),
        }
        Ok(())
    }
}

/// Reads the log for a hub, whenever it is asked to, until the hub is gone.
pub(super) async fn read(hub: Weak<Hub>) {
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
                tracing::warn!(%error, which = ?strong.which, "the log could not be read; trying again");
                pause = pause.max(Duration::from_millis(50));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}
