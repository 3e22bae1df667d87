//! nginx as a proxy, and nginx as the origin of every comparison.

use std::path::Path;

use super::{Places, Route, Scenario, routes};

/// Master and one worker, as it is used.
pub(super) fn config(scenario: Scenario, places: &Places<'_>) -> String {
    text("daemon off;", scenario, places)
}

/// One process, so that callgrind sees the worker.
pub(super) fn single_process(scenario: Scenario, places: &Places<'_>) -> String {
    text("daemon off;\nmaster_process off;", scenario, places)
}

fn text(process: &str, scenario: Scenario, places: &Places<'_>) -> String {
    let Places { folder, port, admin_port, origin_port } = places;
    let server = match scenario {
        Scenario::Plain => plain_server(places),
        Scenario::Bare => format!(
            "    access_log off;\n    server {{\n        listen 127.0.0.1:{port} backlog=4096;\n        \
             location / {{ proxy_pass http://origin; }}\n    }}\n"
        ),
    };
    let counters = match scenario {
        Scenario::Plain => format!(
            "    server {{\n        listen 127.0.0.1:{admin_port};\n        access_log off;\n        \
             location = /status {{ stub_status; }}\n    }}\n"
        ),
        Scenario::Bare => String::new(),
    };
    format!(
        r#"{process}
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    default_type application/octet-stream;
    # As many requests on a connection as it likes: the others do not close either.
    keepalive_requests 1000000000;
    gzip off;
{temporary}    upstream origin {{
        server 127.0.0.1:{origin_port};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    # Bodies never go to the disk.
    proxy_max_temp_file_size 0;
{server}{counters}}}
"#,
        folder = folder.display(),
        temporary = temporary_folders(folder),
    )
}

fn plain_server(places: &Places<'_>) -> String {
    let Places { folder, port, admin_port: _, origin_port: _ } = places;
    let mut locations = String::new();
    for route in routes() {
        let place = match route {
            Route::Exact(path) => format!("= {path}"),
            Route::Prefix(path) => path,
        };
        locations.push_str(&format!("        location {place} {{ proxy_pass http://origin; }}\n"));
    }
    format!(
        r#"    log_format json escape=json '{{"time":"$time_iso8601","client":"$remote_addr","method":"$request_method",'
        '"scheme":"$scheme","host":"$host","path":"$request_uri","protocol":"$server_protocol","status":$status,'
        '"bytes_in":$request_length,"bytes_out":$body_bytes_sent,"duration":$request_time,'
        '"upstream":"$upstream_addr","upstream_status":"$upstream_status","upstream_duration":"$upstream_response_time",'
        '"user_agent":"$http_user_agent","referer":"$http_referer"}}';
    access_log {folder}/access.log json buffer=64k flush=1s;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
        # A header set on this level replaces the one above for all.
        proxy_set_header Connection "";
{locations}    }}
"#,
        folder = folder.display(),
    )
}

/// nginx makes these at its start; the compiled-in places need root.
fn temporary_folders(folder: &Path) -> String {
    let folder = folder.display();
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .concat()
}

/// A fixed answer of 300 bytes of JSON.
pub(super) fn origin(folder: &Path, port: u16) -> String {
    format!(
        r#"daemon off;
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    default_type application/json;
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
{temporary}    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 '{body}'; }}
    }}
}}
"#,
        folder = folder.display(),
        temporary = temporary_folders(folder),
        body = origin_body(),
    )
}

fn origin_body() -> String {
    let begin =
        r#"{"status":"success","news":{"id":4711,"version":2,"title":"A title","content":""#;
    let end = r#"","author":"A. Author","tags":["one","two"],"news_type":"sports"}}"#;
    let filling = "x".repeat(300 - begin.len() - end.len());
    [begin, &filling, end].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origins_answer_has_300_bytes() {
        assert_eq!(origin_body().len(), 300);
    }
}
