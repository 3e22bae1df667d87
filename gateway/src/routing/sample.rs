//! Routes and requests for tests, written in one line each.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::router::{Asked, Found, Router};
use crate::config::{
    Action, Criticality, Forwarded, Guards, HostPattern, PathPattern, Place, Problem, Route,
    Sources, When,
};

/// A route from `METHODS HOSTS PATH`, methods and hosts with commas between them or `-` for any. It stands at its own
/// line of the sources.
pub(super) fn route(line: &str) -> Route {
    let parts: Vec<_> = line.split_whitespace().collect();
    let [methods, hosts, path] = parts.as_slice() else { panic!("not a route: {line}") };
    let list = |text: &str| -> Vec<String> {
        text.split(',').filter(|item| *item != "-").map(str::to_owned).collect()
    };
    let host = |text: String| match text.strip_prefix('*') {
        Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
        None => HostPattern::Exact(text),
    };
    Route {
        place: Place::default(),
        name: line.to_owned(),
        hosts: list(hosts).into_iter().map(host).collect(),
        path: pattern(path),
        methods: list(methods).iter().map(|method| method.parse().unwrap()).collect(),
        when: None,
        priority: 0,
        plugins: Vec::new(),
        action: Action::Respond {
            status: StatusCode::OK,
            headers: Vec::new(),
            body: String::new(),
        },
        timeout: None,
        body_bytes: None,
        encoded_slashes: false,
        server_timing: false,
        proxy_status: false,
        forwarded: Forwarded { x_forwarded: true, rfc7239: false },
        criticality: Criticality::Normal,
        guards: Guards::default(),
    }
}

/// The same with a condition and a priority.
pub(super) fn conditional(line: &str, when: &str, priority: i32) -> Route {
    let when = Some(When { place: Place::default(), text: when.to_owned() });
    Route { when, priority, ..route(line) }
}

/// A path pattern.
pub(super) fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"))
}

/// Builds a router of routes that stand in a file, one to a line.
pub(super) fn build(mut routes: Vec<Route>) -> Result<(Router, Vec<Route>), Vec<Problem>> {
    let mut sources = Sources::default();
    let text: String = routes.iter().map(|route| format!("{}\n", route.name)).collect();
    let mut start = sources.add("routes.toml".as_ref(), &text);
    for route in &mut routes {
        let end = start + route.name.len();
        route.place = Place::new(&(start..end));
        start = end + 1;
    }
    Router::build(&routes, &sources).map(|router| (router, routes))
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) client: IpAddr,
}

impl Request {
    /// A request from `METHOD HOST PATH`, with a query if the path has one.
    pub(super) fn new(line: &str) -> Self {
        let parts: Vec<_> = line.split_whitespace().collect();
        let [method, host, path] = parts.as_slice() else { panic!("not a request: {line}") };
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (*path, None),
        };
        Self {
            method: method.parse().unwrap(),
            host: (*host).to_owned(),
            path: path.to_owned(),
            query,
            headers: HeaderMap::new(),
            client: IpAddr::from([192, 0, 2, 1]),
        }
    }

    /// The same with one more header.
    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// What routing looks at.
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            method: &self.method,
            scheme: "http",
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            client: self.client,
        }
    }
}

/// What a router found, in words: the route with its parameters, or the refusal.
pub(super) fn found(router: &Router, routes: &[Route], request: &Request) -> String {
    match router.find(&request.asked()) {
        Found::Route { index, parameters } => {
            let values = (0..parameters.len()).map(|index| parameters.get(&request.path, index));
            let words = std::iter::once(&*routes[index].name).chain(values);
            words.collect::<Vec<_>>().join(" | ")
        }
        Found::MethodNotAllowed { allow } => format!("405 {}", allow.to_str().unwrap()),
        Found::NotFound => "404".to_owned(),
    }
}
