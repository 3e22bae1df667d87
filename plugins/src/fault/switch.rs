//! Whether faults are on, until when, and what was injected: one switch for the process, which reloads do not touch.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Stands in [`Switch::until`] while faults are off.
const OFF: u64 = 0;

/// Lets faults happen for a time, and ends that time by itself. Off at the start of the process.
pub struct Switch {
    /// What `until` counts from.
    epoch: Instant,
    /// Milliseconds since `epoch`, or [`OFF`]. Relaxed: nothing else is read because of it, and a request that sees it
    /// a moment late is only one more, or one fewer, with a fault.
    until: AtomicU64,
    /// Wakes the requests that are being delayed.
    went_off: Notify,
    /// By route: as many as the configurations of this process have had.
    routes: Mutex<BTreeMap<Box<str>, Arc<Counts>>>,
}

/// The faults of one route since the process began. Relaxed: each is a count of its own, none orders another.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) delayed: AtomicU64,
    pub(super) aborted: AtomicU64,
    pub(super) spared: AtomicU64,
}

/// How many requests got a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Requests that were delayed.
    pub delayed: u64,
    /// Requests that were refused.
    pub aborted: u64,
    /// Requests that were not delayed because `at-once` of them already were.
    pub spared: u64,
}

impl Switch {
    /// The switch of this process.
    pub fn of_process() -> &'static Self {
        static OF_PROCESS: LazyLock<Switch> = LazyLock::new(Switch::new);
        &OF_PROCESS
    }

    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            until: AtomicU64::new(OFF),
            went_off: Notify::new(),
            routes: Mutex::default(),
        }
    }

    /// On from now on for this long, whatever was said before.
    pub fn enable(&self, time: Duration) {
        let until = self.since_epoch().saturating_add(millis(time));
        self.until.store(until, Relaxed);
    }

    /// Off at once: who is being delayed goes on. Tells whether it was on.
    pub fn disable(&self) -> bool {
        let was_on = self.remaining().is_some();
        self.until.store(OFF, Relaxed);
        self.went_off.notify_waiters();
        was_on
    }

    /// How long faults are on yet; `None`: they are off.
    pub fn remaining(&self) -> Option<Duration> {
        let until = self.until.load(Relaxed);
        let remaining = until.saturating_sub(self.since_epoch());
        if until != OFF && remaining == 0 {
            // Unless somebody has switched it on again meanwhile.
            self.until.compare_exchange(until, OFF, Relaxed, Relaxed).ok();
        }
        (remaining > 0).then(|| Duration::from_millis(remaining))
    }

    /// Whether faults happen now. While they do not, it costs one load.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.until.load(Relaxed) != OFF && self.remaining().is_some()
    }

    /// Waits this long, or until faults are off.
    pub async fn wait(&self, time: Duration) {
        // Listens before it looks, so that no word is missed in between.
        let went_off = self.went_off.notified();
        let Some(remaining) = self.remaining() else { return };
        tokio::select! {
            () = sleep(time.min(remaining)) => {}
            () = went_off => {}
        }
    }

    /// Tells what remains, each time this long has passed, and `None` as soon as faults are off; then it ends.
    pub async fn follow(&self, every: Duration, mut tell: impl FnMut(Option<Duration>)) {
        loop {
            self.wait(every).await;
            let remaining = self.remaining();
            tell(remaining);
            if remaining.is_none() {
                return;
            }
        }
    }

    /// The counts of this route.
    pub(super) fn counts(&self, route: &str) -> Arc<Counts> {
        let mut routes = self.routes();
        if let Some(known) = routes.get(route) {
            return Arc::clone(known);
        }
        let counts = Arc::new(Counts::default());
        routes.insert(route.into(), Arc::clone(&counts));
        counts
    }

    /// What was injected since the process began, by route; routes without any are left out.
    pub fn injected(&self) -> BTreeMap<Box<str>, Injected> {
        self.routes().iter().map(|(route, counts)| (route.clone(), counts.read())).collect()
    }

    fn routes(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Arc<Counts>>> {
        // No holder leaves it half changed, so poison means nothing here.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_epoch(&self) -> u64 {
        millis(Instant::now().saturating_duration_since(self.epoch))
    }
}

impl Counts {
    fn read(&self) -> Injected {
        Injected {
            delayed: self.delayed.load(Relaxed),
            aborted: self.aborted.load(Relaxed),
            spared: self.spared.load(Relaxed),
        }
    }
}

impl Sum for Injected {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            delayed: sum.delayed + one.delayed,
            aborted: sum.aborted + one.aborted,
            spared: sum.spared + one.spared,
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn it_is_off_until_it_is_switched_on_and_goes_off_by_itself() {
        let switch = Switch::new();
        assert!(!switch.is_on());
        switch.enable(10 * MINUTE);
        assert_eq!(switch.remaining(), Some(10 * MINUTE));
        advance(10 * MINUTE - Duration::from_millis(1)).await;
        assert!(switch.is_on());
        advance(Duration::from_millis(1)).await;
        assert!(!switch.is_on());
        assert_eq!(switch.until.load(Relaxed), OFF, "from now on one load tells it");
        assert!(!switch.disable(), "it was off already");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_word_counts() {
        let switch = Switch::new();
        switch.enable(10 * MINUTE);
        switch.enable(MINUTE);
        assert_eq!(switch.remaining(), Some(MINUTE));
        assert!(switch.disable());
        assert_eq!(switch.remaining(), None);
        switch.enable(Duration::MAX);
        advance(1_000 * MINUTE).await;
        assert!(switch.is_on());
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_is_told_each_time_and_at_the_end() {
        let switch = Switch::new();
        switch.enable(2 * MINUTE + MINUTE / 2);
        let began = Instant::now();
        let mut told = Vec::new();
        switch.follow(MINUTE, |remaining| told.push((began.elapsed(), remaining))).await;
        let expected = [
            (MINUTE, Some(MINUTE + MINUTE / 2)),
            (2 * MINUTE, Some(MINUTE / 2)),
            (2 * MINUTE + MINUTE / 2, None),
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_it_goes_off() {
        let switch = Arc::new(Switch::new());
        let began = Instant::now();
        switch.wait(MINUTE).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "it is off");
        switch.enable(10 * MINUTE);
        switch.wait(MINUTE).await;
        assert_eq!(began.elapsed(), MINUTE);
        switch.enable(MINUTE);
        switch.wait(10 * MINUTE).await;
        assert_eq!(began.elapsed(), 2 * MINUTE, "its own end");
        switch.enable(10 * MINUTE);
        let other = Arc::clone(&switch);
        let waits = tokio::spawn(async move { other.wait(5 * MINUTE).await });
        advance(MINUTE).await;
        switch.disable();
        waits.await.unwrap();
        assert_eq!(began.elapsed(), 3 * MINUTE);
    }
}
