//! Latencies from the time a request was due, so that a stall counts for all it delayed.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Microseconds, to three digits, up to a minute; longer ones count as a minute.
#[derive(Debug)]
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
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US));
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
}
