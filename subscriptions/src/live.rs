//! The log as it grows: on each node one hub for each stream that is followed and one for each org's feed, which reads it once for
//! all its subscribers.
//!
//! A hub reads when a hint says so, and once a second (more often while the bus is away) when a sweep finds that a head has moved
//! without one. Each event goes to those
//! whom it concerns ([`crate::route`]). What a subscriber has not taken yet waits in a short queue; when that is full it is dropped,
//! and the subscriber reads the log at its own pace until it may join again where the hub's ring is complete from its place on.
//! So memory is bounded, a slow reader costs no one else anything, and nothing is lost or told twice.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use klio_entities::klass::OrgId;
use klio_entities::store::Store;
use klio_entities::store::cursor::Cursor;
use klio_entities::store::event::{Event, Resync, Source};

use crate::bus::{Bus, Heard, InProcess};
use crate::presence::Presences;
use crate::route::{Interest, Term};

mod hub;
mod subscriber;

use hub::{Delays, Held, Hub, Which};
pub use subscriber::Subscriber;

/// How often the heads of all streams that have subscribers are compared …
const SWEEP: Duration = Duration::from_secs(1);
/// … and how often while the bus is away, so that nothing else tells of other nodes' commits.
const SWEEP_ALONE: Duration = Duration::from_millis(200);
/// Events of one read of the log.
const PAGE: usize = 256;
/// First and longest pause before the log is read again after an error, or for a transaction that the feed does not show yet.
const PAUSE: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(500));

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Live {
    /// Something came to be.
    Event(Arc<Event>),
    /// All that was committed before the subscription began (or [`Subscriber::again`] was called) has been told.
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
    presences: Presences,
    hubs: Mutex<HashMap<(OrgId, Which), Arc<Hub>>>,
    started: std::sync::Once,
    delays: Arc<Delays>,
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

    /// Hubs over a store that hear news by a bus.
    pub fn with_bus(store: Store, bus: Arc<dyn Bus>) -> Self {
        Self(Arc::new(Shared {
            store,
            presences: Presences::new(bus.clone()),
            bus,
            hubs: Mutex::default(),
            started: std::sync::Once::new(),
            delays: Arc::default(),
        }))
    }

    /// How many events hubs have read, and how long after they happened, all delays together.
    pub fn delays(&self) -> (u64, Duration) {
        let delays = &self.0.delays;
        (
            delays.events.load(Ordering::Relaxed),
            Duration::from_micros(delays.micros.load(Ordering::Relaxed)),
        )
    }

    /// What carries news between nodes.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.0.bus
    }

    /// How many hubs there are: streams and feeds with subscribers.
    pub fn hubs(&self) -> usize {
        lock(&self.0.hubs).len()
    }

    /// Who is there.
    pub fn presences(&self) -> &Presences {
        self.start();
        &self.0.presences
    }

    /// Everything behind `after` (`None`: from now on), then [`Live::CaughtUp`], then everything as it comes. Errors of the
    /// database delay, they do not end the stream. Must be called within a tokio runtime; drop the stream to unsubscribe.
    pub fn subscribe(&self, org: OrgId, source: Source, after: Option<Cursor>) -> impl Stream<Item = Live> + Send + 'static + use<> {
        let of = |klass| Term { klass, ..Term::default() };
        let interest = match &source {
            Source::Stream(_) | Source::Org => Interest::All,
            Source::Klass(klass) => Interest::Any(vec![of(klass.clone())]),
            Source::Klasses(klasses) => Interest::Any(klasses.iter().cloned().map(of).collect()),
        };
        let subscriber = self.follow(org, source, interest, after);
        futures_util::stream::unfold(subscriber, |mut subscriber| async move {
            let item = subscriber.next().await?;
            Some((item, subscriber))
        })
    }

    /// The same, of what is of interest alone. (Of a source the kind counts, a stream or the feed; which klasses, says the interest.)
    pub fn follow(&self, org: OrgId, source: Source, interest: Interest, after: Option<Cursor>) -> Subscriber {
        self.start();
        let which = match source {
            Source::Stream(stream) => Which::Stream(stream),
            Source::Klass(_) | Source::Klasses(_) | Source::Org => Which::Feed,
        };
        Subscriber::new(self.hub(org, which), interest, after)
    }

    /// The hub of a source, with a subscriber more.
    fn hub(&self, org: OrgId, which: Which) -> Held {
        let mut hubs = lock(&self.0.hubs);
        let hub = hubs.entry((org, which.clone())).or_insert_with(|| {
            let hub = Arc::new(Hub::new(self.0.store.clone(), org, which, self.0.delays.clone()));
            tokio::spawn(hub::read(Arc::downgrade(&hub)));
            hub
        });
        Held::new(hub)
    }

    /// Starts to hear news, once; the first who follows something does so too. Must be called within a tokio runtime.
    pub fn start(&self) {
        self.0.started.call_once(|| {
            let heard = self.0.bus.heard();
            tokio::spawn(listen(Arc::downgrade(&self.0), heard));
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        });
    }
}

