//! Latencies from the time a request was due, so that a stall counts for all it delayed.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Microseconds, to three digits, up to a minute; longer ones count as a minute.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

const LONGEST_US: u64 = 60_000_000;

impl Default for Latencies {
    fn default() -> Self {
        Self(
            Histogram::new_with_max(LONGEST_US, 3)
                .expect("constant bounds: 1 to 60,000,000, 3 digits"),
        )
    }
}

impl Latencies {
    /// To two digits and only as large as needed: for one second of many.
    pub(crate) fn coarse() -> Self {
        Self(Histogram::new(2).expect("two digits are allowed"))
    }

    pub(crate) fn add(&mut self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
        self.0.record(microseconds.min(LONGEST_US)).expect("within the bounds, or it grows");
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the same bounds, or it grows");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn mean_ms(&self) -> f64 {
        self.0.mean() / 1e3
    }

    pub(crate) fn min_ms(&self) -> f64 {
        self.0.min() as f64 / 1e3
    }

    /// Percentile and milliseconds, denser towards the tail: halfway to 100 % has five points, the next half too.
    pub(crate) fn curve_ms(&self) -> Vec<(f64, f64)> {
        let points = self.0.iter_quantiles(5);
        points
            .map(|it| (it.quantile_iterated_to() * 100.0, it.value_iterated_to() as f64 / 1e3))
            .collect()
    }

    /// In milliseconds, for a report.
    pub(crate) fn percentile_ms(&self, percentile: f64) -> f64 {
        self.0.value_at_percentile(percentile) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_that_was_added() {
        let mut latencies = Latencies::default();
        (1..=1_000).for_each(|ms| latencies.add(Duration::from_millis(ms)));
        assert!((latencies.percentile_ms(50.0) - 500.0).abs() < 1.0);
        assert!((latencies.percentile_ms(99.0) - 990.0).abs() < 1.0);
        latencies.add(Duration::from_secs(3_600));
        assert!((latencies.percentile_ms(100.0) - 60_000.0).abs() < 100.0);
    }

    #[test]
    fn what_two_have_seen_is_one_whole() {
        for empty in [Latencies::default, Latencies::coarse] {
            let (mut one, mut other) = (empty(), empty());
            (1..=500).for_each(|ms| one.add(Duration::from_millis(ms)));
            (501..=1_000).for_each(|ms| other.add(Duration::from_millis(ms)));
            one.merge(&other);
            assert!((one.percentile_ms(99.0) - 990.0).abs() < 10.0);
            assert!((one.mean_ms() - 500.5).abs() < 5.0);
            let curve = one.curve_ms();
            assert_eq!(curve.last().map(|(percent, _)| *percent), Some(100.0));
            assert!(curve.is_sorted_by(|(a, x), (b, y)| a <= b && x <= y), "{curve:?}");
        }
    }
}
