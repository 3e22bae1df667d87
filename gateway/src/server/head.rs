//! Reads the raw head of an HTTP/1 request line by line, strictly.

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
    /// length once its empty line is there. A line that is not complete is read again from its start; a client that
    /// sends byte by byte pays for that with a system call each.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, WireRefusal> {
        loop {
            let line = &bytes[self.line_start..];
            let read = match (self.part, line.first()) {
                (_, None) => Line::Partial,
                (_, Some(b'\r')) => self.empty_line(line)?,
                (Part::RequestLine, Some(_)) => self.request_line(line)?,
                (Part::Fields | Part::Trailer, Some(_)) => self.field(line)?,
            };
            let (length, is_last) = match read {
                Line::Partial if bytes.len() > self.limits.bytes => {
                    return Err(WireRefusal::HeaderBytes);
                }
                Line::Partial => return Ok(None),
                Line::Read(length) => (length, false),
                Line::Last => (2, true),
            };
            self.line_start += length;
            if self.line_start > self.limits.bytes {
                return Err(WireRefusal::HeaderBytes);
            }
            if is_last {
                return Ok(Some(self.line_start));
            }
        }
    }

    fn empty_line(&self, line: &[u8]) -> Result<Line, WireRefusal> {
        match (line.get(1), self.part) {
            (None, _) => Ok(Line::Partial),
            (Some(b'\n'), Part::Fields | Part::Trailer) => Ok(Line::Last),
            // One empty line before a request line is let pass (RFC 9112, section 2.2).
            (Some(b'\n'), Part::RequestLine) if self.line_start == 0 => Ok(Line::Read(2)),
            (Some(b'\n'), Part::RequestLine) => Err(WireRefusal::RequestLine),
            (Some(_), _) => Err(WireRefusal::BareCr),
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

    fn request_line(&mut self, line: &[u8]) -> Result<Line, WireRefusal> {
        let end = match text_end(line) {
            TextEnd::At(end) => end,
            TextEnd::Partial => return Ok(Line::Partial),
            TextEnd::Refused(WireRefusal::FieldValue) => return Err(WireRefusal::Target),
            TextEnd::Refused(refusal) => return Err(refusal),
        };
        let text = &line[..end];
        let method_end = text.iter().position(|&byte| !is_token(byte)).unwrap_or(end);
        let version_start = end.saturating_sub(VERSION.len());
        let (method, version) = (&text[..method_end], &text[version_start..]);
        // At least one byte between two spaces.
        if method_end == 0 || method_end > METHOD_MAX || version_start < method_end + 3 {
            return Err(WireRefusal::RequestLine);
        }
        if text[method_end] != b' ' || text[version_start - 1] != b' ' {
            return Err(WireRefusal::RequestLine);
        }
        match version {
            VERSION => {}
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
        let target = &text[method_end + 1..version_start - 1];
        if target.contains(&b' ') {
            return Err(WireRefusal::RequestLine);
        }
        check_target(method, target)?;
        self.part = Part::Fields;
        Ok(Line::Read(end + 2))
    }

    fn field(&mut self, line: &[u8]) -> Result<Line, WireRefusal> {
        let Some(colon) = name_end(line)? else { return Ok(Line::Partial) };
        let value = &line[colon + 1..];
        let end = match text_end(value) {
            TextEnd::At(end) => end,
            TextEnd::Partial => return Ok(Line::Partial),
            TextEnd::Refused(refusal) => return Err(refusal),
        };
        self.fields += 1;
        if self.fields > self.limits.count {
            return Err(WireRefusal::HeaderCount);
        }
        self.judge(&line[..colon], &value[..end])?;
        Ok(Line::Read(colon + 1 + end + 2))
    }

    fn judge(&mut self, name: &[u8], value: &[u8]) -> Result<(), WireRefusal> {
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

/// The only version that is not old.
const VERSION: &[u8] = b"HTTP/1.1";

/// What reading a line came to.
enum Line {
    /// Its end is not there yet.
    Partial,
    /// It is complete and this long, line end included.
    Read(usize),
    /// It is the empty line at the end of the head.
    Last,
}

/// The colon after a valid field name; `None`: it has not come yet.
fn name_end(line: &[u8]) -> Result<Option<usize>, WireRefusal> {
    let Some(end) = line.iter().position(|&byte| !is_token(byte)) else { return Ok(None) };
    match (end, line[end]) {
        (0, b' ' | b'\t') => Err(WireRefusal::ObsFold),
        (_, b'\n') => Err(WireRefusal::BareLf),
        (0, _) => Err(WireRefusal::FieldName),
        (_, b':') => Ok(Some(end)),
        (_, b' ' | b'\t') => space_after_name(&line[end..]),
        (_, _) => Err(WireRefusal::FieldName),
    }
}

/// Which of the two mistakes it is shows at the end of the line.
fn space_after_name(rest: &[u8]) -> Result<Option<usize>, WireRefusal> {
    match rest.iter().find(|byte| matches!(byte, b':' | b'\n')) {
        None => Ok(None),
        Some(b':') => Err(WireRefusal::SpaceBeforeColon),
        Some(_) => Err(WireRefusal::FieldName),
    }
}

/// Where the text of a line ends.
enum TextEnd {
    /// Here stand CR and LF.
    At(usize),
    /// They have not come yet.
    Partial,
    /// Another control byte, or one of the two without the other.
    Refused(WireRefusal),
}

#[inline]
fn text_end(text: &[u8]) -> TextEnd {
    let Some(at) = control(text) else { return TextEnd::Partial };
    match (text[at], text.get(at + 1)) {
        (b'\r', Some(b'\n')) => TextEnd::At(at),
        (b'\r', None) => TextEnd::Partial,
        (b'\r', Some(_)) => TextEnd::Refused(WireRefusal::BareCr),
        (b'\n', _) => TextEnd::Refused(WireRefusal::BareLf),
        (_, _) => TextEnd::Refused(WireRefusal::FieldValue),
    }
}

/// The first byte below 0x20 but for the tab, or 0x7f. Eight bytes at once, since lines are short and many.
#[inline]
fn control(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let is_control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // The classic tests for "a byte less than n" and "a zero byte". They may also strike for a byte above a true
        // one, and for a tab, so what they find is looked at.
        let bytes = u64::from_le_bytes(*word);
        let below = bytes.wrapping_sub(ONES * 0x20) & !bytes;
        let delete = bytes ^ (ONES * 0x7f);
        let strikes = (below | (delete.wrapping_sub(ONES) & !delete)) & HIGH;
        if strikes != 0 {
            // The lowest strike is a true one; it may be a tab.
            let lowest = (strikes.trailing_zeros() / 8) as usize;
            let at =
                if word[lowest] == b'\t' { word.iter().position(is_control) } else { Some(lowest) };
            if let Some(at) = at {
                return Some(index * 8 + at);
            }
        }
    }
    rest.iter().position(is_control).map(|at| words.len() * 8 + at)
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
