//! Passive health: a server whose answers are worse than the others' is taken out for a while.

mod compare;
mod docket;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Moment;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use compare::Group;
use docket::{Docket, Span};

/// What makes a server stand out, and for how long it is out.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Failures in a row that take a server out at once; 0: never. Not if the others fail as well.
    pub consecutive_failures: u32,
    /// Share of failed calls from which a server may be out, 0 to 1; the others must fail half as often at most.
    pub error_rate: f64,
    /// Calls below which shares and latencies say nothing; at least 1.
    pub minimum: u32,
    /// How many times the median of the others' latency is too slow; above 1.
    pub slower_than: f64,
    /// How long a server may answer nothing, with requests in flight, while the others answer.
    pub stalled: Duration,
    /// How far back calls count. With many calls a fifth of it is enough.
    pub window: Duration,
    /// How long a server is out the first time; twice as long each time after.
    pub base: Duration,
    /// How long at most.
    pub max: Duration,
    /// Share of the servers that may be out, 0 to 1; but one of two or more always, unless it is 0: then none.
    pub at_most: f64,
}

/// What one server did: written by every call, on any thread; belongs to the server and outlives a reload.
///
/// A call is told once, when it has ended: a response that breaks off in its body has failed, and was not answered before.
#[derive(Debug)]
#[repr(align(128))]
pub struct Record {
    /// How many were answered, in the upper 24 bits; the sum of the logarithms of their times, in the lower 40. It only
    /// grows, and wraps; differences between two looks are right while there are less than 16 million calls in between.
    answered: AtomicU64,
    failed: AtomicU64,
    /// Failures since the last answer.
    streak: AtomicU32,
    /// Calls that began before this do not count: they met a server that has since been out.
    counts_from: AtomicU64,
    docket: Mutex<Docket>,
}

/// What the gateway knows of a server at this moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What it did.
    pub record: &'a Record,
    /// Calls it has not answered yet.
    pub in_flight: u32,
    /// Out for another reason: a check, or the admin. It is neither judged nor compared with, but counts as out.
    pub is_out: bool,
}

/// Whether to look at once.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// The next regular look will do.
    Later,
    /// So many failures in a row that [`Ejector::evaluate`] should be called now.
    Now,
}

/// What is to change for a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Its place among the views.
    pub server: usize,
    /// What changes.
    pub change: Change,
}

/// What changes for a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It gets no more requests.
    Ejected {
        /// Why.
        reason: Reason,
        /// Until when.
        until: Moment,
    },
    /// It gets a few again, [`PROBATION_SHARE`] of its weight, to see.
    Probed,
    /// It gets its share again, by slow start if there is one.
    Returned,
}

/// Why a server is out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// So many failures in a row.
    Failures(u32),
    /// This share of its calls failed; and of the others'.
    ErrorRate(f64, f64),
    /// It takes so long; and the others.
    Slow(Duration, Duration),
    /// It answered nothing for so long.
    Stalled(Duration),
}

/// How a server stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// Gets its share.
    In,
    /// Gets nothing.
    Out {
        /// Why.
        reason: Reason,
        /// Until when.
        until: Moment,
    },
    /// Gets a few requests, to see.
    Probation {
        /// Since when.
        since: Moment,
    },
}

/// The share of its weight that a server in probation gets.
pub const PROBATION_SHARE: f64 = 0.05;

/// Calls after which a probation ends well.
const PROBES: u32 = 10;

/// Takes servers out and lets them return. It keeps nothing but its settings: all else is in the records.
#[derive(Debug)]
pub struct Ejector {
    settings: Settings,
    /// One look at a time, or two might take out more than may be out.
    looking: Mutex<()>,
}

impl Record {
    /// Of a server that nothing is known about.
    pub fn new(now: Moment) -> Self {
        Self {
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            streak: AtomicU32::new(0),
            counts_from: AtomicU64::new(0),
            docket: Mutex::new(Docket::new(now)),
        }
    }

