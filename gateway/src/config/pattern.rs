//! Path patterns (`/users/{id}`) and the templates that use their parameters (`/v2/{id}`).

use super::error::Problem;
use super::{HostPattern, PathPattern, Piece, Segment, Template};

impl PathPattern {
    /// Reads a pattern. `/` is one empty segment; a slash at the end makes the last segment empty.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(
                wrong(text, "does not start with a slash").help(format!("write \"/{text}\""))
            );
        };
        if let Some(found) = text.chars().find(|c| c.is_control() || matches!(c, ' ' | '?' | '#')) {
            return Err(wrong(text, &format!("has the character {found:?}"))
                .help("a pattern is a path alone; the query is looked at with `when`"));
        }
        let mut segments = Vec::new();
        let mut rest = path.split('/').peekable();
        while let Some(segment) = rest.next() {
            let is_last = rest.peek().is_none();
            let segment = parse_segment(segment, is_last).map_err(|problem| Problem {
                what: format!("the path {text:?} {}", problem.what),
                ..problem
            })?;
            segments.push(segment);
        }
        let pattern = Self { text: text.to_owned(), segments };
        let names = pattern.parameters().collect::<Vec<_>>();
        match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            Some((_, name)) => Err(wrong(text, &format!("has two parameters named `{name}`"))
                .help("each parameter needs a name of its own")),
            None => Ok(pattern),
        }
    }

    /// The names of its parameters, from the left; the catch-all is the last.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Exact(_) => None,
            Segment::Parameter { name, .. } | Segment::CatchAll(name) => Some(name.as_str()),
        })
    }
}

fn wrong(text: &str, why: &str) -> Problem {
    Problem::nowhere(format!("the path {text:?} {why}"))
}

/// One segment; the problem's text continues "the path … ".
fn parse_segment(segment: &str, is_last: bool) -> Result<Segment, Problem> {
    let refuse = |why: String, help: &str| Err(Problem::nowhere(why).help(help));
    if matches!(segment, "." | "..") {
        return refuse(
            format!("has the segment {segment:?}"),
            "requests are matched after such segments are gone",
        );
    }
    if segment.is_empty() && !is_last {
        return refuse("has two slashes in a row".to_owned(), "write one");
    }
    let Some((prefix, inner)) = segment.split_once('{') else {
        return match segment.contains('}') {
            true => refuse("has a `}` without `{`".to_owned(), "parameters are written {name}"),
            false => Ok(Segment::Exact(segment.to_owned())),
        };
    };
    let Some((name, suffix)) = inner.split_once('}') else {
        return refuse("has a `{` without `}`".to_owned(), "parameters are written {name}");
    };
    if prefix.contains('}') || suffix.contains(['{', '}']) {
        return refuse(
            "has two parameters in one segment".to_owned(),
            "a segment takes one, with text before and after it",
        );
    }
    let catch_all = name.strip_prefix('*');
    let name = catch_all.unwrap_or(name);
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return refuse(
            format!("has a parameter named `{name}`"),
            "names have letters, digits and _, such as {id}",
        );
    }
    match catch_all {
        None => Ok(Segment::Parameter {
            prefix: prefix.to_owned(),
            name: name.to_owned(),
            suffix: suffix.to_owned(),
        }),
        Some(_) if !is_last || !prefix.is_empty() || !suffix.is_empty() => refuse(
            format!("goes on after, or starts within, the rest `{{*{name}}}`"),
            "{*name} is a whole segment, the last one",
        ),
        Some(name) => Ok(Segment::CatchAll(name.to_owned())),
    }
}

impl Template {
    /// Reads a template whose parameters are those of `path`.
    pub fn parse(text: &str, path: &PathPattern) -> Result<Self, Problem> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, parameter)) = rest.split_once('{') {
            let Some((name, after)) = parameter.split_once('}') else {
                return Err(Problem::nowhere(format!("{text:?} has a `{{` without `}}`"))
                    .help("parameters are written {name}"));
            };
            push_text(&mut pieces, before, text)?;
            let Some(index) = path.parameters().position(|known| known == name) else {
                return Err(unknown_parameter(text, name, path));
            };
            pieces.push(Piece::Parameter(index));
            rest = after;
        }
        push_text(&mut pieces, rest, text)?;
        Ok(Self { pieces })
    }
}

