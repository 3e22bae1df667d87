//! The head of a request over HTTP/1.1: read from clients strictly, written to servers.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri, Version, header, request};

use super::fields;
use super::lines::Lines;
use crate::refusal::WireRefusal;
use crate::syntax::{is_authority, is_token};

/// The longest method anybody registered has 17 letters.
const METHOD_MAX: usize = 32;
/// The longest target the `http` crate holds.
const TARGET_MAX: usize = u16::MAX as usize - 1;

/// What a head says of what follows it, and of the connection.
pub(crate) struct Told {
    pub(crate) body: BodyKind,
    /// The client waits for 100 before it sends the body.
    pub(crate) expects: bool,
    /// Whether it wants to ask more on this connection.
    pub(crate) persistent: bool,
}

/// The body behind a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// No body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What the fields say that matter to the connection.
#[derive(Default)]
struct Facts {
    host: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects: bool,
}

/// Reads a complete head into `parts`.
pub(crate) fn parse(
    head: &Bytes,
    lines: &Lines,
    parts: &mut request::Parts,
) -> Result<Told, WireRefusal> {
    request_line(head, lines.first(head), parts)?;
    let mut facts = Facts::default();
    parts.headers = fields::parse(head, lines, |name, value| facts.note(name, value))?;
    let is_old = parts.version == Version::HTTP_10;
    if !is_old && !facts.host {
        return Err(WireRefusal::Host);
    }
    if facts.chunked && (facts.length.is_some() || is_old) {
        return Err(WireRefusal::Ambiguous);
    }
    let body = match (facts.chunked, facts.length) {
        (true, _) => BodyKind::Chunked,
        (false, Some(length)) if length > 0 => BodyKind::Length(length),
        (false, _) => BodyKind::None,
    };
    // HTTP/1.0 knows no 100 (RFC 9110, section 10.1.1).
    let expects = facts.expects && !is_old;
    Ok(Told { body, expects, persistent: !facts.close && (!is_old || facts.keep_alive) })
}

impl Facts {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), WireRefusal> {
        match *name {
            header::HOST if std::mem::replace(&mut self.host, true) => {
                return Err(WireRefusal::Host);
            }
            header::HOST if !is_authority(value.as_bytes()) => return Err(WireRefusal::Host),
            header::CONTENT_LENGTH => {
                let length = fields::length(value).ok_or(WireRefusal::ContentLength)?;
                if self.length.replace(length).is_some() {
                    return Err(WireRefusal::ContentLength);
                }
            }
            header::TRANSFER_ENCODING => {
                let chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                if std::mem::replace(&mut self.chunked, true) || !chunked {
                    return Err(WireRefusal::TransferEncoding);
                }
            }
            header::CONNECTION => {
                self.close |= fields::has_token(value, b"close");
                self.keep_alive |= fields::has_token(value, b"keep-alive");
            }
            header::EXPECT => {
                self.expects |= value.as_bytes().eq_ignore_ascii_case(b"100-continue")
            }
            _ => {}
        }
        Ok(())
    }
}

/// The only version that is not old.
const VERSION: &[u8] = b"HTTP/1.1";

fn request_line(
    head: &Bytes,
    range: Range<usize>,
    parts: &mut request::Parts,
) -> Result<(), WireRefusal> {
    let (text, start) = (&head[range.clone()], range.start);
    let end = text.len();
    let method_end = text.iter().position(|&byte| !is_token(byte)).unwrap_or(end);
    let version_start = end.saturating_sub(VERSION.len());
    // At least one byte between two spaces.
    let has_room = method_end > 0 && method_end <= METHOD_MAX && version_start >= method_end + 3;
    if !has_room || text[method_end] != b' ' || text[version_start - 1] != b' ' {
        return Err(no_request_line(text));
    }
    parts.version = match &text[version_start..] {
        VERSION => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(WireRefusal::Version);
        }
        _ => return Err(no_request_line(text)),
    };
    let (method, target) = (&text[..method_end], &text[method_end + 1..version_start - 1]);
    if method == b"CONNECT" {
        return Err(WireRefusal::Connect);
    }
    check_target(method, target)?;
    parts.method = Method::from_bytes(method).map_err(|_| WireRefusal::RequestLine)?;
    if target.len() > TARGET_MAX {
        return Err(WireRefusal::TargetLength);
    }
    let target = head.slice(start + method_end + 1..start + version_start - 1);
    parts.uri = Uri::from_maybe_shared(target).map_err(|_| WireRefusal::Target)?;
    Ok(())
}

/// A control byte in it says more than that its parts are not there.
fn no_request_line(text: &[u8]) -> WireRefusal {
    match fields::control(text) {
        Some(WireRefusal::BareCr) => WireRefusal::BareCr,
        Some(_) => WireRefusal::Target,
        None => WireRefusal::RequestLine,
    }
}

fn check_target(method: &[u8], target: &[u8]) -> Result<(), WireRefusal> {
    let plain = target.iter().fold(true, |plain, &b| plain & (b > 0x20 && b < 0x7f && b != b'#'));
    if !plain {
        return Err(odd_target(target));
    }
    let form_fits = match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ => is_absolute_form(target),
    };
    if form_fits { Ok(()) } else { Err(WireRefusal::Target) }
}

fn odd_target(target: &[u8]) -> WireRefusal {
    match fields::control(target) {
        Some(WireRefusal::BareCr) => WireRefusal::BareCr,
        None if target.contains(&b' ') => WireRefusal::RequestLine,
        Some(_) | None => WireRefusal::Target,
    }
}

/// `http://authority/…` (RFC 9112, section 3.2.2).
fn is_absolute_form(target: &[u8]) -> bool {
    let has_scheme = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let rest = match () {
        () if has_scheme(b"http://") => &target[7..],
        () if has_scheme(b"https://") => &target[8..],
        () => return false,
    };
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    is_authority(&rest[..end])
}

/// How a request's body is delimited for a server (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body; `Content-Length: 0` stays if the client said it.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Writes a head for a server. `host` goes in the place of the client's.
pub(crate) fn write(
    out: &mut Vec<u8>,
    parts: &request::Parts,
    host: &HeaderValue,
    framing: Framing,
) {
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    if !target.starts_with(['/', '*']) {
        // `http://host?query` has an empty path, which is `/` here (RFC 9112, section 3.2.1).
        out.push(b'/');
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields::write(out, &header::HOST, host);
    for (name, value) in &parts.headers {
        match *name {
            header::HOST | header::TRANSFER_ENCODING => {}
            header::CONTENT_LENGTH if framing != Framing::None || value != "0" => {}
            _ => fields::write(out, name, value),
        }
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => fields::write_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}