    /// A call ended well at `now`, `took` after it began. One addition.
    pub fn answered(&self, now: Moment, took: Duration) {
        if !self.counts(now, took) {
            return;
        }
        self.answered.fetch_add(ONE_ANSWER | logarithm(took), Ordering::Relaxed);
        if self.streak.load(Ordering::Relaxed) != 0 {
            self.streak.store(0, Ordering::Relaxed);
        }
    }

    /// A call failed at `now`, `took` after it began: no connection, a reset at any time, no answer in time, a status of the
    /// server's that means failure. Not one that the client ended.
    pub fn failed(&self, now: Moment, took: Duration, settings: &Settings) -> Urgency {
        if !self.counts(now, took) {
            return Urgency::Later;
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        let streak = self.streak.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        match streak.checked_rem(settings.consecutive_failures) {
            Some(0) => Urgency::Now,
            Some(_) | None => Urgency::Later,
        }
    }

    /// How it stands, and how many ejections count against it.
    pub fn standing(&self) -> (Standing, u32) {
        let docket = self.docket();
        (docket.standing, docket.ejections)
    }

    fn counts(&self, now: Moment, took: Duration) -> bool {
        let counts_from = Moment::from_nanoseconds(self.counts_from.load(Ordering::Relaxed));
        now.since(counts_from) >= took
    }

    fn docket(&self) -> MutexGuard<'_, Docket> {
        self.docket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const ANSWERS_SHIFT: u32 = 40;
const ONE_ANSWER: u64 = 1 << ANSWERS_SHIFT;

/// Of the nanoseconds to the base of 2, in 256ths; between powers of two a line is near enough.
fn logarithm(took: Duration) -> u64 {
    let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) | 1;
    let zeros = nanoseconds.leading_zeros();
    let fraction = (nanoseconds << zeros << 1) >> 56;
    (u64::from(63 - zeros) << 8) | fraction
}

impl Ejector {
    /// With these settings.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, looking: Mutex::new(()) }
    }

    /// Its settings.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Looks at all servers of an upstream, and decides: about ten times a second, and when a record says so. Any thread.
    pub fn evaluate(&self, now: Moment, views: &[View<'_>]) -> Vec<Decision> {
        let _alone = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let glances = views.iter().map(|view| view.record.docket().look(now, view, &self.settings));
        let group = Group::new(&self.settings, glances.collect());
        let mut room = self.room(views, &group);
        let mut decisions = Vec::new();
        for (server, view) in views.iter().enumerate() {
            if let Some(change) = self.decide(now, (server, view), &group, &mut room) {
                decisions.push(Decision { server, change });
            }
        }
        decisions
    }

    fn decide(
        &self,
        now: Moment,
        (server, view): (usize, &View<'_>),
        group: &Group<'_>,
        room: &mut usize,
    ) -> Option<Change> {
        let mut docket = view.record.docket();
        match docket.standing {
            Standing::Out { until, .. } if now < until => None,
            Standing::Out { .. } => {
                docket.begin_probation(now, view);
                Some(Change::Probed)
            }
            Standing::Probation { since } => {
                match group.verdict_of_probation(server, now.since(since))? {
                    Ok(()) => {
                        docket.take_in(now);
                        Some(Change::Returned)
                    }
                    Err(reason) => Some(docket.eject(now, reason, &self.settings)),
                }
            }
            Standing::In if view.is_out || *room == 0 => None,
            Standing::In => {
                let reason = group.reason(server)?;
                *room -= 1;
                Some(docket.eject(now, reason, &self.settings))
            }
        }
    }

    /// How many more may go.
    fn room(&self, views: &[View<'_>], group: &Group<'_>) -> usize {
        let at_most = self.settings.at_most;
        if at_most <= 0.0 || views.len() < 2 {
            return 0;
        }
        // The tiny share is for products such as 100 × 0.29, which are a little less than 29.
        let allowed = (views.len() as f64 * at_most + 1e-9) as usize;
        allowed.max(1).saturating_sub(views.len() - group.servers_in())
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
