//! How many requests may be in flight, and who waits for a place: the most important first, not for long, not too many.

mod queue;
mod waiting;

use std::ops::Deref;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

use crate::{
    criticality::Criticality,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

#[cfg(feature = "model")]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(feature = "model"))]
use std::sync::{Mutex, MutexGuard};

use queue::{Queue, Ticket};
pub use waiting::{Refused, Waiting};

/// How many, and how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Requests in flight at once; at least 1.
    pub in_flight: u32,
    /// Requests that may wait for a place; 0: nobody waits.
    pub queue: u32,
    /// How long one waits at most. Who waits keeps the time: [`Waiting::until`].
    pub queue_time: Duration,
    /// Places kept free for the more important ones.
    pub reserve: Reserve,
}

/// Shares of the places that the less important ones leave free; 0 for none, and together below 1. One place is always left
/// to each criticality.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reserve {
    /// Only for critical requests.
    pub critical: f64,
    /// For critical and normal requests, beside those.
    pub normal: f64,
}

/// What came of asking for a place.
#[must_use]
#[derive(Debug)]
pub enum Entry<H: Deref<Target = Bulkhead>> {
    /// Go on; the place is given back when this is dropped.
    Entered(Place<H>),
    /// Stands in the queue already: await it.
    MustWait(Waiting<H>),
    /// No place, and none in the queue.
    Full,
}

/// A place among those in flight; dropping it gives it to who waits.
#[must_use]
#[derive(Debug)]
pub struct Place<H: Deref<Target = Bulkhead>> {
    hold: H,
}

/// What there is, for admin and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Requests in flight now.
    pub in_flight: u32,
    /// Requests that wait now.
    pub waiting: u32,
    /// Requests that may be in flight.
    pub limit: u32,
    /// Requests that may wait.
    pub queue: u32,
}

/// Counts who is in flight, and lets others wait.
///
/// While nobody waits, entering is one compare-and-add on one atomic and leaving one subtraction. Only who waits, or meets
/// somebody who waits, takes the lock of the queue. Threads and runtimes may differ: who leaves wakes who waits.
#[derive(Debug)]
pub struct Bulkhead {
    /// In flight in the upper half, waiting in the lower: who leaves learns in the same step whether somebody waits, and
    /// who begins to wait does so only if nobody leaves in between. Waiting changes only under the lock.
    state: AtomicU64,
    /// Up to how many in flight a request may enter, by criticality. Changed only under the lock.
    rooms: [AtomicU32; Criticality::COUNT],
    /// How many may wait. Changed only under the lock.
    queue_length: AtomicU32,
    queue: Mutex<Queue>,
}

const ONE_IN_FLIGHT: u64 = 1 << 32;
const ONE_WAITING: u64 = 1;

const fn in_flight(state: u64) -> u32 {
    (state >> 32) as u32
}

const fn waiting(state: u64) -> u32 {
    state as u32
}

/// What the queue says to one who found no place.
enum Claim {
    /// There is one after all.
    Entered,
    /// In the queue, perhaps in the stead of one who must be woken.
    Queued(Option<Waker>),
    Full,
}

impl Bulkhead {
    /// With all places free.
    pub fn new(settings: Settings) -> Self {
        let rooms = rooms(settings.in_flight, settings.reserve).map(AtomicU32::new);
        let queue_length = AtomicU32::new(settings.queue);
        let queue = Mutex::new(Queue::new(settings));
        Self { state: AtomicU64::new(0), rooms, queue_length, queue }
    }

    /// Takes a place, or one in the queue. `hold` keeps the bulkhead alive for as long as the place is taken: a reference,
    /// an `Arc`, or whatever of the caller's derefs to it.
    ///
    /// A request more critical than one that waits pushes the newest of the least critical out of a full queue.
    pub fn try_enter<H: Deref<Target = Self>>(hold: H, criticality: Criticality) -> Entry<H> {
        if hold.enter(criticality) {
            return Entry::Entered(Place { hold });
        }
        if hold.is_full_for(criticality) {
            return Entry::Full;
        }
        Self::line_up(hold, criticality)
    }

    /// What there is now; the numbers may be of slightly different moments.
    pub fn view(&self) -> View {
        let state = self.state.load(Ordering::Relaxed);
        View {
            in_flight: in_flight(state),
            waiting: waiting(state),
            limit: self.room(Criticality::Critical),
            queue: self.queue_length.load(Ordering::Relaxed),
        }
    }

    /// How many may be in flight from now on, at least 1: what an adaptive limit finds out. Fewer than are in flight is
    /// fine, none enters until enough have left. Costs a load when nothing changes.
    pub fn set_limit(&self, limit: u32) {
        if self.room(Criticality::Critical) == limit {
            return;
        }
        let mut queue = self.lock();
        queue.settings.in_flight = limit;
        self.apply(&queue.settings);
        drop(queue);
        self.hand_over();
    }

    /// New settings from a reload. Who is in flight or waits stays so.
    pub fn change(&self, settings: Settings) {
        let mut queue = self.lock();
        queue.settings = settings;
        self.apply(&queue.settings);
        drop(queue);
        self.hand_over();
    }

