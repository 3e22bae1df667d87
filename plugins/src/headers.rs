//! `headers`: removes, renames, sets and adds headers of the request and of the response.
//!
//! On each side, in this order:
//!
//! 1. `remove`: all values go.
//! 2. `rename`: all values move to the new name, whose own values go.
//! 3. `set`: the header has this one value, whatever it had before.
//! 4. `add`: one more value.
//!
//! Values may hold `{client}` (its address), `{host}`, `{path}`, `{route}`, `{correlation-id}` and `{identity}`; a brace
//! itself is written twice. When one of them has no value (nobody has logged in), `add` adds nothing and `set` leaves
//! the header **removed**: a client cannot bring an `x-user` of its own where the gateway speaks for its users.
//!
//! Headers that frame the message or concern one connection (`Content-Length`, `Connection`, …), `Host` and the
//! forwarding headers are refused in the settings, with the place where they are decided.
//!
//! What the client sees: the changed headers of every response of the route, the gateway's own replies included when
//! they come from a plugin after this one or from the upstream's failure.
//!
//! Caveat: `{identity}` and `{correlation-id}` are known only after the plugins that set them; put `headers` below.
//!
//! ```toml
//! plugins = [
//!   { headers = { request = { set = { x-user = "{identity}" }, remove = ["x-debug"] }, response = { remove = ["server"], rename = { x-old = "x-new" }, set = { strict-transport-security = "max-age=31536000" }, add = { link = "</style.css>; rel=preload" } } } },
//! ]
//! ```

use std::fmt;
use std::marker::PhantomData;

use http::uri::Authority;
use http::{HeaderMap, response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::exchange::{Exchange, Flow};
use crate::header_name::Name;
use crate::hooks::{Hooks, Plugin, Step};
use crate::registry::BuildError;
use crate::template::{Facts, Placeholder, Template};

/// Settings of `headers`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "Sides")]
#[schemars(!try_from, transparent)]
pub struct Settings(Sides);

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Sides {
    /// What is done to the request before the upstream sees it.
    #[serde(default)]
    request: Edits,
    /// What is done to the response before the client sees it.
    #[serde(default)]
    response: Edits,
}

/// What is done to the headers of one message, in this order.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Edits {
    /// Headers that go.
    #[serde(default)]
    remove: Vec<Name>,
    /// Headers that get another name: `{ old = "new" }`.
    #[serde(default)]
    rename: Pairs<Name>,
    /// Headers that have this one value.
    #[serde(default)]
    set: Pairs<Template>,
    /// Headers that have this value too.
    #[serde(default)]
    add: Pairs<Template>,
}

/// A table from header names to something; the same name in another case is refused.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(transparent)]
struct Pairs<T>(#[schemars(with = "std::collections::BTreeMap<String, String>")] Vec<(Name, T)>);

impl TryFrom<Sides> for Settings {
    type Error = &'static str;

    fn try_from(sides: Sides) -> Result<Self, &'static str> {
        if sides.request.is_empty() && sides.response.is_empty() {
            return Err(
                "`headers` changes nothing; give `request` or `response` a `set`, `add`, `remove` or `rename`",
            );
        }
        Ok(Self(sides))
    }
}

impl Settings {
    /// Makes the plugin.
    pub fn build(&self) -> Result<Headers, BuildError> {
        let Sides { request, response } = self.0.clone();
        let uses_host = request.has(Placeholder::Host) || response.has(Placeholder::Host);
        Ok(Headers { request, response, uses_host })
    }
}

/// See the module.
pub struct Headers {
    request: Edits,
    response: Edits,
    uses_host: bool,
}

/// The host, kept for the way up: by then the request's headers have gone to the upstream.
#[derive(Clone)]
struct Host(Authority);

impl Plugin for Headers {
    fn hooks(&self) -> Hooks {
        Hooks {
            request: self.uses_host || !self.request.is_empty(),
            response: !self.response.is_empty(),
            ..Hooks::NONE
        }
    }

    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        if self.uses_host
            && let Some(host) = exchange.authority()
        {
            exchange.state.insert(Host(host));
        }
        let facts = Facts {
            client: &exchange.client,
            host: exchange.state.get().map(|Host(host)| host),
            uri: &exchange.request.uri,
            route: &exchange.route,
            correlation_id: exchange.correlation_id.as_ref(),
        };
        self.request.apply(&mut exchange.request.headers, &facts);
        Step::Done(Flow::Continue)
    }

    fn response<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: &'a mut response::Parts,
    ) -> Step<'a, ()> {
        let facts = Facts {
            client: &exchange.client,
            host: exchange.state.get().map(|Host(host)| host),
            uri: &exchange.request.uri,
            route: &exchange.route,
            correlation_id: exchange.correlation_id.as_ref(),
        };
        self.response.apply(&mut response.headers, &facts);
        Step::Done(())
    }
}

impl Edits {
    fn is_empty(&self) -> bool {
        let Self { remove, rename, set, add } = self;
        remove.is_empty() && rename.0.is_empty() && set.0.is_empty() && add.0.is_empty()
    }

