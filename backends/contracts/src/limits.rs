//! What a value may be besides its type: how long or great, one of a few, of which format, of which pattern.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// What is said of a value; what is not said is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of a number's value, a text's characters, a list's items.
    pub(crate) from: Option<i64>,
    pub(crate) to: Option<i64>,
    /// The only values there are.
    pub(crate) one_of: Option<BTreeSet<String>>,
    /// As uuid, date-time.
    pub(crate) format: Option<String>,
    /// A regular expression, which can only be the same or another.
    pub(crate) pattern: Option<String>,
}

impl Limits {
    /// What one schema says by itself.
    pub(crate) fn of(schema: &Value) -> Self {
        let number = |keys: &[&str]| keys.iter().find_map(|key| whole(schema.get(key)?));
        // Exclusive bounds are those of whole numbers; of others they are taken for a little more than they are.
        let above = number(&["exclusiveMinimum"]).map(|it| it.saturating_add(1));
        let below = number(&["exclusiveMaximum"]).map(|it| it.saturating_sub(1));
        let text = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
        let listed = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice);
        let listed = listed.or_else(|| schema.get("const").map(std::slice::from_ref));
        let mut limits = Self {
            from: number(&["minimum", "minLength", "minItems"]).max(above),
            to: least(number(&["maximum", "maxLength", "maxItems"]), below),
            one_of: listed.map(|values| values.iter().filter_map(named).collect()),
            format: None,
            pattern: text("pattern"),
        };
        match text("format").as_deref() {
            Some("int32") => {
                limits.from = limits.from.max(Some(i32::MIN.into()));
                limits.to = least(limits.to, Some(i32::MAX.into()));
            }
            // As wide as every reader's numbers, or a hint for whoever draws a form.
            Some("int64" | "double" | "float" | "password") | None => {}
            Some(format) => limits.format = Some(format.to_owned()),
        }
        limits
    }

    /// What holds if both hold.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            from: self.from.max(other.from),
            to: least(self.to, other.to),
            one_of: match (self.one_of, other.one_of) {
                (Some(one), Some(two)) => Some(one.intersection(&two).cloned().collect()),
                (one, two) => one.or(two),
            },
            format: self.format.or(other.format),
            pattern: self.pattern.or(other.pattern),
        }
    }

    /// In what a value of these limits may be outside of the others: pairs of this and the other.
    pub(crate) fn beyond(&self, other: &Self, type_name: &str) -> Vec<(Limit, Limit)> {
        let unit = Unit::of(type_name);
        let (mut from, mut to) = (self.from, self.to);
        if unit != Unit::Value {
            from = from.or(Some(0));
        }
        if let (Some(values), Unit::Characters) = (&self.one_of, unit) {
            let lengths = || values.iter().filter_map(|it| i64::try_from(it.chars().count()).ok());
            (from, to) = (from.max(lengths().min()), least(to, lengths().max()));
        }
        let too_low = other.from.is_some_and(|least| from.is_none_or(|from| from < least));
        let too_high = other.to.is_some_and(|most| to.is_none_or(|to| to > most));
        let others = other.one_of.as_ref();
        let unknown = others.is_some_and(|known| {
            self.one_of.as_ref().is_none_or(|values| !values.is_subset(known))
        });
        let range = |from, to| Limit::Range { unit, from, to };
        let pairs = [
            (too_low || too_high, (range(self.from, self.to), range(other.from, other.to))),
            (unknown, (Limit::OneOf(self.one_of.clone()), Limit::OneOf(other.one_of.clone()))),
            (
                other.format.is_some() && self.format != other.format,
                (Limit::Format(self.format.clone()), Limit::Format(other.format.clone())),
            ),
            (
                other.pattern.is_some() && self.pattern != other.pattern,
                (Limit::Pattern(self.pattern.clone()), Limit::Pattern(other.pattern.clone())),
            ),
        ];
        pairs.into_iter().filter_map(|(is_beyond, pair)| is_beyond.then_some(pair)).collect()
    }
}

/// The lesser of what there is.
fn least(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// A bound as a whole number; what is greater than any is the greatest.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|it| it as i64))
}

/// A value of a list of values; null is told as what may be missing.
fn named(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// What a range counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of a text.
    Characters,
    /// Of a list.
    Items,
    /// Nothing: it is the number itself.
    Value,
}

impl Unit {
    fn of(type_name: &str) -> Self {
        match type_name {
            "string" => Self::Characters,
            "array" => Self::Items,
            _ => Self::Value,
        }
    }
}

/// One limit, as a message tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// From and to, both included; without one there is none.
    Range {
        /// What is counted.
        unit: Unit,
        /// The least.
        from: Option<i64>,
        /// The most.
        to: Option<i64>,
    },
    /// The only values there are.
    OneOf(Option<BTreeSet<String>>),
    /// As uuid, date-time.
    Format(Option<String>),
    /// A regular expression.
    Pattern(Option<String>),
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { unit, from, to } => {
                match (from, to) {
                    (Some(from), Some(to)) => write!(formatter, "{from} to {to}")?,
                    (Some(from), None) => write!(formatter, "{from} and more")?,
                    (None, Some(to)) => write!(formatter, "up to {to}")?,
                    (None, None) if *unit == Unit::Value => formatter.write_str("any number")?,
                    (None, None) => formatter.write_str("any number of")?,
                }
                match unit {
                    Unit::Characters => formatter.write_str(" characters"),
                    Unit::Items => formatter.write_str(" items"),
                    Unit::Value => Ok(()),
                }
            }
            Self::OneOf(Some(values)) => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                formatter.write_str(&values.join("|"))
            }
            Self::OneOf(None) => formatter.write_str("any value"),
            Self::Format(Some(format)) => write!(formatter, "only {format}"),
            Self::Format(None) => formatter.write_str("any format"),
            Self::Pattern(Some(pattern)) => write!(formatter, "only what matches {pattern}"),
            Self::Pattern(None) => formatter.write_str("any text"),
        }
    }
}
