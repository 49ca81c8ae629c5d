//! One execution's messages, for all who share it: whoever makes them pushes each once, and each seat takes a cheap clone.
//!
//! A seat is an ordinal and a place in a ring ([`crate::ring`]), and costs no task and no memory of its own for what it has not taken.
//! One that falls out of the ring is told so, reads the log by itself, and sits down again where it meets the ring. No I/O here, and
//! no clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use klio_entities::store::cursor::Cursor;
use tokio::sync::Notify;

use crate::ring::{Bounds, Item, Next, Ring};

/// How many seats are woken before others get a turn at the lock.
const WAKES: usize = 256;

/// See the head of this file.
#[derive(Debug)]
pub struct Cast<T> {
    state: Mutex<State<T>>,
    bounds: Bounds,
    /// Only the newest counts: who is behind goes on with it.
    newest_only: bool,
    /// A seat wants something of the maker, or has left.
    work: Notify,
}

#[derive(Debug)]
struct State<T> {
    /// `None` until the maker knows where it stands.
    ring: Option<Ring<T>>,
    seats: Vec<Seated>,
    free: Vec<usize>,
    /// How often a seat asked for all that is committed, and which of these wishes are fulfilled.
    wanted: u64,
    done: u64,
    over: bool,
}

impl<T> State<T> {
    /// Whoever sits in this slot is woken when there is something.
    fn wake_later(&mut self, slot: usize, cx: &Context<'_>) {
        if let Some(Seated::Taken(waker)) = self.seats.get_mut(slot) {
            match waker {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                other => *other = Some(cx.waker().clone()),
            }
        }
    }
}

#[derive(Debug)]
enum Seated {
    Free,
    /// With whom to wake when there is something.
    Taken(Option<Waker>),
}

/// What a seat gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Sat<T> {
    /// A message; the place right behind it is [`Seat::place`].
    Item(T),
    /// All that was committed when it was asked has been told.
    Fresh,
    /// It fell out of the ring: read the log from [`Seat::place`], then [`Seat::join`].
    Behind,
    /// There will be no more.
    Over,
}

impl<T: Clone> Cast<T> {
    /// Nothing yet; the ring will hold this much.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Self::make(bounds, false)
    }

    /// One of which only the newest message counts.
    pub fn newest() -> Arc<Self> {
        Self::make(Bounds { items: 1, bytes: 0 }, true)
    }

    fn make(bounds: Bounds, newest_only: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                ring: None,
                seats: Vec::new(),
                free: Vec::new(),
                wanted: 0,
                done: 0,
                over: false,
            }),
            bounds,
            newest_only,
            work: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // What it guards is whole between any two statements, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the maker's side

    /// It goes on from this place: the first, or one in another stream or log.
    pub fn jump(&self, to: Cursor) {
        let mut state = self.lock();
        match &mut state.ring {
            Some(ring) => ring.jump(to),
            none => *none = Some(Ring::new(to, self.bounds)),
        }
    }

    /// Adds messages, in order; then there is nothing up to `edge`.
    pub fn push(&self, items: Vec<Item<T>>, edge: Cursor) {
        let told = !items.is_empty();
        {
            let mut state = self.lock();
            let ring = state.ring.get_or_insert_with(|| Ring::new(edge, self.bounds));
            for item in items {
                ring.push(item);
            }
            ring.stand(edge);
        }
        if told {
            self.wake();
        }
    }

    /// Which wish of the seats is to be fulfilled, if one is.
    pub fn wanted(&self) -> Option<u64> {
        let state = self.lock();
        (state.wanted > state.done).then_some(state.wanted)
    }

    /// All that was committed when this wish was made has been pushed.
    pub fn fulfil(&self, wish: u64) {
        {
            let mut state = self.lock();
            state.done = state.done.max(wish);
        }
        self.wake();
    }

    /// Waits for a seat to want something, or to leave.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// There will be no more.
    pub fn end(&self) {
        self.lock().over = true;
        self.wake();
    }

    /// How many sit here.
    pub fn seats(&self) -> usize {
        let state = self.lock();
        state.seats.len() - state.free.len()
    }

    fn wake(&self) {
        let mut next = 0;
        let mut woken: Vec<Waker> = Vec::new();
        loop {
            {
                let mut state = self.lock();
                let seats = state.seats.get_mut(next..).unwrap_or_default();
                for seated in seats {
                    if woken.len() == WAKES {
                        break;
                    }
                    next += 1;
                    if let Seated::Taken(waker) = seated {
                        woken.extend(waker.take());
                    }
                }
            }
            if woken.is_empty() {
                return;
            }
            woken.drain(..).for_each(Waker::wake);
        }
    }

    // ---- the seats' side

    /// A seat that has no place yet, and asks for all that is committed by now.
    pub fn sit(self: &Arc<Self>) -> Seat<T> {
        let mut state = self.lock();
        state.wanted += 1;
        let wish = state.wanted;
        let slot = match state.free.pop() {
            Some(slot) => {
                state.seats[slot] = Seated::Taken(None);
                slot
            }
            None => {
                state.seats.push(Seated::Taken(None));
                state.seats.len() - 1
            }
        };
        drop(state);
        self.work.notify_one();
        Seat {
            cast: self.clone(),
            slot,
            at: None,
            wish: Some(wish),
            place: Cursor::NOWHERE,
        }
    }
}

