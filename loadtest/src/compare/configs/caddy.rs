//! Caddy: one thread (`GOMAXPROCS=1`), as a Caddyfile.

use std::fmt::Write as _;

use super::super::scenarios::{Edge, Job, Route, Wire};
use super::Places;

pub(super) fn config(job: &Job, places: &Places<'_>) -> String {
    let Places { folder, port, admin_port: _, origin_port: _, certificates } = places;
    let protocols = match job.wire {
        Wire::Http1 | Wire::Tls | Wire::TlsNew | Wire::TlsResumed | Wire::WebSocket => "h1",
        Wire::Http2 => "h1 h2",
        Wire::Http2Clear => "h1 h2c",
    };
    let scheme = if job.wire.is_tls() { "https" } else { "http" };
    let tls = match job.wire.is_tls() {
        true => {
            format!("\ttls {} {}\n", certificates.certificate.display(), certificates.key.display())
        }
        false => String::new(),
    };
    let (log, metrics) = match job.edge {
        Edge::Full => (
            format!(
                "\tlog {{\n\t\toutput file {}/access.log {{\n\t\t\troll_disabled\n\t\t}}\n\t\tformat json\n\t}}\n",
                folder.display()
            ),
            "\tmetrics\n",
        ),
        Edge::Bare => (String::new(), ""),
    };
    format!(
        "{{
\tadmin off
\tauto_https off
\tpersist_config off
\tstorage file_system {folder}/storage
{metrics}\tservers {{
\t\tprotocols {protocols}
\t}}
}}

{scheme}://localhost:{port}, {scheme}://127.0.0.1:{port} {{
\tbind 127.0.0.1
{tls}{log}{rules}{routes}}}
",
        folder = folder.display(),
        rules = header_rules(job.header_rules),
        routes = routes(job, places),
    )
}

fn header_rules(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        write!(text, "\trequest_header X-Rule-{number} on\n\theader X-Done-{number} on\n")
            .expect("a String takes everything");
    }
    text
}

fn routes(job: &Job, places: &Places<'_>) -> String {
    let scheme = if job.wire == Wire::Http2Clear { "h2c" } else { "http" };
    let real = match job.edge {
        Edge::Full => " {\n\t\theader_up X-Real-IP {remote_host}\n\t}",
        Edge::Bare => "",
    };
    let mut text = String::new();
    for route in job.routes() {
        let matched = match (route, job.routes) {
            (_, 1) => String::new(),
            (Route::Exact(path), _) => format!("{path} "),
            (Route::Prefix(path), _) => format!("{path}* "),
        };
        writeln!(
            text,
            "\treverse_proxy {matched}{scheme}://127.0.0.1:{}{real}",
            places.origin_port
        )
        .expect("a String takes everything");
    }
    text
}
