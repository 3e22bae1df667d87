//! A circuit breaker: where most calls fail or are slow, nobody is sent for a while, then a few to see whether it is over.
//!
//! Closed: all pass. As soon as the window holds enough calls and too many of them were bad, it opens. Open: nobody passes
//! until `open_for` is over. Half open: at most `probes` are out at a time; as many good answers close it, one bad opens it.
//! Each change begins a new generation, and a call counts only in the generation in which it passed. As in resilience4j,
//! but for the slow probe: it opens again, where resilience4j takes a rate of the probes.

use crate::Moment;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::window::{Kind, Totals, Window};
use std::time::Duration;

/// What opens a breaker, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Opens at this share of failed calls, 0 to 1. None: failures do not count.
    pub error_rate: Option<f64>,
    /// Opens at this share of slow calls, 0 to 1. None: slowness does not count.
    pub slow_rate: Option<f64>,
    /// A call that takes this long is slow.
    pub slow: Duration,
    /// Over which time the shares are taken.
    pub window: Duration,
    /// With fewer calls in the window it stays closed. It is judged at each bad call, not at good ones.
    pub minimum: u32,
    /// How long nobody passes before the first probe; whole milliseconds, rounded up.
    pub open_for: Duration,
    /// How many probes may be out at a time, and how many must be good to close it; 1 to 1,048,575.
    pub probes: u32,
}

/// Decides whether a call may go.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    /// A [`Word`].
    word: AtomicU64,
    window: Window,
}

/// Leave for one call. It is given back by [`Breaker::finish`], or by [`Breaker::abandon`] if nothing is known of how it
/// went: a probe that is never given back keeps its place for ever.
#[must_use = "a probe that is never given back keeps its place for ever"]
#[derive(Debug)]
pub struct Pass {
    generation: u64,
    role: Role,
}

/// The call may not go: the breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When a probe may go; zero if all probes are out, so that it is decided as soon as one is back.
    pub retry_after: Duration,
}

impl Open {
    /// For the `Retry-After` header (RFC 9110 section 10.2.3): whole seconds, rounded up, at least 1.
    pub fn retry_after_seconds(self) -> u64 {
        (self.retry_after.as_millis().div_ceil(1000) as u64).max(1)
    }
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whether it counts as a failure.
    pub failed: bool,
    /// How long it took.
    pub took: Duration,
}

/// What a breaker became, for the log and the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nobody passes until then.
    Opened(Cause, Moment),
    /// The first probe passed.
    HalfOpened,
    /// The probes were good: all pass.
    Closed,
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Too many of these calls failed.
    Errors(Totals),
    /// Too many of these calls were slow.
    Slowness(Totals),
    /// A probe was bad.
    Probe,
}

/// What a breaker is at the moment, for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// What it lets pass.
    pub phase: Phase,
    /// What its window holds: the calls since it was last closed.
    pub totals: Totals,
}

/// What a breaker lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All calls.
    Closed,
    /// None until then; then the next call is a probe.
    Open(Moment),
    /// Probes only.
    HalfOpen {
        /// How many are out.
        out: u32,
        /// How many were good.
        good: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Usual,
    Probe,
    FirstProbe,
}

impl Pass {
    /// Whether the call decides what becomes of a half open breaker; its outcome matters more than another's.
    pub fn is_probe(&self) -> bool {
        self.role != Role::Usual
    }

