//! What a bulkhead promises: by example, against a model that is a list, and with many threads.

mod list;

use std::future::{Future, pending, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::{Bulkhead, Entry, Place, Refused, Reserve, Settings, View, Waiting};
use crate::criticality::Criticality::{self, Critical, Normal, Sheddable};

type Shared = Arc<Bulkhead>;

fn bulkhead(in_flight: u32, queue: u32, reserve: Reserve) -> Shared {
    let queue_time = Duration::from_millis(100);
    Arc::new(Bulkhead::new(Settings { in_flight, queue, queue_time, reserve }))
}

fn plain(in_flight: u32, queue: u32) -> Shared {
    bulkhead(in_flight, queue, Reserve::default())
}

fn enter(bulkhead: &Shared, criticality: Criticality) -> Entry<Shared> {
    Bulkhead::try_enter(Arc::clone(bulkhead), criticality)
}

fn entered(bulkhead: &Shared, criticality: Criticality) -> Place<Shared> {
    match enter(bulkhead, criticality) {
        Entry::Entered(place) => place,
        Entry::MustWait(_) | Entry::Full => panic!("no place for {criticality:?}"),
    }
}

fn queued(bulkhead: &Shared, criticality: Criticality) -> Waiting<Shared> {
    match enter(bulkhead, criticality) {
        Entry::MustWait(waiting) => waiting,
        Entry::Entered(_) | Entry::Full => panic!("{criticality:?} does not wait"),
    }
}

fn look(waiting: &mut Waiting<Shared>) -> Poll<Result<Place<Shared>, Refused>> {
    Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop()))
}

fn counts(bulkhead: &Bulkhead) -> (u32, u32) {
    let View { in_flight, waiting, limit: _, queue: _ } = bulkhead.view();
    (in_flight, waiting)
}

/// Tells whether it was woken.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn places_are_taken_up_to_the_limit_and_come_back() {
    let bulkhead = plain(2, 0);
    let first = entered(&bulkhead, Normal);
    let second = entered(&bulkhead, Normal);
    assert!(matches!(enter(&bulkhead, Critical), Entry::Full), "without a queue nobody waits");
    assert_eq!(bulkhead.view(), View { in_flight: 2, waiting: 0, limit: 2, queue: 0 });
    drop(first);
    let third = entered(&bulkhead, Sheddable);
    drop((second, third));
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[test]
fn a_reference_holds_it_as_well_as_an_arc() {
    let bulkhead = plain(1, 0);
    let by_reference = Bulkhead::try_enter(&*bulkhead, Normal);
    assert!(matches!(by_reference, Entry::Entered(_)));
    assert!(matches!(enter(&bulkhead, Normal), Entry::Full));
}

