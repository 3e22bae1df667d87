//! `redirect`: sends clients to the one right form of a URL: HTTPS, the main host, with or without a final slash.
//!
//! 1. `https = true`: a request that came over HTTP goes to HTTPS, at `https-port` (443 if not given).
//! 2. `host`: a request for another host goes to this one. It may name a port, else the port stays (or is
//!    `https-port`, if the scheme changes too).
//! 3. `trailing-slash = "strip"`: `/news/` goes to `/news`; `"add"`: `/news` to `/news/`, but for a last segment with a
//!    dot, which is a file. The path `/` stays as it is.
//! 4. All that apply make one redirect; when nothing applies, the request passes. The query is kept.
//! 5. GET and HEAD are answered with `301`, other methods with `308`, which keeps method and body. With
//!    `temporary = true` it is `302` and `307`.
//!
//! What the client sees: the status and an absolute `Location`. Its host is the configured one or the one the client
//! asked for, never one from the path (`//evil.example/` stays a path). A request without a usable host, which
//! nobody can be sent back with, is refused with `400` and the reason `host-missing` if it would need HTTPS.
//!
//! Caveat: browsers remember permanent redirects for a very long time: try with `temporary = true`. Behind a proxy that
//! ends TLS, that proxy must be in `trusted-proxies`, or `https` redirects for ever.
//!
//! ```toml
//! plugins = [
//!   { redirect = { https = true, https-port = 8443, host = "www.example.com", trailing-slash = "strip", temporary = true } },
//! ]
//! ```

use std::borrow::Cow;
use std::str::FromStr;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;

use crate::exchange::{Exchange, Flow, Refusal, Scheme};
use crate::hooks::{Hooks, Plugin, Step};
use crate::registry::BuildError;
use crate::text;

/// Settings of `redirect`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "Rules")]
#[schemars(!try_from, transparent)]
pub struct Settings(Rules);

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Rules {
    /// Whether requests over HTTP go to HTTPS. Default: false.
    #[serde(default)]
    https: bool,
    /// The port that HTTPS is reached at from outside. Default: 443, the scheme's own.
    #[serde(default = "default_https_port")]
    https_port: u16,
    /// The one host, such as `www.example.com`. Default: whichever the client asked for.
    host: Option<Host>,
    /// What is done about a slash at the end of the path. Default: nothing.
    trailing_slash: Option<TrailingSlash>,
    /// Whether clients must ask again each time. Default: false, they may remember.
    #[serde(default)]
    temporary: bool,
}

fn default_https_port() -> u16 {
    443
}

/// What is done about a slash at the end of the path.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum TrailingSlash {
    /// It goes.
    Strip,
    /// It comes.
    Add,
}

/// A host, perhaps with a port.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(transparent)]
struct Host(#[schemars(with = "String")] Authority);

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<Authority>() {
            Ok(host) if !host.host().is_empty() && !text.contains('@') => Ok(Self(host)),
            _ => Err(format!("`{text}` is no host; write www.example.com")),
        }
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

impl TryFrom<Rules> for Settings {
    type Error = &'static str;

    fn try_from(rules: Rules) -> Result<Self, &'static str> {
        if !rules.https && rules.host.is_none() && rules.trailing_slash.is_none() {
            return Err("`redirect` does nothing; give it `https`, `host` or `trailing-slash`");
        }
        if !rules.https && rules.https_port != default_https_port() {
            return Err("`https-port` does nothing without `https = true`");
        }
        Ok(Self(rules))
    }
}

impl Settings {
    /// Makes the plugin.
    pub fn build(&self) -> Result<Redirect, BuildError> {
        Ok(Redirect { rules: self.0.clone() })
    }
}

/// See the module.
pub struct Redirect {
    rules: Rules,
}

impl Plugin for Redirect {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        let to_https = self.rules.https && exchange.scheme == Scheme::Http;
        let asked = exchange.authority();
        let Some(host) = self.rules.host.as_ref().map(|Host(host)| host).or(asked.as_ref()) else {
            return Step::Done(if to_https { host_missing().into() } else { Flow::Continue });
        };
        let port = match (host.port_u16(), to_https) {
            (Some(port), _) if self.rules.host.is_some() => Some(port),
            (_, true) => Some(self.rules.https_port).filter(|&port| port != default_https_port()),
            (_, false) => asked.as_ref().and_then(Authority::port_u16),
        };
        let scheme = if to_https { Scheme::Https } else { exchange.scheme };
        let uri = &exchange.request.uri;
        let path = self.path(uri);
        let same_host = asked.as_ref().is_some_and(|asked| is_at(asked, host.host(), port, scheme));
        if !to_https && same_host && path == uri.path() {
            return Step::Done(Flow::Continue);
        }
        let place = Place { scheme, host: host.host(), port, path: &path };
        Step::Done(self.answer(&exchange.request.method, &place.url(uri)))
    }
}

