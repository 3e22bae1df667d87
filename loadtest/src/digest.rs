//! The hash of a body that both ends of the ledger compare: xxh3, 64 bits, written as 16 hex digits.

use std::cell::RefCell;
use std::collections::HashMap;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::body::pattern_chunk;

/// The header with the hash of the whole body that the origin meant to send.
pub(crate) const HASH: &str = "x-load-hash";

/// The pattern is hashed up to this length, 64 MiB: longer ones would hold up everything else on the thread.
const PATTERN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Lengths whose hash is remembered; beyond, all are forgotten and hashed anew.
const REMEMBERED_MAX: usize = 4_096;

thread_local! {
    static REMEMBERED: RefCell<HashMap<u64, u64>> = RefCell::default();
}

/// Of a body that is whole in memory.
pub(crate) fn hash(body: &[u8]) -> u64 {
    xxh3_64(body)
}

/// Of the first `length` bytes of the pattern, remembered; `None` if that is too long to hash.
pub(crate) fn hash_of_pattern(length: u64) -> Option<u64> {
    if length > PATTERN_BYTES_MAX {
        return None;
    }
    REMEMBERED.with_borrow_mut(|remembered| {
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        Some(*remembered.entry(length).or_insert_with(|| {
            let mut digest = Digest::default();
            let mut left = length;
            while left > 0 {
                let chunk = pattern_chunk(left);
                digest.add(&chunk);
                left -= chunk.len() as u64;
            }
            digest.finish()
        }))
    })
}

/// As it stands in the header.
pub(crate) fn text(hash: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (place, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(hash >> (60 - 4 * place)) as usize & 15];
    }
    text
}

/// Of a body that comes piece by piece.
#[derive(Default)]
pub(crate) struct Digest(Xxh3);

impl Digest {
    pub(crate) fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_hash_of_the_whole() {
        let whole: Vec<u8> = (0..100_000_u32).map(|place| (place % 251) as u8).collect();
        let mut digest = Digest::default();
        whole.chunks(777).for_each(|piece| digest.add(piece));
        assert_eq!(digest.finish(), hash(&whole));
        // Twice: computed and remembered.
        for _ in 0..2 {
            assert_eq!(hash_of_pattern(100_000), Some(hash(&whole)));
        }
        assert_ne!(hash_of_pattern(99_999), hash_of_pattern(100_000));
        assert_eq!(hash_of_pattern(u64::MAX), None);
    }

    #[test]
    fn the_text_has_sixteen_digits() {
        assert_eq!(&text(0x0123_4567_89ab_cdef), b"0123456789abcdef");
        assert_eq!(&text(0), b"0000000000000000");
        // The published value for an empty input and the seed 0.
        assert_eq!(&text(hash(b"")), b"2d06800538d394c2");
    }
}
