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

/// Appends the line and its line break.
///
/// It is first written as if no text needed escaping. Bytes of clients that do need it can only add to the quotation
/// marks that are there by construction, so one look at the whole line tells whether it must be written again.
pub(super) fn push(line: &mut Vec<u8>, pad: &mut Pad, now: SystemTime, entry: &Entry<'_>) {
    let time = pad.clock.at(now);
    let mut as_is = AsIs { rest: &mut pad.place[..], fits: true };
    let quotes = write_fields(&mut as_is, time, entry);
    let AsIs { rest, fits } = as_is;
    let length = escape::COUNTABLE_MAX - rest.len();
    let written = &pad.place[..length];
    if fits && escape::special_count(written) == Some(quotes) {
        line.extend_from_slice(written);
    } else {
        write_fields(&mut Escaped(line), time, entry);
    }
    line.push(b'\n');
}

/// What a worker keeps to write lines with.
pub(super) struct Pad {
    clock: Clock,
    place: Box<[u8; escape::COUNTABLE_MAX]>,
}

impl Pad {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { clock: Clock::new(), place: Box::new([0; escape::COUNTABLE_MAX]) }
    }
}

/// Where a line is written.
trait Sheet {
    /// Bytes that need no escaping.
    fn put(&mut self, bytes: &[u8]);

    /// Text that may.
    fn text(&mut self, text: &[u8]);
}

/// Writes texts as they are, into a place that need not grow: cheaper than a `Vec` that might.
struct AsIs<'a> {
    /// What is still free.
    rest: &'a mut [u8],
    /// Nothing was left out.
    fits: bool,
}

impl Sheet for AsIs<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        match std::mem::take(&mut self.rest).split_at_mut_checked(bytes.len()) {
            Some((place, rest)) => {
                place.copy_from_slice(bytes);
                self.rest = rest;
            }
            None => self.fits = false,
        }
    }

    #[inline(always)]
    fn text(&mut self, text: &[u8]) {
        self.put(text);
    }
}

/// Escapes texts, however long they become.
struct Escaped<'a>(&'a mut Vec<u8>);

impl Sheet for Escaped<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &[u8]) {
        escape::push(self.0, text);
    }
}

/// Writes the object; returns how many quotation marks its keys and values have.
///
/// Within a run of texts a key closes the text before it; after a number comes a comma.
#[inline(always)]
fn write_fields(sheet: &mut impl Sheet, time: &[u8; 23], entry: &Entry<'_>) -> usize {
    let mut texts = 7;
    let mut numbers = 4;
    sheet.put(b"{\"time\":\"");
    sheet.put(time);
    sheet.put(b"Z\",\"client\":\"");
    write_address(sheet, entry.client);
    texts += write_optional(sheet, b"\",\"user\":\"", entry.user.map(str::as_bytes));
    write_text(sheet, b"\",\"method\":\"", entry.method.as_bytes());
    write_text(sheet, b"\",\"scheme\":\"", entry.scheme.as_bytes());
    texts += write_optional(sheet, b"\",\"host\":\"", entry.host);
    write_text(sheet, b"\",\"path\":\"", entry.path);
    sheet.put(protocol(entry.protocol));
    write_number(sheet, b"\",\"status\":", u64::from(entry.status));
    write_text(sheet, b",\"reason\":\"", entry.reason.as_bytes());
    texts += write_optional(sheet, b"\",\"route\":\"", entry.route.map(str::as_bytes));
    texts += write_optional(sheet, b"\",\"upstream\":\"", entry.upstream.map(str::as_bytes));
    texts += write_optional(sheet, b"\",\"server\":\"", entry.server.map(str::as_bytes));
    write_millis(sheet, b"\",\"duration_ms\":", entry.duration);
    if let Some(time) = entry.upstream_time {
        write_millis(sheet, b",\"upstream_ms\":", time);
        numbers += 1;
    }
    write_number(sheet, b",\"bytes_in\":", entry.bytes_in);
    write_number(sheet, b",\"bytes_out\":", entry.bytes_out);
    if entry.retries > 0 {
        write_number(sheet, b",\"retries\":", u64::from(entry.retries));
        numbers += 1;
    }
    texts += write_closed(sheet, b",\"correlation_id\":\"", entry.correlation_id);
    texts += write_closed(sheet, b",\"traceparent\":\"", entry.traceparent);
    texts += write_closed(sheet, b",\"user_agent\":\"", entry.user_agent);
    texts += write_closed(sheet, b",\"referer\":\"", entry.referer);
    sheet.put(b"}");
    texts * 4 + numbers * 2
}

