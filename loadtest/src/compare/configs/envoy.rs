//! Envoy: one worker (`--concurrency 1`), static resources, JSON for YAML.

use serde_json::{Value, json};

use super::super::scenarios::{Edge, Job, Route, Task, Wire};
use super::super::token;
use super::Places;

pub(super) fn config(job: &Job, places: &Places<'_>) -> String {
    let admin = json!({ "address": address(places.admin_port) });
    let document = json!({
        // Counters are always on; the endpoint shows them.
        "admin": admin,
        "static_resources": {
            "listeners": [listener(job, places)],
            "clusters": [cluster(job, places)],
        },
    });
    format!("{document:#}\n")
}

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn listener(job: &Job, places: &Places<'_>) -> Value {
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager(job, places),
    }] });
    if job.wire.is_tls() {
        let protocols = match job.wire {
            Wire::Http2 => json!(["h2", "http/1.1"]),
            Wire::Http1
            | Wire::Tls
            | Wire::TlsNew
            | Wire::TlsResumed
            | Wire::Http2Clear
            | Wire::WebSocket => json!(["http/1.1"]),
        };
        chain["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": {
                    "alpn_protocols": protocols,
                    "tls_certificates": [{
                        "certificate_chain": { "filename": places.certificates.certificate },
                        "private_key": { "filename": places.certificates.key },
                    }],
                },
            },
        });
    }
    json!({ "address": address(places.port), "filter_chains": [chain] })
}

fn manager(job: &Job, places: &Places<'_>) -> Value {
    let mut manager = json!({
        "@type": format!("{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "edge",
        "generate_request_id": false,
        "http_filters": filters(&job.task),
        "route_config": { "virtual_hosts": [virtual_host(job)] },
    });
    if job.task == Task::WebSocket {
        manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
    }
    if job.edge == Edge::Full {
        // Appends X-Forwarded-For; X-Forwarded-Proto it always sets.
        manager["use_remote_address"] = json!(true);
        manager["access_log"] = json!([{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": format!("{EXTENSIONS}.access_loggers.file.v3.FileAccessLog"),
                "path": places.folder.join("access.log"),
                "log_format": { "json_format": log_fields() },
            },
        }]);
    }
    manager
}

fn log_fields() -> Value {
    json!({
        "time": "%START_TIME%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "method": "%REQ(:METHOD)%",
        "scheme": "%REQ(:SCHEME)%",
        "host": "%REQ(:AUTHORITY)%",
        "path": "%REQ(:PATH)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "upstream": "%UPSTREAM_HOST%",
        "upstream_duration": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
        "user_agent": "%REQ(USER-AGENT)%",
        "referer": "%REQ(REFERER)%",
    })
}

fn filters(task: &Task) -> Value {
    let own = match task {
        Task::Cache => Some(filter(
            "cache",
            &json!({
                "@type": format!("{EXTENSIONS}.filters.http.cache.v3.CacheConfig"),
                "typed_config": {
                    "@type": format!("{EXTENSIONS}.http.cache.simple_http_cache.v3.SimpleHttpCacheConfig"),
                },
            }),
        )),
        Task::Limit => Some(filter("local_ratelimit", &rate_limit())),
        Task::Jwt => Some(filter(
            "jwt_authn",
            &json!({
                "@type": format!("{EXTENSIONS}.filters.http.jwt_authn.v3.JwtAuthentication"),
                "providers": { "own": {
                    "issuer": token::ISSUER,
                    "local_jwks": { "inline_string": token::key_set() },
                } },
                "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "own" } }],
            }),
        )),
        Task::Small
        | Task::Down(_)
        | Task::Up(_)
        | Task::Grpc
        | Task::WebSocket
        | Task::Aggregate => None,
    };
    let router = filter(
        "router",
        &json!({ "@type": format!("{EXTENSIONS}.filters.http.router.v3.Router") }),
    );
    own.into_iter().chain([router]).collect()
}

fn filter(name: &str, config: &Value) -> Value {
    json!({ "name": format!("envoy.filters.http.{name}"), "typed_config": config })
}

/// Without another service Envoy counts requests of a connection or of all, not of a client: less work than the others do.
fn rate_limit() -> Value {
    let percent = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    json!({
        "@type": format!("{EXTENSIONS}.filters.http.local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": "limit",
        "token_bucket": {
            "max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s",
        },
        "filter_enabled": percent,
        "filter_enforced": percent,
    })
}

fn virtual_host(job: &Job) -> Value {
    let routes: Vec<Value> = job
        .routes()
        .into_iter()
        .map(|route| match route {
            Route::Exact(path) => json!({ "path": path }),
            Route::Prefix(path) => json!({ "prefix": path }),
        })
        .map(|what| json!({ "match": what, "route": { "cluster": "origin", "timeout": "60s" } }))
        .collect();
    let mut request = Vec::new();
    if job.edge == Edge::Full {
        request.push(set("x-real-ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"));
        request.push(set("x-forwarded-host", "%REQ(:AUTHORITY)%"));
    }
    request.extend((0..job.header_rules).map(|number| set(&format!("x-rule-{number}"), "on")));
    let response: Vec<Value> =
        (0..job.header_rules).map(|number| set(&format!("x-done-{number}"), "on")).collect();
    json!({
        "name": "all",
        "domains": ["*"],
        "routes": routes,
        "request_headers_to_add": request,
        "response_headers_to_add": response,
    })
}

fn set(name: &str, value: &str) -> Value {
    json!({
        "header": { "key": name, "value": value },
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    })
}

fn cluster(job: &Job, places: &Places<'_>) -> Value {
    // The defaults admit 1,024 at once, which is more than the load has.
    let mut cluster = json!({
        "name": "origin",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "origin",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(places.origin_port) } }] }],
        },
    });
    if job.wire == Wire::Http2Clear {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        });
    }
    cluster
}
