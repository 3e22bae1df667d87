//! A field as a reader expects it: `string? 1..100 as uuid of one|other like ^[a-z]+$`, of which only the type is needed.

use std::fmt;

use serde::Deserialize;

use crate::limits::Limits;
use crate::schema::Presence;

/// See the file's own words.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Expected {
    /// As it is written.
    text: String,
    pub(crate) type_name: String,
    /// With `?` it may be missing or null, or left out.
    pub(crate) presence: Presence,
    /// Of what the reader sends, or of what it can deal with.
    pub(crate) limits: Limits,
}

impl TryFrom<String> for Expected {
    type Error = BadExpectation;

    fn try_from(text: String) -> Result<Self, BadExpectation> {
        let bad = || BadExpectation { text: text.clone() };
        let (declared, mut rest) = text.split_once(' ').unwrap_or((&text, ""));
        let type_name = declared.trim_end_matches('?').to_owned();
        if !["string", "integer", "number", "boolean", "array", "object"].contains(&&*type_name) {
            return Err(bad());
        }
        let presence = if declared.ends_with('?') { Presence::Sometimes } else { Presence::Always };
        let mut limits = Limits::default();
        while !rest.is_empty() {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let (value, next) = after.split_once(' ').unwrap_or((after, ""));
            rest = next;
            match word {
                "as" => limits.format = Some(value.to_owned()),
                "of" => limits.one_of = Some(value.split('|').map(str::to_owned).collect()),
                // A pattern may have spaces, so it comes last.
                "like" => {
                    limits.pattern = Some(after.to_owned());
                    rest = "";
                }
                range => {
                    let (from, to) = range.split_once("..").ok_or_else(bad)?;
                    (limits.from, limits.to) =
                        (bound(from).ok_or_else(bad)?, bound(to).ok_or_else(bad)?);
                    rest = after;
                }
            }
            if ["as", "of", "like"].contains(&word) && value.is_empty() {
                return Err(bad());
            }
        }
        Ok(Self { type_name, presence, limits, text })
    }
}

/// A number, or nothing where nothing is written; nothing at all if it is something else.
fn bound(text: &str) -> Option<Option<i64>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The text is no expectation.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is not a type with limits: string, integer, number, boolean, array or object, with ? if it may be missing, \
     then 1..100, as FORMAT, of ONE|OTHER, like PATTERN"
)]
pub(crate) struct BadExpectation {
    text: String,
}