    /// The change that this pass made: the first probe half opens the breaker.
    pub fn change(&self) -> Option<Change> {
        (self.role == Role::FirstProbe).then_some(Change::HalfOpened)
    }
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: Settings) -> Self {
        let window = Window::new(settings.window);
        Self { settings, word: AtomicU64::new(Word::FIRST.0), window }
    }

    /// Takes the place of one whose settings were these or others: what was open stays open as long, what was half open
    /// begins its probes anew, what was closed has counted nothing yet. Passes of the earlier one are given back there.
    pub fn successor(&self, settings: Settings, now: Moment) -> Self {
        let word = match self.load().phase() {
            Phase::Closed => Word::FIRST,
            Phase::Open(until) => Word::FIRST.opened(until),
            Phase::HalfOpen { .. } => Word::FIRST.opened(now),
        };
        Self { word: AtomicU64::new(word.0), ..Self::new(settings) }
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether a call may go. Closed: one load, nothing is written.
    // Relaxed: what the pass is worth is decided by finish, which reads the word again.
    #[inline]
    pub fn try_pass(&self, now: Moment) -> Result<Pass, Open> {
        let word = Word(self.word.load(Ordering::Relaxed));
        if word.is_closed() {
            return Ok(Pass { generation: word.generation(), role: Role::Usual });
        }
        self.try_probe(word, now)
    }

    /// Gives a pass back with what became of the call; says what the breaker became by it.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "a pass is given back once")]
    pub fn finish(&self, pass: Pass, call: Call, now: Moment) -> Option<Change> {
        let slow = call.took >= self.settings.slow;
        if pass.is_probe() {
            return self.finish_probe(&pass, self.is_bad(call.failed, slow), now);
        }
        let word = self.load();
        if word.generation() != pass.generation {
            return None;
        }
        let kind = match (call.failed, slow) {
            (false, false) => Kind::Good,
            (true, false) => Kind::Failed,
            (false, true) => Kind::Slow,
            (true, true) => Kind::FailedSlowly,
        };
        self.window.record(now, kind);
        if self.is_bad(call.failed, slow) { self.judge(word, now) } else { None }
    }

    /// Gives a pass back of which nothing is known: the client went away, or the call was never made.
    #[expect(clippy::needless_pass_by_value, reason = "a pass is given back once")]
    pub fn abandon(&self, pass: Pass) {
        if pass.is_probe() {
            let less = |word: Word| word.goes_on_in(&pass).then(|| word.without_probe());
            self.change(less);
        }
    }

    /// What it is at the moment.
    pub fn state(&self, now: Moment) -> State {
        State { phase: self.load().phase(), totals: self.window.totals(now) }
    }

    // A failure is bad only where failures are counted, so that the probes ask what opened it.
    fn is_bad(&self, failed: bool, slow: bool) -> bool {
        failed && self.settings.error_rate.is_some() || slow && self.settings.slow_rate.is_some()
    }

    // Not closed: half opens it, or takes one of the places for probes.
    #[cold]
    fn try_probe(&self, mut word: Word, now: Moment) -> Result<Pass, Open> {
        loop {
            let (next, role) = match word.phase() {
                Phase::Closed => {
                    return Ok(Pass { generation: word.generation(), role: Role::Usual });
                }
                Phase::Open(until) if now < until => {
                    return Err(Open { retry_after: until.since(now) });
                }
                Phase::Open(_) => (word.half_opened(), Role::FirstProbe),
                Phase::HalfOpen { out, .. } if out >= self.probes() => {
                    return Err(Open { retry_after: Duration::ZERO });
                }
                Phase::HalfOpen { .. } => (word.with_probe(), Role::Probe),
            };
            match self.exchange(word, next) {
                Ok(()) => return Ok(Pass { generation: next.generation(), role }),
                Err(now_there) => word = now_there,
            }
        }
    }

    #[cold]
    fn finish_probe(&self, pass: &Pass, bad: bool, now: Moment) -> Option<Change> {
        let until = now + self.settings.open_for;
        let next = |word: Word| {
            if !word.goes_on_in(pass) {
                return None;
            }
            if bad {
                return Some(word.opened(until));
            }
            let next = word.without_probe().with_good();
            if next.good() < self.probes() {
                return Some(next);
            }
            // Before the word says closed: what the window holds is why it opened. Nobody counts in it meanwhile.
            self.window.clear();
            Some(word.closed())
        };
        match self.change(next)?.phase() {
            Phase::Closed => Some(Change::Closed),
            Phase::Open(until) => Some(Change::Opened(Cause::Probe, until)),
            Phase::HalfOpen { .. } => None,
        }
    }

    // After a bad call: a good one never raises a share, so none is looked at then.
    #[cold]
    fn judge(&self, word: Word, now: Moment) -> Option<Change> {
        let totals = self.window.totals(now);
        if totals.calls < u64::from(self.settings.minimum) {
            return None;
        }
        let reached = |count: u64, rate: Option<f64>| {
            rate.is_some_and(|rate| count > 0 && count as f64 / totals.calls as f64 >= rate)
        };
        let cause = if reached(totals.failed, self.settings.error_rate) {
            Cause::Errors(totals)
        } else if reached(totals.slow, self.settings.slow_rate) {
            Cause::Slowness(totals)
        } else {
            return None;
        };
        let opened = word.opened(now + self.settings.open_for);
        let Phase::Open(until) = opened.phase() else { return None };
        // Whoever is first tells it.
        self.exchange(word, opened).ok().map(|()| Change::Opened(cause, until))
    }

    fn probes(&self) -> u32 {
        self.settings.probes.clamp(1, Word::PROBES)
    }

    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    // Release, and Acquire in load: who sees that it is closed sees that the window was cleared.
    fn exchange(&self, from: Word, to: Word) -> Result<(), Word> {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.word.compare_exchange(from.0, to.0, success, failure).map(drop).map_err(Word)
    }

    fn change(&self, next: impl Fn(Word) -> Option<Word>) -> Option<Word> {
        let mut word = self.load();
        loop {
            let to = next(word)?;
            match self.exchange(word, to) {
                Ok(()) => return Some(to),
                Err(now_there) => word = now_there,
            }
        }
    }
}

