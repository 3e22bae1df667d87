//! The one form of a path that is routed and sent on; paths that servers read differently are refused.
//!
//! 1. Percent-encoded letters, digits, `-`, `.`, `_` and `~` are decoded, other escapes get upper-case digits
//!    (RFC 3986, 6.2.2): `/%7euser/%c3%a9` is `/~user/%C3%A9`.
//! 2. Segments `.` and `..`, plain, encoded, or with path parameters (`..;x=1`), are refused: what they mean depends on
//!    who reads them.
//! 3. `%2F` and `%5C` are noticed; only a route with `encoded-slashes = true` takes them. A backslash is refused.
//! 4. `%00`, broken escapes, spaces, control bytes and bytes outside of ASCII are refused.

use std::borrow::Cow;

use thiserror::Error;

/// A path in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised<'a> {
    /// The path.
    pub path: Cow<'a, str>,
    /// There is `%2F` or `%5C` in it: unless the route that is found says `encoded_slashes`, the request is refused
    /// with [`PathRefusal::EncodedSlash`].
    pub encoded_slashes: bool,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathRefusal {
    /// It does not begin with a slash (and is not the `*` of `OPTIONS *`).
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A segment is `.` or `..`.
    #[error("the path has a segment \".\" or \"..\"")]
    DotSegment,
    /// `%2F` or `%5C`, and the route does not allow it.
    #[error("the path has an encoded slash or backslash, and this route does not take those")]
    EncodedSlash,
    /// A backslash.
    #[error("the path has a backslash")]
    Backslash,
    /// `%00`.
    #[error("the path has a null byte")]
    Null,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("the path has a % that is not followed by two hexadecimal digits")]
    Escape,
    /// A space or a control byte.
    #[error("the path has a space or a control byte")]
    Control,
    /// A byte outside of ASCII.
    #[error("the path has a byte that is not ASCII; such bytes are sent percent-encoded")]
    NotAscii,
}

impl PathRefusal {
    /// A short stable word for metrics and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path-not-absolute",
            Self::DotSegment => "path-dot-segment",
            Self::EncodedSlash => "path-encoded-slash",
            Self::Backslash => "path-backslash",
            Self::Null => "path-null",
            Self::Escape => "path-escape",
            Self::Control => "path-control-byte",
            Self::NotAscii => "path-not-ascii",
        }
    }
}

/// Brings a path (without its query) into its one form, or refuses it. Borrowed when there is nothing to change.
pub fn normalise(path: &str) -> Result<Normalised<'_>, PathRefusal> {
    if !path.starts_with('/') && path != "*" {
        return Err(PathRefusal::NotAbsolute);
    }
    let plain = path.bytes().fold(true, |plain, byte| plain & is_plain(byte));
    if plain {
        let dots = path.as_bytes().windows(2).fold(false, |dots, pair| dots | (pair == b"/."));
        if dots && has_dot_segment(path) {
            return Err(PathRefusal::DotSegment);
        }
        return Ok(Normalised { path: Cow::Borrowed(path), encoded_slashes: false });
    }
    rewritten(path)
}

/// The form in which a fixed text of a pattern stands in normalised paths: what must be encoded is.
pub(super) fn literal(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut bytes = text.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        match escaped(rest) {
            Some(value) if byte == b'%' => {
                push_escaped(&mut out, value);
                bytes = &rest[2..];
            }
            _ if is_plain(byte) => out.push(char::from(byte)),
            _ => push_hexadecimal(&mut out, byte),
        }
    }
    Cow::Owned(out)
}

/// Printable ASCII that is neither the start of an escape nor a backslash.
fn is_plain(byte: u8) -> bool {
    (byte > b' ') & (byte < 0x7F) & (byte != b'%') & (byte != b'\\')
}

fn rewritten(path: &str) -> Result<Normalised<'_>, PathRefusal> {
    let mut out = String::with_capacity(path.len());
    let mut encoded_slashes = false;
    let mut bytes = path.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        match byte {
            b'%' => {
                let value = escaped(rest).ok_or(PathRefusal::Escape)?;
                if value == 0 {
                    return Err(PathRefusal::Null);
                }
                encoded_slashes |= matches!(value, b'/' | b'\\');
                push_escaped(&mut out, value);
                bytes = &rest[2..];
            }
            b'\\' => return Err(PathRefusal::Backslash),
            0..=b' ' | 0x7F => return Err(PathRefusal::Control),
            0x80.. => return Err(PathRefusal::NotAscii),
            plain => out.push(char::from(plain)),
        }
    }
    if has_dot_segment(&out) {
        return Err(PathRefusal::DotSegment);
    }
    let path = if out == path { Cow::Borrowed(path) } else { Cow::Owned(out) };
    Ok(Normalised { path, encoded_slashes })
}

