//! Servers among which a pick goes by weight and load alone: one priority, near or far.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::rendezvous;
use super::spread::spread;
use super::{Call, FEW, Loads, Method};
use crate::random;

/// Servers that share a part of the traffic.
#[derive(Debug)]
pub(super) struct Segment {
    candidates: Box<[Candidate]>,
    /// Places in `candidates`; each comes as often as its weight says.
    order: Box<[u16]>,
    next: Turn,
}

/// A server that may be picked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// See [`super::picture::Member::identity`].
    pub(super) identity: u64,
    /// Its part of all traffic of the upstream, between 0 and 1.
    pub(super) part: f64,
    /// Never 0.
    pub(super) weight: u32,
    /// Its place in the list of members.
    pub(super) server: u32,
}

/// Whose turn it is, shared by all workers. On a cache line of its own, so that counting does not slow down who only
/// reads what stands beside it. Relaxed, because only the sum of turns matters, not who took which.
#[derive(Debug)]
#[repr(align(128))]
struct Turn(AtomicUsize);

/// A server as it is at this moment, to be compared with others.
#[derive(Clone, Copy)]
struct Seen {
    /// Nanoseconds.
    time: f64,
    in_flight: f64,
    weight: f64,
}

/// Which of some servers is to be taken, and what was seen on the way.
struct Compared {
    place: usize,
    /// The least time that is known; infinite if none is.
    quickest: f64,
    all_are_known: bool,
}

/// Stands for a time as long as none is known: the same for all.
const UNKNOWN: f64 = 1.0;

impl Segment {
    /// `candidates` is not empty and has at most 65,536 servers; those beyond get nothing but a hash's keys.
    pub(super) fn new(candidates: Vec<Candidate>) -> Self {
        let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
        let order = spread(&weights);
        // Any place: pictures are made anew, and the first server must not gain by each.
        let start = random::below(u32::try_from(order.len()).unwrap_or(u32::MAX));
        Self { candidates: candidates.into(), order, next: Turn(AtomicUsize::new(start as usize)) }
    }

    /// A server that has not been tried; None if all have.
    pub(super) fn pick(
        &self,
        method: Method,
        loads: &impl Loads,
        call: Call,
        tried: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let place = match (method, call.key) {
            (Method::RoundRobin, _) => self.in_turn(tried)?,
            (Method::LeastRequests, _) => self.less_busy(self.drawn(tried)?, FEW, loads, tried),
            (Method::TwoChoices, _) | (Method::Hash { .. }, None) => {
                self.less_busy(self.drawn(tried)?, 1, loads, tried)
            }
            (Method::LeastTime, _) => self.quicker(self.drawn(tried)?, loads, call, tried),
            (Method::Hash { bounded_load }, Some(key)) => {
                self.hashed(key, bounded_load, loads, tried)?
            }
        };
        Some(self.candidates[place].server())
    }

    fn in_turn(&self, tried: &impl Fn(usize) -> bool) -> Option<usize> {
        if self.order.len() < 2 {
            return self.untried_from(0, tried);
        }
        let turn = self.next.0.fetch_add(1, Ordering::Relaxed);
        self.untried_from(turn % self.order.len(), tried)
    }

    /// One by chance, each as often as its weight says.
    fn drawn(&self, tried: &impl Fn(usize) -> bool) -> Option<usize> {
        // No order is as long as 2^32.
        self.untried_from(random::below(self.order.len() as u32) as usize, tried)
    }

    /// The first of the order from this turn on that has not been tried.
    fn untried_from(&self, turn: usize, tried: &impl Fn(usize) -> bool) -> Option<usize> {
        let place = usize::from(*self.order.get(turn)?);
        if !tried(self.candidates[place].server()) {
            return Some(place);
        }
        let (before, from) = self.order.split_at_checked(turn)?;
        let mut places = from.iter().chain(before).map(|&place| usize::from(place));
        places.find(|&place| !tried(self.candidates[place].server()))
    }

    /// Others than the one at this place: all if that is no more than `count`, else so many by chance. They begin with
    /// the next one, so that of equals not always the same is the first.
    fn others(&self, place: usize, count: usize) -> impl Iterator<Item = usize> {
        let length = self.candidates.len();
        let others = length - 1;
        (0..others.min(count)).map(move |index| {
            // A segment has no more than 2^32 servers.
            let step = if others <= count { index } else { random::below(others as u32) as usize };
            let other = place + 1 + step;
            if other < length { other } else { other - length }
        })
    }