impl Redirect {
    fn path<'a>(&self, uri: &'a Uri) -> Cow<'a, str> {
        let path = uri.path();
        let last_segment = path.rsplit('/').next().unwrap_or(path);
        match self.rules.trailing_slash {
            Some(TrailingSlash::Strip) if path.starts_with('/') => match path.trim_end_matches('/')
            {
                "" => path.into(),
                stripped => stripped.into(),
            },
            Some(TrailingSlash::Add)
                if path.starts_with('/')
                    && !last_segment.is_empty()
                    && !last_segment.contains('.') =>
            {
                format!("{path}/").into()
            }
            Some(TrailingSlash::Strip | TrailingSlash::Add) | None => path.into(),
        }
    }

    fn answer(&self, method: &Method, url: &str) -> Flow {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let status = match (reads, self.rules.temporary) {
            (true, false) => StatusCode::MOVED_PERMANENTLY,
            (false, false) => StatusCode::PERMANENT_REDIRECT,
            (true, true) => StatusCode::FOUND,
            (false, true) => StatusCode::TEMPORARY_REDIRECT,
        };
        let Ok(location) = HeaderValue::try_from(url) else { return host_missing().into() };
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = status;
        response.headers_mut().insert(header::LOCATION, location);
        Flow::Respond(Box::new(response))
    }
}

fn host_missing() -> Refusal {
    let detail = "this address is served over HTTPS, and the request names no host to send you to";
    Refusal::new(StatusCode::BAD_REQUEST, "host-missing", detail)
}

/// Whether host and port are the ones that were asked for, a missing port being the scheme's own.
fn is_at(asked: &Authority, host: &str, port: Option<u16>, scheme: Scheme) -> bool {
    let own = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    asked.host().eq_ignore_ascii_case(host)
        && asked.port_u16().unwrap_or(own) == port.unwrap_or(own)
}

/// Where the client is sent.
struct Place<'a> {
    scheme: Scheme,
    host: &'a str,
    port: Option<u16>,
    path: &'a str,
}

