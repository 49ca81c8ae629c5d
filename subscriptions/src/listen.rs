//! Those who work on every event: what indexes, judges, sends, exports. A listener is a file, and a line in a list.
//!
//! Each hears an org's feed in order, at least once, from a place that is kept in the database. One node works for each listener and
//! org, by a lease; another takes over when it is gone. What fails is tried again, later each time; what fails too often, or can
//! never succeed, is set aside with its reason, and the rest goes on. Consequences of consequences end at a depth.
//!
//! What must never be: a place that is moved past an event which was neither heard nor set aside; two nodes that move one place; a
//! listener whose failure holds up another listener, or another org.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use futures_util::{FutureExt, StreamExt};
use klio_entities::klass::OrgId;
use klio_entities::store::cursor::{FeedPosition, Own};
use klio_entities::store::event::{Event, Events, Resync, Source};
use klio_entities::store::listener::Aside;
use klio_entities::store::{Cursor, Store, StoreError};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::bus::{Bus, Heard};

/// Events of one read.
const PAGE: usize = 100;
/// For how many orgs one listener works at once.
const AT_ONCE: usize = 4;

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may succeed later: a backend is away.
    #[error("{0}")]
    Later(String),
    /// It will never succeed: set it aside.
    #[error("{0}")]
    Never(String),
}

/// Where a listener begins that was never there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With what comes from then on.
    Now,
    /// With the oldest event that is kept.
    Oldest,
}

/// Hears every event of every org.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// Its name in the database and in metrics: never changes, never is another's.
    fn name(&self) -> &'static str;

    /// The klasses whose events it hears; `None`: all.
    fn klasses(&self) -> Option<Vec<String>> {
        None
    }

    /// Where it begins.
    fn begins(&self) -> Begin {
        Begin::Now
    }

    /// Events deeper than this are passed over: a consequence of a consequence … that would go on for ever.
    fn deepest(&self) -> u32 {
        8
    }

    /// Takes an event. It may come again (a node that dies had not noted it), so hearing it twice must do no harm. What it writes names
    /// the event as its cause: [`consequence`]. May be dropped at any await, when another node took over.
    ///
    /// # Errors
    /// What becomes of the event then.
    async fn hear(&self, event: &Arc<Event>) -> Result<(), Failure>;

    /// Its place cannot be continued (the log was restored, or it was away for longer than events are kept): whatever it made of the
    /// events is to be made anew. It goes on behind what is committed before this call.
    ///
    /// # Errors
    /// It is called again.
    async fn resync(&self, org: OrgId, why: Resync) -> Result<(), Failure> {
        tracing::warn!(listener = self.name(), org = %org.0, %why, "a listener starts anew");
        Ok(())
    }
}

/// What `WriteOptions::cause` is for a write that is a consequence of an event.
pub fn consequence(event: &Event) -> (Uuid, u32) {
    (event.id, event.depth + 1)
}

/// Times, which tests shorten.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a lease is good: so long it takes until another node takes over from one that died.
    pub lease: Duration,
    /// How often all orgs are looked at, news or none.
    pub sweep: Duration,
    /// First and longest pause before an event is tried again; it doubles each time.
    pub pause: (Duration, Duration),
    /// How often an event is tried before it is set aside.
    pub tries: u32,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            sweep: Duration::from_secs(5),
            pause: (Duration::from_millis(100), Duration::from_secs(30)),
            tries: 10,
        }
    }
}

/// How a listener fares on this node.
#[derive(Debug, Default)]
struct Counts {
    heard: AtomicU64,
    failed: AtomicU64,
    aside: AtomicU64,
    cut: AtomicU64,
    resyncs: AtomicU64,
    /// When the oldest event happened that is not done, by org. Milliseconds since 1970.
    behind: Mutex<HashMap<OrgId, i64>>,
}