#[test]
fn who_leaves_wakes_the_first_who_waits() {
    let bulkhead = plain(1, 2);
    let place = entered(&bulkhead, Normal);
    let (mut first, mut second) = (queued(&bulkhead, Normal), queued(&bulkhead, Normal));
    assert_eq!(first.patience(), Duration::from_millis(100));
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(look(&mut second).is_pending());
    drop(place);
    assert!(bell.0.load(Ordering::SeqCst), "nobody woke it");
    assert_eq!(counts(&bulkhead), (1, 1), "the place was never free");
    assert!(look(&mut second).is_pending(), "it was not its turn");
    let Poll::Ready(Ok(place)) = look(&mut first) else { panic!("no place") };
    assert!(look(&mut first).is_pending(), "a second place from one wait");
    drop(place);
    assert!(matches!(look(&mut second), Poll::Ready(Ok(_))));
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[test]
fn the_most_critical_goes_first_then_who_came_first() {
    let bulkhead = plain(1, 6);
    let mut place = Some(entered(&bulkhead, Normal));
    let came = [Sheddable, Normal, Critical, Sheddable, Critical, Normal];
    let mut line: Vec<_> =
        came.map(|criticality| Some(queued(&bulkhead, criticality))).into_iter().collect();
    let mut order = Vec::new();
    for _ in came {
        drop(place.take());
        for (number, waiting) in line.iter_mut().enumerate() {
            if let Some(Poll::Ready(Ok(next))) = waiting.as_mut().map(look) {
                place = Some(next);
                *waiting = None;
                order.push(number);
            }
        }
    }
    assert_eq!(order, [2, 4, 1, 5, 0, 3]);
}

#[test]
fn a_more_critical_one_displaces_the_newest_of_the_least_critical() {
    let bulkhead = plain(1, 3);
    let _place = entered(&bulkhead, Normal);
    let mut old = queued(&bulkhead, Sheddable);
    let mut normal = queued(&bulkhead, Normal);
    let mut new = queued(&bulkhead, Sheddable);
    assert!(look(&mut new).is_pending());
    assert!(matches!(enter(&bulkhead, Sheddable), Entry::Full), "never one as critical");
    let _first = queued(&bulkhead, Critical);
    assert!(matches!(look(&mut new), Poll::Ready(Err(Refused::Displaced))));
    assert!(look(&mut old).is_pending() && look(&mut normal).is_pending());
    let _second = queued(&bulkhead, Normal);
    assert!(matches!(look(&mut old), Poll::Ready(Err(Refused::Displaced))));
    assert!(matches!(enter(&bulkhead, Normal), Entry::Full));
    let _third = queued(&bulkhead, Critical);
    assert!(matches!(enter(&bulkhead, Normal), Entry::Full));
    assert_eq!(counts(&bulkhead), (1, 3));
}

#[test]
fn a_displaced_waiter_is_woken() {
    let bulkhead = plain(1, 1);
    let _place = entered(&bulkhead, Normal);
    let mut sheddable = queued(&bulkhead, Sheddable);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    assert!(Pin::new(&mut sheddable).poll(&mut Context::from_waker(&waker)).is_pending());
    let critical = queued(&bulkhead, Critical);
    assert!(bell.0.load(Ordering::SeqCst));
    drop((sheddable, critical));
    assert_eq!(counts(&bulkhead), (1, 0));
}

#[test]
fn a_waiter_dropped_when_a_place_is_its_own_gives_it_on() {
    let bulkhead = plain(1, 2);
    let place = entered(&bulkhead, Normal);
    let (first, mut second) = (queued(&bulkhead, Normal), queued(&bulkhead, Normal));
    drop(place);
    drop(first);
    let Poll::Ready(Ok(place)) = look(&mut second) else { panic!("the place is lost") };
    drop(place);
    assert_eq!(counts(&bulkhead), (0, 0));
}

#[test]
fn a_waiter_dropped_before_its_turn_leaves_the_queue() {
    let bulkhead = plain(1, 2);
    let place = entered(&bulkhead, Normal);
    let (first, mut second) = (queued(&bulkhead, Normal), queued(&bulkhead, Normal));
    drop(first);
    assert_eq!(counts(&bulkhead), (1, 1));
    drop(place);
    assert!(matches!(look(&mut second), Poll::Ready(Ok(_))));
}

#[test]
fn nobody_overtakes_who_is_as_critical() {
    let bulkhead = bulkhead(2, 4, Reserve { critical: 0.5, normal: 0.0 });
    let place = entered(&bulkhead, Normal);
    let mut waits = queued(&bulkhead, Normal);
    // One of the two places is kept for it.
    let critical = entered(&bulkhead, Critical);
    let _behind = queued(&bulkhead, Normal);
    drop(place);
    assert!(look(&mut waits).is_pending(), "the one place for all is the critical one's");
    drop(critical);
    assert!(matches!(look(&mut waits), Poll::Ready(Ok(_))));
}

#[test]
fn places_are_kept_for_the_more_critical() {
    let bulkhead = bulkhead(10, 0, Reserve { critical: 0.1, normal: 0.2 });
    let fill = |criticality| {
        let mut places = Vec::new();
        while let Entry::Entered(place) = enter(&bulkhead, criticality) {
            places.push(place);
        }
        places
    };
    let places = [fill(Sheddable), fill(Normal), fill(Critical)];
    assert_eq!([places[0].len(), places[1].len(), places[2].len()], [7, 2, 1]);
    bulkhead.set_limit(1);
    drop(places);
    assert_eq!(fill(Sheddable).len(), 1, "one place is left to each");
}

#[test]
fn a_raised_limit_lets_in_who_waits_and_a_lowered_one_lets_none() {
    let bulkhead = plain(2, 3);
    let mut places = vec![entered(&bulkhead, Normal), entered(&bulkhead, Normal)];
    let mut line = [(); 3].map(|()| queued(&bulkhead, Normal));
    bulkhead.set_limit(4);
    for waiting in &mut line[..2] {
        let Poll::Ready(Ok(place)) = look(waiting) else { panic!("no place") };
        places.push(place);
    }
    assert!(look(&mut line[2]).is_pending());
    bulkhead.set_limit(2);
    places.truncate(2);
    assert_eq!(counts(&bulkhead), (2, 1), "two had to leave first");
    places.truncate(1);
    assert!(matches!(look(&mut line[2]), Poll::Ready(Ok(_))));
}

#[test]
fn a_reload_changes_the_queue() {
    let bulkhead = plain(1, 1);
    let _place = entered(&bulkhead, Normal);
    let _first = queued(&bulkhead, Normal);
    assert!(matches!(enter(&bulkhead, Normal), Entry::Full));
    let reserve = Reserve::default();
    let queue_time = Duration::from_secs(1);
    bulkhead.change(Settings { in_flight: 1, queue: 2, queue_time, reserve });
    let second = queued(&bulkhead, Normal);
    assert_eq!(second.patience(), queue_time);
    bulkhead.change(Settings { in_flight: 3, queue: 0, queue_time, reserve });
    assert_eq!(counts(&bulkhead), (3, 0), "there is room for both");
}

#[test]
fn who_waits_too_long_is_told_and_is_out_of_the_queue() {
    let bulkhead = plain(1, 1);
    let place = entered(&bulkhead, Normal);
    let mut wait = pin!(queued(&bulkhead, Normal).until(ready(())));
    let late = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(late, Poll::Ready(Err(Refused::TooLate))));
    let waits = queued(&bulkhead, Normal);
    drop(place);
    let mut wait = pin!(waits.until(ready(())));
    let both = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(
        matches!(both, Poll::Ready(Ok(_))),
        "a place and the time in one moment: the place wins"
    );
}

