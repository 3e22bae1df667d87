//! The head of a response over HTTP/1.1: read from servers, written to clients.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Version, header, response};

use super::fields;
use super::lines::Lines;
use crate::refusal::WireRefusal;

/// How the body of a response ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// There is none.
    None,
    /// There is none, and the protocol changes.
    Switched,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// What the head of a response says of what follows it.
#[derive(Default)]
pub(crate) struct Facts {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    /// Whether the server takes another request on this connection.
    pub(crate) persistent: bool,
}

/// Reads a complete head into `parts`.
pub(crate) fn parse(
    head: &Bytes,
    lines: &Lines,
    parts: &mut response::Parts,
) -> Result<Facts, WireRefusal> {
    (parts.status, parts.version) = status_line(&head[lines.first(head)])?;
    let mut facts = Facts::default();
    parts.headers = fields::parse(head, lines, |name, value| facts.note(name, value))?;
    if facts.chunked && facts.length.is_some() {
        return Err(WireRefusal::Ambiguous);
    }
    let stays = parts.version == Version::HTTP_11 || facts.keep_alive;
    facts.persistent = stays && !facts.close;
    Ok(facts)
}

impl Facts {
    /// How the body ends. `to_head`: the response answers HEAD.
    pub(crate) fn body_end(&self, status: StatusCode, to_head: bool) -> BodyEnd {
        match status {
            StatusCode::SWITCHING_PROTOCOLS => BodyEnd::Switched,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => BodyEnd::None,
            _ if to_head => BodyEnd::None,
            _ => match (self.chunked, self.length) {
                (true, _) => BodyEnd::Chunked,
                (false, Some(0)) => BodyEnd::None,
                (false, Some(length)) => BodyEnd::Length(length),
                (false, None) => BodyEnd::Close,
            },
        }
    }

    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), WireRefusal> {
        match *name {
            header::CONTENT_LENGTH => {
                let length = fields::length(value).ok_or(WireRefusal::ContentLength)?;
                // The same number twice is a common mistake and means one thing.
                if self.length.replace(length).is_some_and(|before| before != length) {
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
            _ => {}
        }
        Ok(())
    }
}

fn status_line(line: &[u8]) -> Result<(StatusCode, Version), WireRefusal> {
    let (version, rest) = line.split_at_checked(9).ok_or(WireRefusal::RequestLine)?;
    let version = match version {
        b"HTTP/1.1 " => Version::HTTP_11,
        b"HTTP/1.0 " => Version::HTTP_10,
        _ => return Err(WireRefusal::Version),
    };
    let (code, reason) = rest.split_at_checked(3).ok_or(WireRefusal::RequestLine)?;
    if !matches!(reason, [] | [b' ', ..]) {
        return Err(WireRefusal::RequestLine);
    }
    let status = StatusCode::from_bytes(code).map_err(|_| WireRefusal::RequestLine)?;
    Ok((status, version))
}

/// How a client tells where the body ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body, and nothing is said of one.
    None,
    /// There is no body; the length of the one that would be there stays as the server said it.
    Kept,
    /// There is no body; of the one that would be there only the length is known.
    Told(u64),
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All until the connection closes: for HTTP/1.0.
    UntilClose,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// Another request may follow.
    Stays,
    /// It closes after this response.
    Closes,
}

impl Goodbye {
    /// What `Connection` says, if it has to say anything.
    pub(crate) fn said_to(self, version: Version) -> Option<&'static [u8]> {
        match self {
            Self::Closes => Some(b"connection: close\r\n"),
            Self::Stays if version == Version::HTTP_10 => Some(b"connection: keep-alive\r\n"),
            Self::Stays => None,
        }
    }
}

/// Writes the head. Fields that frame the message are ours to say, whoever said them before.
pub(crate) fn write(
    out: &mut Vec<u8>,
    head: &response::Parts,
    framing: Framing,
    connection: Option<&'static [u8]>,
    date: &[u8],
) {
    write_status(out, head.status);
    let mut dated = false;
    for (name, value) in &head.headers {
        match *name {
            header::CONTENT_LENGTH if framing != Framing::Kept => continue,
            header::TRANSFER_ENCODING | header::CONNECTION => continue,
            header::DATE => dated = true,
            _ => {}
        }
        fields::write(out, name, value);
    }
    match framing {
        Framing::Length(length) | Framing::Told(length) => fields::write_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::Kept | Framing::UntilClose => {}
    }
    if let Some(connection) = connection {
        out.extend_from_slice(connection);
    }
    if !dated {
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of a 101, whose `Connection` and `Upgrade` stay.
pub(crate) fn write_switch(out: &mut Vec<u8>, head: &response::Parts) {
    write_status(out, head.status);
    for (name, value) in &head.headers {
        if !matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING) {
            fields::write(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}
