//! What stood in a path where its pattern has parameters, and texts that such values are put into.

use crate::config::{Piece, Template};

/// The most parameters one path pattern may have.
pub const PARAMETERS_MAX: usize = 16;

/// Where the parameters of a matched pattern stand in the path, from the left; a catch-all is the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    ranges: [(u32, u32); PARAMETERS_MAX],
    count: u8,
}

impl Parameters {
    /// The value of a parameter in the path it was matched in, as it stands there (not percent-decoded); empty if
    /// the pattern has no such parameter.
    pub fn get<'path>(&self, path: &'path str, index: usize) -> &'path str {
        let range = self.ranges[..usize::from(self.count)].get(index);
        range.and_then(|&(start, end)| path.get(start as usize..end as usize)).unwrap_or("")
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether the pattern has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one. The router refuses patterns with more than [`PARAMETERS_MAX`], so there is room.
    pub(super) fn push(&mut self, start: usize, end: usize) {
        if let Some(range) = self.ranges.get_mut(usize::from(self.count)) {
            *range = (start as u32, end as u32);
            self.count += 1;
        }
    }

    /// Takes back what was added after there were `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count as u8);
    }
}

/// Appends a template with the values of a path in it, as they are: the path the upstream sees. An empty segment stays
/// (RFC 3986, section 3.3), or `//metrics` would be a way around the route that closes `/metrics`.
pub fn expand(template: &Template, parameters: &Parameters, path: &str, out: &mut String) {
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Parameter(index) => out.push_str(parameters.get(path, *index)),
        }
    }
}

/// The same for a `Location`.
///
/// A value never turns a template that begins with one slash into a text that begins with two: `//host` would be
/// another host to a browser, and `/{rest}` with the path `//host` an open redirect.
pub fn expand_location(template: &Template, parameters: &Parameters, path: &str, out: &mut String) {
    let start = out.len();
    for piece in &template.pieces {
        let text = match piece {
            Piece::Text(text) => text,
            Piece::Parameter(index) => parameters.get(path, *index),
        };
        let first_slash = out.len() == start + 1 && out.ends_with('/');
        out.push_str(if first_slash { text.trim_start_matches('/') } else { text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a path, and as a location.
    fn expanded(pieces: Vec<Piece>, path: &str, ranges: &[(usize, usize)]) -> (String, String) {
        let mut parameters = Parameters::default();
        for (start, end) in ranges {
            parameters.push(*start, *end);
        }
        let (template, mut target, mut location) =
            (Template { pieces }, String::new(), String::new());
        expand(&template, &parameters, path, &mut target);
        expand_location(&template, &parameters, path, &mut location);
        (target, location)
    }

    fn both(text: &str) -> (String, String) {
        (text.to_owned(), text.to_owned())
    }

    #[test]
    fn values_stand_where_the_template_names_them() {
        let pieces = vec![
            Piece::Text("/v2/".to_owned()),
            Piece::Parameter(1),
            Piece::Text("/of/".to_owned()),
            Piece::Parameter(0),
        ];
        let is = expanded(pieces, "/users/7/letters", &[(7, 8), (9, 16)]);
        assert_eq!(is, both("/v2/letters/of/7"));
    }

    #[test]
    fn a_value_never_makes_a_path_another_host() {
        let pieces = || vec![Piece::Text("/".to_owned()), Piece::Parameter(0)];
        let (target, location) = expanded(pieces(), "/old//evil.example/x", &[(5, 20)]);
        assert_eq!(location, "/evil.example/x");
        assert_eq!(target, "//evil.example/x", "what the server sees has lost nothing");
        assert_eq!(expanded(pieces(), "/old/", &[(5, 5)]), both("/"));
    }

    #[test]
    fn a_parameter_that_is_not_there_is_empty() {
        assert_eq!(Parameters::default().get("/a", 3), "");
    }
}
