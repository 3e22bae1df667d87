//! How long a request may still take: one deadline over all tries, what clients say of it, and what servers are told.
//!
//! Two headers say it: `grpc-timeout` from when it is sent (gRPC over HTTP/2, "Requests"), and `X-Request-Deadline` as a time
//! of day in Unix milliseconds. The second needs clocks that agree; the first does not count the way.

use crate::Moment;
use std::time::Duration;

/// The moment after which nobody waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Moment);

impl Deadline {
    /// No deadline: later than any other.
    pub const NEVER: Self = Self(Moment::from_nanoseconds(u64::MAX));

    /// So long from now.
    pub fn within(now: Moment, time: Duration) -> Self {
        Self(now + time)
    }

    /// The earlier of the two: a client may shorten what the gateway allows, not lengthen it.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        self.min(other)
    }

    /// How long there is left; zero when it has passed, None without a deadline.
    pub fn left(self, now: Moment) -> Option<Duration> {
        (self != Self::NEVER).then(|| self.0.since(now))
    }

    /// Whether it has passed: what comes now is of no use to anybody.
    pub fn has_passed(self, now: Moment) -> bool {
        self.0 <= now
    }
}

/// Why a header that tells a deadline cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There are no digits at all.
    #[error("a deadline begins with digits")]
    Empty,
    /// Something stands where a digit should.
    #[error("a deadline has digits only, a timeout one unit after them")]
    NotDigits,
    /// A timeout of more than 8 digits, a deadline of more than 15.
    #[error("too many digits: a timeout has at most 8, a deadline at most 15")]
    TooLong,
    /// The last letter is none of the units.
    #[error("the unit of a timeout is one of H, M, S, m, u, n")]
    Unit,
}

/// Reads `grpc-timeout`: at most 8 digits and a unit. Zero is no timeout by the letter of the specification, but clients
/// whose time is just over send it, and grpc-go reads it.
pub fn read_grpc_timeout(text: &[u8]) -> Result<Duration, Malformed> {
    let (unit, digits) = text.split_last().ok_or(Malformed::Empty)?;
    let count = |digits| read_digits(digits, 8);
    match unit {
        b'H' => Ok(Duration::from_secs(count(digits)? * 3600)),
        b'M' => Ok(Duration::from_secs(count(digits)? * 60)),
        b'S' => Ok(Duration::from_secs(count(digits)?)),
        b'm' => Ok(Duration::from_millis(count(digits)?)),
        b'u' => Ok(Duration::from_micros(count(digits)?)),
        b'n' => Ok(Duration::from_nanos(count(digits)?)),
        _ => Err(Malformed::Unit),
    }
}

/// Writes `grpc-timeout`: in the finest unit in which it has at most 8 digits, rounded down, at least 1 n. Beyond 99,999,999 h
/// that is what is written.
pub fn write_grpc_timeout(time: Duration) -> Text {
    const MOST: u128 = 99_999_999;
    let nanoseconds = time.as_nanos().max(1);
    let units = [(1, b'n'), (1_000, b'u'), (1_000_000, b'm'), (1_000_000_000, b'S')];
    let longer = [(60_000_000_000, b'M'), (3_600_000_000_000, b'H')];
    let fits = |(length, _): &(u128, u8)| nanoseconds / length <= MOST;
    let (length, unit) =
        units.into_iter().chain(longer).find(fits).unwrap_or((3_600_000_000_000, b'H'));
    let mut text = Text::of((nanoseconds / length).min(MOST) as u64);
    text.push(unit);
    text
}

/// Reads `X-Request-Deadline`: a time of day, as the time since 1970-01-01 in milliseconds of at most 15 digits.
pub fn read_time_of_day(text: &[u8]) -> Result<Duration, Malformed> {
    read_digits(text, 15).map(Duration::from_millis)
}

/// Writes `X-Request-Deadline`: milliseconds since 1970-01-01, rounded down.
pub fn write_time_of_day(since_1970: Duration) -> Text {
    Text::of(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

/// How long there is until a time of day; zero if it is over. Both since 1970-01-01.
pub fn until_time_of_day(deadline: Duration, now: Duration) -> Duration {
    deadline.saturating_sub(now)
}

/// A header's value without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    // Written from the end: digits are found from the last one on.
    bytes: [u8; Self::LONGEST + 1],
    start: usize,
    end: usize,
}

impl Text {
    // As many digits as the greatest number has.
    const LONGEST: usize = 20;

    /// ASCII digits, and a unit if there is one.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn of(mut number: u64) -> Self {
        let mut text =
            Self { bytes: [b'0'; Self::LONGEST + 1], start: Self::LONGEST, end: Self::LONGEST };
        loop {
            text.start -= 1;
            text.bytes[text.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return text;
            }
        }
    }

    fn push(&mut self, unit: u8) {
        self.bytes[self.end] = unit;
        self.end += 1;
    }
}

