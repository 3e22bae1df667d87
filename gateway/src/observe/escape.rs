//! Bytes a client sent, as the inside of a JSON string.
//!
//! Valid UTF-8 stays readable; control characters become `\u00XX`; a byte that is not UTF-8 becomes the four characters
//! `\xNN`, as nginx writes it, so that an attack remains visible.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The longest text that is written; the rest is cut, so that a client cannot fill the disk with one request.
pub(super) const LENGTH_MAX: usize = 8 * 1_024;

/// Stands for what was cut.
const CUT: &str = "…";

/// Appends the text, escaped, without quotation marks.
#[inline]
pub(super) fn push(line: &mut Vec<u8>, text: &[u8]) {
    if text.len() <= LENGTH_MAX && is_plain(text) {
        line.extend_from_slice(text);
    } else {
        push_escaped(line, text);
    }
}

/// Printable ASCII without `"` and `\`: stands for itself.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<16>();
    // Without an exit inside the block the compiler compares its 16 bytes at once.
    let block_is_plain =
        |block: &[u8; 16]| block.iter().fold(true, |plain, byte| plain & byte_is_plain(*byte));
    blocks.iter().all(block_is_plain) && rest.iter().all(|byte| byte_is_plain(*byte))
}

#[inline]
const fn byte_is_plain(byte: u8) -> bool {
    (byte >= b' ') & (byte <= b'~') & (byte != b'"') & (byte != b'\\')
}

#[cold]
fn push_escaped(line: &mut Vec<u8>, text: &[u8]) {
    let kept = &text[..text.len().min(LENGTH_MAX)];
    for chunk in kept.utf8_chunks() {
        chunk.valid().chars().for_each(|character| push_character(line, character));
        for byte in chunk.invalid() {
            line.extend_from_slice(b"\\\\x");
            push_hex(line, *byte);
        }
    }
    if kept.len() < text.len() {
        line.extend_from_slice(CUT.as_bytes());
    }
}

fn push_character(line: &mut Vec<u8>, character: char) {
    match character {
        '"' => line.extend_from_slice(b"\\\""),
        '\\' => line.extend_from_slice(b"\\\\"),
        '\n' => line.extend_from_slice(b"\\n"),
        '\r' => line.extend_from_slice(b"\\r"),
        '\t' => line.extend_from_slice(b"\\t"),
        // C1 controls among them: a terminal that shows the log must not obey it. All are below U+0100.
        control if control.is_control() => {
            line.extend_from_slice(b"\\u00");
            push_hex(line, u32::from(control) as u8);
        }
        other => line.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn push_hex(line: &mut Vec<u8>, byte: u8) {
    line.push(HEX[usize::from(byte >> 4)]);
    line.push(HEX[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_json_wants_it() {
        for (text, expected) in [
            (&b"GET /a?b=c"[..], "GET /a?b=c"),
            (b"say \"hi\"", r#"say \"hi\""#),
            (b"C:\\x", r"C:\\x"),
            (b"one\ntwo\r\tthree", r"one\ntwo\r\tthree"),
            (b"\x00\x1b[31m\x7f", r"\u0000\u001b[31m\u007f"),
            ("grün €".as_bytes(), "grün €"),
            ("\u{9b}31m".as_bytes(), r"\u009b31m"),
            (b"0123456789abcdef\xff\xc3(", r"0123456789abcdef\\xff\\xc3("),
            (b"0123456789abcde\"0123456789abcdef", "0123456789abcde\\\"0123456789abcdef"),
        ] {
            let mut line = Vec::new();
            push(&mut line, text);
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let mut line = Vec::new();
        push(&mut line, &[b'a'; LENGTH_MAX]);
        assert_eq!(line.len(), LENGTH_MAX);
        line.clear();
        push(&mut line, &[b'a'; LENGTH_MAX + 1]);
        assert_eq!(line, [&[b'a'; LENGTH_MAX][..], CUT.as_bytes()].concat());
    }
}
