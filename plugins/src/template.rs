//! Header values with placeholders: `user={identity}; from={client}`.

use std::fmt::Write;
use std::str::FromStr;

use http::uri::Authority;
use http::{HeaderValue, Uri};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;

use crate::exchange::Client;
use crate::text;

/// A header value, fixed or with placeholders. `{{` and `}}` stand for the braces themselves.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Template(#[schemars(with = "String")] Value);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Fixed(HeaderValue),
    Pieces(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The client's address.
    Client,
    /// Host and port that the client asked for.
    Host,
    /// The path of the request, without the query.
    Path,
    /// The name of the route.
    Route,
    /// What `correlation-id` set.
    CorrelationId,
    /// Who the client is, once a plugin has authenticated it.
    Identity,
}

impl Placeholder {
    const ALL: [(&str, Self); 6] = [
        ("client", Self::Client),
        ("host", Self::Host),
        ("path", Self::Path),
        ("route", Self::Route),
        ("correlation-id", Self::CorrelationId),
        ("identity", Self::Identity),
    ];

    fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|&(_, placeholder)| placeholder).ok_or_else(|| {
            let names = Self::ALL.map(|(known, _)| format!("{{{known}}}")).join(", ");
            format!("unknown placeholder `{{{name}}}`; there are {names}")
        })
    }
}

/// What placeholders are filled from.
pub struct Facts<'a> {
    /// Who the client is.
    pub client: &'a Client,
    /// Host and port that the client asked for.
    pub host: Option<&'a Authority>,
    /// The URI of the request.
    pub uri: &'a Uri,
    /// The name of the route.
    pub route: &'a str,
    /// What `correlation-id` set.
    pub correlation_id: Option<&'a HeaderValue>,
}

impl Template {
    /// Whether it has this placeholder.
    pub fn has(&self, placeholder: Placeholder) -> bool {
        match &self.0 {
            Value::Fixed(_) => false,
            Value::Pieces(pieces) => pieces.contains(&Piece::Placeholder(placeholder)),
        }
    }

    /// The value for one request. `None` if a placeholder has no value, or one that no header may hold.
    pub fn fill(&self, facts: &Facts<'_>) -> Option<HeaderValue> {
        let pieces = match &self.0 {
            Value::Fixed(value) => return Some(value.clone()),
            Value::Pieces(pieces) => pieces,
        };
        let mut text = String::with_capacity(64);
        for piece in pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Placeholder(Placeholder::Client) => {
                    write!(text, "{}", facts.client.address).ok()?;
                }
                Piece::Placeholder(Placeholder::Host) => text.push_str(facts.host?.as_str()),
                Piece::Placeholder(Placeholder::Path) => text.push_str(facts.uri.path()),
                Piece::Placeholder(Placeholder::Route) => text.push_str(facts.route),
                Piece::Placeholder(Placeholder::CorrelationId) => {
                    text.push_str(facts.correlation_id?.to_str().ok()?);
                }
                Piece::Placeholder(Placeholder::Identity) => {
                    text.push_str(facts.client.identity.as_deref()?);
                }
            }
        }
        HeaderValue::try_from(text).ok()
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = pieces(text)?;
        if pieces.iter().any(|piece| matches!(piece, Piece::Placeholder(_))) {
            return Ok(Self(Value::Pieces(pieces)));
        }
        let fixed = match pieces.pop() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Placeholder(_)) | None => String::new(),
        };
        HeaderValue::try_from(fixed)
            .map(|value| Self(Value::Fixed(value)))
            .map_err(|_| "a header value has no line breaks or other control characters".to_owned())
    }
}

/// Cuts text at its placeholders; neighbouring text is one piece.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut current = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        current.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            current.push_str(brace);
            rest = after;
        } else if brace == "{" {
            let (name, after) = rest.split_once('}').ok_or_else(|| {
                format!("`{{{rest}` is not closed; for a brace itself write `{{{{`")
            })?;
            let placeholder = Placeholder::named(name)?;
            if !current.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut current)));
            }
            pieces.push(Piece::Placeholder(placeholder));
            rest = after;
        } else {
            return Err("a `}` without `{`; for a brace itself write `}}`".to_owned());
        }
    }
    current.push_str(rest);
    if !current.is_empty() {
        pieces.push(Piece::Text(current));
    }
    Ok(pieces)
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str, identity: Option<&str>) -> Option<HeaderValue> {
        let client = Client {
            identity: identity.map(Into::into),
            ..Client::at("2001:db8::7".parse().unwrap())
        };
        let facts = Facts {
            client: &client,
            host: Some(&Authority::from_static("news.example:8080")),
            uri: &Uri::from_static("/news/7?page=1"),
            route: "news",
            correlation_id: Some(&HeaderValue::from_static("k-1")),
        };
        template.parse::<Template>().unwrap().fill(&facts)
    }

    #[test]
    fn placeholders_are_filled() {
        for (template, expected) in [
            ("", ""),
            ("plain; a=\"b\"", "plain; a=\"b\""),
            ("{client}", "2001:db8::7"),
            ("{route}{path}@{host}", "news/news/7@news.example:8080"),
            ("<{correlation-id}> {identity}!", "<k-1> alice!"),
            ("{{client}}", "{client}"),
            ("{{{client}}}", "{2001:db8::7}"),
            ("caf\u{e9} {{", "caf\u{e9} {"),
        ] {
            let value = filled(template, Some("alice")).unwrap();
            assert_eq!(value.as_bytes(), expected.as_bytes(), "{template}");
        }
    }

    #[test]
    fn a_placeholder_without_a_fit_value_gives_no_value_at_all() {
        assert_eq!(filled("user={identity}", None), None);
        assert_eq!(filled("user={identity}", Some("a\r\nx-admin: 1")), None);
    }

    #[test]
    fn bad_templates_say_what_would_have_done() {
        for (template, message) in [
            (
                "{ip}",
                "unknown placeholder `{ip}`; there are {client}, {host}, {path}, {route}, {correlation-id}, {identity}",
            ),
            ("{}", "unknown placeholder `{}`"),
            ("{Client}", "unknown placeholder `{Client}`"),
            ("a{client", "`{client` is not closed"),
            ("a}", "a `}` without `{`"),
            ("a\nb", "no line breaks"),
        ] {
            let error = template.parse::<Template>().unwrap_err();
            assert!(error.contains(message), "{template}: {error}");
        }
    }

    proptest! {
        #[test]
        fn text_with_doubled_braces_comes_out_as_it_was(text in "[ -~]{0,40}") {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            let value = filled(&escaped, None).unwrap();
            prop_assert_eq!(value.to_str().unwrap(), text);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[{}a-z\u{e4}\u{1f600}]{0,20}") {
            let is_plain = !text.contains(['{', '}']);
            prop_assert!(text.parse::<Template>().is_ok() || !is_plain);
        }
    }
}
