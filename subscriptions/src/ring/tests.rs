//! The ring and the cast against a model: a log that grows, a maker that reads it whenever it likes, and followers that come with any
//! place, lag, fall out, and come back: each gets every message behind its place, once, in order.

use std::sync::Arc;
use std::task::{Context, Poll};

use klio_entities::store::cursor::{Cursor, FeedPosition, Own, StreamPosition};
use proptest::prelude::*;

use super::*;
use crate::cast::{Cast, Sat, Seat};
use crate::place::{behind, has, within};

/// A message: of which event (of the stream, or of the feed), and which of its messages.
type Told = (bool, i64, u16);

fn place(stream: Option<i64>, feed: Option<i64>) -> Cursor {
    Cursor {
        epoch: 1,
        stream: stream.map(|seq| StreamPosition { hash: 9, seq }),
        feed: feed.map(|position| FeedPosition {
            xid: 0,
            position,
            own: Own::NONE,
        }),
        part: 0,
    }
}

fn at(of_feed: bool, n: i64) -> At {
    match of_feed {
        true => At::Feed(FeedPosition {
            xid: 0,
            position: n,
            own: Own::NONE,
        }),
        false => At::Stream(StreamPosition { hash: 9, seq: n }),
    }
}

/// How many messages the event `n` of a source makes: none, one, or some.
fn messages(of_feed: bool, n: i64) -> u16 {
    match (n + i64::from(of_feed)) % 5 {
        0 => 0,
        1 => 3,
        _ => 1,
    }
}

/// All messages of an event for who stands before it.
fn items(before: &Cursor, of_feed: bool, n: i64) -> Vec<Item<Told>> {
    let count = messages(of_feed, n);
    (0..count)
        .map(|index| Item {
            what: (of_feed, n, index),
            at: Some(at(of_feed, n)),
            index,
            behind: if index + 1 == count {
                behind(before, &at(of_feed, n))
            } else {
                within(before, &at(of_feed, n), index + 1)
            },
            size: 10,
        })
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// Events come to be.
    Grow(u8),
    /// The maker reads so many.
    Make(u8),
    /// Somebody comes: with a place so far back (`None`: from now on).
    Come(Option<u8>),
    /// One takes so many, from the ring or from the log.
    Take(u8, u8),
    /// One goes, and comes again with the cursor that it got last.
    Return(u8),
    /// The maker says that it is at the edge.
    Fulfil,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..12u8).prop_map(Step::Grow),
        3 => (1..9u8).prop_map(Step::Make),
        2 => prop::option::of(0..30u8).prop_map(Step::Come),
        8 => (any::<u8>(), 1..8u8).prop_map(|(who, n)| Step::Take(who, n)),
        1 => any::<u8>().prop_map(Step::Return),
        1 => Just(Step::Fulfil),
    ];
    prop::collection::vec(step, 1..160)
}

struct Follower {
    seat: Seat<Told>,
    sits: bool,
    /// Where it began, once it knows.
    from: Option<Cursor>,
    /// The last event it has been told of whole, or in part, where it reads the log.
    place: Cursor,
    got: Vec<Told>,
}

