//! Checks `[server]`, `[limits]`, `[[listeners]]`, `[admin]`, `[access-log]`, `trusted-proxies`.

use std::num::NonZeroU32;
use std::path::Path;
use std::thread;

use ipnet::IpNet;
use plugins::units::Size;

use super::{Checking, address, certificate};
use crate::config::at::At;
use crate::config::error::Problem;
use crate::config::{
    AccessLog, Admin, Certificate, Drain, Limits, ListenAddress, Listener, ListenerTls, LogTarget,
    Server, file,
};

impl Checking {
    pub(super) fn server(&mut self, server: file::Server) -> Server {
        let file::Server { threads, watch, zone, handover, drain } = server;
        let file::Drain { delay, idle, upgraded, requests } = drain;
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        Server {
            threads: threads.map_or_else(cores, number),
            drain: Drain {
                delay: delay.0,
                idle: idle.0,
                upgraded: upgraded.0,
                requests: requests.0,
            },
            handover,
            watch,
            zone: zone.and_then(|zone| self.plain("zone", zone)),
        }
    }

    pub(super) fn limits(&mut self, limits: &file::Limits) -> Limits {
        Limits {
            header_timeout: limits.header_timeout.0,
            header_bytes: self.size(&limits.header_bytes, 8 << 10, 1 << 20),
            header_count: number(limits.header_count),
            body_bytes: limits.body.0,
            connections: number(limits.connections),
            connections_per_client: number(limits.connections_per_client),
            requests_per_connection: limits.requests_per_connection.get().into(),
            keep_alive: limits.keep_alive.0,
            receive_rate: limits.receive_rate.0,
            receive_grace: limits.receive_grace.0,
            send_timeout: limits.send_timeout.0,
            http2_streams: limits.http2_streams.get(),
            http2_resets: number(limits.http2_resets),
        }
    }

    /// A size that is held in memory.
    pub(super) fn size(&mut self, size: &At<Size>, min: u64, max: u64) -> usize {
        if !(min..=max).contains(&size.value.0) {
            let what = format!("{}B is out of bounds", size.value.0);
            self.refuse(size.place, what, format!("it takes {} to {}", bytes(min), bytes(max)));
        }
        usize::try_from(size.value.0).unwrap_or(usize::MAX)
    }

    pub(super) fn networks(&mut self, networks: &[At<String>]) -> Vec<IpNet> {
        networks
            .iter()
            .filter_map(|network| self.take(network.place, address::network(&network.value)))
            .collect()
    }

    pub(super) fn listeners(
        &mut self,
        listeners: Option<At<Vec<At<file::Listener>>>>,
        admin: Option<&file::Admin>,
    ) -> Vec<Listener> {
        let whole = match &listeners {
            Some(listeners) => listeners.whole,
            None => !self.incomplete && !self.lost.contains("listeners"),
        };
        let listeners = listeners.map(|listeners| listeners.value).unwrap_or_default();
        if listeners.is_empty() && whole {
            let problem = Problem::nowhere("nothing listens")
                .help("write [[listeners]] and below it address = \"0.0.0.0:8080\"");
            self.problems.push(problem);
        }
        let addresses = listeners.iter().map(|listener| &listener.value.address);
        let addresses = addresses.chain(admin.map(|admin| &admin.address));
        let twins = addresses
            .filter_map(|at| Some((address::listen_address(&at.value).ok()?, at.place)))
            .filter(|(address, _)| !matches!(address, ListenAddress::Tcp(tcp) if tcp.port() == 0))
            .collect::<Vec<_>>();
        self.no_twins("a listener on this address", twins.into_iter());
        listeners.into_iter().filter_map(|listener| self.listener(listener)).collect()
    }

    fn listener(&mut self, listener: At<file::Listener>) -> Option<Listener> {
        let file::Listener { address, tls, proxy_protocol } = listener.value;
        let bound = self.take(address.place, address::listen_address(&address.value));
        let tls = tls.map(|tls| self.listener_tls(tls));
        Some(Listener { place: listener.place, address: bound?, tls, proxy_protocol })
    }

    fn listener_tls(&mut self, tls: At<file::ListenerTls>) -> ListenerTls {
        if tls.value.certificates.is_empty() && tls.whole {
            self.refuse(
                tls.place,
                "TLS without a certificate",
                "write tls = { certificates = [{ cert = \"site.pem\", key = \"site.key\" }] }",
            );
        }
        let certificates = tls.value.certificates.into_iter();
        ListenerTls {
            certificates: certificates.filter_map(|pair| self.certificate(pair)).collect(),
        }
    }

    fn certificate(&mut self, pair: At<file::Certificate>) -> Option<Certificate> {
        let file::Certificate { cert, key } = pair.value;
        let chain = self.take(cert.place, certificate::certificates(&cert.value));
        let secret = self.take(key.place, certificate::private_key(&key.value));
        let (chain, secret) = (chain?, secret?);
        self.take(key.place, certificate::pair(chain, &secret))?;
        Some(Certificate { cert: cert.value, key: key.value, place: pair.place })
    }

    pub(super) fn admin(&mut self, admin: file::Admin) -> Option<Admin> {
        let file::Admin { address, token } = admin;
        if let Some(Err(error)) = token.as_ref().map(|token| token.value.reveal()) {
            let place = token.as_ref().map(|token| token.place);
            self.problems.push(Problem { place, what: format!("`token`: {error}"), help: None });
        }
        let bound = self.take(address.place, address::ip_and_port(&address.value))?;
        Some(Admin { address: bound, token: token.map(|token| token.value) })
    }

    pub(super) fn access_log(&mut self, log: At<file::AccessLog>) -> Option<AccessLog> {
        let At { place, whole, value: file::AccessLog { stdout, file, buffer, flush } } = log;
        let target = match (stdout, file) {
            (true, None) => LogTarget::Stdout,
            (false, Some(file)) => {
                self.take(file.place, writable(&file.value))?;
                LogTarget::File(file.value)
            }
            (false, None) if !whole => return None,
            (false, None) => {
                self.refuse(
                    place,
                    "the access log goes nowhere",
                    "say stdout = true or file = \"access.log\"",
                );
                return None;
            }
            (true, Some(_)) => {
                self.refuse(
                    place,
                    "the access log goes to two places",
                    "say stdout = true or file = …",
                );
                return None;
            }
        };
        let buffer_bytes = self.size(&buffer, 4 << 10, 1 << 30);
        Some(AccessLog { target, buffer_bytes, flush: flush.0 })
    }
}

/// Whether a file can be there; it is opened when the gateway starts.
fn writable(path: &Path) -> Result<(), Problem> {
    if path.is_dir() {
        return Err(Problem::nowhere(format!("{} is a directory", path.display()))
            .help("name the file in it, such as access.log"));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Problem::nowhere(format!("the folder {} is not there", folder.display())))
        }
        _ => Ok(()),
    }
}

fn number(count: NonZeroU32) -> usize {
    usize::try_from(count.get()).unwrap_or(usize::MAX)
}

fn bytes(count: u64) -> String {
    match count {
        0 => "0B".to_owned(),
        _ if count >= 1 << 30 => format!("{}GiB", count >> 30),
        _ if count >= 1 << 20 => format!("{}MiB", count >> 20),
        _ => format!("{}KiB", count >> 10),
    }
}
