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
///
/// It is first written as if no text needed escaping. Bytes of clients that do need it can only add to the quotation
/// marks that are there by construction, so one look at the whole line tells whether it must be written again.
pub(super) fn push(line: &mut Vec<u8>, clock: &mut Clock, now: SystemTime, entry: &Entry<'_>) {
    let start = line.len();
    let quotes = push_fields::<AsIs>(line, clock, now, entry);
    let written = &line[start..];
    if written.len() > escape::LENGTH_MAX || escape::special_count(written) != quotes {
        line.truncate(start);
        push_fields::<Escaped>(line, clock, now, entry);
    }
    line.push(b'\n');
}

/// How a text is written.
trait Writing {
    fn push(line: &mut Vec<u8>, text: &[u8]);
}

enum AsIs {}

impl Writing for AsIs {
    #[inline(always)]
    fn push(line: &mut Vec<u8>, text: &[u8]) {
        line.extend_from_slice(text);
    }
}

enum Escaped {}

impl Writing for Escaped {
    fn push(line: &mut Vec<u8>, text: &[u8]) {
        escape::push(line, text);
    }
}

/// Appends the object; returns how many quotation marks its keys and values have.
///
/// Within a run of texts a key closes the text before it; after a number comes a comma.
#[inline(always)]
fn push_fields<W: Writing>(
    line: &mut Vec<u8>,
    clock: &mut Clock,
    now: SystemTime,
    entry: &Entry<'_>,
) -> usize {
    let mut texts = 7;
    let mut numbers = 4;
    line.extend_from_slice(b"{\"time\":\"");
    clock.push(line, now);
    line.extend_from_slice(b"Z\",\"client\":\"");
    push_address(line, entry.client);
    texts += push_optional::<W>(line, b"\",\"user\":\"", entry.user.map(str::as_bytes));
    push_text::<W>(line, b"\",\"method\":\"", entry.method.as_bytes());
    push_text::<W>(line, b"\",\"scheme\":\"", entry.scheme.as_bytes());
    texts += push_optional::<W>(line, b"\",\"host\":\"", entry.host);
    push_text::<W>(line, b"\",\"path\":\"", entry.path);
    push_text::<W>(line, b"\",\"protocol\":\"", protocol(entry.protocol));
    push_number(line, b"\",\"status\":", u64::from(entry.status));
    push_text::<W>(line, b",\"reason\":\"", entry.reason.as_bytes());
    texts += push_optional::<W>(line, b"\",\"route\":\"", entry.route.map(str::as_bytes));
    texts += push_optional::<W>(line, b"\",\"upstream\":\"", entry.upstream.map(str::as_bytes));
    texts += push_optional::<W>(line, b"\",\"server\":\"", entry.server.map(str::as_bytes));
    push_millis(line, b"\",\"duration_ms\":", entry.duration);
    if let Some(time) = entry.upstream_time {
        push_millis(line, b",\"upstream_ms\":", time);
        numbers += 1;
    }
    push_number(line, b",\"bytes_in\":", entry.bytes_in);
    push_number(line, b",\"bytes_out\":", entry.bytes_out);
    if entry.retries > 0 {
        push_number(line, b",\"retries\":", u64::from(entry.retries));
        numbers += 1;
    }
    texts += push_closed::<W>(line, b",\"correlation_id\":\"", entry.correlation_id);
    texts += push_closed::<W>(line, b",\"traceparent\":\"", entry.traceparent);
    texts += push_closed::<W>(line, b",\"user_agent\":\"", entry.user_agent);
    texts += push_closed::<W>(line, b",\"referer\":\"", entry.referer);
    line.push(b'}');
    texts * 4 + numbers * 2
}

#[inline(always)]
fn push_text<W: Writing>(line: &mut Vec<u8>, key: &[u8], text: &[u8]) {
    line.extend_from_slice(key);
    W::push(line, text);
}

/// Returns how many texts were written.
#[inline(always)]
fn push_optional<W: Writing>(line: &mut Vec<u8>, key: &[u8], text: Option<&[u8]>) -> usize {
    let Some(text) = text else {
        return 0;
    };
    push_text::<W>(line, key, text);
    1
}

/// The same with the text's own end.
#[inline(always)]
fn push_closed<W: Writing>(line: &mut Vec<u8>, key: &[u8], text: Option<&[u8]>) -> usize {
    let written = push_optional::<W>(line, key, text);
    if written > 0 {
        line.push(b'"');
    }
    written
}

