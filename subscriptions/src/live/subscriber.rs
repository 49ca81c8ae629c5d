//! Who follows a hub: a place in the log, and a short queue of what is to come.

use std::collections::VecDeque;
use std::sync::Arc;

use klio_entities::store::cursor::{Cursor, stream_hash};
use klio_entities::store::event::{Event, Events};
use tokio::sync::Notify;

use super::hub::{Held, Which};
use super::{Live, PAGE, PAUSE, lock};
use crate::place::{advance, behind, has};
use crate::ring::Next;
use crate::route::Interest;

/// Follows a source of the log. Drop it to unsubscribe.
pub struct Subscriber {
    hub: Held,
    tap: usize,
    woken: Arc<Notify>,
    interest: Interest,
    phase: Phase,
    /// Everything up to here has been told.
    place: Cursor,
    told: Told,
    ready: VecDeque<Arc<Event>>,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("place", &self.place).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum Phase {
    /// Not begun.
    Begin(Option<Cursor>),
    /// Reads the log from this cursor.
    Behind(Cursor),
    /// Is handed what comes.
    Live,
    /// Has been told to start anew.
    Over,
}

/// Whether it has been said that all was told.
#[derive(Clone, Copy)]
enum Told {
    /// To be said; what that means is yet to be found out.
    Wanted,
    /// To be said when all up to this transaction has been told (Postgres, feed; else 0).
    Upto(u64),
    Yes,
}

impl Subscriber {
    pub(super) fn new(hub: Held, interest: Interest, after: Option<Cursor>) -> Self {
        let woken = Arc::new(Notify::new());
        let tap = lock(&hub.0.state).enter(interest.clone(), woken.clone());
        let mut place = after.map_or(Cursor::NOWHERE, |after| hub.0.own(&after));
        if let Which::Stream(stream) = &hub.0.which {
            place.stream = place.stream.filter(|it| it.hash == stream_hash(stream));
        }
        Self {
            hub,
            tap,
            woken,
            interest,
            phase: Phase::Begin(after),
            place,
            told: Told::Wanted,
            ready: VecDeque::new(),
        }
    }

    /// The place behind all that was told.
    pub fn place(&self) -> Cursor {
        self.place
    }

    /// Asks for [`Live::CaughtUp`] once more, when all that is committed by now has been told.
    pub fn again(&mut self) {
        self.told = Told::Wanted;
        self.woken.notify_one();
    }

    /// What comes next. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<Live> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                let at = self.hub.0.at(&event);
                if !has(&self.place, &at, 0) {
                    self.place = behind(&self.place, &at);
                    return Some(Live::Event(event));
                }
            }
            match self.phase {
                Phase::Over => return None,
                Phase::Begin(after) => {
                    // Whatever was committed before this subscription is in the ring or behind it from here on.
                    self.hub.0.fresh().await;
                    self.told = Told::Upto(self.hub.0.expected());
                    match after {
                        None => self.begin_here(),
                        // Its place in this source may have to be found, or be no place at all: the log knows.
                        Some(cursor) => {
                            if !self.join(&cursor) {
                                self.phase = Phase::Behind(cursor);
                            }
                        }
                    }
                }
                Phase::Behind(cursor) => {
                    let hub = self.hub.0.clone();
                    let klasses = self.interest.klasses().map(|it| it.into_iter().map(str::to_owned).collect());
                    match hub.store.events(hub.org, &hub.source(klasses), &cursor, PAGE).await {
                        Ok(Events::Page { events, cursor, .. }) => {
                            let none = events.is_empty();
                            self.ready = events.into_iter().filter(|event| self.interest.holds(event)).collect();
                            if self.ready.is_empty() {
                                // From a cursor of another source the page tells which place that is here.
                                self.place = advance(&self.place, &hub.own(&cursor));
                            }
                            if self.join(&cursor) {
                                continue;
                            }
                            self.phase = Phase::Behind(cursor);
                            if none {
                                hub.fresh().await;
                            }
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
                Phase::Live => {
                    if let Told::Wanted = self.told {
                        self.hub.0.fresh().await;
                        self.told = Told::Upto(self.hub.0.expected());
                    }
                    let mut changed = self.hub.0.done.subscribe();
                    if !self.take() {
                        self.phase = Phase::Behind(self.place);
                        continue;
                    }
                    if !self.ready.is_empty() {
                        continue;
                    }
                    match self.told {
                        Told::Upto(xid) if self.place.feed.is_none_or(|feed| feed.xid >= xid) => {
                            self.told = Told::Yes;
                            return Some(Live::CaughtUp(self.place));
                        }
                        Told::Yes => self.woken.notified().await,
                        // What it waits for shows without anything that concerns it, maybe.
                        _ => tokio::select! {
                            () = self.woken.notified() => {}
                            // The hub holds the sender, and we hold the hub.
                            _ = changed.changed() => {}
                        },
                    }
                }
            }
        }
    }

    /// Takes what waits; with nothing there, it stands at the edge. `false`: it is behind.
    fn take(&mut self) -> bool {
        let mut state = lock(&self.hub.0.state);
        let edge = state.ring.as_ref().map(|ring| ring.edge());
        let Some(tap) = state.tap(self.tap).filter(|tap| tap.live) else {
            return false;
        };
        std::mem::swap(&mut self.ready, &mut tap.queue);
        if self.ready.is_empty()
            && let Some(edge) = edge
        {
            self.place = advance(&self.place, &edge);
        }
        true
    }

    /// Is handed what comes from now on.
    fn begin_here(&mut self) {
        let mut state = lock(&self.hub.0.state);
        // A hub that was read knows where it is.
        let Some(edge) = state.ring.as_ref().map(|ring| ring.edge()) else {
            return;
        };
        if let Some(tap) = state.tap(self.tap) {
            tap.live = true;
            self.place = edge;
            self.phase = Phase::Live;
        }
    }

    /// Joins the ring at a cursor, behind what is ready, if the ring is complete from there on.
    fn join(&mut self, cursor: &Cursor) -> bool {
        let hub = self.hub.0.clone();
        if let Which::Stream(stream) = &hub.which
            && cursor.stream.is_none_or(|it| it.hash != stream_hash(stream))
        {
            return false;
        }
        let place = hub.own(cursor);
        let mut state = lock(&hub.state);
        let Some(ring) = state.ring.as_ref() else { return false };
        if let (Some(mine), Some(head)) = (place.stream, ring.edge().stream)
            && mine.seq > head.seq
        {
            // Ahead of the log, or of the ring alone: the log knows.
            return false;
        }
        let Some(mut ordinal) = ring.join(&place) else { return false };
        if self.ready.is_empty() {
            self.place = advance(&self.place, &place);
        }
        let mut at = place;
        while let Next::Item(item, next, behind) = ring.next(ordinal, &at) {
            if self.interest.holds(&item.what) {
                self.ready.push_back(item.what.clone());
            }
            (ordinal, at) = (next, behind);
        }
        let Some(tap) = state.tap(self.tap) else { return false };
        tap.queue.clear();
        tap.live = true;
        self.phase = Phase::Live;
        true
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        lock(&self.hub.0.state).leave(self.tap);
    }
}