fn push_text(pieces: &mut Vec<Piece>, piece: &str, text: &str) -> Result<(), Problem> {
    if piece.contains('}') {
        return Err(Problem::nowhere(format!("{text:?} has a `}}` without `{{`"))
            .help("parameters are written {name}"));
    }
    if !piece.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Problem::nowhere(format!("{text:?} has characters no URL has"))
            .help("write them as %20 and the like"));
    }
    if !piece.is_empty() {
        pieces.push(Piece::Text(piece.to_owned()));
    }
    Ok(())
}

fn unknown_parameter(text: &str, name: &str, path: &PathPattern) -> Problem {
    let known = path.parameters().collect::<Vec<_>>();
    let bare = name.trim_start_matches('*');
    let help = if known.contains(&bare) {
        format!("write {{{bare}}}; the star belongs to the path only")
    } else if known.is_empty() {
        format!("the path {:?} has no parameters", path.text)
    } else {
        super::fault::suggestion(name, &known, "the path's parameters are")
    };
    Problem::nowhere(format!("{text:?} uses the unknown parameter `{name}`")).help(help)
}

impl HostPattern {
    /// Reads a host: `api.example.com`, `*.example.com`, `[::1]`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |why: &str, help: &str| {
            Err(Problem::nowhere(format!("the host {text:?} {why}")).help(help))
        };
        let lower = text.to_ascii_lowercase();
        let labels = lower.strip_prefix('*').unwrap_or(&lower);
        if lower == "*" {
            return refuse("is any host", "leave `host` out to answer to any");
        }
        if labels.contains('*') || (lower.starts_with('*') && !labels.starts_with('.')) {
            return refuse(
                "has a star within",
                "a star stands for whole labels, in front: \"*.example.com\"",
            );
        }
        if labels.contains("://") || labels.contains('/') {
            return refuse("is a URL", "write the host alone, such as \"api.example.com\"");
        }
        let is_ipv6 = lower.starts_with('[') && lower.ends_with(']');
        if labels.contains(':') && !is_ipv6 {
            return refuse("has a port", "leave it out; requests to any port of the host match");
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        if !is_ipv6 && !labels.trim_start_matches('.').split('.').all(is_label) {
            return refuse(
                "is no host name",
                "names have letters, digits, - and dots; others are written xn--…",
            );
        }
        Ok(match labels.len() == lower.len() {
            true => Self::Exact(lower),
            false => Self::Wildcard(labels.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(prefix: &str, name: &str, suffix: &str) -> Segment {
        Segment::Parameter { prefix: prefix.into(), name: name.into(), suffix: suffix.into() }
    }

    #[test]
    fn patterns_are_split_into_segments() {
        let exact = |text: &str| Segment::Exact(text.into());
        for (text, segments) in [
            ("/", vec![exact("")]),
            ("/a/b", vec![exact("a"), exact("b")]),
            ("/a/", vec![exact("a"), exact("")]),
            ("/{id}", vec![parameter("", "id", "")]),
            ("/v{n}/{name}.json", vec![parameter("v", "n", ""), parameter("", "name", ".json")]),
            ("/{*rest}", vec![Segment::CatchAll("rest".into())]),
        ] {
            assert_eq!(PathPattern::parse(text).unwrap().segments, segments, "{text}");
        }
    }

    #[test]
    fn templates_name_parameters_by_their_index() {
        let path = PathPattern::parse("/{a}/x/{*b}").unwrap();
        let template = Template::parse("/{b}-{a}", &path).unwrap();
        let text = |text: &str| Piece::Text(text.into());
        assert_eq!(
            template.pieces,
            [text("/"), Piece::Parameter(1), text("-"), Piece::Parameter(0)]
        );
    }

    #[test]
    fn hosts_are_lower_case_and_wildcards_keep_their_dot() {
        let parse = |text| HostPattern::parse(text).unwrap();
        assert_eq!(parse("API.example.com"), HostPattern::Exact("api.example.com".into()));
        assert_eq!(parse("*.Example.com"), HostPattern::Wildcard(".example.com".into()));
        assert_eq!(parse("[::1]"), HostPattern::Exact("[::1]".into()));
    }
}