/// As a runtime of one thread does: sleeps until woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A timer that is up after some polls, so that waiters are dropped in every moment.
fn polls(mut left: u32) -> impl Future<Output = ()> {
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

#[test]
fn many_threads_never_exceed_the_limit_and_lose_no_place() {
    const LIMIT: u32 = 3;
    const TURNS: u32 = 20_000;
    let bulkhead = plain(LIMIT, 4);
    let (inside, served) = (AtomicU32::new(0), AtomicU32::new(0));
    let visit = |turn: u32, number: u32| {
        let criticality = Criticality::ALL[((turn + number) % 3) as usize];
        let place = match enter(&bulkhead, criticality) {
            Entry::Entered(place) => Some(place),
            Entry::MustWait(waiting) if turn.is_multiple_of(4) => {
                block_on(waiting.until(polls(turn % 8))).ok()
            }
            Entry::MustWait(waiting) => block_on(waiting.until(pending())).ok(),
            Entry::Full => None,
        };
        if place.is_some() {
            served.fetch_add(1, Ordering::Relaxed);
            assert!(inside.fetch_add(1, Ordering::SeqCst) < LIMIT, "one too many");
            inside.fetch_sub(1, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        for number in 0..8 {
            let visit = &visit;
            scope.spawn(move || (0..TURNS).for_each(|turn| visit(turn, number)));
        }
    });
    assert_eq!(counts(&bulkhead), (0, 0));
    assert!(served.into_inner() > TURNS / 10);
}
