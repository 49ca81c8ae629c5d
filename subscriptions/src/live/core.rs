//! A hub's core: recent events in a ring, and what each subscriber gets next. No I/O, no clock.
//!
//! A subscriber is a place in the log and, while it is live, an ordinal in the ring. It may join the ring where the ring is complete
//! from its place on; who falls out of the ring goes back to reading the log from its place.

use std::collections::VecDeque;
use std::sync::Arc;

use klio_entities::store::cursor::FeedPosition;
use klio_entities::store::event::Event;

/// How many events a ring holds.
pub(super) const RING: usize = 256;

/// A place in a source: in a stream, or in the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Stream(i64),
    Feed(FeedPosition),
}

impl Place {
    /// Whether an event lies behind this place and is yet to be told.
    pub fn is_before(&self, event: &Event) -> bool {
        match self {
            Place::Stream(seq) => event.seq > *seq,
            Place::Feed(place) => {
                (event.feed.xid, event.feed.position) > (place.xid, place.position) && (place.own == 0 || event.feed.xid != place.own)
            }
        }
    }

    /// Whether this place is at or behind another.
    fn reaches(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::Stream(mine), Place::Stream(other)) => mine >= other,
            (Place::Feed(mine), Place::Feed(other)) => (mine.xid, mine.position) >= (other.xid, other.position),
            // A hub is of one source, so its places are of one sort.
            _ => false,
        }
    }

    /// The place right behind an event.
    pub fn behind(event: &Event, of: &Place) -> Place {
        match of {
            Place::Stream(_) => Place::Stream(event.seq),
            Place::Feed(old) => Place::Feed(FeedPosition {
                own: if old.own > event.feed.xid { old.own } else { 0 },
                ..event.feed
            }),
        }
    }
}

/// A ring of events, complete from `from` to `place`.
#[derive(Debug)]
pub(super) struct Core {
    ring: VecDeque<Arc<Event>>,
    /// Ordinal of the ring's first event.
    first: u64,
    /// The ring holds all events behind this place, up to `place`.
    from: Place,
    place: Place,
}

/// What a subscriber gets next.
#[derive(Debug)]
pub(super) enum Next {
    /// These, and then it stands at this ordinal and place.
    Events(Vec<Arc<Event>>, u64, Place),
    /// It has all that there is, and stands at this ordinal and place.
    Edge(u64, Place),
    /// It fell out of the ring: read the log from its place.
    Behind,
}

impl Core {
    /// An empty ring at a place.
    pub fn new(place: Place) -> Self {
        Self {
            ring: VecDeque::new(),
            first: 0,
            from: place,
            place,
        }
    }

    /// The place up to which events are here.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Adds what was read behind [`Core::place`]; reading went on to `place`.
    pub fn push(&mut self, events: Vec<Arc<Event>>, place: Place) {
        self.ring.extend(events);
        while self.ring.len() > RING {
            if let Some(gone) = self.ring.pop_front() {
                match &mut self.from {
                    Place::Stream(seq) => *seq = gone.seq,
                    Place::Feed(from) if (from.xid, from.position) < (gone.feed.xid, gone.feed.position) => *from = gone.feed,
                    Place::Feed(_) => {}
                }
                self.first += 1;
            }
        }
        if place.reaches(&self.place) {
            self.place = place;
        }
    }

    /// The log cannot be continued from here: forget all, go on from a new place.
    pub fn reset(&mut self, place: Place) {
        self.first += self.ring.len() as u64 + 1;
        self.ring.clear();
        self.from = place;
        self.place = place;
    }

    /// The ordinal at which a subscriber with this place may join; `None`: it must read the log first.
    pub fn join(&self, place: &Place) -> Option<u64> {
        place.reaches(&self.from).then_some(self.first)
    }

    /// What a subscriber at an ordinal, whose place is `place`, gets next: at most `limit` events.
    pub fn next(&self, ordinal: u64, place: &Place, limit: usize) -> Next {
        if ordinal < self.first {
            return Next::Behind;
        }
        let mut at = usize::try_from(ordinal - self.first).unwrap_or(usize::MAX);
        let mut events = Vec::new();
        let mut now = *place;
        while events.len() < limit
            && let Some(event) = self.ring.get(at)
        {
            // Joined in the middle: what it had is left out.
            if place.is_before(event) {
                events.push(event.clone());
                now = Place::behind(event, &now);
            }
            at += 1;
        }
        if events.is_empty() {
            let edge = if self.place.reaches(place) { self.with_own(place) } else { *place };
            return Next::Edge(self.first + at as u64, edge);
        }
        Next::Events(events, self.first + at as u64, now)
    }