/// Whether a segment is a dot or two, with or without path parameters. An encoded slash also ends a segment, since
/// whoever decodes it sees one.
fn has_dot_segment(path: &str) -> bool {
    let is_dots = |segment: &str| {
        let name = segment.split(';').next().unwrap_or(segment);
        name == "." || name == ".."
    };
    path.split('/').any(|segment| {
        if !segment.contains('%') {
            return is_dots(segment);
        }
        segment.split("%2F").flat_map(|part| part.split("%5C")).any(is_dots)
    })
}

/// The byte that two hexadecimal digits at the start of `digits` stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| digits.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

fn push_escaped(out: &mut String, value: u8) {
    match value {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(value));
        }
        _ => push_hexadecimal(out, value),
    }
}

fn push_hexadecimal(out: &mut String, value: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(value >> 4)]));
    out.push(char::from(DIGITS[usize::from(value & 15)]));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_paths_are_left_alone() {
        for path in
            ["/", "/users/7", "//a//", "/.well-known/x", "/a/...", "/a.b/..c", "/a;b=1", "*"]
        {
            let normalised = normalise(path).unwrap();
            assert!(matches!(normalised.path, Cow::Borrowed(_)), "{path}");
            assert_eq!(normalised, Normalised { path: path.into(), encoded_slashes: false });
        }
    }

    #[test]
    fn escapes_have_one_form() {
        for (path, expected, encoded_slashes) in [
            ("/%7euser", "/~user", false),
            ("/%41%2d%5F%2Eb", "/A-_.b", false),
            ("/caf%c3%a9", "/caf%C3%A9", false),
            ("/a%2fb", "/a%2Fb", true),
            ("/a%5cb", "/a%5Cb", true),
            ("/%252e%252e/", "/%252e%252e/", false),
            ("/100%25", "/100%25", false),
        ] {
            let expected = Normalised { path: expected.into(), encoded_slashes };
            assert_eq!(normalise(path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_refused() {
        for (path, refusal) in [
            ("", PathRefusal::NotAbsolute),
            ("users", PathRefusal::NotAbsolute),
            ("/.", PathRefusal::DotSegment),
            ("/..", PathRefusal::DotSegment),
            ("/a/./b", PathRefusal::DotSegment),
            ("/a/../b", PathRefusal::DotSegment),
            ("/a/%2e%2E/b", PathRefusal::DotSegment),
            ("/a/.%2e", PathRefusal::DotSegment),
            ("/a/..;/b", PathRefusal::DotSegment),
            ("/a/..;x=1/b", PathRefusal::DotSegment),
            ("/a/..%2Fb", PathRefusal::DotSegment),
            ("/a%5c..%5cb", PathRefusal::DotSegment),
            ("/a\\b", PathRefusal::Backslash),
            ("/a%00", PathRefusal::Null),
            ("/a%", PathRefusal::Escape),
            ("/a%4", PathRefusal::Escape),
            ("/a%4g", PathRefusal::Escape),
            ("/a%+41", PathRefusal::Escape),
            ("/a b", PathRefusal::Control),
            ("/a\tb", PathRefusal::Control),
            ("/a\u{7f}", PathRefusal::Control),
            ("/café", PathRefusal::NotAscii),
        ] {
            assert_eq!(normalise(path), Err(refusal), "{path:?}");
        }
    }

    #[test]
    fn a_literal_of_a_pattern_stands_as_in_paths() {
        for (text, expected) in [
            ("users", "users"),
            ("café", "caf%C3%A9"),
            ("a b", "a%20b"),
            ("%7e%c3", "~%C3"),
            ("100%", "100%25"),
        ] {
            assert_eq!(literal(text), expected);
        }
    }

    fn tricky() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", ".", "..", "%2e", "%2E", "%2f", "%5C", "%", "%00", "%41", "%c3", ";", "\\", "a",
            "b", " ", "é", "%25",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_has_one_form(path in ".*") {
            if let Ok(normalised) = normalise(&path) {
                prop_assert_eq!(normalise(&normalised.path), Ok(normalised.clone()));
            }
        }

        #[test]
        fn no_accepted_path_has_a_dot_segment_in_any_reading(path in tricky()) {
            if let Ok(normalised) = normalise(&path) {
                prop_assert_eq!(normalise(&normalised.path), Ok(normalised.clone()));
                let decoded = normalised.path.replace("%2F", "/").replace("%5C", "/");
                prop_assert!(decoded.split('/').all(|part| part != "." && part != ".."));
                prop_assert!(normalised.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
            }
        }
    }
}