/// Wakes hubs by hints.
async fn listen(shared: Weak<Shared>, mut heard: BoxStream<'static, Heard>) {
    while let Some(heard) = heard.next().await {
        let Some(shared) = shared.upgrade() else { return };
        match heard {
            Heard::Beat(beat) => shared.presences.heard(beat),
            // Who comes in, and may stay, is not for hubs.
            Heard::Withdrawn(_) => {}
            Heard::Lost => lock(&shared.hubs).values().for_each(|hub| {
                hub.ask();
            }),
            Heard::Hint(hint) => {
                let hubs = lock(&shared.hubs);
                for (stream, _) in &hint.streams {
                    if let Some(hub) = hubs.get(&(hint.org, Which::Stream(stream.clone()))) {
                        hub.ask();
                    }
                }
                if let Some(hub) = hubs.get(&(hint.org, Which::Feed))
                    && hub.concerns(&hint.klasses)
                {
                    hub.expect(hint.xid);
                    hub.ask();
                }
            }
        }
    }
}

/// The safety net: wakes hubs whose head has moved without a hint, and lets go of those that no one needs.
async fn sweep(shared: Weak<Shared>) {
    let mut whole = tokio::time::Instant::now();
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let alone = strong.bus.away().is_some();
        drop(strong);
        tokio::time::sleep(if alone { SWEEP_ALONE } else { SWEEP }).await;
        let Some(shared) = shared.upgrade() else { return };
        // Between two whole sweeps only what may have grown is looked for.
        let is_whole = whole.elapsed() >= SWEEP - SWEEP_ALONE / 2;
        if is_whole {
            whole = tokio::time::Instant::now();
            shared.presences.sweep();
        }
        let mut streams: HashMap<OrgId, HashMap<String, Arc<Hub>>> = HashMap::new();
        {
            let mut hubs = lock(&shared.hubs);
            // Under the lock under which a subscriber is added, so none is lost.
            hubs.retain(|_, hub| {
                if !is_whole {
                    return true;
                }
                let used = hub.subscribers.load(Ordering::SeqCst) > 0;
                let idle = if used { 0 } else { hub.idle.load(Ordering::SeqCst) + 1 };
                hub.idle.store(idle, Ordering::SeqCst);
                if idle > 1 {
                    hub.wake.notify_one();
                }
                idle <= 1
            });
            for hub in hubs.values() {
                match &hub.which {
                    Which::Stream(stream) => {
                        streams.entry(hub.org).or_default().insert(stream.clone(), hub.clone());
                    }
                    Which::Feed => {
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
                            if let Some(hub) = hubs.get(&stream).filter(|hub| hub.is_before(head)) {
                                hub.ask();
                            }
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the heads of streams could not be compared"),
                }
            }
        }
        if is_whole && let Err(error) = shared.store.refresh_identity().await {
            tracing::debug!(%error, "the log's identity could not be read");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
