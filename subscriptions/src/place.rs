//! Places in the log, and what lies behind them. Pure.
//!
//! A subscription reads one source, or two: a stream, and beside it the org's feed for what its objects are related to. A place
//! has a component for each ([`Cursor`]); what is compared is each component with its own kind. Places in different streams, or in
//! logs of different epochs, do not compare: neither reaches the other.

use klio_entities::store::cursor::{Cursor, FeedPosition, Own, StreamPosition, stream_hash};
use klio_entities::store::event::Event;

/// Where one event stands, by the source in which it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// In a stream.
    Stream(StreamPosition),
    /// In the feed.
    Feed(FeedPosition),
}

impl At {
    /// An event's place in its stream.
    pub fn stream(event: &Event) -> Self {
        At::Stream(StreamPosition {
            hash: stream_hash(&event.stream),
            seq: event.seq,
        })
    }

    /// An event's place in the feed.
    pub fn feed(event: &Event) -> Self {
        At::Feed(FeedPosition {
            own: Own::NONE,
            ..event.feed
        })
    }
}

/// Whether who stands at a place has seen the event at `at`; `index`: the message of it that is meant.
pub fn has(place: &Cursor, at: &At, index: u16) -> bool {
    match (at, place.stream, place.feed) {
        (At::Stream(at), Some(mine), _) if mine.hash == at.hash => {
            // Between two messages of one event: right before it.
            at.seq <= mine.seq || (at.seq == mine.seq + 1 && index < place.part)
        }
        (At::Feed(at), _, Some(mine)) => {
            (at.xid, at.position) <= (mine.xid, mine.position)
                || mine.own.has(at.xid, at.position)
                || (place.stream.is_none() && index < place.part && at.xid == mine.xid && at.position.checked_sub(1) == Some(mine.position))
        }
        _ => false,
    }
}

/// The place right behind the event at `at`, for who stood at `place`.
pub fn behind(place: &Cursor, at: &At) -> Cursor {
    let mut next = Cursor { part: 0, ..*place };
    match at {
        At::Stream(at) => next.stream = Some(*at),
        At::Feed(at) => next.feed = Some(with_own(*at, place.feed)),
    }
    next
}

/// The place behind the first `part` messages of the event at `at`, for who stood before it.
pub fn within(place: &Cursor, at: &At, part: u16) -> Cursor {
    let mut next = Cursor { part, ..*place };
    match at {
        At::Stream(at) => next.stream = Some(StreamPosition { seq: at.seq - 1, ..*at }),
        At::Feed(at) => {
            let before = FeedPosition {
                position: at.position.saturating_sub(1),
                ..*at
            };
            next.feed = Some(with_own(before, place.feed));
        }
    }
    next
}

/// Whether a place is at or behind another: all that `other` has seen, it has seen.
pub fn reaches(place: &Cursor, other: &Cursor) -> bool {
    let stream = match (place.stream, other.stream) {
        (_, None) => true,
        (Some(mine), Some(its)) => mine.hash == its.hash && (mine.seq, place.part) >= (its.seq, other.part),
        (None, Some(_)) => false,
    };
    // How many messages were told is said of the stream, where there is one.
    let part = |of: &Cursor| if other.stream.is_some() { 0 } else { of.part };
    let feed = match (place.feed, other.feed) {
        (_, None) => true,
        (Some(mine), Some(its)) => (mine.xid, mine.position, part(place)) >= (its.xid, its.position, part(other)),
        (None, Some(_)) => false,
    };
    place.epoch == other.epoch && stream && feed
}

/// The place of who stood at `place` and has now seen all up to `to`: no component goes back, unless it is of another stream or log.
pub fn advance(place: &Cursor, to: &Cursor) -> Cursor {
    if place.epoch != to.epoch {
        return *to;
    }
    let stream = match (place.stream, to.stream) {
        (Some(mine), Some(to)) if mine.hash == to.hash && mine.seq > to.seq => Some(mine),
        (mine, None) => mine,
        (_, to) => to,
    };
    let feed = match (place.feed, to.feed) {
        (Some(mine), Some(to)) if (mine.xid, mine.position) > (to.xid, to.position) => Some(mine),
        (mine, None) => mine,
        (mine, Some(to)) => Some(with_own(to, mine)),
    };
    Cursor {
        epoch: to.epoch,
        stream,
        feed,
        part: to.part,
    }
}

/// A place in the feed that still leaves out what `old` has seen ahead of its place.
fn with_own(place: FeedPosition, old: Option<FeedPosition>) -> FeedPosition {
    FeedPosition {
        own: old.map_or(Own::NONE, |old| old.own.ahead_of(place.xid)),
        ..place
    }
}
