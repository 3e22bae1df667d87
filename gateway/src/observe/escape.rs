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
#[cold]
pub(super) fn push(line: &mut Vec<u8>, text: &[u8]) {
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

/// The longest text that [`special_count`] can count in.
pub(super) const COUNTABLE_MAX: usize = BLOCK * (u8::MAX as usize - 1);

/// Bytes that the compiler looks at together.
const BLOCK: usize = 32;

/// How many bytes would not stand for themselves within a JSON string, or must be looked at: controls, `"`, `\`, and
/// all beyond ASCII. `None` when the text is longer than [`COUNTABLE_MAX`].
#[inline]
pub(super) fn special_count(text: &[u8]) -> Option<usize> {
    if text.len() > COUNTABLE_MAX {
        return None;
    }
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    // One count for each place in a block; a byte holds as many as there are blocks.
    let mut counts = [0_u8; BLOCK];
    for block in blocks {
        count_special(&mut counts, block);
    }
    count_special(&mut counts, &last);
    Some(counts.iter().map(|count| usize::from(*count)).sum())
}

#[inline]
fn count_special(counts: &mut [u8; BLOCK], block: &[u8; BLOCK]) {
    for (count, byte) in counts.iter_mut().zip(block) {
        // As a signed number a byte beyond ASCII is below a space too.
        let outside = byte.cast_signed() < b' '.cast_signed();
        *count += u8::from(outside | (*byte == b'"') | (*byte == b'\\'));
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

    #[test]
    fn a_text_that_is_too_long_is_not_counted() {
        assert_eq!(special_count(&[b' '; COUNTABLE_MAX + 1]), None);
    }

    #[test]
    fn every_byte_that_json_or_a_terminal_would_take_amiss_is_counted() {
        let special = |byte: u8| !(b' '..=0x7f).contains(&byte) || byte == b'"' || byte == b'\\';
        for byte in 0..=u8::MAX {
            for length in [0, 1, 31, 32, 33, COUNTABLE_MAX] {
                let expected = Some(usize::from(special(byte)) * length);
                assert_eq!(special_count(&vec![byte; length]), expected, "{length} of {byte}");
            }
        }
    }
}
