//! What the API shows: the running gateway and its configuration as JSON. Times are in seconds.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::faults::{self, SwitchView};
use super::redact::hide_secrets;
use super::upstreams::{UpstreamStatus, statuses};
use super::{Control, Reloaded};
use crate::config::{
    self, Action, Config, HostPattern, Limits, ListenAddress, Piece, Problems, Segment, Template,
};

/// `GET /readyz` when traffic is taken.
#[derive(Serialize)]
pub(super) struct Ready {
    pub(super) ready: bool,
}

/// `GET /readyz` when it is not.
#[derive(Serialize)]
pub(super) struct NotReady {
    pub(super) ready: bool,
    pub(super) reasons: Vec<String>,
}

/// `POST /api/v1/config/check` when all is well.
#[derive(Serialize)]
pub(super) struct Checked {
    pub(super) ok: bool,
}

/// `POST /api/v1/config/reload` when all is well.
#[derive(Serialize)]
pub(super) struct ReloadedView {
    generation: u64,
    not_applied: Vec<String>,
}

/// One problem of a configuration.
#[derive(Serialize)]
pub(super) struct ProblemView {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// `GET /api/v1/status`.
#[derive(Serialize)]
pub(super) struct StatusView {
    version: &'static str,
    pid: u32,
    ready: bool,
    reasons: Vec<String>,
    started: String,
    uptime_seconds: f64,
    threads: usize,
    listeners: Vec<ListenerView>,
    generation: u64,
    loaded: String,
    last_refusal: Option<RefusalView>,
    faults: SwitchView,
    upstreams: Vec<UpstreamStatus>,
}

/// One listener.
#[derive(Serialize)]
struct ListenerView {
    address: String,
    tls: bool,
    proxy_protocol: bool,
}

/// A configuration that was refused.
#[derive(Serialize)]
struct RefusalView {
    at: String,
    problems: Vec<ProblemView>,
}

/// `GET /api/v1/config`.
#[derive(Serialize)]
pub(super) struct ConfigView {
    generation: u64,
    loaded: String,
    last_refusal: Option<RefusalView>,
    files: Vec<FileView>,
}

/// A file of the configuration, secrets hidden.
#[derive(Serialize)]
struct FileView {
    path: String,
    text: String,
}

/// `GET /api/v1/routes`.
#[derive(Serialize)]
pub(super) struct RoutesView {
    routes: Vec<RouteView>,
}

/// One route.
#[derive(Serialize)]
struct RouteView {
    name: String,
    place: String,
    hosts: Vec<String>,
    path: String,
    methods: Vec<String>,
    when: Option<String>,
    priority: i32,
    plugins: Vec<&'static str>,
    action: ActionView,
    timeout_seconds: Option<f64>,
    body_bytes_max: Option<u64>,
    encoded_slashes: bool,
    server_timing: bool,
    proxy_status: bool,
}

/// What a route does.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ActionView {
    Proxy { upstream: String, rewrite: Option<String> },
    Redirect { status: u16, location: String },
    Respond { status: u16, body_bytes: usize },
}

/// `GET /api/v1/limits`.
#[derive(Serialize)]
pub(super) struct LimitsView {
    header_timeout_seconds: f64,
    header_bytes_max: usize,
    header_count_max: usize,
    body_bytes_max: Option<u64>,
    connections_max: usize,
    connections_per_client_max: usize,
    requests_per_connection_max: u64,
    keep_alive_seconds: f64,
    receive_rate_bytes_per_second: u64,
    receive_grace_seconds: f64,
    http2_streams_max: u32,
    http2_resets_max: usize,
}

impl From<Reloaded> for ReloadedView {
    fn from(Reloaded { generation, not_applied }: Reloaded) -> Self {
        Self { generation, not_applied }
    }
}

/// The state of the process.
pub(super) fn status(control: &dyn Control, started: SystemTime) -> StatusView {
    let loaded = control.loaded();
    let reasons = control.ready().err().unwrap_or_default();
    StatusView {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        ready: reasons.is_empty(),
        reasons,
        started: timestamp(started),
        uptime_seconds: started.elapsed().unwrap_or_default().as_secs_f64(),
        threads: loaded.config.server.threads,
        listeners: loaded.config.listeners.iter().map(listener).collect(),
        generation: loaded.generation,
        loaded: timestamp(loaded.at),
        last_refusal: last_refusal(control),
        faults: faults::switch(),
        upstreams: statuses(control),
    }
}

