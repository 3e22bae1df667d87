//! HAProxy: the route table as maps, its way of choosing among many.

use std::fmt::Write as _;

use super::super::scenarios::{Edge, Job, Route, Task, Wire};
use super::super::token;
use super::Places;

pub(super) fn config(job: &Job, places: &Places<'_>) -> String {
    // HAProxy has no buffered file. A ring in memory is its cheapest log: a line is formatted and copied, no system call.
    let (ring, log, stats) = match job.edge {
        Edge::Full => (RING, LOG, stats(places)),
        Edge::Bare => ("", "", String::new()),
    };
    let front = [
        format!("    {}\n", bind(job, places)),
        log.to_owned(),
        task_front(&job.task),
        header_rules(job.header_rules),
        routing(job, places),
    ]
    .concat();
    let idle = if job.idle_connections > 0 { "600s" } else { "60s" };
    format!(
        "global
    nbthread 1
    # As many as the system allows are enough: it would count two files for each idle connection.
    no strict-limits
    maxconn {connections}
    # No test keys of TLS at the start, and no warning about their length.
    tune.ssl.default-dh-param 2048
{buffers}
{ring}{cache}{clients}defaults
    mode http
    timeout connect 5s
    timeout client {idle}
    timeout server 60s
    timeout tunnel 60s
    timeout http-keep-alive {idle}
    http-reuse always

frontend edge
{front}
backend origin
    server origin 127.0.0.1:{origin_port} pool-max-conn 64{protocol}
{stats}",
        connections = job.idle_connections + 4096,
        // Its 16 KiB would take a body in many pieces.
        buffers = if matches!(job.task, Task::Down(_)) { "    tune.bufsize 65536\n" } else { "" },
        cache = if job.task == Task::Cache { CACHE } else { "" },
        clients = if job.task == Task::Limit { CLIENTS } else { "" },
        origin_port = places.origin_port,
        protocol = if job.wire == Wire::Http2Clear { " proto h2" } else { "" },
    )
}

const RING: &str = "ring requests
    format raw
    maxlen 1200
    size 1048576

";

const CACHE: &str = "cache answers
    total-max-size 64
    max-object-size 1000000
    max-age 600

";

const CLIENTS: &str = "backend clients
    stick-table type ip size 100k expire 1m store http_req_rate(1s)

";

fn bind(job: &Job, places: &Places<'_>) -> String {
    let with = match job.wire {
        Wire::Http1 | Wire::WebSocket => String::new(),
        Wire::Http2Clear => " proto h2".to_owned(),
        Wire::Tls | Wire::TlsNew | Wire::TlsResumed => {
            format!(" ssl crt {} alpn http/1.1", places.certificates.both.display())
        }
        Wire::Http2 => {
            format!(" ssl crt {} alpn h2,http/1.1", places.certificates.both.display())
        }
    };
    format!("bind 127.0.0.1:{} backlog 4096{with}", places.port)
}

const LOG: &str = r#"    log ring@requests format raw local0
    log-format '{"time":"%[date,utime(%Y-%m-%dT%H:%M:%S)]Z","client":"%[src]","method":"%HM","host":"%[capture.req.hdr(0),json(utf8s)]","path":"%[capture.req.uri,json(utf8s)]","protocol":"%HV","status":%ST,"bytes_in":%U,"bytes_out":%B,"duration_ms":%Ta,"upstream":"%b/%s","upstream_duration_ms":%Tr,"termination":"%tsc","user_agent":"%[capture.req.hdr(1),json(utf8s)]","referer":"%[capture.req.hdr(2),json(utf8s)]"}'
    http-request capture req.hdr(host) len 128
    http-request capture req.hdr(user-agent) len 128
    http-request capture req.hdr(referer) len 128
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
    option forwardfor
"#;

fn task_front(task: &Task) -> String {
    match task {
        Task::Cache => {
            "    http-request cache-use answers\n    http-response cache-store answers\n".to_owned()
        }
        Task::Limit => "    http-request track-sc0 src table clients\n    \
             http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }\n"
            .to_owned(),
        Task::Jwt => format!(
            "    http-request set-var(txn.bearer) http_auth_bearer\n    \
             http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_header_query('$.alg') -m str HS256 }}\n    \
             http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(\"HS256\",\"{}\") 1 }}\n    \
             http-request set-var(txn.now) date()\n    \
             http-request set-var(txn.expiry) var(txn.bearer),jwt_payload_query('$.exp','int')\n    \
             http-request deny deny_status 401 unless {{ var(txn.expiry),sub(txn.now) -m int gt 0 }}\n",
            token::KEY
        ),
        Task::Small
        | Task::Down(_)
        | Task::Up(_)
        | Task::Grpc
        | Task::WebSocket
        | Task::Aggregate => String::new(),
    }
}

fn header_rules(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        write!(
            text,
            "    http-request set-header X-Rule-{number} on\n    http-response set-header X-Done-{number} on\n"
        )
        .expect("a String takes everything");
    }
    text
}

fn routing(job: &Job, places: &Places<'_>) -> String {
    if job.routes == 1 {
        return "    default_backend origin\n".to_owned();
    }
    let folder = places.folder.display();
    format!(
        "    use_backend %[path,map_str({folder}/exact.map)] if {{ path,map_str({folder}/exact.map) -m found }}
    use_backend %[path,map_beg({folder}/prefix.map)] if {{ path,map_beg({folder}/prefix.map) -m found }}
"
    )
}

fn stats(places: &Places<'_>) -> String {
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
pub(super) fn exact_map(job: &Job) -> String {
    map(job, |route| match route {
        Route::Exact(path) => Some(path),
        Route::Prefix(_) => None,
    })
}

/// Beginnings of paths.
pub(super) fn prefix_map(job: &Job) -> String {
    map(job, |route| match route {
        Route::Prefix(path) => Some(path),
        Route::Exact(_) => None,
    })
}

fn map(job: &Job, chosen: fn(Route) -> Option<String>) -> String {
    job.routes().into_iter().filter_map(chosen).map(|path| format!("{path} origin\n")).collect()
}