/// Where one sits who listens.
#[derive(Debug)]
pub struct Seat<T> {
    cast: Arc<Cast<T>>,
    slot: usize,
    /// The ordinal in the ring; `None`: it waits for the present.
    at: Option<u64>,
    /// What was asked for and not said yet.
    wish: Option<u64>,
    place: Cursor,
}

impl<T: Clone> Seat<T> {
    /// The place behind all that it was told.
    pub fn place(&self) -> Cursor {
        self.place
    }

    /// Sits down with a place, if the ring is complete from there on.
    pub fn join(&mut self, place: Cursor) -> bool {
        let state = self.cast.lock();
        let Some(at) = state.ring.as_ref().and_then(|ring| ring.join(&place)) else {
            return false;
        };
        (self.at, self.place) = (Some(at), place);
        true
    }

    /// Waits until the maker knows where it stands (or has ended), so that [`Seat::join`] has something to join. May be dropped while
    /// it waits.
    pub async fn begun(&mut self) {
        std::future::poll_fn(|cx| {
            let mut state = self.cast.lock();
            if state.ring.is_some() || state.over {
                return Poll::Ready(());
            }
            state.wake_later(self.slot, cx);
            Poll::Pending
        })
        .await;
    }

    /// Takes back the wish to hear that all is told; whether there was one.
    pub fn content(&mut self) -> bool {
        self.wish.take().is_some()
    }

    /// What comes next.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Sat<T>> {
        let mut state = self.cast.lock();
        let state = &mut *state;
        let fresh = self.wish.is_some_and(|wish| wish <= state.done);
        if let Some(ring) = &state.ring {
            let newest = ring.end().saturating_sub(1);
            match self.at {
                None if self.cast.newest_only && ring.newest().is_some() => self.at = Some(newest),
                None if fresh && !self.cast.newest_only => {
                    self.at = Some(ring.end());
                    self.place = ring.edge();
                }
                Some(at) if self.cast.newest_only && at < newest => self.at = Some(newest),
                _ => {}
            }
            if let Some(at) = self.at {
                match ring.next(at, &self.place) {
                    Next::Item(item, at, place) => {
                        (self.at, self.place) = (Some(at), place);
                        return Poll::Ready(Sat::Item(item.what.clone()));
                    }
                    Next::Behind => return Poll::Ready(Sat::Behind),
                    Next::Edge(at, place) => {
                        (self.at, self.place) = (Some(at), place);
                        if fresh {
                            self.wish = None;
                            return Poll::Ready(Sat::Fresh);
                        }
                    }
                }
            }
        }
        if state.over {
            return Poll::Ready(Sat::Over);
        }
        state.wake_later(self.slot, cx);
        Poll::Pending
    }
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        {
            let mut state = self.cast.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.seats[self.slot] = Seated::Free;
            state.free.push(self.slot);
        }
        self.cast.work.notify_one();
    }
}

#[cfg(test)]
mod tests;
