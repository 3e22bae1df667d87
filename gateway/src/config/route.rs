//! Routes, checked: what they match and what they do.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use plugins::registry::PluginSettings;

use super::resilience::{Criticality, Guards};
use super::source::Place;
use super::upstream::UpstreamId;

/// One of `[[routes]]`. What a request reads stands first and together: with thousands of routes each cache line is one to
/// wait for.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Route {
    /// The whole request, from its head to the last byte of the response; `None`: no bound.
    pub timeout: Option<Duration>,
    /// Request body in bytes; `None`: no bound.
    pub body_bytes: Option<u64>,
    /// `%2F` and `%5C` in a path pass through as they are; else they are refused with 400.
    pub encoded_slashes: bool,
    /// Adds `Server-Timing` to the response.
    pub server_timing: bool,
    /// Adds `Proxy-Status` (RFC 9209) to the response.
    pub proxy_status: bool,
    /// Which forwarding headers the upstream sees.
    pub forwarded: Forwarded,
    /// How much it matters under pressure.
    pub criticality: Criticality,
    /// What it does.
    pub action: Action,
    /// Where it stands in the config.
    pub place: Place,
    /// Its name: as given, or the path pattern (made unique by methods and host when shared).
    pub name: String,
    /// Host patterns, lower case; empty: any host.
    pub hosts: Vec<HostPattern>,
    /// The path pattern.
    pub path: PathPattern,
    /// Methods it takes; empty: any. `HEAD` is taken by a route that takes `GET`.
    pub methods: Vec<Method>,
    /// A CEL condition.
    pub when: Option<When>,
    /// Orders routes that differ by nothing but `when`: the higher first.
    pub priority: i32,
    /// Global plugins first, then the route's own.
    pub plugins: Vec<PluginUse>,
    /// What stands before it, besides its upstream's own. Its fallback goes before the upstream's. Empty unless it goes
    /// to an upstream.
    pub guards: Guards,
}

/// `when` of a route: source text that routing compiles.
#[derive(Clone, Debug)]
pub struct When {
    /// Where it stands in the config.
    pub place: Place,
    /// CEL.
    pub text: String,
}

/// Which forwarding headers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// `X-Forwarded-For`, `-Host`, `-Proto` and `X-Real-IP`.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239).
    pub rfc7239: bool,
}

/// A host a route answers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// `*.example.com`: any number of labels before the suffix; kept as `.example.com`.
    Wildcard(String),
}

/// A path pattern: segments between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// As written.
    pub text: String,
    /// Its segments.
    pub segments: Vec<Segment>,
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Exactly this.
    Exact(String),
    /// `{name}`, `v{name}` or `{name}.json`: one segment that is not empty.
    Parameter {
        /// Text before the parameter.
        prefix: String,
        /// The parameter's name.
        name: String,
        /// Text after the parameter.
        suffix: String,
    },
    /// `{*name}`, only at the end: the rest of the path, which may be empty.
    CatchAll(String),
}

/// A plugin as used by a route.
#[derive(Clone, Debug)]
pub struct PluginUse {
    /// Where it stands in the config.
    pub place: Place,
    /// Its settings.
    pub settings: PluginSettings,
}

/// What a route does with a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends it to an upstream.
    Proxy {
        /// Which.
        upstream: UpstreamId,
        /// The path the servers see; `None`: the client's.
        rewrite: Option<Template>,
    },
    /// Answers with a redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// The `Location`; the query is appended unless the template has one.
        location: Template,
    },
    /// Answers with fixed content.
    Respond {
        /// The status.
        status: StatusCode,
        /// Headers, `Content-Type` among them.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The body.
        body: String,
    },
}

/// Text with the path's parameters in it: `/v2/{id}/{rest}`. Every name is a parameter of the route's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its pieces in order.
    pub pieces: Vec<Piece>,
}

/// One piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// The value of a path parameter: its index among the pattern's parameters, from the left.
    Parameter(usize),
}
