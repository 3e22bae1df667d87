//! HAProxy: the route table as maps, its way of choosing among many.

use super::{Places, Route, Scenario, routes};

pub(super) fn config(scenario: Scenario, places: &Places<'_>) -> String {
    let Places { folder: _, port, admin_port: _, origin_port } = places;
    let front = match scenario {
        Scenario::Plain => plain_front(places),
        Scenario::Bare => {
            format!("    bind 127.0.0.1:{port} backlog 4096\n    default_backend origin\n")
        }
    };
    // HAProxy has no buffered file. A ring in memory is its cheapest log: a line is formatted and copied, no system call.
    let (ring, stats) = match scenario {
        Scenario::Plain => (RING, plain_stats(places)),
        Scenario::Bare => ("", String::new()),
    };
    format!(
        "global
    nbthread 1
    maxconn 4096

{ring}defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
    http-reuse always

frontend edge
{front}
backend origin
    server origin 127.0.0.1:{origin_port} pool-max-conn 64
{stats}"
    )
}

const RING: &str = "ring requests
    format raw
    maxlen 1200
    size 1048576

";

fn plain_front(places: &Places<'_>) -> String {
    let folder = places.folder.display();
    let port = places.port;
    format!(
        r#"    bind 127.0.0.1:{port} backlog 4096
    log ring@requests format raw local0
    log-format '{{"time":"%[date,utime(%Y-%m-%dT%H:%M:%S)]Z","client":"%[src]","method":"%HM","host":"%[capture.req.hdr(0),json(utf8s)]","path":"%[capture.req.uri,json(utf8s)]","protocol":"%HV","status":%ST,"bytes_in":%U,"bytes_out":%B,"duration_ms":%Ta,"upstream":"%b/%s","upstream_duration_ms":%Tr,"termination":"%tsc","user_agent":"%[capture.req.hdr(1),json(utf8s)]","referer":"%[capture.req.hdr(2),json(utf8s)]"}}'
    http-request capture req.hdr(host) len 128
    http-request capture req.hdr(user-agent) len 128
    http-request capture req.hdr(referer) len 128
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Proto http
    option forwardfor
    use_backend %[path,map_str({folder}/exact.map)] if {{ path,map_str({folder}/exact.map) -m found }}
    use_backend %[path,map_beg({folder}/prefix.map)] if {{ path,map_beg({folder}/prefix.map) -m found }}
"#
    )
}

fn plain_stats(places: &Places<'_>) -> String {
    format!(
        "
frontend counters
    bind 127.0.0.1:{}
    stats enable
    stats uri /status
",
        places.admin_port
    )
}

/// Paths that are a route by themselves.
pub(super) fn exact_map() -> String {
    map(|route| match route {
        Route::Exact(path) => Some(path),
        Route::Prefix(_) => None,
    })
}

/// Beginnings of paths.
pub(super) fn prefix_map() -> String {
    map(|route| match route {
        Route::Prefix(path) => Some(path),
        Route::Exact(_) => None,
    })
}

fn map(chosen: fn(Route) -> Option<String>) -> String {
    routes().filter_map(chosen).map(|path| format!("{path} origin\n")).collect()
}
