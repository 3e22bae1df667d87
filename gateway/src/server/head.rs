//! Reads the raw head of an HTTP/1 request line by line, strictly.

use memchr::memchr;

use super::framing::BodyKind;
use crate::refusal::WireRefusal;
use crate::syntax::{is_authority, is_token};

/// The longest method anybody registered has 17 letters.
const METHOD_MAX: usize = 32;

/// What a head is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// `limits.header-bytes`.
    pub(crate) bytes: usize,
    /// `limits.header-count`.
    pub(crate) count: usize,
}

/// A head while it arrives. Offsets count from its first byte; what was read is not read again.
#[derive(Debug)]
pub(crate) struct Head {
    limits: HeadLimits,
    /// Where the first unread line starts.
    line_start: usize,
    /// How far the first unread line was searched for its end.
    searched: usize,
    fields: usize,
    part: Part,
    asks: Asks,
    host_seen: bool,
    host_needed: bool,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    RequestLine,
    Fields,
    Trailer,
}

/// What the head asks for beside an answer.
#[derive(Clone, Copy, Debug, Default)]
struct Asks {
    upgrade: bool,
    old_version: bool,
}

impl Head {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            line_start: 0,
            searched: 0,
            fields: 0,
            part: Part::RequestLine,
            asks: Asks::default(),
            host_seen: false,
            host_needed: true,
            length: None,
            chunked: false,
        }
    }

    /// The trailer of a chunked body: fields, then an empty line.
    pub(crate) fn trailer(limits: HeadLimits) -> Self {
        Self { part: Part::Trailer, ..Self::new(limits) }
    }

    /// Reads the lines that have become complete. `bytes` starts with the head's first byte. Returns the head's
    /// length once its empty line is there.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, WireRefusal> {
        loop {
            let Some(found) = memchr(b'\n', &bytes[self.searched..]) else {
                self.searched = bytes.len();
                return if bytes.len() > self.limits.bytes {
                    Err(WireRefusal::HeaderBytes)
                } else {
                    Ok(None)
                };
            };
            let newline = self.searched + found;
            if newline >= self.limits.bytes {
                return Err(WireRefusal::HeaderBytes);
            }
            let line = &bytes[self.line_start..newline];
            self.line_start = newline + 1;
            self.searched = newline + 1;
            let Some((b'\r', line)) = line.split_last() else { return Err(WireRefusal::BareLf) };
            match (self.part, line.is_empty()) {
                // One empty line before a request line is let pass (RFC 9112, section 2.2).
                (Part::RequestLine, true) if newline == 1 => {}
                (Part::RequestLine, true) => return Err(WireRefusal::RequestLine),
                (Part::RequestLine, false) => self.request_line(line)?,
                (Part::Fields | Part::Trailer, true) => return Ok(Some(newline + 1)),
                (Part::Fields | Part::Trailer, false) => self.field(line)?,
            }
        }
    }

    /// What follows the complete head.
    pub(crate) fn finish(&self) -> Result<BodyKind, WireRefusal> {
        if self.host_needed && !self.host_seen {
            return Err(WireRefusal::Host);
        }
        if self.chunked && (self.length.is_some() || self.asks.old_version) {
            return Err(WireRefusal::Ambiguous);
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => BodyKind::Chunked,
            (false, Some(length)) if length > 0 => BodyKind::Length(length),
            (false, _) if self.asks.upgrade => BodyKind::Upgrade,
            (false, _) => BodyKind::None,
        })
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), WireRefusal> {
        let mut words = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(WireRefusal::RequestLine);
        };
        if method.is_empty() || method.len() > METHOD_MAX || !method.iter().all(|&b| is_token(b)) {
            return Err(WireRefusal::RequestLine);
        }
        match version {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => {
                self.asks.old_version = true;
                self.host_needed = false;
            }
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(WireRefusal::Version);
            }
            _ => return Err(WireRefusal::RequestLine),
        }
        if method == b"CONNECT" {
            return Err(WireRefusal::Connect);
        }
        check_target(method, target)?;
        self.part = Part::Fields;
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), WireRefusal> {
        self.fields += 1;
        if self.fields > self.limits.count {
            return Err(WireRefusal::HeaderCount);
        }
        let colon = name_end(line)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        check_value(value)?;
        // Names that matter differ in length, so that others cost one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(trim(value)),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.asks.upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer_encoding(trim(value))
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), WireRefusal> {
        let in_trailer = self.part == Part::Trailer;
        if std::mem::replace(&mut self.host_seen, true) || in_trailer || !is_authority(value) {
            return Err(if in_trailer { WireRefusal::Trailer } else { WireRefusal::Host });
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), WireRefusal> {
        if self.part == Part::Trailer {
            return Err(WireRefusal::Trailer);
        }
        let plain = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
        if !plain || self.length.is_some() {
            return Err(WireRefusal::ContentLength);
        }
        let digits = value.iter().map(|digit| u64::from(digit - b'0'));
        self.length = Some(digits.fold(0, |length, digit| length * 10 + digit));
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), WireRefusal> {
        if self.part == Part::Trailer {
            return Err(WireRefusal::Trailer);
        }
        if std::mem::replace(&mut self.chunked, true) || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(WireRefusal::TransferEncoding);
        }
        Ok(())
    }
}

/// The colon after a valid field name.
fn name_end(line: &[u8]) -> Result<usize, WireRefusal> {
    let end = line.iter().position(|&byte| !is_token(byte));
    match end.map(|end| (end, line[end])) {
        Some((0, b' ' | b'\t')) => Err(WireRefusal::ObsFold),
        Some((end, b':')) if end > 0 => Ok(end),
        Some((end, b' ' | b'\t')) if line[end..].iter().any(|&byte| byte == b':') => {
            Err(WireRefusal::SpaceBeforeColon)
        }
        _ => Err(WireRefusal::FieldName),
    }
}

fn check_value(value: &[u8]) -> Result<(), WireRefusal> {
    if !may_have_control(value) {
        return Ok(());
    }
    let is_control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
    match value.iter().find(|byte| is_control(byte)) {
        None => Ok(()),
        Some(b'\r') => Err(WireRefusal::BareCr),
        Some(_) => Err(WireRefusal::FieldValue),
    }
}

/// Whether there may be a byte below 0x20, or 0x7f: eight bytes at once, since values are short and many.
fn may_have_control(value: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    // The classic tests for "a byte less than n" and "a zero byte", which may also strike beside a true one.
    let strikes = |word: u64| {
        let below = word.wrapping_sub(ONES * 0x20) & !word;
        let delete = word ^ (ONES * 0x7f);
        (below | (delete.wrapping_sub(ONES) & !delete)) & HIGH
    };
    let (words, rest) = value.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| found | strikes(u64::from_le_bytes(*word)));
    // The rest, filled up with letters.
    let mut last = [b'a'; 8];
    last[..rest.len()].copy_from_slice(rest);
    (found | strikes(u64::from_le_bytes(last))) != 0
}

fn check_target(method: &[u8], target: &[u8]) -> Result<(), WireRefusal> {
    let plain = target.iter().fold(true, |plain, &b| plain & (b > 0x20 && b < 0x7f && b != b'#'));
    let form_fits = match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ => is_absolute_form(target),
    };
    if plain && form_fits { Ok(()) } else { Err(WireRefusal::Target) }
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

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

#[cfg(test)]
mod tests;