    /// The compare-and-add. Nobody overtakes who waits: then the queue decides.
    fn enter(&self, criticality: Criticality) -> bool {
        let room = self.room(criticality);
        let mut state = self.state.load(Ordering::Relaxed);
        while waiting(state) == 0 && in_flight(state) < room {
            match self.swap(state, state + ONE_IN_FLIGHT) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Refusing the least important must cost nothing: they come in crowds. Others may find a place in the queue that is
    /// not theirs, which only the queue knows.
    fn is_full_for(&self, criticality: Criticality) -> bool {
        let length = self.queue_length.load(Ordering::Relaxed);
        match criticality {
            Criticality::Critical | Criticality::Normal => length == 0,
            Criticality::Sheddable => waiting(self.state.load(Ordering::Relaxed)) >= length,
        }
    }

    fn line_up<H: Deref<Target = Self>>(hold: H, criticality: Criticality) -> Entry<H> {
        let mut queue = hold.lock();
        let displaced = match hold.claim(&mut queue, criticality) {
            Claim::Full => return Entry::Full,
            Claim::Entered => {
                drop(queue);
                return Entry::Entered(Place { hold });
            }
            Claim::Queued(displaced) => displaced,
        };
        let ticket = queue.push(criticality);
        let patience = queue.settings.queue_time;
        drop(queue);
        if let Some(waker) = displaced {
            waker.wake();
        }
        Entry::MustWait(Waiting::new(hold, ticket, criticality, patience))
    }

    fn claim(&self, queue: &mut Queue, criticality: Criticality) -> Claim {
        let (room, length) = (self.room(criticality), queue.settings.queue);
        let is_first = queue.nobody_before(criticality);
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let enters = is_first && in_flight(state) < room;
            if !enters && waiting(state) >= length {
                // One goes and one comes: waiting stays what it is, and above zero, so that who leaves comes by here.
                return queue.displace(criticality).map_or(Claim::Full, Claim::Queued);
            }
            let one = if enters { ONE_IN_FLIGHT } else { ONE_WAITING };
            match self.swap(state, state + one) {
                Ok(_) if enters => return Claim::Entered,
                Ok(_) => return Claim::Queued(None),
                Err(now) => state = now,
            }
        }
    }

    /// Gives a place back, and to the next at once if somebody waits.
    fn leave(&self) {
        let before = self.state.fetch_sub(ONE_IN_FLIGHT, Ordering::Release);
        if waiting(before) > 0 {
            self.hand_over();
        }
    }

    /// Gives free places to who waits. Wakes outside of the lock: a waker may do anything.
    fn hand_over(&self) {
        loop {
            let mut queue = self.lock();
            let Some(waker) = self.hand_one(&mut queue) else { return };
            drop(queue);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Only the first matters: if there is no room for the most critical, there is none for the others.
    fn hand_one(&self, queue: &mut Queue) -> Option<Option<Waker>> {
        let room = self.room(queue.first()?);
        let mut state = self.state.load(Ordering::Relaxed);
        while in_flight(state) < room {
            match self.swap(state, state + ONE_IN_FLIGHT - ONE_WAITING) {
                Ok(_) => return queue.give(),
                Err(now) => state = now,
            }
        }
        None
    }

    /// Of one who waits no longer, whatever the reason.
    fn withdraw(&self, ticket: &Ticket, criticality: Criticality) {
        let mut queue = self.lock();
        if queue.remove(ticket, criticality) {
            self.state.fetch_sub(ONE_WAITING, Ordering::Relaxed);
            return;
        }
        drop(queue);
        // Not in the queue: it was given a place that it never saw, or was displaced.
        if ticket.has_place() {
            self.leave();
        }
    }

    fn apply(&self, settings: &Settings) {
        for (room, value) in self.rooms.iter().zip(rooms(settings.in_flight, settings.reserve)) {
            room.store(value, Ordering::Relaxed);
        }
        self.queue_length.store(settings.queue, Ordering::Relaxed);
    }

    fn room(&self, criticality: Criticality) -> u32 {
        self.rooms[criticality.index()].load(Ordering::Relaxed)
    }

    /// Acquire, with the Release of who leaves: what it did in its place is done before the next one begins.
    fn swap(&self, old: u64, new: u64) -> Result<u64, u64> {
        self.state.compare_exchange(old, new, Ordering::Acquire, Ordering::Relaxed)
    }

    /// A panic elsewhere leaves the queue whole: nothing in it is changed in two steps that may fail between.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Deref<Target = Bulkhead>> Drop for Place<H> {
    fn drop(&mut self) {
        self.hold.leave();
    }
}

/// Up to how many in flight each criticality enters: all for the critical, less what is kept for the others.
fn rooms(limit: u32, reserve: Reserve) -> [u32; Criticality::COUNT] {
    Criticality::ALL.map(|criticality| {
        let kept = match criticality {
            Criticality::Critical => 0.0,
            Criticality::Normal => reserve.critical,
            Criticality::Sheddable => reserve.critical + reserve.normal,
        };
        let left = (f64::from(limit) * (1.0 - kept)).round();
        (left as u32).clamp(1, limit.max(1))
    })
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
