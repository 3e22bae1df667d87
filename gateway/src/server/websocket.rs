//! Follows the frames of a WebSocket (RFC 6455, section 5.2), only to know where one ends.

/// Where the stream is: in a frame's header, in its payload, or between two frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Vec<u8>,
    payload_left: u64,
}

impl Frames {
    /// Bytes of the stream, in order.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let count =
                    usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
                self.payload_left -= count as u64;
                bytes = &bytes[count..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some(length) = self.complete_header() {
                self.payload_left = length;
                self.header.clear();
            }
        }
    }

    /// Whether a frame has just ended, so that another one may begin.
    pub(super) fn at_boundary(&self) -> bool {
        self.header.is_empty() && self.payload_left == 0
    }

    /// The payload's length, once all of the header is there: two bytes, the longer length, the masking key.
    fn complete_header(&self) -> Option<u64> {
        let second = *self.header.get(1)?;
        let key = if second & 0x80 == 0 { 0 } else { 4 };
        let (length_bytes, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        if self.header.len() < 2 + length_bytes + key {
            return None;
        }
        let long = self.header[2..2 + length_bytes].iter();
        Some(long.fold(short, |length, &byte| length << 8 | u64::from(byte)))
    }
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
