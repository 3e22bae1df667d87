//! Text with places to fill in: `{{user}}`, `{{count}}`, `{{number 1..9}}`, `{{pick a,b}}` and values saved from answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A text, taken apart once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The number of the virtual user, from 1.
    User,
    /// The number of the request in the whole run, from 0.
    Count,
    /// A random number, both ends included.
    Number(u64, u64),
    /// One of these, by chance.
    Pick(Vec<String>),
    /// What an answer of this user had.
    Saved(String),
}

/// What the places are filled from.
pub(super) struct Values<'a> {
    pub(super) user: u64,
    pub(super) count: u64,
    pub(super) saved: &'a BTreeMap<String, String>,
}

/// Why a text is no template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("`{{{{` without `}}}}` in `{0}`")]
    Open(String),
    #[error("`{{{{{0}}}}}`: a range is written {{{{number 1..9}}}}, the smaller number first")]
    Range(String),
    #[error(
        "`{{{{{place}}}}}` is not known; there are user, count, number A..B, pick a,b,c{saved}"
    )]
    Unknown { place: String, saved: String },
}

impl Template {
    /// `saved` are the names that answers may leave.
    pub(super) fn parse(text: &str, saved: &[String]) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (place, after) =
                after.split_once("}}").ok_or_else(|| TemplateError::Open(text.to_owned()))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::parse(place.trim(), saved)?);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// The text, if it is the same for every request.
    pub(super) fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(super) fn fill(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::User => write(&mut text, values.user),
                Piece::Count => write(&mut text, values.count),
                Piece::Number(low, high) => write(&mut text, fastrand::u64(low..=high)),
                Piece::Pick(choices) => text.push_str(&choices[fastrand::usize(..choices.len())]),
                Piece::Saved(name) => {
                    text.push_str(values.saved.get(name).map_or("", String::as_str))
                }
            }
        }
        text
    }
}

fn write(text: &mut String, number: u64) {
    write!(text, "{number}").expect("a String takes everything");
}

impl Piece {
    fn parse(place: &str, saved: &[String]) -> Result<Self, TemplateError> {
        let (word, rest) = place.split_once(' ').unwrap_or((place, ""));
        match (word, rest.trim()) {
            ("user", "") => Ok(Self::User),
            ("count", "") => Ok(Self::Count),
            ("number", range) => range
                .split_once("..")
                .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)))
                .filter(|(low, high)| low <= high)
                .map(|(low, high)| Self::Number(low, high))
                .ok_or_else(|| TemplateError::Range(place.to_owned())),
            ("pick", choices) if !choices.is_empty() => {
                Ok(Self::Pick(choices.split(',').map(|choice| choice.trim().to_owned()).collect()))
            }
            _ if saved.iter().any(|name| name == place) => Ok(Self::Saved(place.to_owned())),
            _ => Err(TemplateError::Unknown {
                place: place.to_owned(),
                saved: saved.iter().map(|name| format!(", {name}")).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let saved = BTreeMap::from([("token".to_owned(), "abc".to_owned())]);
        let template = Template::parse(text, &["token".to_owned()]).expect("a template");
        template.fill(&Values { user: 7, count: 42, saved: &saved })
    }

    #[test]
    fn places_are_filled() {
        for (text, expected) in [
            ("/plain", "/plain"),
            ("", ""),
            ("/u/{{user}}/r/{{ count }}", "/u/7/r/42"),
            ("Bearer {{token}}", "Bearer abc"),
            ("{{number 5..5}}{{pick x}}", "5x"),
        ] {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn chance_stays_within_its_range_and_reaches_all_of_it() {
        let mut seen = BTreeMap::new();
        (0..1_000)
            .for_each(|_| *seen.entry(filled("{{number 1..3}}{{pick a, b}}")).or_insert(0) += 1);
        let all: Vec<_> = seen.keys().map(String::as_str).collect();
        assert_eq!(all, ["1a", "1b", "2a", "2b", "3a", "3b"]);
        assert!(seen.values().all(|&times| times > 100), "{seen:?}");
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_would_be_one() {
        for (text, expected) in [
            ("/{{user", "without `}}`"),
            ("{{number 3..1}}", "smaller number first"),
            ("{{number x}}", "written {{number 1..9}}"),
            ("{{pick}}", "`{{pick}}` is not known"),
            ("{{toke}}", "there are user, count, number A..B, pick a,b,c, token"),
        ] {
            let said = Template::parse(text, &["token".to_owned()]).expect_err(text).to_string();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
