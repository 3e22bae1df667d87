//! The gateway: forwarded headers and metrics are always on, the access log is asked for.

use std::fmt::Write as _;

use super::super::scenarios::{Edge, Job, Route, Task, Wire};
use super::Places;

pub(super) fn config(job: &Job, places: &Places<'_>) -> String {
    let Places { folder, port, admin_port, origin_port, certificates } = places;
    let folder = folder.display();
    let tls = match job.wire.is_tls() {
        true => format!(
            "tls = {{ certificates = [{{ cert = \"{}\", key = \"{}\" }}] }}\n",
            certificates.certificate.display(),
            certificates.key.display()
        ),
        false => String::new(),
    };
    let protocol = match job.wire {
        Wire::Http2Clear => "protocol = \"http2\"\n",
        Wire::Http1
        | Wire::Tls
        | Wire::TlsNew
        | Wire::TlsResumed
        | Wire::Http2
        | Wire::WebSocket => "",
    };
    let log = match job.edge {
        Edge::Full => format!("[access-log]\nfile = \"{folder}/access.log\"\n\n"),
        Edge::Bare => String::new(),
    };
    let mut text = format!(
        r#"[[listeners]]
address = "127.0.0.1:{port}"
{tls}
[server]
threads = 1

[admin]
address = "127.0.0.1:{admin_port}"

{limits}{log}{rules}[upstreams.origin]
servers = ["127.0.0.1:{origin_port}"]
{protocol}
"#,
        limits = limits(job),
        rules = header_rules(job.header_rules),
    );
    for route in job.routes() {
        add_route(&mut text, &route);
    }
    text
}

/// Wide enough that they are not what is measured: a connection never has to be made anew, as with the others.
fn limits(job: &Job) -> String {
    let mut text = "[limits]\nrequests-per-connection = 1000000000\n".to_owned();
    if matches!(job.task, Task::Up(_)) {
        text.push_str("body = \"none\"\n");
    }
    if job.idle_connections > 0 {
        text.push_str("keep-alive = \"10m\"\n");
    }
    text.push('\n');
    text
}

fn header_rules(count: usize) -> String {
    if count == 0 {
        return String::new();
    }
    let mut text = "[defaults]\nplugins = [\n".to_owned();
    for number in 0..count {
        writeln!(
            text,
            "  {{ headers = {{ request = {{ set = {{ x-rule-{number} = \"on\" }} }}, \
             response = {{ set = {{ x-done-{number} = \"on\" }} }} }} }},"
        )
        .expect("a String takes everything");
    }
    text.push_str("]\n\n");
    text
}

fn add_route(text: &mut String, route: &Route) {
    let path = match route {
        Route::Exact(path) => path.clone(),
        Route::Prefix(path) => format!("{path}{{*rest}}"),
    };
    text.push_str(&format!("[[routes]]\npath = \"{path}\"\nupstream = \"origin\"\n\n"));
}
