//! Follows the frames of a WebSocket (RFC 6455, section 5.2), only to know where one ends.

/// The longest header: two bytes, a length of eight, the masking key.
const HEADER_MAX: usize = 14;

/// Where the stream is: in a frame's header, in its payload, or between two frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The part of a header that has come, and how long it is; headers seldom come in parts.
    header: [u8; HEADER_MAX],
    header_length: usize,
    payload_left: u64,
}

impl Frames {
    /// Bytes of the stream, in order.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            self.payload_left -= skipped as u64;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            if self.header_length == 0
                && let Some((header, payload)) = parse(bytes)
            {
                bytes = &bytes[header..];
                self.payload_left = payload;
                continue;
            }
            self.header[self.header_length] = bytes[0];
            self.header_length += 1;
            bytes = &bytes[1..];
            if let Some((_, payload)) = parse(&self.header[..self.header_length]) {
                self.payload_left = payload;
                self.header_length = 0;
            }
        }
    }

    /// Whether a frame has just ended, so that another one may begin.
    pub(super) fn at_boundary(&self) -> bool {
        self.header_length == 0 && self.payload_left == 0
    }
}

/// The lengths of header and payload, once all of the header is there: two bytes, the longer length, the masking key.
fn parse(bytes: &[u8]) -> Option<(usize, u64)> {
    let second = *bytes.get(1)?;
    let key = if second & 0x80 == 0 { 0 } else { 4 };
    let (length_bytes, short) = match second & 0x7f {
        126 => (2, 0),
        127 => (8, 0),
        short => (0, u64::from(short)),
    };
    let header = 2 + length_bytes + key;
    let long = bytes.get(2..2 + length_bytes)?.iter();
    let payload = long.fold(short, |length, &byte| length << 8 | u64::from(byte));
    (bytes.len() >= header).then_some((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_found_however_the_bytes_come() {
        let frames: Vec<Vec<u8>> = vec![
            vec![0x81, 0x02, b'h', b'i'],
            vec![0x88, 0x82, 1, 2, 3, 4, 5, 6],
            vec![0x89, 0x00],
            [vec![0x82, 126, 0x01, 0x00], vec![7; 256]].concat(),
            [vec![0x82, 255, 0, 0, 0, 0, 0, 0, 0, 3, 9, 9, 9, 9], vec![7; 3]].concat(),
        ];
        let mut one_by_one = Frames::default();
        let mut whole = Frames::default();
        for frame in &frames {
            for byte in &frame[..frame.len() - 1] {
                one_by_one.see(&[*byte]);
                assert!(!one_by_one.at_boundary(), "{frame:?}");
            }
            one_by_one.see(&frame[frame.len() - 1..]);
            assert!(one_by_one.at_boundary(), "{frame:?}");
            whole.see(frame);
            assert!(whole.at_boundary(), "{frame:?}");
        }
    }
}
