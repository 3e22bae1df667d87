//! Numbers and durations with bounds that several tables use; and "none" in place of one.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use plugins::units::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IntoDeserializer, Unexpected, Visitor};

/// A value whose kind can be said in words.
pub(in crate::config) trait InWords {
    /// What it must be.
    const WORDS: &'static str;
}

/// Writes a number with bounds.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $words:literal, $holds:expr, $schema:tt) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(in crate::config) struct $name(pub(in crate::config) f64);

        impl InWords for $name {
            const WORDS: &'static str = $words;
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let holds: fn(f64) -> bool = $holds;
                deserializer.deserialize_any(Number { words: $words, holds }).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

number! {
    /// A share from 0 to 1.
    Share, "a share from 0 to 1, such as 0.5", |number| (0.0..=1.0).contains(&number),
    { "type": "number", "minimum": 0, "maximum": 1 }
}

number! {
    /// A share that something reaches: more than 0, or it would be reached always.
    Reached, "a share of more than 0 and up to 1, such as 0.5", |number| number > 0.0 && number <= 1.0,
    { "type": "number", "exclusiveMinimum": 0, "maximum": 1 }
}

number! {
    /// A share at which something begins that ends when all is taken.
    Threshold, "a share of more than 0 and less than 1, such as 0.9", |number| number > 0.0 && number < 1.0,
    { "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }
}

number! {
    /// So many times as much as what is usual: more than 1.
    Factor, "a factor of more than 1 and up to 1000, such as 1.5", |number| number > 1.0 && number <= 1_000.0,
    { "type": "number", "exclusiveMinimum": 1, "maximum": 1000 }
}

number! {
    /// So many in each second.
    EachSecond, "a number from 0 to 1000000", |number| (0.0..=1_000_000.0).contains(&number),
    { "type": "number", "minimum": 0, "maximum": 1_000_000 }
}

/// Writes a duration with bounds: beyond them nobody means it, and sums of it could overflow.
macro_rules! duration {
    ($(#[$doc:meta])* $name:ident, $words:literal, $milliseconds:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(in crate::config) struct $name(pub(in crate::config) Duration);

        impl InWords for $name {
            const WORDS: &'static str = $words;
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bounds = Bounds { words: $words, milliseconds: $milliseconds };
                deserializer.deserialize_str(bounds).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                Time::schema_name()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                Time::json_schema(generator)
            }
        }
    };
}

duration! {
    /// A time that must pass before something happens.
    Span, "a duration from \"1ms\" to \"1d\", such as \"10s\"", 1..=86_400_000
}

duration! {
    /// A time that is looked back at.
    Window, "a duration from \"10ms\" to \"1h\", such as \"10s\"", 10..=3_600_000
}

duration! {
    /// A time to wait, which may be none.
    Pause, "a duration up to \"1d\", such as \"10s\"", 0..=86_400_000
}

/// Reads a duration within its bounds.
struct Bounds {
    words: &'static str,
    milliseconds: RangeInclusive<u128>,
}

impl Visitor<'_> for Bounds {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        match Time::deserialize(text.into_deserializer()) {
            Ok(Time(time)) if self.milliseconds.contains(&time.as_millis()) => Ok(time),
            Ok(Time(_)) | Err::<_, E>(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

/// Reads a number that holds within its bounds. NaN is within none.
struct Number {
    words: &'static str,
    holds: fn(f64) -> bool,
}

impl Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
        match (self.holds)(number) {
            true => Ok(number),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
        // No bound is beyond what an i32 holds.
        match i32::try_from(number).map(f64::from) {
            Ok(float) if (self.holds)(float) => Ok(float),
            Ok(_) | Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}

impl InWords for NonZeroU32 {
    const WORDS: &'static str = "a whole number, 1 or more";
}

/// A value, or "none".
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct OrNone<T>(pub(in crate::config) Option<T>);

/// The default of a key that takes "none", too.
pub(super) const fn some<T: Copy>(value: T) -> OrNone<T> {
    OrNone(Some(value))
}

impl<'de, T: Deserialize<'de> + InWords> Deserialize<'de> for OrNone<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueOrNone(PhantomData)).map(Self)
    }
}

/// Reads a value of the kind, or "none".
struct ValueOrNone<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + InWords> Visitor<'de> for ValueOrNone<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or \"none\"", T::WORDS)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        if text == "none" {
            return Ok(None);
        }
        T::deserialize(text.into_deserializer())
            .map(Some)
            .map_err(|_: E| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer())
            .map(Some)
            .map_err(|_: E| E::invalid_value(Unexpected::Float(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer())
            .map(Some)
            .map_err(|_: E| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

impl<T: JsonSchema> JsonSchema for OrNone<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}OrNone", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [value, { "const": "none" }] })
    }
}

/// A point in the distribution of what was seen, as `"p95"`, or a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) enum PointOrTime {
    /// The share below it, 0.5 to 0.999.
    Point(f64),
    /// A time.
    Time(Duration),
}

impl<'de> Deserialize<'de> for PointOrTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = PointOrTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"p50\" to \"p99.9\", or a duration from \"1ms\" to \"1d\", such as \"50ms\"",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PointOrTime, E> {
                let read = match text.strip_prefix('p') {
                    Some(percent) => point(percent),
                    None => Span::deserialize(text.into_deserializer())
                        .map(|Span(time)| PointOrTime::Time(time))
                        .map_err(|error: E| error)
                        .ok(),
                };
                read.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// `95` or `99.9`, without signs and exponents.
fn point(percent: &str) -> Option<PointOrTime> {
    let is_plain = percent.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number = percent.parse::<f64>().ok().filter(|_| is_plain)?;
    (50.0..=99.9).contains(&number).then_some(PointOrTime::Point(number / 100.0))
}

impl JsonSchema for PointOrTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PointOrTime".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Time>();
        let pattern = "^p([5-8][0-9]|9[0-9])(\\.[0-9]+)?$";
        json_schema!({ "anyOf": [{ "type": "string", "pattern": pattern }, time] })
    }
}
