//! What each proxy is told where servers fail: its own defaults, and the health checks that a good engineer switches on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::configs::nginx::temporary_folders;
use super::super::proxies::{Kind, Proxy};
use super::trial::Routes;
use crate::failure::FileError;

/// Where things are.
pub(super) struct Front<'a> {
    pub(super) port: u16,
    pub(super) admin_port: u16,
    pub(super) servers: Vec<u16>,
    pub(super) routes: Routes,
    pub(super) folder: &'a Path,
}

/// Writes a proxy's config: where it is, and what it says.
pub(super) fn write(proxy: &Proxy, front: &Front<'_>) -> Result<(PathBuf, String), FileError> {
    let (name, text) = match proxy.kind {
        Kind::Nginx => ("nginx.conf", nginx(front)),
        Kind::Haproxy => ("haproxy.cfg", haproxy(front)),
        // Others have no part in this.
        Kind::Gateway | Kind::Envoy | Kind::Varnish | Kind::Caddy => {
            ("gateway.toml", gateway(front, &known(&proxy.program, front)))
        }
    };
    let file = front.folder.join(name);
    fs::write(&file, &text).map_err(FileError::at(&file))?;
    Ok((file, text))
}

/// What the gateway has no default for, and is asked for where a trial is about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// How many requests a server gets at once is found out by its answers.
    Limit,
    /// How important each route is.
    Criticality,
}

impl Key {
    const fn wished(routes: Routes) -> &'static [Self] {
        match routes {
            Routes::One => &[],
            Routes::ByCriticality => &[Self::Limit, Self::Criticality],
        }
    }
}

/// The gateway, by its defaults wherever it has one.
fn gateway(front: &Front<'_>, keys: &[Key]) -> String {
    let servers: Vec<String> =
        front.servers.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let limit = match keys.contains(&Key::Limit) {
        true => "limit = { adaptive = true }\n",
        false => "",
    };
    let route = |path: &str, criticality: &str| {
        let criticality = match keys.contains(&Key::Criticality) {
            true => format!("criticality = \"{criticality}\"\n"),
            false => String::new(),
        };
        format!("\n[[routes]]\npath = \"{path}{{*rest}}\"\nupstream = \"servers\"\n{criticality}")
    };
    let routes = match front.routes {
        Routes::One => route("/", "normal"),
        Routes::ByCriticality => ["critical", "normal", "sheddable"]
            .map(|name| route(&format!("/{name}/"), name))
            .concat(),
    };
    format!(
        r#"[[listeners]]
address = "127.0.0.1:{port}"

[server]
threads = 1

[admin]
address = "127.0.0.1:{admin_port}"

[upstreams.servers]
servers = [{servers}]
{limit}{routes}"#,
        port = front.port,
        admin_port = front.admin_port,
        servers = servers.join(", "),
    )
}

/// The keys that this gateway understands, each by itself.
fn known(program: &Path, front: &Front<'_>) -> Vec<Key> {
    let file = front.folder.join("tried.toml");
    let is_known = |key: &Key| {
        fs::write(&file, gateway(front, &[*key])).is_ok()
            && Command::new(program)
                .args(["check", "--config"])
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    };
    Key::wished(front.routes).iter().copied().filter(is_known).collect()
}

fn nginx(front: &Front<'_>) -> String {
    let servers: String =
        front.servers.iter().map(|port| format!("        server 127.0.0.1:{port};\n")).collect();
    format!(
        r#"daemon off;
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
{temporary}    # Defaults: max_fails=1 fail_timeout=10s, proxy_next_upstream error timeout (not for POST), proxy_connect_timeout and
    # proxy_read_timeout 60s.
    upstream servers {{
{servers}        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
        }}
    }}
}}
"#,
        folder = front.folder.display(),
        temporary = temporary_folders(front.folder),
        port = front.port,
    )
}

fn haproxy(front: &Front<'_>) -> String {
    let servers: String = front
        .servers
        .iter()
        .enumerate()
        .map(|(number, port)| format!("    server s{number} 127.0.0.1:{port}\n"))
        .collect();
    format!(
        "global
    nbthread 1
    no strict-limits
    maxconn 15000

defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    # Defaults: retries 3, retry-on conn-failure
    option redispatch

frontend edge
    bind 127.0.0.1:{} backlog 4096
    default_backend servers

backend servers
    balance roundrobin
    option httpchk GET /health
    # Defaults: inter 2s fall 3 rise 2 error-limit 10 on-error fail-check
    default-server check observe layer7
{servers}",
        front.port
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(routes: Routes) -> Front<'static> {
        Front { port: 1, admin_port: 2, servers: vec![11, 12], routes, folder: Path::new("/x") }
    }

    #[test]
    fn every_config_names_every_server() {
        let front = front(Routes::One);
        for text in [nginx(&front), haproxy(&front), gateway(&front, &[])] {
            assert!(text.contains("127.0.0.1:11") && text.contains("127.0.0.1:12"), "{text}");
            assert!(text.contains("127.0.0.1:1"), "{text}");
        }
    }

    #[test]
    fn a_key_is_written_only_where_the_gateway_knows_it() {
        let wished = Key::wished(Routes::ByCriticality);
        let front = front(Routes::ByCriticality);
        let document: toml::Table = toml::from_str(&gateway(&front, wished)).expect("TOML");
        assert_eq!(document["routes"][2]["criticality"].as_str(), Some("sheddable"));
        assert!(document["upstreams"]["servers"].get("limit").is_some());
        let document: toml::Table = toml::from_str(&gateway(&front, &[])).expect("TOML");
        assert_eq!(document["routes"].as_array().map(Vec::len), Some(3));
        assert!(document["routes"][0].get("criticality").is_none());
        assert!(known(Path::new("/nowhere"), &front).is_empty());
    }
}
