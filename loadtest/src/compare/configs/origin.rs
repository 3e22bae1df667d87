//! The origin with fixed answers: nginx on the load's core, the cheapest there is.

use std::path::Path;

use super::nginx::temporary_folders;

/// Files of `folder`/bytes by size; for everything else 300 bytes of JSON that may be kept for an hour.
pub(super) fn config(folder: &Path, port: u16) -> String {
    format!(
        r#"daemon off;
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
worker_rlimit_nofile 10000;
events {{ worker_connections 4096; }}
http {{
    default_type application/json;
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
{temporary}    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /kept/ {{ add_header Cache-Control max-age=3600; return 200 '{body}'; }}
        location /bytes/ {{
            root {folder};
            sendfile on;
            tcp_nopush on;
            open_file_cache max=10;
            open_file_cache_valid 1h;
        }}
        location / {{ return 200 '{body}'; }}
    }}
}}
"#,
        folder = folder.display(),
        temporary = temporary_folders(folder),
        body = body(),
    )
}

fn body() -> String {
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
    fn the_answer_has_300_bytes() {
        assert_eq!(body().len(), 300);
    }
}