/// What a listener has done on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    /// Events taken.
    pub heard: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Events set aside.
    pub aside: u64,
    /// Events passed over since they lie too deep.
    pub cut: u64,
    /// Times that it started anew.
    pub resyncs: u64,
    /// The age of the oldest event that is waiting.
    pub lag: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The listeners of a node at work.
#[derive(Debug)]
pub struct Listeners {
    node: Uuid,
    counts: Vec<(&'static str, Arc<Counts>)>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Listeners {
    /// Sets them to work. Must be called within a tokio runtime.
    pub fn start(store: &Store, bus: &Arc<dyn Bus>, list: Vec<Arc<dyn Listener>>, times: Times) -> Self {
        let node = Uuid::new_v4();
        let (stop, _) = watch::channel(false);
        let (mut counts, mut tasks) = (Vec::new(), Vec::new());
        for listener in list {
            let told = Arc::new(Counts::default());
            counts.push((listener.name(), told.clone()));
            let work = Arc::new(Work {
                store: store.clone(),
                listener,
                node,
                times,
                counts: told,
                stop: stop.subscribe(),
            });
            tasks.push(tokio::spawn(work.run(bus.clone())));
        }
        Self {
            node,
            counts,
            stop,
            tasks: Mutex::new(tasks),
        }
    }

    /// By which name this node holds leases.
    pub fn node(&self) -> Uuid {
        self.node
    }

    /// What each has done.
    pub fn told(&self) -> Vec<(&'static str, Told)> {
        let now = Utc::now().timestamp_millis();
        let of = |counts: &Counts| {
            let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let oldest = lock(&counts.behind).values().min().copied();
            Told {
                heard: get(&counts.heard),
                failed: get(&counts.failed),
                aside: get(&counts.aside),
                cut: get(&counts.cut),
                resyncs: get(&counts.resyncs),
                lag: Duration::from_millis(oldest.map_or(0, |at| u64::try_from(now - at).unwrap_or_default())),
            }
        };
        self.counts.iter().map(|(name, counts)| (*name, of(counts))).collect()
    }

    /// Ends them in good order: leases are given back, so that other nodes take over at once.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        for task in tasks {
            // A panic was told of as it happened.
            let _ = task.await;
        }
    }
}

/// One listener on this node.
struct Work {
    store: Store,
    listener: Arc<dyn Listener>,
    node: Uuid,
    times: Times,
    counts: Arc<Counts>,
    stop: watch::Receiver<bool>,
}

/// How a turn at an org ended.
enum Turn {
    /// All that there was is done; something may show soon (older transactions hide it).
    Done { hidden: bool },
    /// Another node works for it.
    Others,
    /// This node ends.
    Stopped,
}

