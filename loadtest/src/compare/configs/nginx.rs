//! nginx as a proxy.

use std::fmt::Write as _;
use std::path::Path;

use super::super::scenarios::{Edge, Job, Route, Task, Wire};
use super::Places;

/// Master and one worker, as it is used.
pub(super) fn config(job: &Job, places: &Places<'_>) -> String {
    text("daemon off;", job, places)
}

/// One process, so that callgrind sees the worker.
pub(super) fn single_process(job: &Job, places: &Places<'_>) -> String {
    text("daemon off;\nmaster_process off;", job, places)
}

fn text(process: &str, job: &Job, places: &Places<'_>) -> String {
    let Places { folder, port: _, admin_port, origin_port, certificates: _ } = places;
    let (log, counters) = match job.edge {
        Edge::Full => (
            format!(
                "{LOG_FORMAT}    access_log {}/access.log json buffer=64k flush=1s;\n",
                folder.display()
            ),
            format!(
                "    server {{\n        listen 127.0.0.1:{admin_port};\n        access_log off;\n        \
                 location = /status {{ stub_status; }}\n    }}\n"
            ),
        ),
        Edge::Bare => ("    access_log off;\n".to_owned(), String::new()),
    };
    format!(
        r#"{modules}{process}
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
    default_type application/octet-stream;
    # As many requests on a connection as it likes: the others do not close either.
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    gzip off;
    # The table of exact paths fits.
    types_hash_max_size 4096;
{temporary}    upstream origin {{
        server 127.0.0.1:{origin_port};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    proxy_http_version 1.1;
    # Bodies never go to the disk, and are not gathered before they are passed on.
    proxy_max_temp_file_size 0;
    proxy_request_buffering off;
    client_max_body_size 0;
{task}{log}{server}{counters}}}
"#,
        modules = modules(&job.task),
        folder = folder.display(),
        files = job.idle_connections + 5_000,
        connections = job.idle_connections + 4096,
        temporary = temporary_folders(folder),
        task = task_settings(&job.task, folder),
        server = server(job, places),
    )
}

const LOG_FORMAT: &str = r#"    log_format json escape=json '{"time":"$time_iso8601","client":"$remote_addr","method":"$request_method",'
        '"scheme":"$scheme","host":"$host","path":"$request_uri","protocol":"$server_protocol","status":$status,'
        '"bytes_in":$request_length,"bytes_out":$body_bytes_sent,"duration":$request_time,'
        '"upstream":"$upstream_addr","upstream_status":"$upstream_status","upstream_duration":"$upstream_response_time",'
        '"user_agent":"$http_user_agent","referer":"$http_referer"}';
"#;

/// Debian's modules, where the free nginx has nothing of its own.
fn modules(task: &Task) -> String {
    let names: &[&str] = match task {
        Task::Jwt => &[JS_MODULE],
        Task::Aggregate => &[NDK_MODULE, LUA_MODULE],
        Task::Small
        | Task::Down(_)
        | Task::Up(_)
        | Task::Cache
        | Task::Limit
        | Task::Grpc
        | Task::WebSocket => &[],
    };
    names.iter().map(|name| format!("load_module {name};\n")).collect()
}

pub(in super::super) const JS_MODULE: &str = "/usr/lib/nginx/modules/ngx_http_js_module.so";
const NDK_MODULE: &str = "/usr/lib/nginx/modules/ndk_http_module.so";
pub(in super::super) const LUA_MODULE: &str = "/usr/lib/nginx/modules/ngx_http_lua_module.so";

fn task_settings(task: &Task, folder: &Path) -> String {
    let folder = folder.display();
    match task {
        Task::Cache => format!(
            "    proxy_cache_path {folder}/cache keys_zone=answers:10m;\n    proxy_cache answers;\n"
        ),
        Task::Limit => {
            "    limit_req_zone $binary_remote_addr zone=clients:10m rate=1000000r/s;\n    \
             limit_req zone=clients burst=1000 nodelay;\n    limit_req_status 429;\n"
                .to_owned()
        }
        Task::Jwt => format!(
            "    js_path {folder};\n    js_import jwt.js;\n    js_set $subject jwt.subject;\n"
        ),
        Task::Aggregate => "    lua_package_path '/usr/share/lua/5.1/?.lua;;';\n".to_owned(),
        // With its 4 KiB buffers nginx would read a body in many pieces.
        Task::Down(_) => {
            "    proxy_buffer_size 64k;\n    proxy_buffers 8 64k;\n    proxy_busy_buffers_size 128k;\n"
                .to_owned()
        }
        Task::Small | Task::Up(_) | Task::Grpc | Task::WebSocket => String::new(),
    }
}

