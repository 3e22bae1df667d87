//! What the gateway does with a request, worked out without a connection: routed and passed through the route's
//! plugins, but not sent. For `gateway explain` and for the tests inside a config.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request};
use plugins::exchange::Scheme;
use plugins::{Client, Exchange, Flow};

use crate::config::{Action, Config, Route, UpstreamId};
use crate::routing::parameters::{expand, expand_location};
use crate::routing::path::{PathRefusal, normalise};
use crate::routing::{Asked, Found, Parameters, Router};

/// How long one plugin may take before it counts as passed.
const PLUGIN_PATIENCE: Duration = Duration::from_secs(5);

/// A request to decide on.
#[derive(Clone, Debug)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// The whole URL, with scheme and host.
    pub uri: Uri,
    /// The headers; `Host` comes from the URL unless it is here.
    pub headers: HeaderMap,
    /// The client's address.
    pub client: IpAddr,
}

/// What the gateway does with a request.
#[derive(Debug)]
pub struct Decision {
    /// The host that was routed by.
    pub host: String,
    /// The path in its one form; `None` if it was refused.
    pub path: Option<String>,
    /// The index of the route that takes it, with the parameters of its path.
    pub route: Option<(usize, Parameters)>,
    /// The plugins that saw it, by their place among the route's, with what each did.
    pub plugins: Vec<(usize, Passed)>,
    /// The request as the plugins have left it.
    pub request: request::Parts,
    /// How it ends.
    pub outcome: Outcome,
}

/// What a plugin did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It let it pass.
    Continue,
    /// It has nothing to do on the way down.
    NotAsked,
    /// It took too long, such as for something it asks over the network.
    Waiting,
    /// It cannot be set up.
    Unusable(String),
    /// It answered or refused; the status, and the reason of a refusal.
    Answered(StatusCode, Option<String>),
}

/// How a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its path is refused.
    PathRefused(PathRefusal),
    /// No route knows it.
    NotFound,
    /// Routes know the path, but not with this method.
    MethodNotAllowed(HeaderValue),
    /// A plugin answers.
    Plugin(StatusCode),
    /// An upstream sees it.
    Proxy {
        /// Which.
        upstream: UpstreamId,
        /// Path and query as the servers see them.
        target: String,
    },
    /// A redirect.
    Redirect {
        /// Its status.
        status: StatusCode,
        /// Its `Location`.
        location: String,
    },
    /// A fixed response.
    Respond(StatusCode),
}

impl Outcome {
    /// The status with which the gateway itself answers; `None` if an upstream does.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::PathRefused(_) => Some(StatusCode::BAD_REQUEST),
            Self::NotFound => Some(StatusCode::NOT_FOUND),
            Self::MethodNotAllowed(_) => Some(StatusCode::METHOD_NOT_ALLOWED),
            Self::Plugin(status) | Self::Redirect { status, .. } | Self::Respond(status) => {
                Some(*status)
            }
            Self::Proxy { .. } => None,
        }
    }
}

/// Decides on requests, in order. The plugins run on a thread of their own, which ends before this returns: it may be
/// called within a runtime and before there is one.
pub fn decide(config: &Config, router: &Router, questions: &[Question]) -> Vec<Decision> {
    let all = || -> Vec<Decision> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return Vec::new() };
        let decide = |question| runtime.block_on(decide_one(config, router, question));
        questions.iter().map(decide).collect()
    };
    std::thread::scope(|scope| scope.spawn(all).join().unwrap_or_default())
}