impl Work {
    /// Works wherever there is news, and now and then everywhere.
    async fn run(self: Arc<Self>, bus: Arc<dyn Bus>) {
        let mut stop = self.stop.clone();
        let mut news = bus.heard();
        let mut sweep = tokio::time::interval(self.times.sweep);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let limit = Arc::new(Semaphore::new(AT_ONCE));
        // Orgs to be looked at, and those that are being worked for (a second look waits for the end of the first).
        let (mut due, mut busy): (BTreeSet<OrgId>, BTreeSet<OrgId>) = Default::default();
        let (again, mut later) = mpsc::unbounded_channel::<OrgId>();
        let mut turns: JoinSet<(OrgId, bool)> = JoinSet::new();
        loop {
            let ready: Vec<OrgId> = due.difference(&busy).copied().collect();
            for org in ready {
                due.remove(&org);
                busy.insert(org);
                let (work, limit, again) = (self.clone(), limit.clone(), again.clone());
                turns.spawn(async move {
                    // It is never closed.
                    let _permit = limit.acquire_owned().await;
                    let soon = match work.turn(org).await {
                        Ok(Turn::Done { hidden }) => hidden,
                        Ok(Turn::Others | Turn::Stopped) => false,
                        Err(error) => {
                            tracing::warn!(listener = work.listener.name(), %error, "a listener could not read the log; trying again");
                            true
                        }
                    };
                    if soon {
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            let _ = again.send(org);
                        });
                    }
                    (org, soon)
                });
            }
            tokio::select! {
                () = stopped(&mut stop) => break,
                heard = news.next() => match heard {
                    Some(Heard::Hint(hint)) => {
                        let concerns = self.listener.klasses().is_none_or(|mine| hint.klasses.iter().any(|klass| mine.contains(klass)));
                        if concerns {
                            due.insert(hint.org);
                        }
                    }
                    Some(Heard::Lost) => sweep.reset_immediately(),
                    Some(_) => {}
                    None => break,
                },
                Some(org) = later.recv() => {
                    due.insert(org);
                }
                _ = sweep.tick() => match self.store.orgs().await {
                    Ok(orgs) => due.extend(orgs.into_iter().map(|org| OrgId(org.id))),
                    Err(error) => tracing::warn!(%error, "the orgs could not be listed for listeners"),
                },
                Some(done) = turns.join_next() => {
                    // A turn catches its listener's panics; if it ends by one all the same, the next sweep looks there again.
                    match done {
                        Ok((org, _)) => {
                            busy.remove(&org);
                        }
                        Err(error) => {
                            tracing::error!(%error, listener = self.listener.name(), "a turn of a listener broke");
                            busy.clear();
                        }
                    }
                }
            }
        }
        while turns.join_next().await.is_some() {}
        if let Ok(orgs) = self.store.orgs().await {
            for org in orgs {
                if let Err(error) = self.store.release(OrgId(org.id), self.listener.name(), self.node).await {
                    tracing::debug!(%error, "a lease could not be given back; it ends by itself");
                }
            }
        }
    }

    fn source(&self) -> Source {
        self.listener.klasses().map_or(Source::Org, Source::Klasses)
    }

    /// Where it begins in an org.
    async fn first(&self, org: OrgId) -> Result<Cursor, StoreError> {
        let head = self.store.head(org, &self.source()).await?;
        Ok(match self.listener.begins() {
            Begin::Now => head,
            Begin::Oldest => Cursor {
                feed: Some(FeedPosition {
                    xid: 0,
                    position: 0,
                    own: Own::NONE,
                }),
                ..head
            },
        })
    }

    /// Works for an org until all is done.
    async fn turn(&self, org: OrgId) -> Result<Turn, StoreError> {
        let name = self.listener.name();
        let first = self.first(org).await?;
        let Some(mut place) = self.store.lease(org, name, self.node, self.times.lease, &first).await? else {
            lock(&self.counts.behind).remove(&org);
            return Ok(Turn::Others);
        };
        loop {
            if *self.stop.borrow() {
                return Ok(Turn::Stopped);
            }
            match self.store.events(org, &self.source(), &place, PAGE).await? {
                Events::Page {
                    events,
                    cursor,
                    more,
                    hidden,
                } => {
                    if events.is_empty() && cursor.feed == place.feed {
                        lock(&self.counts.behind).remove(&org);
                        return Ok(Turn::Done { hidden: hidden != 0 });
                    }
                    let mut aside = Vec::new();
                    for event in &events {
                        lock(&self.counts.behind).insert(org, event.at.timestamp_millis());
                        match self.take(org, &place, event).await? {
                            Taken::Done => {}
                            Taken::Aside(it) => {
                                // At once: what was set aside is told of once, whatever happens to this node.
                                place = event.feed_cursor(cursor.epoch);
                                aside.push(it);
                                if !self
                                    .store
                                    .move_on(org, name, self.node, self.times.lease, &place, std::mem::take(&mut aside))
                                    .await?
                                {
                                    return Ok(Turn::Others);
                                }
                            }
                            Taken::Lost => return Ok(Turn::Others),
                            Taken::Stopped => return Ok(Turn::Stopped),
                        }
                        place = event.feed_cursor(cursor.epoch);
                    }
                    place = cursor;
                    let moved = events.is_empty() || self.store.move_on(org, name, self.node, self.times.lease, &place, aside).await?;
                    if !moved {
                        return Ok(Turn::Others);
                    }
                    if !more {
                        lock(&self.counts.behind).remove(&org);
                        return Ok(Turn::Done { hidden: hidden != 0 });
                    }
                }
                Events::Resync(why) => {
                    self.counts.resyncs.fetch_add(1, Ordering::Relaxed);
                    self.store.refresh_identity().await?;
                    let head = self.store.head(org, &self.source()).await?;
                    if let Err(why) = self.listener.resync(org, why).await {
                        return Err(StoreError::Unavailable(why.to_string()));
                    }
                    place = head;
                    if !self
                        .store
                        .move_on(org, name, self.node, self.times.lease, &place, Vec::new())
                        .await?
                    {
                        return Ok(Turn::Others);
                    }
                }
            }
        }
    }

    /// Has an event heard, as often as it takes.
    async fn take(&self, org: OrgId, place: &Cursor, event: &Arc<Event>) -> Result<Taken, StoreError> {
        if event.depth > self.listener.deepest() {
            self.counts.cut.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(listener = self.listener.name(), event = %event.id, depth = event.depth, "an event lies too deep and is passed over");
            return Ok(Taken::Done);
        }
        let mut stop = self.stop.clone();
        let mut pause = self.times.pause.0;
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = {
                let hearing = AssertUnwindSafe(self.listener.hear(event)).catch_unwind();
                tokio::pin!(hearing);
                let mut renew = tokio::time::interval(self.times.lease / 3);
                renew.tick().await;
                loop {
                    tokio::select! {
                        heard = &mut hearing => break heard.unwrap_or_else(|_| Err(Failure::Later("it panicked".into()))),
                        // While it lasts the lease is held; who lost it stops here.
                        _ = renew.tick() => if !self.hold(org, place).await? { return Ok(Taken::Lost) },
                        () = stopped(&mut stop) => return Ok(Taken::Stopped),
                    }
                }
            };
            let (never, why) = match failure {
                Ok(()) => {
                    self.counts.heard.fetch_add(1, Ordering::Relaxed);
                    return Ok(Taken::Done);
                }
                Err(Failure::Later(why)) => (false, why),
                Err(Failure::Never(why)) => (true, why),
            };
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            let name = self.listener.name();
            if never || tries >= self.times.tries {
                self.counts.aside.fetch_add(1, Ordering::Relaxed);
                tracing::error!(listener = name, event = %event.id, stream = event.stream, seq = event.seq, tries, why, "an event is set aside");
                return Ok(Taken::Aside(Aside::of(event, tries, &why)));
            }
            tracing::warn!(listener = name, event = %event.id, tries, why, "an event was not taken; trying again");
            let until = tokio::time::Instant::now() + pause.mul_f64(0.5 + spread() / 2.0);
            pause = (pause * 2).min(self.times.pause.1);
            let mut renew = tokio::time::interval(self.times.lease / 3);
            renew.tick().await;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    _ = renew.tick() => if !self.hold(org, place).await? { return Ok(Taken::Lost) },
                    () = stopped(&mut stop) => return Ok(Taken::Stopped),
                }
            }
        }
    }

    /// Holds the lease longer; the place stays.
    async fn hold(&self, org: OrgId, place: &Cursor) -> Result<bool, StoreError> {
        self.store
            .move_on(org, self.listener.name(), self.node, self.times.lease, place, Vec::new())
            .await
    }
}

/// Waits for this node's end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender there is no one for whom to work.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What became of an event.
enum Taken {
    Done,
    Aside(Aside),
    /// Another node works for this org.
    Lost,
    Stopped,
}

/// From 0 to 1. Not for secrets.
fn spread() -> f64 {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.subsec_nanos());
    f64::from(nanos % 1_000) / 1_000.0
}

#[cfg(test)]
mod tests;
