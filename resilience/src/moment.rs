//! A point in time, as nanoseconds since the process began: it fits into an atomic.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// When the process began.
    pub const ZERO: Self = Self(0);

    /// So long after the process began; 584 years at most.
    pub fn after(since_start: Duration) -> Self {
        Self(nanoseconds(since_start))
    }

    /// From what [`Moment::nanoseconds`] gave.
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// For an atomic.
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it is yet to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_never_wraps() {
        let second = Moment::after(Duration::from_secs(1));
        assert_eq!(second.since(Moment::ZERO), Duration::from_secs(1));
        assert_eq!(Moment::ZERO.since(second), Duration::ZERO);
        assert!(second + Duration::MAX > second);
    }
}