async fn decide_one(config: &Config, router: &Router, question: &Question) -> Decision {
    let mut decision = Decision {
        host: host(question),
        path: None,
        route: None,
        plugins: Vec::new(),
        request: parts(question),
        outcome: Outcome::NotFound,
    };
    let normalised = match normalise(question.uri.path()) {
        Ok(normalised) => normalised,
        Err(refusal) => return Decision { outcome: Outcome::PathRefused(refusal), ..decision },
    };
    let path = normalised.path.into_owned();
    decision.path = Some(path.clone());
    let (index, parameters) = match router.find(&asked(question, &decision.host, &path)) {
        Found::Route { index, parameters } => (index, parameters),
        Found::MethodNotAllowed { allow } => {
            return Decision { outcome: Outcome::MethodNotAllowed(allow), ..decision };
        }
        Found::NotFound => return decision,
    };
    let route = &config.routes[index];
    decision.route = Some((index, parameters));
    if normalised.encoded_slashes && !route.encoded_slashes {
        return Decision { outcome: Outcome::PathRefused(PathRefusal::EncodedSlash), ..decision };
    }
    (decision.plugins, decision.request) = pass(route, question).await;
    decision.outcome = match decision.plugins.last() {
        Some((_, Passed::Answered(status, _))) => Outcome::Plugin(*status),
        Some(_) | None => act(route, question, &parameters, &path),
    };
    decision
}

/// What routing looks at.
pub(super) fn asked<'a>(question: &'a Question, host: &'a str, path: &'a str) -> Asked<'a> {
    Asked {
        method: &question.method,
        scheme: scheme(question).as_str(),
        host,
        path,
        query: question.uri.query(),
        headers: &question.headers,
        client: question.client,
    }
}

/// The host without its port, in lower case.
fn host(question: &Question) -> String {
    let header = question.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let header = header.and_then(|host| host.parse::<Authority>().ok());
    let host = match &header {
        Some(authority) => authority.host(),
        None => question.uri.host().unwrap_or_default(),
    };
    host.to_ascii_lowercase()
}

fn scheme(question: &Question) -> Scheme {
    match question.uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some(_) | None => Scheme::Http,
    }
}

/// Passes a request through a route's plugins until one answers.
async fn pass(route: &Route, question: &Question) -> (Vec<(usize, Passed)>, request::Parts) {
    let client = Client::at(question.client);
    let name = route.name.as_str();
    let mut exchange = Exchange::new(parts(question), client, scheme(question), name);
    let mut passed = Vec::new();
    for (index, used) in route.plugins.iter().enumerate() {
        let plugin = match used.settings.build() {
            Ok(plugin) => plugin,
            Err(error) => {
                passed.push((index, Passed::Unusable(error.to_string())));
                continue;
            }
        };
        if !plugin.hooks().request {
            passed.push((index, Passed::NotAsked));
            continue;
        }
        // The request that is decided on has no body.
        exchange.body = Some(Bytes::new());
        let step = tokio::time::timeout(PLUGIN_PATIENCE, plugin.request(&mut exchange).done());
        let did = match step.await {
            Err(_) => Passed::Waiting,
            Ok(Flow::Continue) => Passed::Continue,
            Ok(Flow::Respond(response)) => Passed::Answered(response.status(), None),
            Ok(Flow::Refuse(refusal)) => {
                let reason = format!("{}: {}", refusal.reason, refusal.detail);
                Passed::Answered(refusal.status, Some(reason))
            }
        };
        let answered = matches!(did, Passed::Answered(..));
        passed.push((index, did));
        if answered {
            break;
        }
    }
    (passed, exchange.request)
}

/// The request as a plugin sees it that came over HTTP/1.1.
fn parts(question: &Question) -> request::Parts {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = question.method.clone();
    parts.uri = question.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    parts.headers = question.headers.clone();
    let authority = question.uri.authority().map(Authority::as_str).unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(authority) {
        parts.headers.entry(header::HOST).or_insert(host);
    }
    parts
}

fn act(route: &Route, question: &Question, parameters: &Parameters, path: &str) -> Outcome {
    let query = question.uri.query();
    match &route.action {
        Action::Proxy { upstream, rewrite } => {
            let mut target = String::new();
            match rewrite {
                Some(rewrite) => expand(rewrite, parameters, path, &mut target),
                None => target.push_str(path),
            }
            append_query(&mut target, query);
            Outcome::Proxy { upstream: *upstream, target }
        }
        Action::Redirect { status, location } => {
            let template = location;
            let mut location = String::new();
            expand_location(template, parameters, path, &mut location);
            if !location.contains('?') {
                append_query(&mut location, query);
            }
            Outcome::Redirect { status: *status, location }
        }
        Action::Respond { status, .. } => Outcome::Respond(*status),
    }
}

fn append_query(text: &mut String, query: Option<&str>) {
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
}