/// Reads one event of the log behind a place, as a follower does that is on its own. The stream comes first.
fn read_log(follower: &mut Follower, head: i64) {
    let here = follower.place;
    let n = here.stream.map_or(0, |it| it.seq) + 1;
    if n > head {
        return;
    }
    let skip = here.part;
    let all = items(&here, false, n);
    follower.got.extend(all.iter().filter(|it| it.index >= skip).map(|it| it.what));
    follower.place = behind(&here, &at(false, n));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn everyone_gets_everything_once_whatever_the_schedule(steps in steps()) {
        let cast: Arc<Cast<Told>> = Cast::new(Bounds { items: 12, bytes: 100 });
        cast.jump(place(Some(0), None));
        let (mut head, mut made) = (0i64, 0i64);
        let mut followers: Vec<Follower> = Vec::new();
        let waker = std::task::Waker::noop();
        let mut cx = Context::from_waker(waker);
        let drain = steps.len();
        let all = steps.into_iter().chain((0..40).flat_map(|_| [Step::Make(200), Step::Fulfil])
            .chain((0..=255).map(|who| Step::Take(who, 255))));
        for (number, step) in all.enumerate() {
            match step {
                Step::Grow(n) if number < drain => head += i64::from(n),
                Step::Grow(_) => {}
                Step::Make(n) => {
                    let mut batch = Vec::new();
                    let to = head.min(made + i64::from(n));
                    while made < to {
                        batch.extend(items(&place(Some(made), None), false, made + 1));
                        made += 1;
                    }
                    cast.push(batch, place(Some(made), None));
                }
                Step::Fulfil => {
                    if made == head && let Some(wish) = cast.wanted() {
                        cast.fulfil(wish);
                    }
                }
                Step::Come(back) => {
                    let seat = cast.sit();
                    let from = back.map(|back| place(Some((head - i64::from(back)).max(0)), None));
                    followers.push(Follower { seat, sits: from.is_none(), from, place: from.unwrap_or(Cursor::NOWHERE), got: vec![] });
                }
                Step::Return(who) if !followers.is_empty() => {
                    let who = usize::from(who) % followers.len();
                    let follower = &mut followers[who];
                    if follower.from.is_some() {
                        if follower.sits {
                            follower.place = follower.seat.place();
                        }
                        follower.seat = cast.sit();
                        follower.sits = false;
                    }
                }
                Step::Take(who, n) if !followers.is_empty() => {
                    let who = usize::from(who) % followers.len();
                    let follower = &mut followers[who];
                    for _ in 0..n {
                        if !follower.sits {
                            if follower.seat.join(follower.place) {
                                follower.sits = true;
                            } else {
                                read_log(follower, head);
                                continue;
                            }
                        }
                        match follower.seat.poll(&mut cx) {
                            Poll::Ready(Sat::Item(it)) => {
                                if follower.from.is_none() {
                                    // It began before this message: `Fresh` comes only when there is nothing.
                                    let first = place(Some(it.1 - 1), None);
                                    follower.from = Some(first);
                                }
                                follower.got.push(it);
                            }
                            Poll::Ready(Sat::Fresh) => {
                                let here = follower.seat.place();
                                follower.from.get_or_insert(here);
                            }
                            Poll::Ready(Sat::Behind) => {
                                follower.sits = false;
                                follower.place = follower.seat.place();
                            }
                            Poll::Ready(Sat::Over) => prop_assert!(false, "it is not over"),
                            Poll::Pending => break,
                        }
                    }
                }
                Step::Return(_) | Step::Take(..) => {}
            }
        }
        for follower in &followers {
            let Some(from) = follower.from else { continue };
            let first = from.stream.map_or(0, |it| it.seq) + 1;
            let expected: Vec<Told> = (first..=head).flat_map(|n| (0..messages(false, n)).map(move |i| (false, n, i))).collect();
            prop_assert!(expected.starts_with(&follower.got), "{:?} of {:?}", follower.got, expected);
        }
        // Those who came last took all there is.
        for follower in followers.iter().filter(|it| it.from.is_some()) {
            let first = follower.from.and_then(|it| it.stream).map_or(0, |it| it.seq) + 1;
            let count: usize = (first..=head).map(|n| usize::from(messages(false, n))).sum();
            prop_assert_eq!(follower.got.len(), count);
        }
    }

    /// Two sources at once: a place has a component for each, and no message of either is lost or told twice.
    #[test]
    fn two_sources_in_one_ring(order in prop::collection::vec(any::<bool>(), 1..60), mine in (0..30i64, 0..30i64), held in 2..40usize) {
        let mut ring: Ring<Told> = Ring::new(place(Some(0), Some(0)), Bounds { items: held, bytes: usize::MAX });
        let (mut stream, mut feed) = (0, 0);
        for of_feed in order {
            let before = place(Some(stream), Some(feed));
            let n = if of_feed { &mut feed } else { &mut stream };
            *n += 1;
            // Of the feed's events only the last message counts as having been told of them.
            for mut item in items(&before, of_feed, *n) {
                if of_feed && item.index + 1 < messages(true, *n) {
                    item.behind = before;
                }
                ring.push(item);
            }
            ring.stand(place(Some(stream), Some(feed)));
        }
        let start = place(Some(mine.0.min(stream)), Some(mine.1.min(feed)));
        let Some(mut ordinal) = ring.join(&start) else { return Ok(()) };
        let (mut here, mut got) = (start, Vec::new());
        while let Next::Item(item, next, place) = ring.next(ordinal, &here) {
            got.push(item.what);
            (ordinal, here) = (next, place);
        }
        for of_feed in [false, true] {
            let from = if of_feed { mine.1.min(feed) } else { mine.0.min(stream) };
            let to = if of_feed { feed } else { stream };
            let expected: Vec<Told> = (from + 1..=to).flat_map(|n| (0..messages(of_feed, n)).map(move |i| (of_feed, n, i))).collect();
            let got: Vec<Told> = got.iter().filter(|it| it.0 == of_feed).copied().collect();
            prop_assert_eq!(got, expected);
        }
    }
}

