//! The name of a header that settings may touch: any but those that frame the message or belong to the gateway.

use std::str::FromStr;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;

use crate::text;

/// A header that is neither hop-by-hop nor written by the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Name(#[schemars(with = "String")] pub(crate) HeaderName);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name: HeaderName = text.parse().map_err(|_| {
            format!("`{text}` is no header name; letters, digits and - make one, such as x-user")
        })?;
        match whose(name.as_str()) {
            Some(owner) => Err(format!("`{name}` cannot be changed here: {owner}")),
            None => Ok(Self(name)),
        }
    }
}

/// Who else decides about a header, and where.
fn whose(name: &str) -> Option<&'static str> {
    match name {
        "connection" | "keep-alive" | "te" | "trailer" | "upgrade" => {
            Some("it concerns one connection, and the gateway writes its own on each side")
        }
        "content-length" | "transfer-encoding" => {
            Some("it frames the body, and the gateway computes it from the body it sends")
        }
        "host" => Some("the upstream's `host` says which one its servers see"),
        "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" | "x-real-ip"
        | "forwarded" => Some("the route's `forwarded` says whether the gateway writes it"),
        _ if name.starts_with("proxy-") => Some("it is between the client and this gateway"),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_and_the_gateways_own_headers_are_refused_with_a_reason() {
        for (name, reason) in [
            ("Connection", "one connection"),
            ("Keep-Alive", "one connection"),
            ("TE", "one connection"),
            ("Trailer", "one connection"),
            ("Upgrade", "one connection"),
            ("Transfer-Encoding", "frames the body"),
            ("Content-Length", "frames the body"),
            ("Host", "upstream's `host`"),
            ("X-Forwarded-For", "the route's `forwarded`"),
            ("Forwarded", "the route's `forwarded`"),
            ("Proxy-Connection", "between the client and this gateway"),
            ("proxy-authorization", "between the client and this gateway"),
            ("x user", "no header name"),
            (":path", "no header name"),
            ("", "no header name"),
        ] {
            let error = name.parse::<Name>().unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert_eq!("X-User".parse::<Name>().unwrap().0, "x-user");
    }
}
