//! Latencies of one window: counted in classes, so that a call costs one addition.

use std::time::Duration;

use crate::sync::atomic::{AtomicU32, Ordering};

/// Classes for each doubling: the median is right within a tenth, and much nearer with a line between the classes' ends.
const PARTS: usize = 4;

/// The first class ends at 2^12 ns (4 µs), the last begins at 2^37 ns (137 s).
const FIRST: u32 = 12;
const CLASSES: usize = (37 - FIRST as usize) * PARTS;

#[derive(Debug)]
pub(super) struct Latencies([AtomicU32; CLASSES]);

impl Default for Latencies {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

impl Latencies {
    pub(super) fn record(&self, latency: Duration) {
        self.0[class(latency)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many are there.
    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|class| class.load(Ordering::Relaxed)).sum()
    }

    /// The median in seconds, and begins anew. What comes in the meantime counts for the one or the other.
    pub(super) fn take_median(&self) -> Option<f64> {
        let counts: [u32; CLASSES] =
            std::array::from_fn(|class| match self.0[class].load(Ordering::Relaxed) {
                0 => 0,
                _ => self.0[class].swap(0, Ordering::Relaxed),
            });
        let half = f64::from(counts.iter().sum::<u32>()) / 2.0;
        let mut below = 0.0;
        for (class, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let count = f64::from(count);
            if below + count >= half {
                let (from, to) = (begin(class), begin(class + 1));
                return Some((from + (to - from) * (half - below) / count) / 1e9);
            }
            below += count;
        }
        None
    }
}

fn class(latency: Duration) -> usize {
    let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1 << FIRST);
    let power = nanoseconds.ilog2();
    let part = (nanoseconds >> (power - 2)) as usize & (PARTS - 1);
    ((power - FIRST) as usize * PARTS + part).min(CLASSES - 1)
}

/// In nanoseconds.
fn begin(class: usize) -> f64 {
    let part = 1.0 + (class % PARTS) as f64 / PARTS as f64;
    part * f64::from(FIRST + (class / PARTS) as u32).exp2()
}
