//! What one thread counts: latencies, troubles, bytes and a second-by-second record.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::trouble::Trouble;
use crate::latency::Latencies;
use crate::nonces::Nonces;

/// Seconds that are told apart in the record; later ones count into the last.
const SECONDS_MAX: usize = 3_600;

/// Everything a thread has counted since the warm-up.
#[derive(Debug)]
pub(super) struct Tally {
    start: Instant,
    pub(super) answered: u64,
    pub(super) troubles: BTreeMap<Trouble, u64>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) latencies: Latencies,
    pub(super) steps: Vec<StepTally>,
    pub(super) seconds: Vec<Second>,
    pub(super) windows: Vec<Window>,
    pub(super) last_end: Instant,
    pub(super) ledger: Option<Ledger>,
}

/// One kind of request.
#[derive(Debug, Default)]
pub(super) struct StepTally {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) latencies: Latencies,
}

/// What was due in a part of the time: a request that takes long counts where it began.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) counted: StepTally,
}

impl Window {
    fn holds(&self, due: Duration) -> bool {
        (self.from..self.to).contains(&due)
    }
}

/// What ended within one second.
#[derive(Debug)]
pub(super) struct Second {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) latencies: Latencies,
}

impl Default for Second {
    fn default() -> Self {
        Self { requests: 0, failed: 0, latencies: Latencies::coarse() }
    }
}

/// Our side of the ledger; warm-up included, for the origin counts that too.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) sent: Nonces,
    /// Whole, unchanged, and the answer to what was asked.
    pub(super) answered: Nonces,
    /// Nothing usable came back.
    pub(super) unanswered: Nonces,
    pub(super) swapped: u64,
    pub(super) truncated: u64,
    pub(super) changed: u64,
}

/// How a request ended.
pub(super) struct Ended {
    pub(super) step: usize,
    pub(super) due: Instant,
    pub(super) trouble: Option<Trouble>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Tally {
    /// Counts what was due from `start`.
    pub(super) fn new(start: Instant, steps: usize, ledger: Option<Ledger>) -> Self {
        Self {
            start,
            answered: 0,
            troubles: BTreeMap::new(),
            bytes_in: 0,
            bytes_out: 0,
            latencies: Latencies::default(),
            steps: (0..steps).map(|_| StepTally::default()).collect(),
            seconds: Vec::new(),
            windows: Vec::new(),
            last_end: start,
            ledger,
        }
    }

    /// Counts apart what was due from one time to another, both since the start.
    pub(super) fn with_windows(mut self, windows: &[(Duration, Duration)]) -> Self {
        let window = |&(from, to)| Window { from, to, counted: StepTally::default() };
        self.windows = windows.iter().map(window).collect();
        self
    }

    pub(super) fn add(&mut self, ended: Ended) {
        let Ended { step, due, trouble, bytes_in, bytes_out } = ended;
        if due < self.start {
            return;
        }
        let now = Instant::now();
        self.last_end = now;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        let latency = now - due;
        let counts = trouble.as_ref().is_none_or(Trouble::has_latency);
        let failed = u64::from(trouble.is_some());
        let second = self.second(now);
        second.requests += 1;
        second.failed += failed;
        if counts {
            second.latencies.add(latency);
        }
        let due = due - self.start;
        let windows = self.windows.iter_mut().filter(|window| window.holds(due));
        for step in windows.map(|window| &mut window.counted).chain([&mut self.steps[step]]) {
            step.requests += 1;
            step.failed += failed;
            if counts {
                step.latencies.add(latency);
            }
        }
        if counts {
            self.latencies.add(latency);
        }
        match trouble {
            None => self.answered += 1,
            Some(trouble) => *self.troubles.entry(trouble).or_default() += 1,
        }
    }

    fn second(&mut self, now: Instant) -> &mut Second {
        let place = ((now - self.start).as_secs() as usize).min(SECONDS_MAX - 1);
        while self.seconds.len() <= place {
            self.seconds.push(Second::default());
        }
        &mut self.seconds[place]
    }

    pub(super) fn failed(&self) -> u64 {
        self.troubles.values().sum()
    }

    pub(super) fn requests(&self) -> u64 {
        self.answered + self.failed()
    }

    /// Time from the start to the last answer.
    pub(super) fn time(&self) -> Duration {
        self.last_end - self.start
    }

    /// Adds what another thread has counted from the same start.
    pub(super) fn merge(&mut self, other: Self) {
        let Self {
            start: _,
            answered,
            troubles,
            bytes_in,
            bytes_out,
            latencies,
            steps,
            seconds,
            windows,
            last_end,
            ledger,
        } = other;
        self.answered += answered;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.last_end = self.last_end.max(last_end);
        self.latencies.merge(&latencies);
        for (trouble, times) in troubles {
            *self.troubles.entry(trouble).or_default() += times;
        }
        let windows = self.windows.iter_mut().zip(windows);
        let windows = windows.map(|(ours, theirs)| (&mut ours.counted, theirs.counted));
        for (ours, theirs) in self.steps.iter_mut().zip(steps).chain(windows) {
            ours.requests += theirs.requests;
            ours.failed += theirs.failed;
            ours.latencies.merge(&theirs.latencies);
        }
        for (place, theirs) in seconds.into_iter().enumerate() {
            if self.seconds.len() <= place {
                self.seconds.push(Second::default());
            }
            let ours = &mut self.seconds[place];
            ours.requests += theirs.requests;
            ours.failed += theirs.failed;
            ours.latencies.merge(&theirs.latencies);
        }
        if let (Some(ours), Some(theirs)) = (&mut self.ledger, ledger) {
            ours.merge(&theirs);
        }
    }
}

impl Ledger {
    fn merge(&mut self, other: &Self) {
        self.sent.merge(&other.sent);
        self.answered.merge(&other.answered);
        self.unanswered.merge(&other.unanswered);
        self.swapped += other.swapped;
        self.truncated += other.truncated;
        self.changed += other.changed;
    }
}
