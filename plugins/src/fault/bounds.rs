//! The values that the settings of `fault` take, each within its bounds.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};

use crate::units::Time;

/// The longest delay: beyond it most clients have gone, and only places are taken.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// A share of the requests, from 0 to 1.
#[derive(Clone, Copy, Debug, JsonSchema)]
#[schemars(transparent)]
pub(super) struct Share(#[schemars(range(min = 0, max = 1))] f64);

impl Share {
    /// Whether this request is one of them.
    pub(super) fn hits(self) -> bool {
        resilience::random::share() < self.0
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShareVisitor)
    }
}

struct ShareVisitor;

impl Visitor<'_> for ShareVisitor {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share from 0 to 1, such as 0.05")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Share, E> {
        let refused = || E::invalid_value(de::Unexpected::Float(number), &self);
        (0.0..=1.0).contains(&number).then_some(Share(number)).ok_or_else(refused)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Share, E> {
        match number {
            0 => Ok(Share(0.0)),
            1 => Ok(Share(1.0)),
            _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As short as it can be told: 0.07 × 100 is not 7 in binary.
        let hundredths = (self.0 * 10_000.0).round() / 100.0;
        write!(f, "{hundredths} %")
    }
}

pub(super) fn at_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let take = |number| (1..=10_000).contains(&number).then_some(u32::from(number));
    deserializer.deserialize_i64(Whole("a number from 1 to 10000", take))
}

pub(super) fn error_status<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<StatusCode, D::Error> {
    let take = |number| {
        let status = StatusCode::from_u16(number).ok()?;
        (status.is_client_error() || status.is_server_error()).then_some(status)
    };
    deserializer.deserialize_i64(Whole("an error's status, 400 to 599", take))
}

pub(super) fn delay_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    deserializer.deserialize_str(DelayTime)
}

/// A whole number with bounds.
struct Whole<T>(&'static str, fn(u16) -> Option<T>);

impl<T> Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let taken = u16::try_from(number).ok().and_then(self.1);
        taken.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }
}

struct DelayTime;

impl Visitor<'_> for DelayTime {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration of more than 0 and at most 60s, such as \"200ms\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
        let refused = || E::invalid_value(de::Unexpected::Str(text), &self);
        let time = Time::deserialize(text.into_deserializer()).map_err(|_: E| refused())?;
        let within = !time.0.is_zero() && time.0 <= DELAY_MAX;
        within.then_some(time).ok_or_else(refused)
    }
}