#[test]
fn who_is_in_another_stream_or_log_does_not_join() {
    let mut ring: Ring<u8> = Ring::new(place(Some(5), None), Bounds { items: 4, bytes: 100 });
    let elsewhere = Cursor {
        stream: Some(StreamPosition { hash: 8, seq: 7 }),
        ..place(None, None)
    };
    let other_log = Cursor {
        epoch: 2,
        ..place(Some(7), None)
    };
    assert_eq!((ring.join(&elsewhere), ring.join(&other_log)), (None, None));
    assert!(
        ring.join(&place(Some(5), Some(3))).is_some(),
        "a component that it does not have is no hindrance"
    );
    ring.jump(elsewhere);
    assert_eq!(ring.join(&place(Some(9), None)), None);
    assert!(ring.join(&elsewhere).is_some());
}

#[test]
fn the_writers_own_transaction_is_left_out() {
    let feed = |xid, position, own| Cursor {
        feed: Some(FeedPosition { xid, position, own }),
        ..place(None, None)
    };
    let mut ring: Ring<u64> = Ring::new(feed(9, i64::MAX, Own::NONE), Bounds { items: 9, bytes: 100 });
    for xid in [10, 11, 12] {
        let it = At::Feed(FeedPosition {
            xid,
            position: 1,
            own: Own::NONE,
        });
        let behind = behind(&ring.edge(), &it);
        ring.push(Item {
            what: xid,
            at: Some(it),
            index: 0,
            behind,
            size: 1,
        });
    }
    // It has seen its own, which lies ahead: 11.
    let start = feed(9, i64::MAX, Own::all(11));
    let Some(ordinal) = ring.join(&start) else { panic!("joins") };
    let Next::Item(first, ordinal, here) = ring.next(ordinal, &start) else {
        panic!("an item")
    };
    assert_eq!((first.what, here), (10, feed(10, 1, Own::all(11))));
    let Next::Item(second, _, here) = ring.next(ordinal, &here) else {
        panic!("an item")
    };
    assert_eq!((second.what, here), (12, feed(12, 1, Own::NONE)));
}

#[test]
fn a_transaction_of_many_callers_is_left_out_up_to_ones_own_events() {
    let feed = |xid, position, own| FeedPosition { xid, position, own };
    let at = |feed| At::Feed(feed);
    let mine = Cursor {
        feed: Some(feed(9, i64::MAX, Own { xid: 11, position: 5 })),
        ..place(None, None)
    };
    for (xid, position, seen) in [
        (9, 7, true),
        (10, 1, false),
        (11, 4, true),
        (11, 5, true),
        (11, 6, false),
        (12, 1, false),
    ] {
        assert_eq!(has(&mine, &at(feed(xid, position, Own::NONE)), 0), seen, "{xid}, {position}");
    }
}
