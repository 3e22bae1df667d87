//! Varnish: a cache in memory; what may not be kept passes.

use super::super::scenarios::{Job, Task};
use super::Places;

pub(super) fn config(job: &Job, places: &Places<'_>) -> String {
    // Looking up what will never be kept would make requests wait for one another.
    let does = match job.task {
        Task::Cache => "",
        Task::Small
        | Task::Down(_)
        | Task::Up(_)
        | Task::Limit
        | Task::Jwt
        | Task::Grpc
        | Task::WebSocket
        | Task::Aggregate => "\n    return (pass);",
    };
    format!(
        r#"vcl 4.1;

backend origin {{
    .host = "127.0.0.1";
    .port = "{}";
}}

sub vcl_recv {{
    # A cookie alone would keep every request from the cache.
    unset req.http.Cookie;{does}
}}
"#,
        places.origin_port
    )
}
