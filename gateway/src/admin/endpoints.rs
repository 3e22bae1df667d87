//! The list of everything the admin endpoint answers.

use http::Method;

/// One method on one path.
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
}

use Access::{Anyone, WithToken};

/// All of them; `openapi.json` says the same in more words, and a test compares.
pub(super) static ENDPOINTS: [Endpoint; 12] = [
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
];

const fn get(path: &'static str, access: Access, action: Action) -> Endpoint {
    Endpoint { method: Method::GET, path, access, action }
}

const fn post(path: &'static str, action: Action) -> Endpoint {
    Endpoint { method: Method::POST, path, access: WithToken, action }
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
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.path == path) {
        if endpoint.method == *method {
            return Found::Endpoint(endpoint);
        }
        allow = Some(if endpoint.method == Method::GET { "GET, HEAD" } else { "POST" });
    }
    allow.map_or(Found::Nothing, Found::OtherMethod)
}
