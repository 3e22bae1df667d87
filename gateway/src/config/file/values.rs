//! Values that several tables use: sizes that may be "none", one or many, and short ways to write defaults.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use plugins::units::{Size, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, IntoDeserializer, SeqAccess, Unexpected, Visitor};

use super::At;
use crate::config::source::Place;

/// A schema of what may be a text or this.
macro_rules! text_or {
    ($type:ty, $name:literal, $other:ty) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let other = generator.subschema_for::<$other>();
                schemars::json_schema!({ "anyOf": [{ "type": "string" }, other] })
            }
        }
    };
}
pub(super) use text_or;

/// A size, or "none" for no limit.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct SizeLimit(pub(in crate::config) Option<u64>);

impl<'de> Deserialize<'de> for SizeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = SizeLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"512B\", \"32KiB\" or \"10MB\", or \"none\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<SizeLimit, E> {
                match (text, Size::deserialize(text.into_deserializer())) {
                    ("none", _) => Ok(SizeLimit(None)),
                    (_, Ok(Size(bytes))) => Ok(SizeLimit(Some(bytes))),
                    (_, Err::<_, E>(_)) => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for SizeLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SizeLimit".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let size = generator.subschema_for::<Size>();
        json_schema!({ "anyOf": [{ "const": "none" }, size] })
    }
}

/// A time that must pass before something is given up; never 0.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Timeout(pub(in crate::config) Duration);

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Timeout;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"250ms\", \"10s\" or \"1h30m\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Timeout, E> {
                let wrong = Unexpected::Str(text);
                match Time::deserialize(text.into_deserializer()) {
                    Ok(Time(Duration::ZERO)) => Err(E::invalid_value(wrong, &"longer than 0")),
                    Ok(Time(duration)) => Ok(Timeout(duration)),
                    Err::<_, E>(_) => Err(E::invalid_value(wrong, &self)),
                }
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Timeout {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Time::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Time::json_schema(generator)
    }
}

/// One text, or a list of them.
#[derive(Clone, Debug)]
pub(in crate::config) enum OneOrMany {
    One(String),
    Many(Vec<At<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrList;

        impl<'de> Visitor<'de> for TextOrList {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMany, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany::Many)
            }
        }

        deserializer.deserialize_any(TextOrList)
    }
}

text_or!(OneOrMany, "OneOrMany", Vec<String>);

/// A default that stands nowhere in a file.
pub(super) fn nowhere<T>(value: T) -> At<T> {
    At { place: Place::default(), whole: true, value }
}

pub(super) const fn seconds(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

pub(super) const fn timeout(seconds: u64) -> Timeout {
    Timeout(Duration::from_secs(seconds))
}

pub(super) const fn bytes(bytes: u64) -> Size {
    Size(bytes)
}

pub(super) fn kibibytes(kibibytes: u64) -> At<Size> {
    nowhere(Size(kibibytes << 10))
}

pub(super) fn mebibytes(mebibytes: u64) -> At<Size> {
    nowhere(Size(mebibytes << 20))
}

pub(super) const fn count(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}