#[inline(always)]
fn write_text<const N: usize>(sheet: &mut impl Sheet, key: &[u8; N], text: &[u8]) {
    sheet.put(key);
    sheet.text(text);
}

/// Returns how many texts were written.
#[inline(always)]
fn write_optional<const N: usize>(
    sheet: &mut impl Sheet,
    key: &[u8; N],
    text: Option<&[u8]>,
) -> usize {
    let Some(text) = text else {
        return 0;
    };
    write_text(sheet, key, text);
    1
}

/// The same with the text's own end.
#[inline(always)]
fn write_closed<const N: usize>(
    sheet: &mut impl Sheet,
    key: &[u8; N],
    text: Option<&[u8]>,
) -> usize {
    let written = write_optional(sheet, key, text);
    if written > 0 {
        sheet.put(b"\"");
    }
    written
}

#[inline(always)]
fn write_number<const N: usize>(sheet: &mut impl Sheet, key: &[u8; N], number: u64) {
    sheet.put(key);
    if number < 10 {
        // What most requests have for a body.
        sheet.put(&[b'0' + number as u8]);
    } else {
        sheet.put(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// Milliseconds with three digits behind the point.
#[inline(always)]
fn write_millis<const N: usize>(sheet: &mut impl Sheet, key: &[u8; N], time: Duration) {
    let micros = time.subsec_micros();
    let millis = time.as_secs().saturating_mul(1_000).saturating_add(u64::from(micros / 1_000));
    write_number(sheet, key, millis);
    let [hundreds, tens, ones] = three_digits(micros % 1_000);
    sheet.put(&[b'.', hundreds, tens, ones]);
}

#[inline]
fn three_digits(number: u32) -> [u8; 3] {
    [number / 100, number / 10, number].map(|digit| b'0' + (digit % 10) as u8)
}

fn write_address(sheet: &mut impl Sheet, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            write_octet(sheet, first);
            for octet in rest {
                sheet.put(b".");
                write_octet(sheet, octet);
            }
        }
        IpAddr::V6(address) => {
            // The longest is 45 bytes; a write into the array that fits cannot fail.
            let mut text = [0; 48];
            let mut rest = &mut text[..];
            write!(rest, "{address}").ok();
            let left = rest.len();
            sheet.put(&text[..text.len() - left]);
        }
    }
}

#[inline]
fn write_octet(sheet: &mut impl Sheet, octet: u8) {
    let digits = three_digits(u32::from(octet));
    let leading = usize::from(octet < 100) + usize::from(octet < 10);
    sheet.put(&digits[leading..]);
}

/// As nginx words it, with its key.
fn protocol(version: Version) -> &'static [u8; 22] {
    match version {
        Version::HTTP_09 => b"\",\"protocol\":\"HTTP/0.9",
        Version::HTTP_10 => b"\",\"protocol\":\"HTTP/1.0",
        Version::HTTP_2 => b"\",\"protocol\":\"HTTP/2.0",
        Version::HTTP_3 => b"\",\"protocol\":\"HTTP/3.0",
        // http::Version is an open type; what is left is 1.1.
        _ => b"\",\"protocol\":\"HTTP/1.1",
    }
}

/// The time of a line in RFC 3339 with milliseconds; the part down to the second is kept while the second lasts.
struct Clock {
    second: u64,
    text: [u8; 23],
}

impl Clock {
    fn new() -> Self {
        Self { second: u64::MAX, text: [b'0'; 23] }
    }

    /// `2026-11-23T14:22:55.007`
    fn at(&mut self, now: SystemTime) -> &[u8; 23] {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.turn();
        }
        let [.., hundreds, tens, ones] = &mut self.text;
        [*hundreds, *tens, *ones] = three_digits(now.subsec_millis());
        &self.text
    }

    /// Writes a new second.
    #[cold]
    fn turn(&mut self) {
        let seconds = i64::try_from(self.second).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
        let text = time.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        // 20 bytes up to the year 9999, which is as far as a timestamp goes.
        self.text.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
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
        push(&mut line, &mut Pad::new(), now, entry);
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
        let quotes = write_fields(&mut Escaped(&mut escaped), Clock::new().at(now), &entry);
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
