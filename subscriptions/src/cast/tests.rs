//! Seats: who is woken, what the newest is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use klio_entities::store::cursor::StreamPosition;

use super::*;
use crate::place::At;

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn place(seq: i64) -> Cursor {
    Cursor {
        epoch: 1,
        stream: Some(StreamPosition { hash: 1, seq }),
        ..Cursor::NOWHERE
    }
}

fn item(seq: i64) -> Item<i64> {
    Item {
        what: seq,
        at: Some(At::Stream(StreamPosition { hash: 1, seq })),
        index: 0,
        behind: place(seq),
        size: 1,
    }
}

#[test]
fn ten_thousand_seats_are_woken_once_each() {
    let cast: Arc<Cast<i64>> = Cast::new(Bounds { items: 8, bytes: 100 });
    cast.jump(place(0));
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let mut seats: Vec<_> = (0..10_000).map(|_| cast.sit()).collect();
    cast.fulfil(cast.wanted().unwrap_or_default());
    for seat in &mut seats {
        assert_eq!(seat.poll(&mut cx), Poll::Ready(Sat::Fresh));
        assert_eq!(seat.poll(&mut cx), Poll::Pending);
    }
    drop(seats.split_off(9_000));
    cast.push(vec![item(1), item(2)], place(2));
    assert_eq!(count.0.load(Ordering::SeqCst), 9_000);
    cast.push(vec![], place(3));
    assert_eq!(count.0.load(Ordering::SeqCst), 9_000, "nothing told, no one woken");
    for seat in &mut seats {
        assert_eq!(seat.poll(&mut cx), Poll::Ready(Sat::Item(1)));
        assert_eq!(seat.poll(&mut cx), Poll::Ready(Sat::Item(2)));
        assert_eq!(seat.poll(&mut cx), Poll::Pending);
    }
    assert_eq!((cast.seats(), seats[0].place()), (9_000, place(3)));
    cast.end();
    assert_eq!(seats[0].poll(&mut cx), Poll::Ready(Sat::Over));
}

#[test]
fn who_comes_hears_of_nothing_before_all_that_is_committed_is_here() {
    let cast: Arc<Cast<i64>> = Cast::new(Bounds { items: 8, bytes: 100 });
    let mut cx = Context::from_waker(Waker::noop());
    let mut early = cast.sit();
    assert_eq!(early.poll(&mut cx), Poll::Pending);
    cast.jump(place(0));
    let wish = cast.wanted().unwrap_or_default();
    let mut late = cast.sit();
    cast.push(vec![item(1)], place(1));
    cast.fulfil(wish);
    assert_eq!((early.poll(&mut cx), early.place()), (Poll::Ready(Sat::Fresh), place(1)));
    assert_eq!(late.poll(&mut cx), Poll::Pending, "its wish came later");
    cast.push(vec![item(2)], place(2));
    cast.fulfil(cast.wanted().unwrap_or_default());
    assert_eq!((late.poll(&mut cx), late.place()), (Poll::Ready(Sat::Fresh), place(2)));
    assert_eq!(early.poll(&mut cx), Poll::Ready(Sat::Item(2)));
}

#[test]
fn of_a_state_only_the_newest_counts() {
    let cast: Arc<Cast<i64>> = Cast::newest();
    let mut cx = Context::from_waker(Waker::noop());
    cast.jump(place(0));
    let mut seat = cast.sit();
    assert_eq!(seat.poll(&mut cx), Poll::Pending);
    for n in 1..=5 {
        cast.push(vec![item(n)], place(n));
    }
    assert_eq!(seat.poll(&mut cx), Poll::Ready(Sat::Item(5)));
    assert_eq!(seat.poll(&mut cx), Poll::Pending);
    let mut other = cast.sit();
    assert_eq!(
        other.poll(&mut cx),
        Poll::Ready(Sat::Item(5)),
        "who comes later gets the present state"
    );
    cast.push(vec![item(6), item(7)], place(7));
    for seat in [&mut seat, &mut other] {
        assert_eq!(seat.poll(&mut cx), Poll::Ready(Sat::Item(7)));
    }
}
