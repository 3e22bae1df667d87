//! The list of everything the admin endpoint answers.

use http::Method;

use crate::upstream::view::Order;

/// One method on one path. A segment of the path in braces stands for any text.
pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) action: Action,
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Anyone,
    WithToken,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Page,
    Alive,
    Ready,
    Metrics,
    OpenApi,
    Status,
    Routes,
    Upstreams,
    Limits,
    Config,
    Check,
    Reload,
    Explain,
    Faults,
    EnableFaults,
    DisableFaults,
    Order(Order),
}

use Access::{Anyone, WithToken};

/// All of them; `openapi.json` says the same in more words, and a test compares.
pub(super) static ENDPOINTS: [Endpoint; 19] = [
    get("/", Anyone, Action::Page),
    get("/healthz", Anyone, Action::Alive),
    get("/readyz", Anyone, Action::Ready),
    get("/metrics", Anyone, Action::Metrics),
    get("/api/v1/openapi.json", Anyone, Action::OpenApi),
    get("/api/v1/status", WithToken, Action::Status),
    get("/api/v1/routes", WithToken, Action::Routes),
    get("/api/v1/upstreams", WithToken, Action::Upstreams),
    get("/api/v1/limits", WithToken, Action::Limits),
    get("/api/v1/config", WithToken, Action::Config),
    post("/api/v1/config/check", Action::Check),
    post("/api/v1/config/reload", Action::Reload),
    post("/api/v1/explain", Action::Explain),
    get("/api/v1/faults", WithToken, Action::Faults),
    post("/api/v1/faults/enable", Action::EnableFaults),
    post("/api/v1/faults/disable", Action::DisableFaults),
    post("/api/v1/upstreams/{name}/servers/{address}/drain", Action::Order(Order::Drain)),
    post("/api/v1/upstreams/{name}/servers/{address}/enable", Action::Order(Order::Enable)),
    post("/api/v1/upstreams/{name}/servers/{address}/disable", Action::Order(Order::Disable)),
];

const fn get(path: &'static str, access: Access, action: Action) -> Endpoint {
    Endpoint { method: Method::GET, path, access, action }
}

const fn post(path: &'static str, action: Action) -> Endpoint {
    Endpoint { method: Method::POST, path, access: WithToken, action }
}

impl Endpoint {
    fn is_at(&self, path: &str) -> bool {
        let mut asked = path.split('/');
        let fits = self.path.split('/').all(|segment| match asked.next() {
            Some(asked) if is_open(segment) => !asked.is_empty(),
            asked => asked == Some(segment),
        });
        fits && asked.next().is_none()
    }

    /// What stands in a path for its segments in braces, percent-decoded.
    pub(super) fn parameters(&self, path: &str) -> Vec<String> {
        let pairs = self.path.split('/').zip(path.split('/'));
        pairs.filter(|(segment, _)| is_open(segment)).map(|(_, asked)| decoded(asked)).collect()
    }
}

fn is_open(segment: &str) -> bool {
    segment.starts_with('{')
}

/// Percent-decoded (RFC 3986, section 2.1). What is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let escaped = digit(0).zip(digit(1)).filter(|_| first == b'%');
        match escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What was found for a method and a path.
pub(super) enum Found {
    Endpoint(&'static Endpoint),
    /// The path exists; these are its methods.
    OtherMethod(&'static str),
    Nothing,
}

/// Looks an endpoint up. `HEAD` is answered where `GET` is.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut allow = None;
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.is_at(path)) {
        if endpoint.method == *method {
            return Found::Endpoint(endpoint);
        }
        allow = Some(if endpoint.method == Method::GET { "GET, HEAD" } else { "POST" });
    }
    allow.map_or(Found::Nothing, Found::OtherMethod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_with_what_stands_in_it() {
        let path = |rest: &str| format!("/api/v1/upstreams/{rest}");
        for (rest, expected) in [
            ("users/servers/10.0.0.1:80/drain", Some(["users", "10.0.0.1:80"])),
            ("users/servers/[::1]:80/drain", Some(["users", "[::1]:80"])),
            ("a.b/servers/unix:%2frun%2Fx.sock/drain", Some(["a.b", "unix:/run/x.sock"])),
            ("a/servers/100%/drain", Some(["a", "100%"])),
            ("a/servers/%+1%4/drain", Some(["a", "%+1%4"])),
            ("a/servers//drain", None),
            ("a/servers/b/drain/", None),
            ("a/servers/b", None),
        ] {
            let path = path(rest);
            let found = match find(&Method::POST, &path) {
                Found::Endpoint(endpoint) => Some(endpoint.parameters(&path)),
                Found::OtherMethod(_) | Found::Nothing => None,
            };
            assert_eq!(found, expected.map(|two| two.map(str::to_owned).to_vec()), "{rest}");
        }
    }
}