    fn has(&self, placeholder: Placeholder) -> bool {
        self.set.0.iter().chain(&self.add.0).any(|(_, value)| value.has(placeholder))
    }

    fn apply(&self, headers: &mut HeaderMap, facts: &Facts<'_>) {
        for Name(name) in &self.remove {
            headers.remove(name);
        }
        for (Name(old), Name(new)) in &self.rename.0 {
            rename(headers, old, new);
        }
        for (Name(name), value) in &self.set.0 {
            match value.fill(facts) {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
        for (Name(name), value) in &self.add.0 {
            if let Some(value) = value.fill(facts) {
                headers.append(name, value);
            }
        }
    }
}

fn rename(headers: &mut HeaderMap, old: &http::HeaderName, new: &http::HeaderName) {
    let http::header::Entry::Occupied(entry) = headers.entry(old) else { return };
    let (_, values) = entry.remove_entry_mult();
    let values: Vec<_> = values.collect();
    headers.remove(new);
    for value in values {
        headers.append(new, value);
    }
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table such as { x-name = \"value\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
        let mut pairs: Vec<(Name, T)> = Vec::new();
        while let Some(name) = map.next_key::<Name>()? {
            if pairs.iter().any(|(known, _)| *known == name) {
                let name = name.0;
                return Err(de::Error::custom(format!(
                    "`{name}` stands here twice; case makes no difference"
                )));
            }
            pairs.push((name, map.next_value()?));
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(settings: &str) -> Headers {
        toml::from_str::<Settings>(settings).unwrap().build().unwrap()
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn edits_of_the_request_happen_in_their_order() {
        let plugin = plugin(
            "request = { remove = ['x-a'], rename = { x-b = 'x-c' }, set = { X-D = 'd {client}' }, add = { x-e = '2', x-a = 'again' } }",
        );
        let mut request = http::Request::get("/");
        for (name, value) in [
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-b", "1"),
            ("x-b", "2"),
            ("x-c", "old"),
            ("x-d", "own"),
            ("x-e", "1"),
        ] {
            request = request.header(name, value);
        }
        let mut exchange = Exchange::example(request);
        assert!(matches!(plugin.request(&mut exchange).now(), Some(Flow::Continue)));
        assert_eq!(
            lines(&exchange.request.headers),
            ["x-a: again", "x-c: 1", "x-c: 2", "x-d: d 192.0.2.7", "x-e: 1", "x-e: 2"]
        );
        assert!(plugin.hooks().request && !plugin.hooks().response);
    }

    #[test]
    fn a_client_cannot_bring_the_header_that_speaks_for_its_identity() {
        let plugin = plugin(
            "request = { set = { x-user = '{identity}' }, add = { x-users = '{identity}' } }",
        );
        let spoofed = || Exchange::example(http::Request::get("/").header("x-user", "root"));
        let mut nobody = spoofed();
        plugin.request(&mut nobody).now().unwrap();
        assert_eq!(lines(&nobody.request.headers), [""; 0]);
        let mut alice = spoofed();
        alice.client.identity = Some("alice".into());
        plugin.request(&mut alice).now().unwrap();
        assert_eq!(lines(&alice.request.headers), ["x-user: alice", "x-users: alice"]);
    }

    #[test]
    fn the_response_knows_the_host_that_the_request_named() {
        let plugin = plugin(
            "response = { set = { x-served = '{host}{path} by {route}' }, remove = ['server'] }",
        );
        let mut exchange =
            Exchange::example(http::Request::get("/a?b").header("host", "news.example"));
        plugin.request(&mut exchange).now().unwrap();
        exchange.request.headers.clear();
        let response = http::Response::builder().header("server", "x").header("x-served", "y");
        let (mut response, ()) = response.body(()).unwrap().into_parts();
        plugin.response(&mut exchange, &mut response).now().unwrap();
        assert_eq!(lines(&response.headers), ["x-served: news.example/a by news"]);
        assert!(plugin.hooks().request && plugin.hooks().response);
    }

    #[test]
    fn bad_settings_are_refused_at_their_line() {
        for (settings, message) in [
            ("", "`headers` changes nothing"),
            ("request = {}", "`headers` changes nothing"),
            ("[request.set]\nx-a = '1'\nx-b = '{ip}'", "line 3"),
            ("[request.set]\nx-a = '1'\nx-b = '{ip}'", "unknown placeholder `{ip}`"),
            ("[request.set]\nx-a = '1'\nContent-Length = '1'", "line 3"),
            ("[request.set]\nContent-Length = '1'", "frames the body"),
            ("[response.rename]\nx-a = 'connection'", "one connection"),
            ("[response]\nremove = ['x-a',\n'te']", "line 3"),
            ("[request.add]\nx-a = '1'\nX-A = '2'", "twice"),
            ("[request]\nsets = {}", "unknown field `sets`"),
        ] {
            let error = toml::from_str::<Settings>(settings).unwrap_err().to_string();
            assert!(error.contains(message), "{settings}: {error}");
        }
    }
}