fn read_digits(digits: &[u8], most: usize) -> Result<u64, Malformed> {
    if digits.is_empty() {
        return Err(Malformed::Empty);
    }
    if digits.len() > most {
        return Err(Malformed::TooLong);
    }
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + u64::from(digit - b'0')),
        _ => Err(Malformed::NotDigits),
    })
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::after(Duration::from_millis(milliseconds))
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let ours = Deadline::within(at(0), Duration::from_secs(30));
        let client = Deadline::within(at(0), Duration::from_secs(2));
        assert_eq!(ours.or_earlier(client), client);
        assert_eq!(client.or_earlier(ours), client);
        assert_eq!(client.or_earlier(Deadline::NEVER), client);
    }

    #[test]
    fn what_is_left_ends_at_zero() {
        let deadline = Deadline::within(at(1_000), Duration::from_secs(2));
        assert_eq!(deadline.left(at(1_500)), Some(Duration::from_millis(1_500)));
        assert_eq!(deadline.left(at(9_000)), Some(Duration::ZERO));
        assert!(!deadline.has_passed(at(2_999)));
        assert!(deadline.has_passed(at(3_000)));
        assert_eq!(Deadline::NEVER.left(at(0)), None);
        assert!(!Deadline::NEVER.has_passed(at(u64::MAX / 2_000_000)));
        assert_eq!(Deadline::within(at(0), Duration::MAX), Deadline::NEVER);
    }

    #[test]
    fn timeouts_of_grpc_are_read() {
        let cases: [(&str, Result<Duration, Malformed>); 15] = [
            ("1H", Ok(Duration::from_secs(3_600))),
            ("2M", Ok(Duration::from_secs(120))),
            ("3S", Ok(Duration::from_secs(3))),
            ("100m", Ok(Duration::from_millis(100))),
            ("00000005u", Ok(Duration::from_micros(5))),
            ("7n", Ok(Duration::from_nanos(7))),
            ("0n", Ok(Duration::ZERO)),
            ("99999999H", Ok(Duration::from_secs(99_999_999 * 3_600))),
            ("", Err(Malformed::Empty)),
            ("S", Err(Malformed::Empty)),
            ("123456789n", Err(Malformed::TooLong)),
            ("12", Err(Malformed::Unit)),
            ("1s", Err(Malformed::Unit)),
            ("-1S", Err(Malformed::NotDigits)),
            ("1 S", Err(Malformed::NotDigits)),
        ];
        for (text, wanted) in cases {
            assert_eq!(read_grpc_timeout(text.as_bytes()), wanted, "{text:?}");
        }
    }

    #[test]
    fn timeouts_of_grpc_are_written_in_the_finest_unit_that_fits() {
        let cases = [
            (Duration::ZERO, "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_secs(2), "2000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::from_secs(99_999_999 * 3_600), "99999999H"),
            (Duration::MAX, "99999999H"),
        ];
        for (time, wanted) in cases {
            let text = write_grpc_timeout(time);
            assert_eq!(text.as_bytes(), wanted.as_bytes(), "{time:?}");
        }
    }

    #[test]
    fn times_of_day_are_milliseconds_since_1970() {
        let noon = Duration::from_millis(1_732_450_000_123);
        assert_eq!(read_time_of_day(b"1732450000123"), Ok(noon));
        assert_eq!(write_time_of_day(noon).as_bytes(), b"1732450000123");
        assert_eq!(write_time_of_day(Duration::ZERO).as_bytes(), b"0");
        assert_eq!(write_time_of_day(Duration::MAX).as_bytes(), b"18446744073709551615");
        for (text, wanted) in [
            ("", Malformed::Empty),
            ("1732450000.1", Malformed::NotDigits),
            ("+17", Malformed::NotDigits),
            ("1234567890123456", Malformed::TooLong),
        ] {
            assert_eq!(read_time_of_day(text.as_bytes()), Err(wanted), "{text:?}");
        }
        assert_eq!(until_time_of_day(noon, noon + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(until_time_of_day(noon + Duration::from_secs(1), noon).as_secs(), 1);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_and_never_longer(
            nanoseconds in (0u32..64).prop_flat_map(|power| 1u64 << power..=u64::MAX >> (63 - power)),
        ) {
            let time = Duration::from_nanos(nanoseconds);
            let read = read_grpc_timeout(write_grpc_timeout(time).as_bytes()).unwrap();
            // At least seven digits are kept where a unit divides by 10, five by 60.
            prop_assert!(read <= time);
            prop_assert!((time - read).as_nanos() <= time.as_nanos() / 10_000);
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let digits = bytes.iter().all(u8::is_ascii_digit);
            prop_assert_eq!(read_time_of_day(&bytes).is_ok(), digits && (1..=15).contains(&bytes.len()));
            if let Ok(time) = read_grpc_timeout(&bytes) {
                prop_assert!(bytes.len() <= 9 && time <= Duration::from_secs(99_999_999 * 3_600));
            }
        }
    }
}
