//! A ring of what was lately told, for all who follow it: no I/O, no clock, no wakers.
//!
//! It is complete from one place to another. Who follows it is an ordinal and a place of its own; it may join wherever the ring is
//! complete from its place on, leaves out what it has, and falls out when the ring has moved on: then it goes back to the log, and
//! joins again. So memory is bounded, a slow follower costs no one else anything, and nothing is lost or told twice.

use std::collections::VecDeque;

use klio_entities::store::cursor::Cursor;

use crate::place::{At, advance, behind, has, reaches};

/// How much a ring holds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Items.
    pub items: usize,
    /// Bytes, as their sizes say; one item may be more.
    pub bytes: usize,
}

/// Something told.
#[derive(Clone, Debug)]
pub struct Item<T> {
    /// What.
    pub what: T,
    /// Of which event; `None`: of none, so it is told to all who are here.
    pub at: Option<At>,
    /// Which of the event's messages it is.
    pub index: u16,
    /// The place right behind it.
    pub behind: Cursor,
    /// Its size in bytes.
    pub size: usize,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Ring<T> {
    items: VecDeque<Item<T>>,
    /// Ordinal of the first item.
    first: u64,
    /// The ring holds all that lies between these.
    from: Cursor,
    edge: Cursor,
    bytes: usize,
    bounds: Bounds,
}

/// What a follower gets next.
#[derive(Debug)]
pub enum Next<'r, T> {
    /// This; then it stands at this ordinal and place.
    Item(&'r Item<T>, u64, Cursor),
    /// Nothing: it has all there is, and stands at this ordinal and place.
    Edge(u64, Cursor),
    /// It fell out of the ring.
    Behind,
}

impl<T> Ring<T> {
    /// An empty ring at a place.
    pub fn new(at: Cursor, bounds: Bounds) -> Self {
        Self {
            items: VecDeque::new(),
            first: 0,
            from: at,
            edge: at,
            bytes: 0,
            bounds,
        }
    }

    /// The place up to which all is here.
    pub fn edge(&self) -> Cursor {
        self.edge
    }

    /// Its newest item.
    pub fn newest(&self) -> Option<&Item<T>> {
        self.items.back()
    }

    /// Ordinal behind the newest item.
    pub fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    /// Adds what comes next.
    pub fn push(&mut self, item: Item<T>) {
        self.edge = advance(&self.edge, &item.behind);
        self.bytes += item.size;
        self.items.push_back(item);
        while self.items.len() > self.bounds.items || (self.bytes > self.bounds.bytes && self.items.len() > 1) {
            if let Some(gone) = self.items.pop_front() {
                self.bytes -= gone.size;
                self.first += 1;
                // Of an event whose messages are not counted, the others would be told without this one.
                let whole = gone.at.filter(|at| !has(&gone.behind, at, gone.index));
                let past = whole.map_or(gone.behind, |at| behind(&gone.behind, &at));
                self.from = advance(&self.from, &past);
            }
        }
    }

    /// There is nothing more up to this place.
    pub fn stand(&mut self, at: Cursor) {
        self.edge = advance(&self.edge, &Cursor { part: 0, ..at });
    }

    /// It goes on from another place, in another stream or log: who follows it goes along, who is elsewhere cannot join.
    pub fn jump(&mut self, to: Cursor) {
        self.from = to;
        self.edge = to;
    }

    /// Forgets its items: who has not taken them is behind.
    pub fn forget(&mut self) {
        self.first = self.end();
        self.items.clear();
        self.bytes = 0;
        self.from = self.edge;
    }

    /// The ordinal at which a follower with this place may join; `None`: it must read the log first.
    pub fn join(&self, place: &Cursor) -> Option<u64> {
        reaches(place, &self.from).then_some(self.first)
    }

    /// What a follower at an ordinal, whose place is `place`, gets next.
    pub fn next(&self, ordinal: u64, place: &Cursor) -> Next<'_, T> {
        if ordinal < self.first {
            return Next::Behind;
        }
        let mut at = usize::try_from(ordinal - self.first).unwrap_or(usize::MAX);
        while let Some(item) = self.items.get(at) {
            at += 1;
            // Joined in the middle: what it has is left out.
            if item.at.is_none_or(|it| !has(place, &it, item.index)) {
                return Next::Item(item, self.first + at as u64, advance(place, &item.behind));
            }
        }
        Next::Edge(self.first + at as u64, advance(place, &Cursor { part: 0, ..self.edge }))
    }
}

#[cfg(test)]
mod tests;