    /// Our place, with the transaction that a subscriber has seen already as long as it lies ahead.
    fn with_own(&self, place: &Place) -> Place {
        match (self.place, place) {
            (Place::Feed(mine), Place::Feed(theirs)) if theirs.own > mine.xid => Place::Feed(FeedPosition { own: theirs.own, ..mine }),
            (mine, _) => mine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klio_entities::klass::OrgId;
    use klio_entities::store::EventOp;

    fn event(seq: i64, xid: u64, position: i64) -> Arc<Event> {
        let feed = FeedPosition { xid, position, own: 0 };
        Arc::new(Event {
            org: OrgId(Default::default()),
            stream: "s".into(),
            seq,
            feed,
            id: Default::default(),
            klass: "k".into(),
            object: None,
            op: EventOp::Updated,
            actor: String::new(),
            at: Default::default(),
            cause: None,
            depth: 0,
            changed: vec![],
            before: None,
            after: None,
        })
    }

    /// A generator of numbers from a seed.
    struct Dice(u64);
    impl Dice {
        fn roll(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
    }

    struct Subscriber {
        place: Place,
        ordinal: Option<u64>,
        got: Vec<i64>,
        joined_at: i64,
    }

    /// A log that grows, a hub that pulls now and then, subscribers that come at any place and read at any pace:
    /// each gets every event behind its place, once, in order.
    #[test]
    fn everyone_gets_everything_once_whatever_the_schedule() {
        for seed in 1..=300u64 {
            let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            let feed = dice.roll(2) == 1;
            let place = |seq: i64| {
                if feed {
                    let own = 0;
                    Place::Feed(FeedPosition {
                        xid: 0,
                        position: seq,
                        own,
                    })
                } else {
                    Place::Stream(seq)
                }
            };
            let seq_of = |place: &Place| match place {
                Place::Stream(seq) => *seq,
                Place::Feed(feed) => feed.position,
            };
            let mut log: Vec<Arc<Event>> = Vec::new();
            let mut core = Core::new(place(0));
            let mut subscribers: Vec<Subscriber> = Vec::new();
            for step in 0..600 {
                match dice.roll(10) {
                    0..=3 => {
                        for _ in 0..=dice.roll(if step % 50 == 0 { 400 } else { 6 }) {
                            let n = log.len() as i64 + 1;
                            log.push(event(n, 0, n));
                        }
                    }
                    4 | 5 => {
                        let from = usize::try_from(seq_of(&core.place())).unwrap_or(0);
                        let to = log.len().min(from + 1 + dice.roll(120) as usize);
                        core.push(log[from..to].to_vec(), place(to as i64));
                    }
                    6 => {
                        let at = dice.roll(log.len() as u64 + 1) as i64;
                        subscribers.push(Subscriber {
                            place: place(at),
                            ordinal: None,
                            got: vec![],
                            joined_at: at,
                        });
                    }
                    _ => {
                        if subscribers.is_empty() {
                            continue;
                        }
                        let i = dice.roll(subscribers.len() as u64) as usize;
                        let s = &mut subscribers[i];
                        let limit = 1 + dice.roll(40) as usize;
                        match s.ordinal {
                            None => match core.join(&s.place) {
                                Some(ordinal) => s.ordinal = Some(ordinal),
                                None => {
                                    let from = usize::try_from(seq_of(&s.place)).unwrap_or(0);
                                    let page = &log[from..log.len().min(from + limit)];
                                    s.got.extend(page.iter().map(|e| e.seq));
                                    s.place = place((from + page.len()) as i64);
                                }
                            },
                            Some(ordinal) => match core.next(ordinal, &s.place, limit) {
                                Next::Events(events, ordinal, place) => {
                                    s.got.extend(events.iter().map(|e| e.seq));
                                    (s.ordinal, s.place) = (Some(ordinal), place);
                                }
                                Next::Edge(ordinal, place) => {
                                    assert_eq!(place, s.place, "seed {seed}, step {step}");
                                    s.ordinal = Some(ordinal);
                                }
                                Next::Behind => s.ordinal = None,
                            },
                        }
                    }
                }
                for s in &subscribers {
                    let expected: Vec<i64> = (s.joined_at + 1..=s.joined_at + s.got.len() as i64).collect();
                    assert_eq!(s.got, expected, "seed {seed}, step {step}");
                    assert_eq!(seq_of(&s.place), s.joined_at + s.got.len() as i64, "seed {seed}, step {step}");
                }
            }
        }
    }

    #[test]
    fn the_writers_own_transaction_is_left_out() {
        let seen = |own| {
            Place::Feed(FeedPosition {
                xid: 9,
                position: i64::MAX,
                own,
            })
        };
        let mut core = Core::new(seen(0));
        core.push(
            vec![event(1, 10, 1), event(2, 11, 2), event(3, 12, 3)],
            Place::Feed(FeedPosition {
                xid: 12,
                position: 3,
                own: 0,
            }),
        );
        let start = seen(11);
        let Some(ordinal) = core.join(&start) else { panic!("joins") };
        let Next::Events(events, _, place) = core.next(ordinal, &start, 1) else {
            panic!("events")
        };
        assert_eq!(events[0].seq, 1);
        // It stays left out when reading goes on later.
        let Next::Events(events, _, place) = core.next(ordinal + 1, &place, 9) else {
            panic!("events")
        };
        assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), [3]);
        assert_eq!(
            place,
            Place::Feed(FeedPosition {
                xid: 12,
                position: 3,
                own: 0
            })
        );
    }
}
