//! What is known of one server between two looks: its calls of the last seconds, and how it stands.

use std::collections::VecDeque;
use std::time::Duration;

use super::{ANSWERS_SHIFT, Change, ONE_ANSWER, Reason, Record, Settings, Standing, View};
use crate::{Moment, sync::atomic::Ordering};

/// One server's; touched by who evaluates only.
#[derive(Debug)]
pub(super) struct Docket {
    pub(super) standing: Standing,
    /// How often it was out, less for time in good health.
    pub(super) ejections: u32,
    /// Since when it has been in without losing an ejection.
    healthy_since: Moment,
    /// The counters at earlier looks, the oldest first; [`MARKS`] at most.
    marks: VecDeque<Mark>,
    /// Since when nothing has been heard while calls were in flight.
    quiet_since: Moment,
    heard: (u64, u64),
    /// Calls in flight that began before its probation.
    leftover: u32,
}

/// The counters of a record at a moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Moment,
    answered: u64,
    failed: u64,
}

/// What happened between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Span {
    pub(super) answered: u32,
    pub(super) failed: u32,
    /// Mean of the logarithms of the latencies of what was answered. A few long calls do not move it much.
    pub(super) pace: f64,
}

/// What one look sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glance {
    /// It gets its share of requests: the others are compared with it.
    pub(super) is_in: bool,
    pub(super) short: Span,
    pub(super) long: Span,
    /// The last [`Settings::stalled`].
    pub(super) lately: Span,
    pub(super) streak: u32,
    pub(super) quiet: Duration,
    /// Calls in flight that count.
    pub(super) in_flight: u32,
}

/// Looks that are remembered, evenly over the window.
const MARKS: u32 = 20;

impl Docket {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            standing: Standing::In,
            ejections: 0,
            healthy_since: now,
            marks: VecDeque::from([Mark { at: now, answered: 0, failed: 0 }]),
            quiet_since: now,
            heard: (0, 0),
            leftover: 0,
        }
    }

    /// Brings it up to date.
    pub(super) fn look(&mut self, now: Moment, view: &View<'_>, settings: &Settings) -> Glance {
        let record = view.record;
        let mark = Mark::of(record, now);
        self.leftover = self.leftover.min(view.in_flight);
        let in_flight = view.in_flight - self.leftover;
        // Only looks tell time here, so that a call costs none of it: silence is at most one look longer than it seems.
        if in_flight == 0 || self.heard != (mark.answered, mark.failed) {
            self.heard = (mark.answered, mark.failed);
            self.quiet_since = now;
        }
        self.forgive(now, settings);
        let glance = Glance {
            is_in: self.standing == Standing::In && !view.is_out,
            short: self.span(mark, settings.window / 5),
            long: self.span(mark, settings.window),
            lately: self.span(mark, settings.stalled),
            streak: record.streak.load(Ordering::Relaxed),
            quiet: now.since(self.quiet_since),
            in_flight,
        };
        self.remember(mark, settings.window);
        glance
    }

    /// Out from now on, twice as long as the last time.
    pub(super) fn eject(&mut self, now: Moment, reason: Reason, settings: &Settings) -> Change {
        let until = now + length(self.ejections, settings);
        self.ejections = self.ejections.saturating_add(1);
        self.standing = Standing::Out { reason, until };
        Change::Ejected { reason, until }
    }

    /// Nothing of before counts: not the calls that are still in flight either.
    pub(super) fn begin_probation(&mut self, now: Moment, view: &View<'_>) {
        let record = view.record;
        record.counts_from.store(now.nanoseconds(), Ordering::Relaxed);
        record.streak.store(0, Ordering::Relaxed);
        self.standing = Standing::Probation { since: now };
        self.leftover = view.in_flight;
        self.quiet_since = now;
        self.marks.clear();
        self.marks.push_back(Mark::of(record, now));
    }

    /// It gets its share again.
    pub(super) fn take_in(&mut self, now: Moment) {
        self.standing = Standing::In;
        self.healthy_since = now;
    }

    /// One ejection is forgotten for as much time in good health as it took.
    fn forgive(&mut self, now: Moment, settings: &Settings) {
        if self.standing != Standing::In || self.ejections == 0 {
            return;
        }
        if now.since(self.healthy_since) >= length(self.ejections - 1, settings) {
            self.ejections -= 1;
            self.healthy_since = now;
        }
    }

    /// What happened in this time up to the mark, or since the earliest known.
    fn span(&self, mark: Mark, length: Duration) -> Span {
        let is_early = |earlier: &&Mark| mark.at.since(earlier.at) >= length;
        let from = self.marks.iter().rev().find(is_early).or(self.marks.front());
        from.map(|from| mark.after(from)).unwrap_or_default()
    }

    fn remember(&mut self, mark: Mark, window: Duration) {
        let is_due = |last: &Mark| mark.at.since(last.at) >= window / MARKS;
        if !self.marks.back().is_none_or(is_due) {
            return;
        }
        self.marks.push_back(mark);
        // The front one may be as old as the window; whatever is older is not asked for.
        while self.marks.get(1).is_some_and(|next| mark.at.since(next.at) >= window) {
            self.marks.pop_front();
        }
    }
}

impl Mark {
    fn of(record: &Record, at: Moment) -> Self {
        let answered = record.answered.load(Ordering::Relaxed);
        Self { at, answered, failed: record.failed.load(Ordering::Relaxed) }
    }

    fn after(&self, earlier: &Self) -> Span {
        let difference = self.answered.wrapping_sub(earlier.answered);
        let answered = difference >> ANSWERS_SHIFT;
        let sum = difference & (ONE_ANSWER - 1);
        let pace = if answered == 0 { 0.0 } else { sum as f64 / answered as f64 / 256.0 };
        let failed = self.failed.wrapping_sub(earlier.failed);
        let failed = u32::try_from(failed).unwrap_or(u32::MAX);
        // 24 bits always fit.
        Span { answered: answered as u32, failed, pace }
    }
}

impl Span {
    pub(super) fn calls(&self) -> u32 {
        self.answered.saturating_add(self.failed)
    }

    pub(super) fn error_rate(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.calls().max(1))
    }
}

/// How long the ejection after so many is.
fn length(ejections: u32, settings: &Settings) -> Duration {
    let factor = 1_u32.checked_shl(ejections).unwrap_or(u32::MAX);
    settings.base.saturating_mul(factor).min(settings.max)
}