/// The configuration's texts.
pub(super) fn config(control: &dyn Control) -> ConfigView {
    let loaded = control.loaded();
    let files = loaded.files.iter().map(|file| FileView {
        path: file.path.display().to_string(),
        text: hide_secrets(&file.text),
    });
    ConfigView {
        generation: loaded.generation,
        loaded: timestamp(loaded.at),
        last_refusal: last_refusal(control),
        files: files.collect(),
    }
}

/// All routes.
pub(super) fn routes(config: &Config) -> RoutesView {
    RoutesView { routes: config.routes.iter().map(|of| route(config, of)).collect() }
}

/// What every client is held to.
pub(super) fn limits(limits: &Limits) -> LimitsView {
    LimitsView {
        header_timeout_seconds: limits.header_timeout.as_secs_f64(),
        header_bytes_max: limits.header_bytes,
        header_count_max: limits.header_count,
        body_bytes_max: limits.body_bytes,
        connections_max: limits.connections,
        connections_per_client_max: limits.connections_per_client,
        requests_per_connection_max: limits.requests_per_connection,
        keep_alive_seconds: limits.keep_alive.as_secs_f64(),
        receive_rate_bytes_per_second: limits.receive_rate,
        receive_grace_seconds: limits.receive_grace.as_secs_f64(),
        http2_streams_max: limits.http2_streams,
        http2_resets_max: limits.http2_resets,
    }
}

/// What is wrong with a configuration, one by one.
pub(super) fn problem_views(problems: &Problems) -> Vec<ProblemView> {
    let view = |problem: &config::Problem| {
        let position = problem.place.map(|place| problems.sources.at(place));
        ProblemView {
            file: position.as_ref().map(|position| position.path.display().to_string()),
            line: position.as_ref().map(|position| position.line),
            column: position.as_ref().map(|position| position.column),
            what: problem.what.clone(),
            help: problem.help.clone(),
        }
    };
    problems.list.iter().map(view).collect()
}

fn last_refusal(control: &dyn Control) -> Option<RefusalView> {
    let refused: Arc<_> = control.last_refusal()?;
    Some(RefusalView { at: timestamp(refused.at), problems: problem_views(&refused.problems) })
}

fn listener(listener: &config::Listener) -> ListenerView {
    let address = match &listener.address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    };
    ListenerView { address, tls: listener.tls.is_some(), proxy_protocol: listener.proxy_protocol }
}

fn route(config: &Config, route: &config::Route) -> RouteView {
    let names = parameters(&route.path.segments);
    let action = match &route.action {
        Action::Proxy { upstream, rewrite } => ActionView::Proxy {
            upstream: config.upstreams[upstream.0].name.clone(),
            rewrite: rewrite.as_ref().map(|rewrite| template(rewrite, &names)),
        },
        Action::Redirect { status, location } => {
            ActionView::Redirect { status: status.as_u16(), location: template(location, &names) }
        }
        Action::Respond { status, headers: _, body } => {
            ActionView::Respond { status: status.as_u16(), body_bytes: body.len() }
        }
    };
    RouteView {
        name: route.name.clone(),
        place: config.sources.at(route.place).to_string(),
        hosts: route.hosts.iter().map(host).collect(),
        path: route.path.text.clone(),
        methods: route.methods.iter().map(ToString::to_string).collect(),
        when: route.when.as_ref().map(|when| when.text.clone()),
        priority: route.priority,
        plugins: route.plugins.iter().map(|plugin| plugin.settings.name()).collect(),
        action,
        timeout_seconds: route.timeout.as_ref().map(Duration::as_secs_f64),
        body_bytes_max: route.body_bytes,
        encoded_slashes: route.encoded_slashes,
        server_timing: route.server_timing,
        proxy_status: route.proxy_status,
    }
}

fn host(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Wildcard(suffix) => format!("*{suffix}"),
    }
}

/// The names of a pattern's parameters, from the left.
fn parameters<'a>(segments: &'a [Segment]) -> Vec<&'a str> {
    let name = |segment: &'a Segment| match segment {
        Segment::Exact(_) => None,
        Segment::Parameter { prefix: _, name, suffix: _ } | Segment::CatchAll(name) => {
            Some(name.as_str())
        }
    };
    segments.iter().filter_map(name).collect()
}

/// A template as it was written.
fn template(template: &Template, names: &[&str]) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Parameter(index) => format!("{{{}}}", names[*index]),
    };
    template.pieces.iter().map(piece).collect()
}

/// RFC 3339, to the second.
pub(super) fn timestamp(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
