//! What concerns the process: `[server]`, `[limits]`, `[[listeners]]`, `[admin]`, `[access-log]`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use plugins::secret::Secret;
use plugins::units::{Size, Time};
use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{SizeLimit, Timeout, bytes, count, kibibytes, mebibytes, seconds, timeout};
use super::{At, table};

table! {
    /// The process: threads, how it ends, how it is replaced.
    Server {
        /// Worker threads, each with its own connections and pools. A reload does not change it. Default: one for
        /// each core the process may use, since a worker never waits for anything but its sockets.
        threads: Option<NonZeroU32> = None,
        /// Reload when the file or one of its includes changes, as SIGHUP would. Default: false, so that a file can be
        /// edited in several steps.
        watch: bool = false,
        /// Where this gateway is: servers of the same `zone` are preferred. A letter, or a name such as "eu-west-1a".
        /// Default: none, all servers are equally near.
        zone: Option<At<String>> = None,
        /// A Unix socket over which `gateway run --upgrade` asks the running process for its listeners. Its folder must
        /// belong to the gateway's user and be closed to others (mode 0700). Default: none, no upgrade.
        handover: Option<PathBuf> = None,
        /// What happens between SIGTERM and the end.
        drain: Drain = Drain::default(),
    }
}

table! {
    /// What happens between SIGTERM and the end.
    Drain {
        /// How long new connections are still answered after `/readyz` says no. Behind a load balancer set it to a little
        /// more than its check interval. Default: 0s, nobody waits who has no load balancer.
        delay: Time = seconds(0),
        /// How long an idle keep-alive connection is kept for one last answer with `Connection: close`. Default: 5s: a
        /// client that is about to send meets an answer, not a reset.
        idle: Time = seconds(5),
        /// How long WebSockets and other upgraded connections may go on. Default: 30s, what Kubernetes grants in all.
        upgraded: Time = seconds(30),
        /// How long requests may go on; then their connections are cut. Default: 60s, as long as a response may take to
        /// start (upstream `timeout.response`).
        requests: Time = seconds(60),
    }
}

table! {
    /// What every client is held to. Beyond a limit the request or connection is refused, never queued.
    Limits {
        /// From the first byte of a request's head to its last; then 408 and the connection is closed. Default: 10s:
        /// slow for any honest client, too fast to hold connections open byte by byte (nginx: 60s for each read).
        header_timeout: Timeout = timeout(10),
        /// Request line and headers together; beyond it 431. HTTP/2: the decoded list. At least 8KiB. Default: 32KiB,
        /// nginx's four buffers of 8 KiB.
        header_bytes: At<Size> = kibibytes(32),
        /// Header fields of a request; beyond it 431. Default: 100, as Apache.
        header_count: NonZeroU32 = count(100),
        /// The body of a request, or "none"; beyond it 413. A route's `body-limit` goes before it. Default: 10MiB
        /// (nginx: 1 MiB, which refuses photos).
        body: SizeLimit = SizeLimit(Some(10 << 20)),
        /// Connections in all; further ones are closed at once. Default: 65536.
        connections: NonZeroU32 = count(65_536),
        /// Connections from one client address (IPv6: from one /64); further ones are closed at once. Default: 16384, a
        /// quarter of all, so that one client alone cannot take them; set it lower where clients come directly.
        connections_per_client: NonZeroU32 = count(16_384),
        /// Requests on one connection; the last answer says `Connection: close` (HTTP/2: GOAWAY). Default: 100000, so
        /// that memory and balance recover now and then and busy proxies in front seldom reconnect (nginx: 1000).
        requests_per_connection: NonZeroU32 = count(100_000),
        /// How long a connection may stay idle between requests. Default: 75s, as nginx.
        keep_alive: Timeout = timeout(75),
        /// Bytes per second a client must send while its body is awaited, or 408. Default: 500B, as Apache's
        /// mod_reqtimeout.
        receive_rate: Size = bytes(500),
        /// How long a body may fall behind `receive-rate`. Default: 10s, a mobile client between two cells.
        receive_grace: Timeout = timeout(10),
        /// How long a client may take no byte of a response before its connection is closed. Default: 60s,
        /// as nginx.
        send_timeout: Timeout = timeout(60),
        /// Streams open at once on one HTTP/2 connection. Default: 128, as nginx; RFC 9113 asks for at least 100.
        http2_streams: NonZeroU32 = count(128),
        /// Streams a client may reset before they were answered, at once, before its connection is closed ("rapid
        /// reset", CVE-2023-44487). Default: 100.
        http2_resets: NonZeroU32 = count(100),
    }
}

/// One place where requests arrive.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Listener {
    /// `"ip:port"` (`"0.0.0.0:80"`, `"[::]:80"`) or `"unix:/run/gateway.sock"`. A reload does not change it.
    pub(in crate::config) address: At<String>,
    /// Certificates, to speak TLS. Default: none, plain text.
    pub(in crate::config) tls: Option<At<ListenerTls>>,
    /// Each connection starts with a PROXY protocol header, v1 or v2, and comes from `trusted-proxies`; others are
    /// closed. Default: false.
    #[serde(default)]
    pub(in crate::config) proxy_protocol: bool,
}

/// TLS of a listener.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct ListenerTls {
    /// Certificates with their keys. The name the client asks for (SNI) chooses; the first is the default.
    pub(in crate::config) certificates: Vec<At<Certificate>>,
}

/// A certificate with its key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Certificate {
    /// PEM file of the chain, the server's own certificate first.
    pub(in crate::config) cert: At<PathBuf>,
    /// PEM file of the private key.
    pub(in crate::config) key: At<PathBuf>,
}

/// The endpoint for people and monitoring.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Admin {
    /// `"ip:port"`. Keep it where only you can reach it.
    pub(in crate::config) address: At<String>,
    /// The bearer token of `/api/v1`: `{ env = "NAME" }`, `{ file = "path" }` or `{ text = "…" }`. Default: none, the
    /// API answers 403.
    pub(in crate::config) token: Option<At<Secret>>,
}

table! {
    /// One JSON line a request.
    AccessLog {
        /// Lines go to standard output. Default: false; this or `file` must be said.
        stdout: bool = false,
        /// Lines go to this file, which is opened anew on SIGUSR1. Default: none.
        file: Option<At<PathBuf>> = None,
        /// What may wait for a slow disk; beyond it lines are dropped and counted, requests never wait. Default: 1MiB,
        /// some 3,000 lines.
        buffer: At<Size> = mebibytes(1),
        /// How long a line may wait before it is written. Default: 1s.
        flush: Time = seconds(1),
    }
}
