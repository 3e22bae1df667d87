//! Every order in which threads may meet at a bulkhead: no place is lost and none is there twice.
//!
//! `cargo test -p resilience --release --features model --test bulkhead_model`
#![cfg(feature = "model")]
#![allow(clippy::panic, reason = "a test")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::sync::Notify;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use resilience::bulkhead::{Bulkhead, Entry, Place, Refused, Reserve, Settings, Waiting};
use resilience::criticality::Criticality::{self, Critical, Normal, Sheddable};

type Shared = Arc<Bulkhead>;

fn bulkhead(in_flight: u32, queue: u32) -> Shared {
    let (queue_time, reserve) = (Duration::ZERO, Reserve::default());
    Arc::new(Bulkhead::new(Settings { in_flight, queue, queue_time, reserve }))
}

fn enter(bulkhead: &Shared, criticality: Criticality) -> Entry<Shared> {
    Bulkhead::try_enter(Arc::clone(bulkhead), criticality)
}

struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Sleeps until woken: a waiter that nobody wakes is a deadlock, which loom reports.
fn wait(mut waiting: Waiting<Shared>) -> Result<Place<Shared>, Refused> {
    let bell = Arc::new(Bell(Notify::new()));
    let waker = Waker::from(Arc::clone(&bell));
    loop {
        match Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => bell.0.wait(),
        }
    }
}

fn get(bulkhead: &Shared, criticality: Criticality) -> Option<Place<Shared>> {
    match enter(bulkhead, criticality) {
        Entry::Entered(place) => Some(place),
        Entry::MustWait(waiting) => wait(waiting).ok(),
        Entry::Full => None,
    }
}

fn is_empty(bulkhead: &Shared) {
    let view = bulkhead.view();
    assert_eq!((view.in_flight, view.waiting), (0, 0));
}

/// At most three preemptions in one run: that finds nearly all faults and ends in a second.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

#[test]
fn one_place_is_never_taken_twice_and_everybody_gets_it() {
    model(|| {
        let bulkhead = bulkhead(1, 2);
        let inside = Arc::new(AtomicU32::new(0));
        let visit = |bulkhead: &Shared, inside: &AtomicU32| {
            let place = get(bulkhead, Normal);
            assert!(place.is_some(), "there is a place in the queue");
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two in one place");
            inside.fetch_sub(1, Ordering::Relaxed);
        };
        let other = {
            let (bulkhead, inside) = (Arc::clone(&bulkhead), Arc::clone(&inside));
            thread::spawn(move || visit(&bulkhead, &inside))
        };
        visit(&bulkhead, &inside);
        other.join().unwrap_or_else(|_| panic!("the other failed"));
        is_empty(&bulkhead);
    });
}

#[test]
fn a_waiter_dropped_while_a_place_is_handed_to_it_loses_none() {
    model(|| {
        let bulkhead = bulkhead(1, 2);
        let Entry::Entered(place) = enter(&bulkhead, Normal) else { panic!("no place") };
        let Entry::MustWait(gives_up) = enter(&bulkhead, Normal) else { panic!("no queue") };
        let Entry::MustWait(stays) = enter(&bulkhead, Normal) else { panic!("no queue") };
        let leaves = thread::spawn(move || drop(place));
        let drops = thread::spawn(move || drop(gives_up));
        drop(wait(stays));
        assert!(leaves.join().is_ok() && drops.join().is_ok());
        is_empty(&bulkhead);
    });
}

#[test]
fn a_critical_one_displaces_while_a_place_is_handed_over() {
    model(|| {
        let bulkhead = bulkhead(1, 1);
        let Entry::Entered(place) = enter(&bulkhead, Normal) else { panic!("no place") };
        let Entry::MustWait(sheddable) = enter(&bulkhead, Sheddable) else { panic!("no queue") };
        let leaves = thread::spawn(move || drop(place));
        let critical = {
            let bulkhead = Arc::clone(&bulkhead);
            thread::spawn(move || assert!(get(&bulkhead, Critical).is_some(), "critical is served"))
        };
        drop(wait(sheddable));
        assert!(leaves.join().is_ok() && critical.join().is_ok());
        is_empty(&bulkhead);
    });
}

#[test]
fn a_limit_raised_while_one_lines_up_lets_it_in() {
    model(|| {
        let bulkhead = bulkhead(1, 1);
        let Entry::Entered(place) = enter(&bulkhead, Normal) else { panic!("no place") };
        let other = {
            let bulkhead = Arc::clone(&bulkhead);
            // The one place is never left: only the raised limit lets it in.
            thread::spawn(move || assert!(get(&bulkhead, Normal).is_some()))
        };
        bulkhead.set_limit(2);
        assert!(other.join().is_ok());
        drop(place);
        is_empty(&bulkhead);
    });
}