    /// Whose turn it is, unless another would be no busier with the request than this one is without it. By that rule
    /// servers that are equally busy get their share by weight, and idle ones of little weight no more than that.
    fn less_busy(
        &self,
        first: usize,
        count: usize,
        loads: &impl Loads,
        tried: &impl Fn(usize) -> bool,
    ) -> usize {
        let candidate = &self.candidates[first];
        let (busy, weight) =
            (u64::from(loads.in_flight(candidate.server())), u64::from(candidate.weight));
        if busy == 0 {
            return first;
        }
        // In flight with the request, and weight. Fractions are compared crosswise: no division, nothing rounded.
        let mut least = (busy, weight);
        let mut found = first;
        for place in self.others(first, count) {
            let other = &self.candidates[place];
            if tried(other.server()) {
                continue;
            }
            let (with, weight) =
                (u64::from(loads.in_flight(other.server())) + 1, u64::from(other.weight));
            let (mine, best) = (with * least.1, least.0 * weight);
            if mine < best || (mine == best && found == first) {
                least = (with, weight);
                found = place;
            }
        }
        found
    }

    /// Whose turn it is, unless another's time × (in flight + 1) ÷ weight is less, and that for more than a breath: it is
    /// quicker by a quarter, or would be no busier with the request than this one is without it. Servers that are equal
    /// but for chance then share by weight, and the one with the best luck does not take all.
    fn quicker(
        &self,
        first: usize,
        loads: &impl Loads,
        call: Call,
        tried: &impl Fn(usize) -> bool,
    ) -> usize {
        let seen = |place| self.seen(place, loads, call);
        let compared = self.compare(first, UNKNOWN, &seen, tried);
        if compared.all_are_known || compared.quickest == f64::INFINITY {
            return compared.place;
        }
        // A new server counts as quick as the quickest: it gets its turns, but nobody else's, and no more than it can
        // carry, because requests in flight count from the first on.
        self.compare(first, compared.quickest, &seen, tried).place
    }

    /// Servers without a time are taken to have the neutral one.
    fn compare(
        &self,
        first: usize,
        neutral: f64,
        seen: &impl Fn(usize) -> Seen,
        tried: &impl Fn(usize) -> bool,
    ) -> Compared {
        const CLEARLY: f64 = 1.25;
        let count = if self.candidates.len() <= FEW { FEW - 1 } else { 1 };
        let mut compared = Compared { place: first, quickest: f64::INFINITY, all_are_known: true };
        let mut known = |place| {
            let mut seen = seen(place);
            if seen.time > 0.0 {
                compared.quickest = compared.quickest.min(seen.time);
            } else {
                compared.all_are_known = false;
                seen.time = neutral;
            }
            seen
        };
        let now = known(first);
        let mut best = now;
        for place in self.others(first, count) {
            if tried(self.candidates[place].server()) {
                continue;
            }
            let other = known(place);
            let is_quick = other.time * CLEARLY < now.time;
            let is_free = (other.in_flight + 1.0) * now.weight <= now.in_flight * other.weight;
            if (is_quick | is_free) && other.costs_less_than(&best) {
                best = other;
                compared.place = place;
            }
        }
        compared
    }

    fn seen(&self, place: usize, loads: &impl Loads, call: Call) -> Seen {
        let candidate = &self.candidates[place];
        // A signed number becomes an `f64` in one instruction.
        let time = i64::try_from(loads.time(candidate.server(), call.now)).unwrap_or(i64::MAX);
        Seen {
            time: time as f64,
            in_flight: f64::from(loads.in_flight(candidate.server())),
            weight: f64::from(candidate.weight),
        }
    }

    /// The key's first server that has room.
    fn hashed(
        &self,
        key: u64,
        bounded_load: Option<f64>,
        loads: &impl Loads,
        tried: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let untried = |candidate: &Candidate| !tried(candidate.server());
        if let Some(bound) = bounded_load {
            let allowed = bound.max(1.0) * (f64::from(loads.all_in_flight()) + 1.0);
            let has_room = |candidate: &Candidate| {
                f64::from(loads.in_flight(candidate.server())) < (allowed * candidate.part).ceil()
            };
            let fits = |candidate: &Candidate| untried(candidate) && has_room(candidate);
            if let Some(place) = rendezvous::first(&self.candidates, key, fits) {
                return Some(place);
            }
        }
        // No bound, or the servers with room have all been tried.
        rendezvous::first(&self.candidates, key, untried)
    }
}

impl Candidate {
    fn server(&self) -> usize {
        self.server as usize
    }
}

impl Seen {
    /// Time × (in flight + 1) ÷ weight, compared crosswise.
    fn costs_less_than(&self, other: &Self) -> bool {
        self.time * (self.in_flight + 1.0) * other.weight
            < other.time * (other.in_flight + 1.0) * self.weight
    }
}