impl Place<'_> {
    /// The URL, with the query of the request.
    fn url(&self, uri: &Uri) -> String {
        let Self { scheme, host, port, path } = self;
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        // `OPTIONS *` has no path.
        let path = if path.starts_with('/') { path } else { "/" };
        format!("{}://{host}{port}{path}{query}", scheme.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a request: `301 https://…`, `400 reason`, or `passes`.
    fn outcome(settings: &str, scheme: Scheme, request: http::request::Builder) -> String {
        let plugin = toml::from_str::<Settings>(settings).unwrap().build().unwrap();
        let mut exchange = Exchange::example(request);
        exchange.scheme = scheme;
        match plugin.request(&mut exchange).now().unwrap() {
            Flow::Continue => "passes".to_owned(),
            Flow::Respond(response) => {
                let location = response.headers()["location"].to_str().unwrap();
                format!("{} {location}", response.status().as_u16())
            }
            Flow::Refuse(refusal) => format!("{} {}", refusal.status.as_u16(), refusal.reason),
        }
    }

    fn get(host: &str, path: &str) -> http::request::Builder {
        http::Request::get(path).header("host", host)
    }

    #[test]
    fn http_goes_to_https_once() {
        let cases = [
            ("https = true", "a.example", "/x?y=1", "301 https://a.example/x?y=1"),
            ("https = true", "a.example:8080", "/", "301 https://a.example/"),
            ("https = true", "[::1]:8080", "/", "301 https://[::1]/"),
            (
                "https = true\nhttps-port = 8443",
                "a.example:8080",
                "/",
                "301 https://a.example:8443/",
            ),
            ("https = true\ntemporary = true", "a.example", "/", "302 https://a.example/"),
            (
                "https = true",
                "a.example",
                "//evil.example/",
                "301 https://a.example//evil.example/",
            ),
            ("https = true", "me@evil.example", "/", "400 host-missing"),
            ("https = true", "", "/", "400 host-missing"),
        ];
        for (settings, host, path, expected) in cases {
            assert_eq!(
                outcome(settings, Scheme::Http, get(host, path)),
                expected,
                "{settings} {host}{path}"
            );
            assert_eq!(
                outcome(settings, Scheme::Https, get(host, path)),
                "passes",
                "{settings} {host}{path}"
            );
        }
    }

    #[test]
    fn another_host_goes_to_the_main_one() {
        for (settings, scheme, host, expected) in [
            ("host = 'www.example'", Scheme::Http, "example", "301 http://www.example/a?b"),
            (
                "host = 'www.example'",
                Scheme::Https,
                "example:8443",
                "301 https://www.example:8443/a?b",
            ),
            ("host = 'www.example'", Scheme::Http, "WWW.Example", "passes"),
            ("host = 'www.example'", Scheme::Http, "www.example:8080", "passes"),
            ("host = 'www.example'", Scheme::Http, "", "301 http://www.example/a?b"),
            (
                "host = 'www.example:81'",
                Scheme::Http,
                "www.example:80",
                "301 http://www.example:81/a?b",
            ),
            ("host = 'www.example:443'", Scheme::Https, "www.example", "passes"),
            (
                "host = 'www.example'\nhttps = true",
                Scheme::Http,
                "x:80",
                "301 https://www.example/a?b",
            ),
            ("host = 'www.example'\nhttps = true", Scheme::Https, "www.example", "passes"),
        ] {
            assert_eq!(outcome(settings, scheme, get(host, "/a?b")), expected, "{settings} {host}");
        }
        let http2 = http::Request::get("https://example/a");
        assert_eq!(
            outcome("host = 'www.example'", Scheme::Https, http2),
            "301 https://www.example/a"
        );
    }

    #[test]
    fn slashes_at_the_end_go_or_come() {
        for (rule, path, expected) in [
            ("strip", "/", "passes"),
            ("strip", "//", "passes"),
            ("strip", "/a", "passes"),
            ("strip", "/a/", "301 http://h/a"),
            ("strip", "/a//?q=/", "301 http://h/a?q=/"),
            ("strip", "//evil.example/", "301 http://h//evil.example"),
            ("add", "/", "passes"),
            ("add", "/a/", "passes"),
            ("add", "/a?b", "301 http://h/a/?b"),
            ("add", "/a/style.css", "passes"),
            ("add", "/a.b/c", "301 http://h/a.b/c/"),
        ] {
            let settings = format!("trailing-slash = '{rule}'");
            assert_eq!(outcome(&settings, Scheme::Http, get("h", path)), expected, "{rule} {path}");
        }
        let no_host = http::Request::get("//evil.example/");
        assert_eq!(outcome("trailing-slash = 'strip'", Scheme::Http, no_host), "passes");
    }

    #[test]
    fn methods_that_carry_bodies_keep_them() {
        for (method, status) in
            [("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308), ("OPTIONS", 308)]
        {
            let request = get("h", "/").method(method);
            let outcome = outcome("https = true", Scheme::Http, request);
            assert_eq!(outcome, format!("{status} https://h/"), "{method}");
        }
        let temporary =
            outcome("https = true\ntemporary = true", Scheme::Http, get("h", "/").method("POST"));
        assert_eq!(temporary, "307 https://h/");
        let star = outcome("https = true", Scheme::Http, get("h", "*").method("OPTIONS"));
        assert_eq!(star, "308 https://h/");
    }

    #[test]
    fn bad_settings_say_what_would_have_done() {
        for (settings, message) in [
            ("", "give it `https`, `host` or `trailing-slash`"),
            ("https = false", "give it `https`"),
            ("host = 'a'\nhttps-port = 8443", "without `https = true`"),
            ("host = 'https://www.example/'", "is no host; write www.example.com"),
            ("host = 'a@b'", "is no host"),
            ("host = ''", "is no host"),
            (
                "trailing-slash = 'stripped'",
                "unknown variant `stripped`, expected `strip` or `add`",
            ),
        ] {
            let error = toml::from_str::<Settings>(settings).unwrap_err().to_string();
            assert!(error.contains(message), "{settings}: {error}");
        }
    }
}