#[inline(always)]
fn push_number(line: &mut Vec<u8>, key: &[u8], number: u64) {
    line.extend_from_slice(key);
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds with three digits behind the point.
fn push_millis(line: &mut Vec<u8>, key: &[u8], time: Duration) {
    let micros = time.subsec_micros();
    let millis = time.as_secs().saturating_mul(1_000).saturating_add(u64::from(micros / 1_000));
    push_number(line, key, millis);
    line.push(b'.');
    push_three_digits(line, micros % 1_000);
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

/// As nginx words it.
fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_09 => b"HTTP/0.9",
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        Version::HTTP_3 => b"HTTP/3.0",
        // http::Version is an open type; what is left is 1.1.
        _ => b"HTTP/1.1",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// A request as it is usual.
    pub(in crate::observe) fn usual() -> Entry<'static> {
        Entry {
            client: IpAddr::from([203, 0, 113, 7]),
            user: None,
            method: "GET",
            scheme: "https",
            host: Some(b"portal.example.com"),
            path: b"/news/v1/famous/7?fields=title",
            protocol: Version::HTTP_11,
            status: 200,
            reason: "ok",
            route: Some("/news/v1/{type}/{id}"),
            upstream: Some("famous-news"),
            server: Some("10.0.0.11:3000"),
            duration: Duration::from_nanos(1_234_567_890),
            upstream_time: Some(Duration::from_micros(42)),
            bytes_in: 0,
            bytes_out: 5_321,
            retries: 0,
            correlation_id: Some(b"0199c0ff"),
            traceparent: None,
            user_agent: Some(b"curl/8.5.0"),
            referer: None,
        }
    }

    fn line(entry: &Entry<'_>) -> String {
        let mut line = b"before\n".to_vec();
        let now = UNIX_EPOCH + Duration::from_millis(1_795_443_775_007);
        push(&mut line, &mut Clock::new(), now, entry);
        String::from_utf8(line).unwrap().strip_prefix("before\n").unwrap().to_owned()
    }

    fn object(line: &str) -> Value {
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    #[test]
    fn a_usual_line_reads_well_and_leaves_out_what_is_absent() {
        let expected = concat!(
            r#"{"time":"2026-11-23T14:22:55.007Z","client":"203.0.113.7","method":"GET","#,
            r#""scheme":"https","host":"portal.example.com","#,
            r#""path":"/news/v1/famous/7?fields=title","protocol":"HTTP/1.1","status":200,"#,
            r#""reason":"ok","route":"/news/v1/{type}/{id}","upstream":"famous-news","#,
            r#""server":"10.0.0.11:3000","duration_ms":1234.567,"upstream_ms":0.042,"#,
            r#""bytes_in":0,"bytes_out":5321,"correlation_id":"0199c0ff","#,
            r#""user_agent":"curl/8.5.0"}"#,
            "\n",
        );
        assert_eq!(line(&usual()), expected);
    }

    #[test]
    fn a_line_with_everything_is_as_it_is_without_escaping() {
        let entry = Entry {
            client: "2001:db8::1".parse().unwrap(),
            user: Some("anna"),
            retries: 2,
            traceparent: Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            referer: Some(b"https://example.com/"),
            ..usual()
        };
        let text = line(&entry);
        let mut escaped = Vec::new();
        let now = UNIX_EPOCH + Duration::from_millis(1_795_443_775_007);
        let quotes = push_fields::<Escaped>(&mut escaped, &mut Clock::new(), now, &entry);
        assert_eq!(text.trim_end().as_bytes(), escaped);
        assert_eq!(text.matches('"').count(), quotes);
        let object = object(&text);
        assert_eq!(object["client"], "2001:db8::1");
        assert_eq!(object["user"], "anna");
        assert_eq!(object["retries"], 2);
        assert_eq!(object["referer"], "https://example.com/");
    }

    #[test]
    fn a_request_cannot_forge_fields_or_lines() {
        let entry = Entry {
            path: b"/\",\"status\":200,\"x\":\"",
            user_agent: Some(b"a\"}\n{\"time\":\"now"),
            ..usual()
        };
        let object = object(&line(&entry));
        assert_eq!(object["path"], "/\",\"status\":200,\"x\":\"");
        assert_eq!(object["user_agent"], "a\"}\n{\"time\":\"now");
        assert!(object.get("x").is_none());
    }

    #[test]
    fn a_giant_field_is_cut() {
        let agent = [b'a'; 100_000];
        let text = line(&Entry { user_agent: Some(&agent), ..usual() });
        assert!(text.len() < escape::LENGTH_MAX + 1_000, "{}", text.len());
        assert!(object(&text)["user_agent"].as_str().unwrap().ends_with("a…"));
    }

    /// Bytes of all kinds, often those that mean something in JSON.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            any::<u8>(),
            prop::sample::select(&b"\"\\{}:,\n\r\0\x7f/u"[..]),
            b'a'..=b'z',
        ];
        prop::collection::vec(byte, 0..80)
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_the_line_is_one_json_object(
            path in hostile(),
            host in prop::option::of(hostile()),
            user_agent in prop::option::of(hostile()),
            referer in prop::option::of(hostile()),
            correlation_id in prop::option::of(hostile()),
            route in prop::option::of(any::<String>()),
            micros in any::<u64>(),
        ) {
            let entry = Entry {
                path: &path,
                host: host.as_deref(),
                user_agent: user_agent.as_deref(),
                referer: referer.as_deref(),
                correlation_id: correlation_id.as_deref(),
                route: route.as_deref(),
                duration: Duration::from_micros(micros),
                ..usual()
            };
            let object = object(&line(&entry));
            prop_assert_eq!(object["route"].as_str(), route.as_deref());
            prop_assert_eq!(object["status"].as_u64(), Some(200));
            prop_assert_eq!(object.get("referer").is_some(), referer.is_some());
            if let Ok(path) = std::str::from_utf8(&path) {
                prop_assert_eq!(object["path"].as_str(), Some(path));
            }
        }
    }
}