fn server(job: &Job, places: &Places<'_>) -> String {
    let forwarded = match job.edge {
        Edge::Full => FORWARDED,
        Edge::Bare => "",
    };
    let upgrade = match job.task {
        Task::WebSocket => {
            "        proxy_set_header Upgrade $http_upgrade;\n        proxy_set_header Connection \"upgrade\";\n"
        }
        Task::Small
        | Task::Down(_)
        | Task::Up(_)
        | Task::Cache
        | Task::Limit
        | Task::Jwt
        | Task::Grpc
        | Task::Aggregate => "        proxy_set_header Connection \"\";\n",
    };
    format!(
        "    server {{\n        {listen};\n{upgrade}{forwarded}{rules}{locations}    }}\n",
        listen = listen(job, places),
        rules = header_rules(job.header_rules),
        locations = locations(job),
    )
}

const FORWARDED: &str = "        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
";

fn listen(job: &Job, places: &Places<'_>) -> String {
    let with = match job.wire {
        Wire::Http1 | Wire::WebSocket => "",
        Wire::Tls | Wire::TlsNew | Wire::TlsResumed => " ssl",
        Wire::Http2 => " ssl http2",
        Wire::Http2Clear => " http2",
    };
    let listen = format!("listen 127.0.0.1:{} backlog=4096{with}", places.port);
    if !job.wire.is_tls() {
        return listen;
    }
    format!(
        "{listen};\n        ssl_protocols TLSv1.2 TLSv1.3;\n        ssl_session_cache shared:sessions:10m;\n        \
         ssl_certificate {};\n        ssl_certificate_key {}",
        places.certificates.certificate.display(),
        places.certificates.key.display()
    )
}

fn header_rules(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        write!(
            text,
            "        proxy_set_header X-Rule-{number} on;\n        add_header X-Done-{number} on;\n"
        )
        .expect("a String takes everything");
    }
    text
}

fn locations(job: &Job) -> String {
    let does = match job.task {
        Task::Grpc => "grpc_pass grpc://origin;",
        Task::Jwt => "if ($subject = \"\") { return 401; } proxy_pass http://origin;",
        Task::Aggregate => return AGGREGATE.to_owned(),
        Task::Small | Task::Down(_) | Task::Up(_) | Task::Cache | Task::Limit | Task::WebSocket => {
            "proxy_pass http://origin;"
        }
    };
    let mut text = String::new();
    for route in job.routes() {
        let place = match route {
            Route::Exact(path) => format!("= {path}"),
            Route::Prefix(path) => path,
        };
        text.push_str(&format!("        location {place} {{ {does} }}\n"));
    }
    text
}

/// Three answers asked for at once, their `news` joined into one list.
const AGGREGATE: &str = r#"        location /part/ { internal; proxy_pass http://origin; }
        location = /aggregate {
            default_type application/json;
            content_by_lua_block {
                local json = require "cjson.safe"
                local parts = { ngx.location.capture_multi({ { "/part/famous" }, { "/part/politics" }, { "/part/sports" } }) }
                local news = {}
                for number, part in ipairs(parts) do
                    local document = part.status == 200 and json.decode(part.body)
                    if document then news[#news + 1] = document.news end
                end
                local body = json.encode({ status = "success", news = news })
                ngx.header["Content-Length"] = #body
                ngx.print(body)
            }
        }
"#;

/// For njs: who the token is about, or nothing.
pub(super) fn token_script() -> String {
    format!(
        r#"const crypto = require('crypto');

function subject(r) {{
    const parts = (r.headersIn['Authorization'] || '').replace('Bearer ', '').split('.');
    if (parts.length !== 3) return '';
    const signature = crypto.createHmac('sha256', '{key}').update(parts[0] + '.' + parts[1]).digest('base64url');
    if (signature !== parts[2]) return '';
    if (JSON.parse(Buffer.from(parts[0], 'base64url')).alg !== 'HS256') return '';
    const claims = JSON.parse(Buffer.from(parts[1], 'base64url'));
    return claims.exp > Date.now() / 1000 ? claims.sub : '';
}}

export default {{ subject }};
"#,
        key = super::super::token::KEY
    )
}

/// nginx makes these at its start; the compiled-in places need root.
pub(in super::super) fn temporary_folders(folder: &Path) -> String {
    let folder = folder.display();
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .concat()
}
