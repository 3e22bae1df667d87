//! Header fields: read strictly, written plainly.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::lines::Lines;
use crate::refusal::WireRefusal;
use crate::syntax::is_token;

/// Room for the fields that are added on the way, so that the map need not grow.
const ADDED: usize = 6;

/// Reads the fields of a complete head. `each` sees them in order, and may refuse one.
pub(crate) fn parse(
    head: &Bytes,
    lines: &Lines,
    mut each: impl FnMut(&HeaderName, &HeaderValue) -> Result<(), WireRefusal>,
) -> Result<HeaderMap, WireRefusal> {
    let mut fields = HeaderMap::with_capacity(lines.field_count() + ADDED);
    for range in lines.fields(head) {
        let (name, value) = field(head, range)?;
        each(&name, &value)?;
        fields.try_append(name, value).map_err(|_| WireRefusal::HeaderCount)?;
    }
    Ok(fields)
}

fn field(head: &Bytes, range: Range<usize>) -> Result<(HeaderName, HeaderValue), WireRefusal> {
    let line = &head[range.clone()];
    let wrong = || judge(line).err().unwrap_or(WireRefusal::FieldName);
    // Names are short: a search that has to be set up costs more than it saves.
    let colon = line.iter().position(|&byte| byte == b':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| wrong())?;
    let spaced = &line[colon + 1..];
    let value = spaced.trim_ascii_start();
    let start = range.end - value.len();
    let value = head.slice(start..start + value.trim_ascii_end().len());
    // What was trimmed may be more than the usual space, and something that must not stand there.
    let is_usual = match spaced.len() - value.len() {
        0 => true,
        1 => spaced[0] == b' ',
        _ => false,
    };
    if !is_usual && control(spaced).is_some() {
        return Err(wrong());
    }
    Ok((name, HeaderValue::from_maybe_shared(value).map_err(|_| wrong())?))
}

/// Why a line is no field, if it is none. The usual line never comes here.
pub(super) fn judge(line: &[u8]) -> Result<(), WireRefusal> {
    let Some(end) = line.iter().position(|&byte| !is_token(byte)) else {
        return Err(WireRefusal::FieldName);
    };
    match (end, line[end]) {
        (0, b' ' | b'\t') => Err(WireRefusal::ObsFold),
        (0, _) => Err(WireRefusal::FieldName),
        (_, b':') => control(&line[end + 1..]).map_or(Ok(()), Err),
        (_, b' ' | b'\t') if line[end..].contains(&b':') => Err(WireRefusal::SpaceBeforeColon),
        (_, _) => Err(WireRefusal::FieldName),
    }
}

/// What is wrong with the first byte that no text may have, if there is one.
pub(crate) fn control(text: &[u8]) -> Option<WireRefusal> {
    let first = text.iter().find(|&&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)?;
    Some(if *first == b'\r' { WireRefusal::BareCr } else { WireRefusal::FieldValue })
}

/// Appends a field as it goes on the wire.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `content-length`.
pub(crate) fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The number a `Content-Length` says: digits alone, and not more than fit.
pub(crate) fn length(value: &HeaderValue) -> Option<u64> {
    let value = value.as_bytes();
    let plain = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    let digits = value.iter().map(|digit| u64::from(digit - b'0'));
    plain.then(|| digits.fold(0, |length, digit| length * 10 + digit))
}

/// Whether a list like that of `Connection` has this word in it.
pub(crate) fn has_token(value: &HeaderValue, token: &[u8]) -> bool {
    let mut words = value.as_bytes().split(|byte| *byte == b',');
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(token))
}
