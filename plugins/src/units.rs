//! Durations and sizes as people write them: `"250ms"`, `"1h30m"`, `"32KiB"`, `"10GB"`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// A length of time: a number and a unit (`ms`, `s`, `m`, `h`, `d`), several may follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A number of bytes: a number and a unit (`B`, `kB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Time {
    fn parse(text: &str) -> Option<Self> {
        let mut total = Duration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = rest[..digits].parse().ok()?;
            let unit_end = rest[digits..]
                .find(|c: char| c.is_ascii_digit())
                .map_or(rest.len(), |length| digits + length);
            let millis = match &rest[digits..unit_end] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
            rest = &rest[unit_end..];
        }
        (!text.is_empty()).then_some(Self(total))
    }
}

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let unit = match text[digits..].trim_start() {
            "B" => 1,
            "kB" | "KB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(unit).map(Self)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            _ if !millis.is_multiple_of(1_000) || millis == 0 => write!(f, "{millis}ms"),
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{}m", millis / 60_000),
            _ => write!(f, "{}s", millis / 1_000),
        }
    }
}

struct Text<T>(&'static str, fn(&str) -> Option<T>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(
            "a duration such as \"250ms\", \"10s\" or \"1h30m\"",
            Self::parse,
        ))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_str(Text("a size such as \"512B\", \"32KiB\" or \"10MB\"", Self::parse))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$", "examples": ["250ms", "10s", "1h30m"] })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ ?(B|kB|KB|KiB|MB|MiB|GB|GiB)$", "examples": ["512B", "32KiB", "10MB"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, millis) in
            [("250ms", 250), ("10s", 10_000), ("1h30m", 5_400_000), ("2d", 172_800_000)]
        {
            assert_eq!(Time::parse(text), Some(Time(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "10", "s", "10 s", "1.5s", "10sec", "-1s", "99999999999999999999s"] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in
            [("0B", 0), ("512B", 512), ("32KiB", 32_768), ("10 MB", 10_000_000), ("1GiB", 1 << 30)]
        {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        for text in ["", "32", "KiB", "1.5MB", "10 miles", "99999999999999999999B"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }
}
