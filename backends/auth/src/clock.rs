//! What time it is, in the seconds that tokens and tables count in, and how long things last.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// Seconds since 1970, UTC: what a token calls a NumericDate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct Timestamp(pub(crate) i64);

impl Timestamp {
    /// Whole seconds later; what does not fit ends at the end of time.
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(seconds(duration)))
    }

    /// Whole seconds earlier.
    pub(crate) fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(seconds(duration)))
    }

    /// How long after `other` this is; zero if it is not.
    pub(crate) fn since(self, other: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(other.0)).unwrap_or(0))
    }
}

/// A duration as the tables and the wire have it.
pub(crate) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Where the service takes the time from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// Seconds since 1970 that someone else moves: for tests of what expires and rotates.
    Held(Arc<AtomicI64>),
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                // A clock before 1970 is 1970: everything is then too early to be expired.
                Timestamp(since_1970.map_or(0, seconds))
            }
            // One value that nothing else depends on.
            Self::Held(now) => Timestamp(now.load(Ordering::Relaxed)),
        }
    }
}

/// The text is no duration.
#[derive(Debug, thiserror::Error)]
#[error("a duration is a whole number with its unit: 90s, 5m, 12h or 30d")]
pub struct BadDuration;

/// Reads `90s`, `5m`, `12h`, `30d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let (number, seconds) = if let Some(number) = text.strip_suffix('s') {
        (number, 1)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60)
    } else if let Some(number) = text.strip_suffix('h') {
        (number, 60 * 60)
    } else if let Some(number) = text.strip_suffix('d') {
        (number, 24 * 60 * 60)
    } else {
        return Err(BadDuration);
    };
    let number: u32 = number.parse().map_err(|_| BadDuration)?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_its_unit() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("12h", Some(43_200)),
            ("30d", Some(2_592_000)),
            ("300", None),
            ("-5m", None),
            ("1.5h", None),
            ("m", None),
            ("5 m", None),
            ("", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(parse_duration(text).ok(), expected, "{text:?}");
        }
    }
}
