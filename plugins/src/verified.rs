//! Remembers for a while which passwords were right, so that dear hashes are not computed for every request.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How many are remembered. More forget the oldest of their bucket; the table has 96 KiB.
const SLOTS: usize = 4096;
/// Slots that one key may be in.
const BUCKET: usize = 8;

/// A table of fixed size, shared by all workers and read without a lock.
pub struct Verified {
    slots: Box<[Slot]>,
    key: RandomState,
    began: Instant,
}

#[derive(Default)]
struct Slot {
    high: AtomicU64,
    low: AtomicU64,
    /// Milliseconds since `began`, plus one; zero: empty.
    at: AtomicU64,
}

/// A keyed hash of credentials: 128 bits that tell nothing about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    high: u64,
    low: u64,
}

impl Verified {
    /// An empty table with a key of its own.
    pub fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Slot::default()).collect();
        Self { slots, key: RandomState::new(), began: Instant::now() }
    }

    /// The fingerprint of credentials in this table.
    pub fn fingerprint(&self, credentials: impl Hash) -> Fingerprint {
        let half = |which: u8| self.key.hash_one((which, &credentials));
        Fingerprint { high: half(0), low: half(1) }
    }

    /// Whether these were right at most `age` ago.
    pub fn holds(&self, fingerprint: Fingerprint, now: Instant, age: Duration) -> bool {
        let now = self.millis(now);
        self.bucket(fingerprint).iter().any(|slot| {
            // Acquire pairs with the Release below: who sees a time sees the fingerprint written before it, or a later
            // one. Halves of two fingerprints may be seen together while two threads write; they match nothing.
            let at = slot.at.load(Ordering::Acquire);
            at != 0
                && u128::from(now.saturating_sub(at)) < age.as_millis()
                && slot.high.load(Ordering::Relaxed) == fingerprint.high
                && slot.low.load(Ordering::Relaxed) == fingerprint.low
        })
    }

    /// Remembers that these are right.
    pub fn remember(&self, fingerprint: Fingerprint, now: Instant) {
        let Fingerprint { high, low } = fingerprint;
        let is_this = |slot: &&Slot| {
            slot.high.load(Ordering::Relaxed) == high && slot.low.load(Ordering::Relaxed) == low
        };
        let bucket = self.bucket(fingerprint);
        let oldest = || bucket.iter().min_by_key(|slot| slot.at.load(Ordering::Relaxed));
        if let Some(slot) = bucket.iter().find(is_this).or_else(oldest) {
            slot.high.store(high, Ordering::Relaxed);
            slot.low.store(low, Ordering::Relaxed);
            slot.at.store(self.millis(now), Ordering::Release);
        }
    }

    fn bucket(&self, fingerprint: Fingerprint) -> &[Slot] {
        let buckets = (SLOTS / BUCKET) as u64;
        // Less than 512, so no platform loses a bit.
        let first = (fingerprint.low % buckets) as usize * BUCKET;
        &self.slots[first..first + BUCKET]
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX - 1) + 1
    }
}

impl Default for Verified {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(300);

    #[test]
    fn what_was_right_is_remembered_for_its_time() {
        let verified = Verified::new();
        let now = Instant::now();
        let alice = verified.fingerprint(("alice", "secret"));
        assert!(!verified.holds(alice, now, AGE));
        verified.remember(alice, now);
        assert!(verified.holds(alice, now, AGE));
        assert!(verified.holds(alice, now + AGE - Duration::from_millis(1), AGE));
        assert!(!verified.holds(alice, now + AGE, AGE));
        assert!(!verified.holds(alice, now, Duration::ZERO));
        for other in [("alice", "Secret"), ("alices", "ecret"), ("bob", "secret")] {
            assert!(!verified.holds(verified.fingerprint(other), now, AGE), "{other:?}");
        }
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_never_grows() {
        let verified = Verified::new();
        let now = Instant::now();
        for number in 0..u64::try_from(SLOTS).unwrap() * 4 {
            let late = now + Duration::from_millis(number);
            verified.remember(verified.fingerprint(number), late);
            assert!(verified.holds(verified.fingerprint(number), late, AGE));
        }
        assert!(!verified.holds(verified.fingerprint(0_u64), now, AGE));
        let last = u64::try_from(SLOTS).unwrap() * 4 - 1;
        let recent = (last - 255..=last).all(|number| {
            verified.holds(verified.fingerprint(number), now + Duration::from_millis(last), AGE)
        });
        assert!(recent, "what came last is kept");
        assert_eq!(verified.slots.len(), SLOTS);
    }

    #[test]
    fn two_tables_have_two_keys() {
        let (one, other) = (Verified::new(), Verified::new());
        assert_ne!(one.fingerprint("alice"), other.fingerprint("alice"));
        let print = one.fingerprint("alice");
        assert_ne!(print.high, print.low);
    }
}
