//! Headers between the two sides: hop-by-hop fields go, forwarding fields come (RFC 9110, sections 7.6 and 7.8).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use http_body::Frame;
use plugins::exchange::Scheme;

use crate::client::{Sender, X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::client_deadline::{GRPC_TIMEOUT, X_REQUEST_DEADLINE};
use crate::config::Forwarded;
use crate::http1::fields::has_token;

static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What the hop-by-hop fields of a request said.
#[derive(Debug, Default)]
pub(crate) struct Hop {
    /// The protocol asked for, if `Connection: upgrade` confirms it.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The client says how long it waits.
    pub(crate) says_deadline: bool,
}

/// Takes the fields out that are meant for this hop only, and reads them. Before the plugins: a client must not take
/// out what they put in.
pub(crate) fn strip_request(headers: &mut HeaderMap) -> Hop {
    let mut hop = Hop::default();
    let found = look(headers);
    hop.says_deadline = found.deadline;
    if found.expect {
        // Answered here: 100 goes out once somebody wants the body (RFC 9110, section 10.1.1).
        headers.remove(header::EXPECT);
    }
    if found.te
        && headers.get(header::TE).is_none_or(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers"))
    {
        headers.remove(header::TE);
    }
    if found.upgrade {
        let asked =
            headers.get_all(header::CONNECTION).iter().any(|value| has_token(value, b"upgrade"));
        hop.upgrade =
            headers.remove(header::UPGRADE).filter(|protocol| asked && !is_http(protocol));
    }
    strip(headers, &found);
    hop
}

/// The same for a response.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    let found = look(headers);
    if found.upgrade {
        headers.remove(header::UPGRADE);
    }
    strip(headers, &found);
}

#[derive(Default)]
struct Found {
    connection: bool,
    transfer_encoding: bool,
    upgrade: bool,
    keep_alive: bool,
    proxy_connection: bool,
    te: bool,
    expect: bool,
    deadline: bool,
}

/// One pass over the names, so that a request without such fields pays for no look-up. Standard names compare as
/// numbers.
fn look(headers: &HeaderMap) -> Found {
    let mut found = Found::default();
    for name in headers.keys() {
        match *name {
            header::CONNECTION => found.connection = true,
            header::TRANSFER_ENCODING => found.transfer_encoding = true,
            header::UPGRADE => found.upgrade = true,
            header::TE => found.te = true,
            header::EXPECT => found.expect = true,
            _ if *name == KEEP_ALIVE => found.keep_alive = true,
            _ if *name == PROXY_CONNECTION => found.proxy_connection = true,
            _ if *name == X_REQUEST_DEADLINE || *name == GRPC_TIMEOUT => found.deadline = true,
            _ => {}
        }
    }
    found
}

fn strip(headers: &mut HeaderMap, found: &Found) {
    if found.connection {
        strip_named(headers);
        headers.remove(header::CONNECTION);
    }
    if found.transfer_encoding {
        headers.remove(header::TRANSFER_ENCODING);
    }
    if found.keep_alive {
        headers.remove(&KEEP_ALIVE);
    }
    if found.proxy_connection {
        headers.remove(&PROXY_CONNECTION);
    }
}

/// Takes out what `Connection` names. Usually that is nothing but how the connection goes on.
fn strip_named(headers: &mut HeaderMap) {
    let plain = |value: &HeaderValue| matches!(value.as_bytes(), b"keep-alive" | b"close");
    if headers.get_all(header::CONNECTION).iter().all(plain) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok())
        .filter(|name| !is_end_to_end(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Fields that `Connection` must not name, since they are for all recipients (RFC 9110, section 7.6.1).
fn is_end_to_end(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::HOST
            | header::AUTHORIZATION
            | header::COOKIE
            | header::CONTENT_LENGTH
            | header::CONTENT_TYPE
            | header::CACHE_CONTROL
            | header::FORWARDED
            | header::TE
    )
}

/// HTTP again, by another version or over TLS (`h2c`, `HTTP/2.0`, `TLS/1.0`): behind such an upgrade a client would speak
/// to the server past routes and plugins ("h2c smuggling").
fn is_http(protocol: &HeaderValue) -> bool {
    let words = protocol.to_str().unwrap_or("h2c").split(',');
    words.map(|word| word.trim().to_ascii_lowercase()).any(|word| {
        matches!(word.as_str(), "h2c" | "h2" | "h3")
            || word.starts_with("http")
            || word.starts_with("tls")
    })
}

/// Says who asked for what, in the fields that servers read. What the client itself put there goes, unless it is a
/// trusted proxy.
pub(crate) fn add_forwarded(
    headers: &mut HeaderMap,
    sender: &Sender,
    peer: &HeaderValue,
    which: Forwarded,
) {
    if which.x_forwarded {
        add_x_forwarded(headers, sender, peer);
    } else if !sender.proxied {
        for name in [&X_FORWARDED_FOR, &X_FORWARDED_HOST, &X_FORWARDED_PROTO, &X_REAL_IP] {
            remove_if_there(headers, name);
        }
    }
    if which.rfc7239 {
        add_rfc7239(headers, sender, peer);
    } else if !sender.proxied {
        remove_if_there(headers, &header::FORWARDED);
    }
}

fn add_x_forwarded(headers: &mut HeaderMap, sender: &Sender, peer: &HeaderValue) {
    let host = headers.get(header::HOST).cloned();
    let before = if sender.proxied { joined(headers, &X_FORWARDED_FOR) } else { None };
    let list = match before {
        Some(before) => appended(&before, b", ", peer.as_bytes()),
        None => peer.clone(),
    };
    headers.insert(X_FORWARDED_FOR, list);
    headers.insert(&X_REAL_IP, sender.text.clone());
    let said = sender.proxied && headers.contains_key(&X_FORWARDED_HOST);
    if let (Some(host), false) = (host, said) {
        headers.insert(&X_FORWARDED_HOST, host);
    }
    headers.insert(X_FORWARDED_PROTO, proto(sender.scheme));
}

fn proto(scheme: Scheme) -> HeaderValue {
    match scheme {
        Scheme::Http => HeaderValue::from_static("http"),
        Scheme::Https => HeaderValue::from_static("https"),
    }
}

/// RFC 7239: `for`, `host` and `proto` of this hop, after what a trusted proxy said.
fn add_rfc7239(headers: &mut HeaderMap, sender: &Sender, peer: &HeaderValue) {
    let node = peer.to_str().unwrap_or("unknown");
    let node = if node.contains(':') { format!("\"[{node}]\"") } else { node.to_owned() };
    let mut element = format!("for={node};proto={}", sender.scheme.as_str());
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if let Some(host) = host {
        element.push_str(";host=\"");
        element.push_str(host);
        element.push('"');
    }
    let before = if sender.proxied { joined(headers, &header::FORWARDED) } else { None };
    let value = match before {
        Some(before) => appended(&before, b", ", element.as_bytes()),
        None => HeaderValue::try_from(element).unwrap_or(HeaderValue::from_static("for=unknown")),
    };
    headers.insert(header::FORWARDED, value);
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.clone();
    Some(values.fold(first, |list, value| appended(&list, b", ", value.as_bytes())))
}

fn appended(list: &HeaderValue, separator: &[u8], value: &[u8]) -> HeaderValue {
    let bytes = [list.as_bytes(), separator, value].concat();
    // All three were header values, or parts of them.
    HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| list.clone())
}

fn remove_if_there(headers: &mut HeaderMap, name: &HeaderName) {
    if headers.contains_key(name) {
        headers.remove(name);
    }
}

/// HTTP/2 may split `Cookie`; HTTP/1.1 must not (RFC 9113, section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap, version: Version) {
    if version != Version::HTTP_2 || headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, cookie);
    }
}

