//! What concerns requests: `[[routes]]`, `[defaults]`, `[plugins.NAME]`, `[[tests]]`.

use std::collections::BTreeMap;
use std::fmt;

use plugins::registry::PluginSettings;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::resilience::{CircuitBreaker, Criticality, Fallback, Limit};
use super::values::{OneOrMany, SizeLimit, Timeout, text_or};
use super::{At, table};

/// Which requests go where: a block that reads from top to bottom. Exactly one of `upstream`, `redirect` and `respond`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Route {
    /// Its name in logs, metrics and tests. Default: its path, with methods and host before it where routes share a path.
    pub(in crate::config) name: Option<At<String>>,
    /// Hosts it answers to: `"api.example.com"`, `"*.example.com"` (any number of labels), or a list. Default: any.
    pub(in crate::config) host: Option<At<OneOrMany>>,
    /// The path: `"/users/{id}"`, `"/files/{name}.json"`, `"/static/{*rest}"` (the rest, which may be empty).
    pub(in crate::config) path: At<String>,
    /// Methods it takes; one with GET takes HEAD, too. Default: any.
    #[serde(default)]
    pub(in crate::config) methods: Vec<At<String>>,
    /// A condition in CEL, over method, scheme, host, path, client, header, query, cookie and params:
    /// `header["x-client"] == "mobile"`. Default: none.
    pub(in crate::config) when: Option<At<String>>,
    /// Orders routes that differ by nothing but `when`; the higher is asked first. Default: 0.
    #[serde(default)]
    pub(in crate::config) priority: i32,
    /// What happens to its requests before and after, in this order, after the plugins of `[defaults]`: `{ name = { … } }`,
    /// or the name of one of `[plugins.NAME]`. Default: none.
    #[serde(default)]
    pub(in crate::config) plugins: Vec<At<PluginUse>>,
    /// Where requests go: the name of one of `[upstreams.NAME]`.
    pub(in crate::config) upstream: Option<At<String>>,
    /// The path the upstream sees, with parameters of `path`: `"/{rest}"`. The query goes along. Default: the client's.
    pub(in crate::config) rewrite: Option<At<String>>,
    /// Send the client elsewhere.
    pub(in crate::config) redirect: Option<At<Redirect>>,
    /// Answer with fixed content.
    pub(in crate::config) respond: Option<At<Respond>>,
    /// The whole request, from its head to the last byte of the response; then 504. Default: no limit, since the
    /// upstream's own limits already end what stands still.
    pub(in crate::config) timeout: Option<Timeout>,
    /// The body of a request, or "none"; beyond it 413. Default: `limits.body`.
    pub(in crate::config) body_limit: Option<SizeLimit>,
    /// How much it matters: under pressure the least important routes are refused first. Default: "normal".
    #[serde(default)]
    pub(in crate::config) criticality: Criticality,
    /// Refuses its requests at once while most fail, besides the upstream's own. Default: none.
    pub(in crate::config) circuit_breaker: Option<At<CircuitBreaker>>,
    /// Its requests in flight, besides the upstream's own limit. Default: none.
    pub(in crate::config) limit: Option<At<Limit>>,
    /// What is answered instead when the upstream cannot. Default: that of the upstream.
    pub(in crate::config) fallback: Option<At<Fallback>>,
    /// `%2F` and `%5C` in the path pass through as they are. Default: false, they are refused with 400, because servers
    /// differ in whether they are slashes.
    #[serde(default)]
    pub(in crate::config) encoded_slashes: bool,
    /// Adds `Server-Timing` to the response. Default: as in `[defaults]`.
    pub(in crate::config) server_timing: Option<bool>,
    /// Adds `Proxy-Status` (RFC 9209) to the response. Default: as in `[defaults]`.
    pub(in crate::config) proxy_status: Option<bool>,
    /// Which forwarding headers the upstream sees. Default: as in `[defaults]`.
    pub(in crate::config) forwarded: Option<Vec<Forwarded>>,
}

table! {
    /// What holds for every route. A route's `plugins` are added to these; its other keys go before these.
    Defaults {
        /// Plugins for every route, before its own. Default: none.
        plugins: Vec<At<PluginUse>> = Vec::new(),
        /// Which forwarding headers upstreams see. Default: ["x-forwarded"], what nearly every application reads.
        forwarded: Vec<Forwarded> = vec![Forwarded::XForwarded],
        /// Adds `Server-Timing` to responses. Default: false, it tells outsiders about the inside.
        server_timing: bool = false,
        /// Adds `Proxy-Status` (RFC 9209) to responses. Default: false, it tells outsiders about the inside.
        proxy_status: bool = false,
    }
}

/// Forwarding headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Forwarded {
    /// `X-Forwarded-For`, `-Host`, `-Proto` and `X-Real-IP`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Rfc7239,
}

/// Plugins under a name: a table with one key, the plugin's.
pub(in crate::config) type PluginTable = PluginSettings;

/// A plugin with its settings, or the name of one of `[plugins.NAME]`.
#[derive(Clone, Debug)]
pub(in crate::config) enum PluginUse {
    Named(String),
    Settings(PluginSettings),
}

impl<'de> Deserialize<'de> for PluginUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = PluginUse;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ name = { … } } or the name of one of [plugins.NAME]")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<PluginUse, E> {
                Ok(PluginUse::Named(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<PluginUse, A::Error> {
                PluginSettings::deserialize(MapAccessDeserializer::new(table))
                    .map(PluginUse::Settings)
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}

text_or!(PluginUse, "PluginUse", PluginSettings);

/// Sends the client elsewhere.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Redirect {
    /// The `Location`, with parameters of `path`: `"https://new.example.com/{rest}"`. The query is added unless it has one.
    pub(in crate::config) to: At<String>,
    /// 301, 302, 303, 307 or 308. Default: 307: the method stays, and no browser remembers a mistake for ever.
    pub(in crate::config) status: Option<At<u16>>,
}

/// Answers with fixed content.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Respond {
    /// 200 to 599. Default: 200.
    pub(in crate::config) status: Option<At<u16>>,
    /// The body as text. Default: empty.
    pub(in crate::config) body: Option<At<String>>,
    /// The body as a table that is sent as JSON, with `Content-Type: application/json`.
    pub(in crate::config) json: Option<At<serde_json::Value>>,
    /// The type of `body`. Default: "text/plain; charset=utf-8".
    pub(in crate::config) content_type: Option<At<String>>,
    /// More headers. Default: none.
    #[serde(default)]
    pub(in crate::config) headers: BTreeMap<String, At<String>>,
}

/// A request, and where it must end. It is routed, not sent.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Test {
    /// Method and path or URL: `"GET /users/v1/7"`, `"GET https://api.example.com/"`.
    pub(in crate::config) request: At<String>,
    /// Headers of the request. Default: none.
    #[serde(default)]
    pub(in crate::config) headers: BTreeMap<String, At<String>>,
    /// The client's IP address. Default: "127.0.0.1".
    pub(in crate::config) client: Option<At<String>>,
    /// What must come of it; at least one key. What is not given is not looked at.
    pub(in crate::config) expect: At<Expectation>,
}

/// What must come of a test.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Expectation {
    /// The name of the route that takes it.
    pub(in crate::config) route: Option<At<String>>,
    /// The status with which the gateway itself answers: a plugin's refusal, a redirect, 404, 405.
    pub(in crate::config) status: Option<At<u16>>,
    /// The upstream it goes to.
    pub(in crate::config) upstream: Option<At<String>>,
    /// The path the upstream sees.
    pub(in crate::config) path: Option<At<String>>,
}