/// All that must change in one step: two bits of phase, 22 of generation, and 40 that say until when it is open (in
/// milliseconds: 34 years) or, half open, 20 how many probes are out and 20 how many were good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

impl Word {
    const FIRST: Self = Self(0);
    const CLOSED: u64 = 0;
    const OPEN: u64 = 1;
    const HALF_OPEN: u64 = 2;
    const PROBES: u32 = (1 << 20) - 1;
    const DETAIL: u64 = (1 << 40) - 1;
    const GENERATION: u64 = (1 << 22) - 1;
    const ONE_OUT: u64 = 1 << 20;

    #[inline]
    const fn is_closed(self) -> bool {
        self.0 >> 62 == Self::CLOSED
    }

    #[inline]
    const fn generation(self) -> u64 {
        self.0 >> 40 & Self::GENERATION
    }

    fn phase(self) -> Phase {
        match self.0 >> 62 {
            Self::OPEN => Phase::Open(Moment::after(Duration::from_millis(self.0 & Self::DETAIL))),
            Self::HALF_OPEN => Phase::HalfOpen { out: self.out(), good: self.good() },
            _ => Phase::Closed,
        }
    }

    fn out(self) -> u32 {
        (self.0 >> 20) as u32 & Self::PROBES
    }

    fn good(self) -> u32 {
        self.0 as u32 & Self::PROBES
    }

    // The phase is asked too: a generation comes round after four million changes.
    fn goes_on_in(self, pass: &Pass) -> bool {
        self.0 >> 62 == Self::HALF_OPEN && self.generation() == pass.generation && self.out() > 0
    }

    const fn next(self, phase: u64, detail: u64) -> Self {
        Self(phase << 62 | ((self.generation() + 1) & Self::GENERATION) << 40 | detail)
    }

    fn opened(self, until: Moment) -> Self {
        self.next(Self::OPEN, until.nanoseconds().div_ceil(1_000_000).min(Self::DETAIL))
    }

    const fn half_opened(self) -> Self {
        self.next(Self::HALF_OPEN, Self::ONE_OUT)
    }

    const fn closed(self) -> Self {
        self.next(Self::CLOSED, 0)
    }

    const fn with_probe(self) -> Self {
        Self(self.0 + Self::ONE_OUT)
    }

    const fn without_probe(self) -> Self {
        Self(self.0 - Self::ONE_OUT)
    }

