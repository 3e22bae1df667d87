//! One request as one line of JSON, written by hand into a buffer: no allocation, no formatter.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Version;

use super::escape;

/// What the access log says of one request. Fields that are absent are left out of the line.
///
/// Text is bytes where a client chose it: it may be anything.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The client's address, as established with trusted proxies and PROXY protocol.
    pub client: IpAddr,
    /// Who the client is, once a plugin has authenticated them.
    pub user: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// `http` or `https`, as the client spoke it.
    pub scheme: &'a str,
    /// `Host` or `:authority`.
    pub host: Option<&'a [u8]>,
    /// Path and query as the client sent them.
    pub path: &'a [u8],
    /// The version the client spoke.
    pub protocol: Version,
    /// The status of the response; 499 when the client left before there was one.
    pub status: u16,
    /// Why the request ended as it did, such as `ok`, `client-gone`, `no-route`, `ip-denied`.
    pub reason: &'a str,
    /// The name of the route that took the request.
    pub route: Option<&'a str>,
    /// The name of the upstream that was asked.
    pub upstream: Option<&'a str>,
    /// The address of the server that was asked last.
    pub server: Option<&'a str>,
    /// From the request's head to the last byte of the response.
    pub duration: Duration,
    /// From the request's head leaving for the server to the head of its response.
    pub upstream_time: Option<Duration>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// Tries after the first.
    pub retries: u32,
    /// The id that joins the log lines of one request.
    pub correlation_id: Option<&'a [u8]>,
    /// The W3C trace context sent to the server.
    pub traceparent: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// `Referer`.
    pub referer: Option<&'a [u8]>,
}

/// The time of a line in RFC 3339 with milliseconds; the part down to the second is kept while the second lasts.
pub(super) struct Clock {
    second: u64,
    text: Vec<u8>,
}

impl Clock {
    /// A clock that has not been looked at.
    pub(super) fn new() -> Self {
        Self { second: u64::MAX, text: Vec::new() }
    }

    fn push(&mut self, line: &mut Vec<u8>, now: SystemTime) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.text = second_text(now.as_secs());
        }
        line.extend_from_slice(&self.text);
        push_three_digits(line, now.subsec_millis());
    }
}

/// `2026-11-23T14:22:55.` of a Unix time.
#[cold]
fn second_text(second: u64) -> Vec<u8> {
    let seconds = i64::try_from(second).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.").to_string().into_bytes()
}

/// Appends the line and its line break.
pub(super) fn push(line: &mut Vec<u8>, clock: &mut Clock, now: SystemTime, entry: &Entry<'_>) {
    line.extend_from_slice(b"{\"time\":\"");
    clock.push(line, now);
    line.extend_from_slice(b"Z\",\"client\":\"");
    push_address(line, entry.client);
    push_optional(line, b"\",\"user\":\"", entry.user.map(str::as_bytes));
    push_text(line, b"\",\"method\":\"", entry.method.as_bytes());
    push_text(line, b"\",\"scheme\":\"", entry.scheme.as_bytes());
    push_optional(line, b"\",\"host\":\"", entry.host);
    push_text(line, b"\",\"path\":\"", entry.path);
    line.extend_from_slice(protocol(entry.protocol));
    push_number(line, b"\",\"status\":", u64::from(entry.status));
    push_text(line, b",\"reason\":\"", entry.reason.as_bytes());
    push_optional(line, b"\",\"route\":\"", entry.route.map(str::as_bytes));
    push_optional(line, b"\",\"upstream\":\"", entry.upstream.map(str::as_bytes));
    push_optional(line, b"\",\"server\":\"", entry.server.map(str::as_bytes));
    push_millis(line, b"\",\"duration_ms\":", entry.duration);
    if let Some(time) = entry.upstream_time {
        push_millis(line, b",\"upstream_ms\":", time);
    }
    push_number(line, b",\"bytes_in\":", entry.bytes_in);
    push_number(line, b",\"bytes_out\":", entry.bytes_out);
    if entry.retries > 0 {
        push_number(line, b",\"retries\":", u64::from(entry.retries));
    }
    push_quoted(line, b",\"correlation_id\":\"", entry.correlation_id);
    push_quoted(line, b",\"traceparent\":\"", entry.traceparent);
    push_quoted(line, b",\"user_agent\":\"", entry.user_agent);
    push_quoted(line, b",\"referer\":\"", entry.referer);
    line.extend_from_slice(b"}\n");
}

/// A text whose key ends the text before it, and whose own end is the next key's.
#[inline]
fn push_text(line: &mut Vec<u8>, key: &[u8], text: &[u8]) {
    line.extend_from_slice(key);
    escape::push(line, text);
}

#[inline]
fn push_optional(line: &mut Vec<u8>, key: &[u8], text: Option<&[u8]>) {
    if let Some(text) = text {
        push_text(line, key, text);
    }
}

/// A text after a number, or after a text that is closed.
#[inline]
fn push_quoted(line: &mut Vec<u8>, key: &[u8], text: Option<&[u8]>) {
    if let Some(text) = text {
        push_text(line, key, text);
        line.push(b'"');
    }
}

#[inline]
fn push_number(line: &mut Vec<u8>, key: &[u8], number: u64) {
    line.extend_from_slice(key);
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds with three digits behind the point.
#[inline]
fn push_millis(line: &mut Vec<u8>, key: &[u8], time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    push_number(line, key, micros / 1_000);
    line.push(b'.');
    push_three_digits(line, (micros % 1_000) as u32);
}

#[inline]
fn push_three_digits(line: &mut Vec<u8>, number: u32) {
    let digit = |number: u32| b'0' + (number % 10) as u8;
    line.extend_from_slice(&[digit(number / 100), digit(number / 10), digit(number)]);
}

fn push_address(line: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            push_number(line, b"", u64::from(first));
            rest.iter().for_each(|octet| push_number(line, b".", u64::from(*octet)));
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(write!(line, "{address}")),
    }
}

/// The key and the value, as nginx words it.
fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_09 => b"\",\"protocol\":\"HTTP/0.9",
        Version::HTTP_10 => b"\",\"protocol\":\"HTTP/1.0",
        Version::HTTP_2 => b"\",\"protocol\":\"HTTP/2.0",
        Version::HTTP_3 => b"\",\"protocol\":\"HTTP/3.0",
        // http::Version is an open type; what is left is 1.1.
        _ => b"\",\"protocol\":\"HTTP/1.1",
    }
}
