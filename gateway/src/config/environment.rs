//! `${NAME}` and `${NAME:-default}` in the texts of the config.

use std::borrow::Cow;
use std::collections::HashSet;

use toml::de::DeValue;

use super::error::Problem;
use super::read::Value;
use super::source::Place;

/// Replaces every `${NAME}` in every text below `value`; what is not set and has no default is a problem.
/// Returns where the entries and elements start whose text is not known therefore.
pub(super) fn fill_in(
    value: &mut Value<'_>,
    base: usize,
    problems: &mut Vec<Problem>,
) -> HashSet<usize> {
    let mut filling = Filling { base, problems, unknown: HashSet::new() };
    let start = value.span().start;
    filling.value(value, start);
    filling.unknown
}

struct Filling<'p> {
    base: usize,
    problems: &'p mut Vec<Problem>,
    unknown: HashSet<usize>,
}

impl Filling<'_> {
    /// Fills in a value that is known by `start`: an entry by its key's, an element by its own.
    fn value(&mut self, value: &mut Value<'_>, start: usize) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => match filled(text) {
                Ok(None) => {}
                Ok(Some(filled)) => *text = Cow::Owned(filled),
                Err((what, help)) => {
                    let place = Place::new(&(span.start + self.base..span.end + self.base));
                    self.problems.push(Problem::at(place, what).help(help));
                    self.unknown.insert(start);
                }
            },
            DeValue::Array(array) => {
                array.iter_mut().for_each(|element| {
                    let start = element.span().start;
                    self.value(element, start);
                });
            }
            DeValue::Table(table) => {
                table.iter_mut().for_each(|(key, entry)| self.value(entry, key.span().start));
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

/// The text with every `${…}` replaced; `None`: there is none.
fn filled(text: &str) -> Result<Option<String>, (String, &'static str)> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, variable) = (&rest[..start], &rest[start + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = variable;
            continue;
        }
        let Some((variable, after)) = variable.split_once('}') else {
            return Err(("`${` without `}`".to_owned(), "write $${ for the characters ${"));
        };
        result.push_str(before);
        result.push_str(&value_of(variable)?);
        rest = after;
    }
    result.push_str(rest);
    Ok(Some(result))
}

fn value_of(variable: &str) -> Result<Cow<'_, str>, (String, &'static str)> {
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        let what = format!("`${{{variable}}}` names no environment variable");
        return Err((what, "names have letters, digits and _; write $${ for the characters ${"));
    }
    match (std::env::var(name), default) {
        (Ok(value), _) if !value.is_empty() => Ok(Cow::Owned(value)),
        (_, Some(default)) => Ok(Cow::Borrowed(default)),
        (Ok(empty), None) => Ok(Cow::Owned(empty)),
        (Err(_), None) => Err((
            format!("the environment variable {name} is not set"),
            "set it, or write ${NAME:-default}",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_filled_in() {
        // Cargo sets this variable for tests.
        for (text, expected) in [
            ("plain", None),
            ("${CARGO_PKG_NAME}", Some("gateway")),
            ("a-${CARGO_PKG_NAME}-b", Some("a-gateway-b")),
            ("${NOT_SET_AT_ALL:-x}${NOT_SET_AT_ALL:-}", Some("x")),
            ("$${CARGO_PKG_NAME} ${CARGO_PKG_NAME}", Some("${CARGO_PKG_NAME} gateway")),
            ("$5 {x}", None),
        ] {
            assert_eq!(filled(text).unwrap().as_deref(), expected, "{text}");
        }
        for text in ["${NOT_SET_AT_ALL}", "${", "${}", "${a b}", "${x"] {
            assert!(filled(text).is_err(), "{text}");
        }
    }
}
