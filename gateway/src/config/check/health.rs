//! Checks `health-check` of an upstream.

use http::uri::PathAndQuery;
use plugins::units::Time;

use super::Checking;
use super::upstream::fixed_host;
use crate::config::at::At;
use crate::config::error::Problem;
use crate::config::fault::quoted;
use crate::config::{HealthCheck, Probe, ServerAddress, UpstreamServer, file};

impl Checking {
    pub(super) fn health_check(
        &mut self,
        check: At<file::HealthCheck>,
        upstream: &file::Upstream,
        servers: &[UpstreamServer],
    ) -> Option<HealthCheck> {
        let At { place, whole, value: mut check } = check;
        self.not_more(
            ("timeout", check.timeout.place, Time(check.timeout.value.0)),
            ("interval", check.interval.place, Time(check.interval.value.0)),
        );
        let is_unix = |server: &UpstreamServer| matches!(server.address, ServerAddress::Unix(_));
        if let Some(port) = check.port.as_ref().filter(|_| servers.iter().any(is_unix)) {
            self.refuse(port.place, "a Unix socket has no port", "leave `port` out");
        }
        let kinds = [check.path.is_some(), check.grpc.is_some(), check.tcp.is_some()];
        let probe = match kinds.into_iter().filter(|given| *given).count() {
            0 if !whole => None,
            0 => {
                let help = "give it one of path = \"/health\", grpc = \"\" and tcp = true";
                self.refuse(place, "this health check asks nothing", help);
                None
            }
            1 => self.probe(&mut check, upstream.protocol),
            _ => {
                self.refuse(
                    place,
                    "this health check asks two things",
                    "give it one of path, grpc and tcp",
                );
                None
            }
        };
        Some(HealthCheck {
            probe: probe?,
            interval: check.interval.value.0,
            timeout: check.timeout.value.0,
            up: check.up.get(),
            down: check.down.get(),
            port: check.port.map(|port| port.value.get()),
        })
    }

    /// The one kind that is given.
    fn probe(&mut self, check: &mut file::HealthCheck, protocol: file::Protocol) -> Option<Probe> {
        let (status, body, host) = (check.status.take(), check.body.take(), check.host.take());
        if check.path.is_none() {
            let status = status.as_ref().map(|at| ("status", at.place));
            let body = body.as_ref().map(|at| ("body", at.place));
            for (key, place) in [status, body].into_iter().flatten() {
                self.refuse(place, format!("`{key}` without `path`"), "only HTTP has one");
            }
        }
        if let (Some(host), true) = (&host, check.tcp.is_some()) {
            self.refuse(host.place, "`host` without `path` or `grpc`", "TCP has none");
        }
        let host = match host {
            None => Some(None),
            Some(host) => self.take(host.place, fixed_host(&host.value)).map(Some),
        };
        if let Some(path) = check.path.take() {
            let path = self.take(path.place, path_and_query(&path.value));
            let status = self.good_statuses(status);
            let body = body.map(|body| self.body_part(body));
            let body = body.map_or(Some(None), |body| body.map(Some));
            return Some(Probe::Http { path: path?, status: status?, body: body?, host: host? });
        }
        if let Some(grpc) = check.grpc.take() {
            if matches!(protocol, file::Protocol::Http1) {
                let help = "write protocol = \"http2\" for the upstream";
                self.refuse(grpc.place, "gRPC is spoken over HTTP/2 alone", help);
            }
            return Some(Probe::Grpc { service: grpc.value, host: host? });
        }
        let tcp = check.tcp.take()?;
        if !tcp.value {
            self.refuse(tcp.place, "this health check asks nothing", "write tcp = true");
        }
        Some(Probe::Tcp)
    }

    fn good_statuses(&mut self, status: Option<At<Vec<At<u16>>>>) -> Option<Vec<http::StatusCode>> {
        let Some(At { place, whole, value }) = status else {
            return Some(vec![http::StatusCode::OK]);
        };
        if value.is_empty() && whole {
            self.refuse(place, "no status is good", "write status = [200], or leave it out");
        }
        self.no_twins("this status", value.iter().map(|status| (status.value, status.place)));
        value.iter().map(|status| self.status(status)).collect()
    }

    fn body_part(&mut self, body: At<String>) -> Option<String> {
        if body.value.is_empty() {
            self.refuse(body.place, "every body holds an empty text", "leave `body` out");
            return None;
        }
        Some(body.value)
    }
}

fn path_and_query(text: &str) -> Result<PathAndQuery, Problem> {
    let wrong = || Problem::nowhere(format!("{} is no path", quoted(text)));
    if !text.starts_with('/') {
        return Err(wrong().help("it starts with a slash, such as \"/health\""));
    }
    if text.contains('#') {
        return Err(wrong().help("what comes after # never leaves a client"));
    }
    text.parse().map_err(|_| wrong().help("write it as it is sent, such as \"/health?deep=1\""))
}