    const fn with_good(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUICK: Duration = Duration::from_millis(1);
    const SLOW: Duration = Duration::from_secs(2);

    fn at(milliseconds: u64) -> Moment {
        Moment::after(Duration::from_millis(milliseconds))
    }

    fn settings() -> Settings {
        Settings {
            error_rate: Some(0.5),
            slow_rate: Some(0.8),
            slow: SLOW,
            window: Duration::from_secs(10),
            minimum: 4,
            open_for: Duration::from_secs(5),
            probes: 2,
        }
    }

    fn good() -> Call {
        Call { failed: false, took: QUICK }
    }

    fn bad() -> Call {
        Call { failed: true, took: QUICK }
    }

    fn slow() -> Call {
        Call { failed: false, took: SLOW }
    }

    fn call(breaker: &Breaker, call: Call, now: Moment) -> Option<Change> {
        breaker.finish(breaker.try_pass(now).unwrap(), call, now)
    }

    fn phase(breaker: &Breaker, now: Moment) -> Phase {
        breaker.state(now).phase
    }

    /// One that opened at 0 for 5 s.
    fn opened() -> Breaker {
        let breaker = Breaker::new(settings());
        let changes: Vec<_> = (0..4).filter_map(|_| call(&breaker, bad(), at(0))).collect();
        let totals = Totals { calls: 4, failed: 4, slow: 0 };
        assert_eq!(changes, [Change::Opened(Cause::Errors(totals), at(5_000))]);
        breaker
    }

    #[test]
    fn too_few_calls_leave_it_closed() {
        let breaker = Breaker::new(settings());
        for _ in 0..3 {
            assert_eq!(call(&breaker, bad(), at(0)), None);
        }
        assert_eq!(phase(&breaker, at(0)), Phase::Closed);
    }

    #[test]
    fn it_opens_when_the_share_of_failures_is_reached_and_not_before() {
        let breaker = Breaker::new(settings());
        for _ in 0..4 {
            assert_eq!(call(&breaker, good(), at(0)), None);
        }
        for _ in 0..3 {
            assert_eq!(call(&breaker, bad(), at(0)), None);
        }
        let totals = Totals { calls: 8, failed: 4, slow: 0 };
        let change = Change::Opened(Cause::Errors(totals), at(5_000));
        assert_eq!(call(&breaker, bad(), at(0)), Some(change));
        assert_eq!(phase(&breaker, at(0)), Phase::Open(at(5_000)));
    }

    #[test]
    fn failures_that_left_the_window_do_not_open_it() {
        let breaker = Breaker::new(settings());
        for _ in 0..3 {
            assert_eq!(call(&breaker, bad(), at(0)), None);
        }
        assert_eq!(call(&breaker, bad(), at(10_000)), None);
    }

    #[test]
    fn it_opens_when_the_share_of_slow_calls_is_reached() {
        let breaker = Breaker::new(settings());
        assert_eq!(call(&breaker, good(), at(0)), None);
        for _ in 0..3 {
            assert_eq!(call(&breaker, slow(), at(0)), None);
        }
        let totals = Totals { calls: 5, failed: 0, slow: 4 };
        let change = Change::Opened(Cause::Slowness(totals), at(5_000));
        assert_eq!(call(&breaker, slow(), at(0)), Some(change));
    }

    #[test]
    fn what_has_no_rate_does_not_open_it() {
        let deaf = Breaker::new(Settings { error_rate: None, slow_rate: None, ..settings() });
        for kind in [bad(), slow()].repeat(20) {
            assert_eq!(call(&deaf, kind, at(0)), None);
        }
    }

    #[test]
    fn open_says_when_to_come_again() {
        let breaker = opened();
        let open = breaker.try_pass(at(1_500)).unwrap_err();
        assert_eq!(open.retry_after, Duration::from_millis(3_500));
        assert_eq!(open.retry_after_seconds(), 4);
        assert_eq!(Open { retry_after: Duration::ZERO }.retry_after_seconds(), 1);
        assert!(breaker.try_pass(at(4_999)).is_err());
    }

    #[test]
    fn after_its_time_the_first_call_half_opens_it() {
        let breaker = opened();
        let probe = breaker.try_pass(at(5_000)).unwrap();
        assert!(probe.is_probe());
        assert_eq!(probe.change(), Some(Change::HalfOpened));
        assert_eq!(phase(&breaker, at(5_000)), Phase::HalfOpen { out: 1, good: 0 });
        breaker.abandon(probe);
    }

    #[test]
    fn half_open_lets_out_only_so_many_probes_at_a_time() {
        let breaker = opened();
        let first = breaker.try_pass(at(5_000)).unwrap();
        let second = breaker.try_pass(at(5_000)).unwrap();
        assert_eq!(second.change(), None);
        let full = Open { retry_after: Duration::ZERO };
        assert_eq!(breaker.try_pass(at(60_000)).unwrap_err(), full);
        assert_eq!(breaker.finish(first, good(), at(60_000)), None);
        assert_eq!(phase(&breaker, at(60_000)), Phase::HalfOpen { out: 1, good: 1 });
        assert_eq!(breaker.finish(second, good(), at(60_000)), Some(Change::Closed));
    }

    #[test]
    fn a_probe_that_is_given_back_leaves_its_place() {
        let breaker = opened();
        for _ in 0..10 {
            let first = breaker.try_pass(at(5_000)).unwrap();
            let second = breaker.try_pass(at(5_000)).unwrap();
            breaker.abandon(first);
            breaker.abandon(second);
        }
        assert_eq!(phase(&breaker, at(5_000)), Phase::HalfOpen { out: 0, good: 0 });
    }

    #[test]
    fn one_bad_probe_opens_it_again() {
        for kind in [bad(), slow()] {
            let breaker = opened();
            assert_eq!(call(&breaker, good(), at(5_000)), None);
            let change = Change::Opened(Cause::Probe, at(11_000));
            assert_eq!(call(&breaker, kind, at(6_000)), Some(change));
            assert!(breaker.try_pass(at(10_999)).is_err());
            // The good probe of the earlier time does not count for this one.
            assert_eq!(call(&breaker, good(), at(11_000)), None);
            assert_eq!(phase(&breaker, at(11_000)), Phase::HalfOpen { out: 0, good: 1 });
        }
    }

    #[test]
    fn a_slow_probe_is_good_where_slowness_does_not_count() {
        let breaker = Breaker::new(Settings { slow_rate: None, ..settings() });
        for _ in 0..4 {
            call(&breaker, bad(), at(0));
        }
        assert_eq!(call(&breaker, slow(), at(5_000)), None);
        assert_eq!(call(&breaker, slow(), at(5_000)), Some(Change::Closed));
    }

    #[test]
    fn closed_again_it_begins_with_an_empty_window() {
        let breaker = opened();
        assert_eq!(call(&breaker, good(), at(5_000)), None);
        assert_eq!(call(&breaker, good(), at(5_000)), Some(Change::Closed));
        assert_eq!(breaker.state(at(5_000)).totals, Totals::default());
        for _ in 0..3 {
            assert_eq!(call(&breaker, bad(), at(5_000)), None);
        }
        assert!(matches!(call(&breaker, bad(), at(5_000)), Some(Change::Opened(..))));
    }

    #[test]
    fn a_call_of_an_earlier_generation_does_not_count() {
        let breaker = Breaker::new(settings());
        let early: Vec<_> = (0..8).map(|_| breaker.try_pass(at(0)).unwrap()).collect();
        for _ in 0..4 {
            call(&breaker, bad(), at(0));
        }
        let late_probe = breaker.try_pass(at(5_000)).unwrap();
        assert!(matches!(call(&breaker, bad(), at(5_000)), Some(Change::Opened(..))));
        let mut early = early.into_iter();
        assert_eq!(breaker.finish(early.next().unwrap(), bad(), at(5_000)), None);
        assert_eq!(call(&breaker, good(), at(10_000)), None);
        // Neither as a probe, nor when its generation is long over, nor given back: the places are counted anew.
        assert_eq!(breaker.finish(late_probe, bad(), at(10_000)), None);
        breaker.abandon(early.next().unwrap());
        assert_eq!(phase(&breaker, at(10_000)), Phase::HalfOpen { out: 0, good: 1 });
        assert_eq!(call(&breaker, good(), at(10_000)), Some(Change::Closed));
        for pass in early {
            assert_eq!(breaker.finish(pass, bad(), at(10_000)), None);
        }
        assert_eq!(breaker.state(at(10_000)).totals, Totals::default());
    }

    #[test]
    fn a_successor_goes_on_where_the_earlier_one_was() {
        let other = Settings { minimum: 1, ..settings() };
        let breaker = opened();
        let same = breaker.successor(other.clone(), at(1_000));
        assert_eq!(phase(&same, at(1_000)), Phase::Open(at(5_000)));
        let probe = breaker.try_pass(at(5_000)).unwrap();
        let same = breaker.successor(other.clone(), at(5_000));
        assert!(same.try_pass(at(5_000)).unwrap().is_probe());
        breaker.abandon(probe);
        let same = Breaker::new(settings()).successor(other, at(0));
        assert!(matches!(call(&same, bad(), at(0)), Some(Change::Opened(..))));
    }

    #[test]
    fn generations_come_round() {
        let breaker = Breaker::new(Settings { minimum: 1, probes: 1, ..settings() });
        let last = Word(Word::GENERATION << 40);
        breaker.word.store(last.0, Ordering::Relaxed);
        assert!(matches!(call(&breaker, bad(), at(0)), Some(Change::Opened(..))));
        assert_eq!(phase(&breaker, at(0)), Phase::Open(at(5_000)));
        assert_eq!(breaker.load().generation(), 0);
    }

    /// The same rules with a list and plain fields.
    struct Simple {
        settings: Settings,
        phase: Phase,
        generation: u64,
        calls: Vec<(Moment, Call)>,
    }

    impl Simple {
        fn enter(&mut self, phase: Phase) {
            self.phase = phase;
            self.generation += 1;
        }

        fn pass(&mut self, now: Moment) -> Result<(u64, bool), Duration> {
            match self.phase {
                Phase::Closed => return Ok((self.generation, false)),
                Phase::Open(until) if now < until => return Err(until.since(now)),
                Phase::Open(_) => self.enter(Phase::HalfOpen { out: 1, good: 0 }),
                Phase::HalfOpen { out, .. } if out == self.settings.probes => {
                    return Err(Duration::ZERO);
                }
                Phase::HalfOpen { out, good } => {
                    self.phase = Phase::HalfOpen { out: out + 1, good };
                }
            }
            Ok((self.generation, true))
        }

        fn totals(&self, now: Moment) -> Totals {
            let slice = |moment: Moment| {
                moment.nanoseconds() / (self.settings.window.as_nanos() as u64 / 10)
            };
            let kept = |(when, _): &&(Moment, Call)| slice(*when) + 10 > slice(now);
            let count = |of: &dyn Fn(Call) -> bool| {
                self.calls.iter().filter(kept).filter(|(_, call)| of(*call)).count() as u64
            };
            Totals {
                calls: count(&|_| true),
                failed: count(&|call| call.failed),
                slow: count(&|call| call.took >= self.settings.slow),
            }
        }

        fn finish(&mut self, (generation, _): (u64, bool), call: Option<Call>, now: Moment) {
            if generation != self.generation {
                return;
            }
            let is_bad = call.is_some_and(|call| {
                call.failed && self.settings.error_rate.is_some()
                    || call.took >= self.settings.slow && self.settings.slow_rate.is_some()
            });
            let open = Phase::Open(now + self.settings.open_for);
            match (self.phase, call) {
                (Phase::HalfOpen { .. }, Some(_)) if is_bad => self.enter(open),
                (Phase::HalfOpen { good, .. }, Some(_)) if good + 1 == self.settings.probes => {
                    self.calls.clear();
                    self.enter(Phase::Closed);
                }
                (Phase::HalfOpen { out, good }, call) => {
                    let good = good + u32::from(call.is_some());
                    self.phase = Phase::HalfOpen { out: out - 1, good };
                }
                (Phase::Closed, Some(call)) => {
                    self.calls.push((now, call));
                    let opens = is_bad && self.is_too_much(self.totals(now));
                    opens.then(|| self.enter(open));
                }
                (Phase::Closed, None) | (Phase::Open(_), _) => {}
            }
        }

        fn is_too_much(&self, totals: Totals) -> bool {
            let share = |count: u64| count as f64 / totals.calls as f64;
            totals.calls >= u64::from(self.settings.minimum)
                && (self.settings.error_rate.is_some_and(|rate| share(totals.failed) >= rate)
                    || self.settings.slow_rate.is_some_and(|rate| share(totals.slow) >= rate))
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pass,
        // One of those that are out, how it went, or abandoned.
        Finish(usize, Option<(bool, bool)>),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let outcome = prop::option::weighted(0.9, (any::<bool>(), any::<bool>()));
        let step = prop_oneof![
            4 => Just(Step::Pass),
            4 => (any::<usize>(), outcome).prop_map(|(which, how)| Step::Finish(which, how)),
            1 => prop_oneof![0u64..50, 0u64..1_000, 0u64..6_000].prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 1..400)
    }

    fn some_settings() -> impl Strategy<Value = Settings> {
        let rate = || prop::option::of(0.1f64..1.0);
        (rate(), rate(), 1u32..6, 1u32..4, 1u64..3_000).prop_map(
            |(error_rate, slow_rate, minimum, probes, open_for)| Settings {
                error_rate,
                slow_rate,
                minimum,
                probes,
                window: Duration::from_secs(1),
                open_for: Duration::from_millis(open_for),
                ..settings()
            },
        )
    }

    /// What finish says is what happened.
    fn check_change(
        breaker: &Breaker,
        pass: Pass,
        call: Call,
        now: Moment,
    ) -> Result<(), TestCaseError> {
        let before = phase(breaker, now);
        let said = breaker.finish(pass, call, now);
        match (before, phase(breaker, now)) {
            (Phase::HalfOpen { .. }, Phase::Open(until)) => {
                prop_assert_eq!(said, Some(Change::Opened(Cause::Probe, until)));
            }
            (Phase::Closed, Phase::Open(until)) => match said {
                Some(Change::Opened(Cause::Errors(_) | Cause::Slowness(_), told)) => {
                    prop_assert_eq!(told, until);
                }
                other => prop_assert!(false, "{:?}", other),
            },
            (Phase::HalfOpen { .. }, Phase::Closed) => prop_assert_eq!(said, Some(Change::Closed)),
            _ => prop_assert_eq!(said, None),
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn it_does_what_a_simple_one_does(settings in some_settings(), steps in steps()) {
            let breaker = Breaker::new(settings.clone());
            let mut simple =
                Simple { settings, phase: Phase::Closed, generation: 0, calls: Vec::new() };
            let (mut out, mut clock) = (Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Wait(milliseconds) => clock += milliseconds,
                    Step::Pass => match (breaker.try_pass(at(clock)), simple.pass(at(clock))) {
                        (Ok(ours), Ok(theirs)) => {
                            prop_assert_eq!(ours.is_probe(), theirs.1);
                            out.push((ours, theirs));
                        }
                        (Err(ours), Err(theirs)) => prop_assert_eq!(ours.retry_after, theirs),
                        (ours, theirs) => prop_assert!(false, "{:?} but {:?}", ours, theirs),
                    },
                    Step::Finish(..) if out.is_empty() => {}
                    Step::Finish(which, how) => {
                        let (ours, theirs) = out.swap_remove(which % out.len());
                        let call = how.map(|(failed, slow)| Call {
                            failed,
                            took: if slow { SLOW } else { QUICK },
                        });
                        match call {
                            Some(call) => check_change(&breaker, ours, call, at(clock))?,
                            None => breaker.abandon(ours),
                        }
                        simple.finish(theirs, call, at(clock));
                    }
                }
                let state = State { phase: simple.phase, totals: simple.totals(at(clock)) };
                prop_assert_eq!(breaker.state(at(clock)), state);
            }
        }
    }
}
