//! Who waits for a place of a bulkhead: by criticality, then in the order they came.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::{Poll, Waker};

#[cfg(feature = "model")]
use loom::sync::{Arc, Mutex};
#[cfg(not(feature = "model"))]
use std::sync::{Arc, Mutex};

use super::Settings;
use crate::criticality::Criticality;

/// The queue, and the settings that its lock guards too.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) settings: Settings,
    lines: [VecDeque<Ticket>; Criticality::COUNT],
}

/// What the queue and the one who waits share.
#[derive(Clone, Debug)]
pub(super) struct Ticket(Arc<Mutex<Turn>>);

/// How it stands with one who waits. Leaves `Waiting` only under the lock of the queue, and once.
#[derive(Debug)]
enum Turn {
    /// In the queue; whom to wake.
    Waiting(Option<Waker>),
    /// A place is its own, and counted.
    Given,
    /// A more critical one took its place in the queue.
    Displaced,
}

/// What has become of one who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Given,
    Displaced,
}

impl Queue {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, lines: Default::default() }
    }

    /// Whether none waits that is as critical, or more.
    pub(super) fn nobody_before(&self, criticality: Criticality) -> bool {
        self.lines[..=criticality.index()].iter().all(VecDeque::is_empty)
    }

    /// How critical the next one is.
    pub(super) fn first(&self) -> Option<Criticality> {
        Criticality::ALL.into_iter().find(|criticality| !self.lines[criticality.index()].is_empty())
    }

    pub(super) fn push(&mut self, criticality: Criticality) -> Ticket {
        let ticket = Ticket(Arc::new(Mutex::new(Turn::Waiting(None))));
        self.lines[criticality.index()].push_back(ticket.clone());
        ticket
    }

    /// Tells the next one that a place is its own; whom to wake, if it has been looked for already.
    pub(super) fn give(&mut self) -> Option<Option<Waker>> {
        let ticket = self.lines.iter_mut().find_map(VecDeque::pop_front)?;
        Some(ticket.turn_to(Turn::Given))
    }

    /// Sends the newest of the least critical away, if one is less critical than this.
    pub(super) fn displace(&mut self, criticality: Criticality) -> Option<Option<Waker>> {
        let less = &mut self.lines[criticality.index() + 1..];
        let ticket = less.iter_mut().rev().find_map(VecDeque::pop_back)?;
        Some(ticket.turn_to(Turn::Displaced))
    }

    /// Whether it was in the queue; the oldest first, who give up most.
    pub(super) fn remove(&mut self, ticket: &Ticket, criticality: Criticality) -> bool {
        let line = &mut self.lines[criticality.index()];
        let place = line.iter().position(|other| Arc::ptr_eq(&other.0, &ticket.0));
        place.and_then(|place| line.remove(place)).is_some()
    }
}

impl Ticket {
    /// What has become of it, or remembers whom to wake.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<Outcome> {
        let mut turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *turn {
            Turn::Given => Poll::Ready(Outcome::Given),
            Turn::Displaced => Poll::Ready(Outcome::Displaced),
            Turn::Waiting(slot) => {
                match slot {
                    Some(known) => known.clone_from(waker),
                    None => *slot = Some(waker.clone()),
                }
                Poll::Pending
            }
        }
    }

    pub(super) fn has_place(&self) -> bool {
        matches!(*self.0.lock().unwrap_or_else(PoisonError::into_inner), Turn::Given)
    }

    fn turn_to(&self, next: Turn) -> Option<Waker> {
        let mut turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *turn, next) {
            Turn::Waiting(waker) => waker,
            Turn::Given | Turn::Displaced => None,
        }
    }
}