/// Puts the hop-by-hop fields of an upgrade back, on either side.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// The trailer of a body, as it may go on.
pub(crate) fn trailing(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            strip_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}

/// Takes out of a trailer what only counts before a body: framing, routing, who asks, what is asked, and what the content is
/// (RFC 9110, section 6.5.1). A server that merges trailers would believe what plugins and this file never saw.
fn strip_trailers(trailers: &mut HeaderMap) {
    let named: Vec<HeaderName> = trailers.keys().filter(|name| !may_trail(name)).cloned().collect();
    for name in named {
        trailers.remove(name);
    }
}

fn may_trail(name: &HeaderName) -> bool {
    let text = name.as_str();
    let starts = |start: &str| text.starts_with(start);
    let before_body = matches!(
        *name,
        header::HOST
            | header::CONNECTION
            | header::UPGRADE
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::AUTHORIZATION
            | header::COOKIE
            | header::SET_COOKIE
            | header::WWW_AUTHENTICATE
            | header::CACHE_CONTROL
            | header::PRAGMA
            | header::EXPECT
            | header::MAX_FORWARDS
            | header::RANGE
            | header::FORWARDED
            | header::AGE
            | header::DATE
            | header::EXPIRES
            | header::LOCATION
            | header::RETRY_AFTER
            | header::VARY
    );
    let groups =
        ["content-", "if-", "x-forwarded-", "proxy-auth", "proxy-connection", "keep-alive"];
    !before_body && *name != X_REAL_IP && !groups.into_iter().any(starts)
}
