//! A map from texts of the configuration to numbers that is asked with texts of the client.
//!
//! The standard map would need its key in one piece and would hash with a key per process; here a key may be asked
//! for in two pieces (what stands before and after a parameter), and the hash need not resist an attacker, who
//! chooses only what is looked up, never what is kept.

use smallvec::SmallVec;

/// Up to this many keys are compared one by one; more are hashed.
const COMPARED_MAX: usize = 4;

/// Keys up to this long stand in their entry.
const KEY_INLINE: usize = 24;

/// Texts and the number each one stands for.
#[derive(Debug, Default)]
pub(super) struct Literals {
    /// Most maps have one, which then stands where the map does: with thousands of routes what a search costs is the
    /// memory it has to wait for.
    entries: SmallVec<[Entry; 1]>,
    /// A power of two of slots, at least twice the entries, once there are too many to compare.
    slots: Box<[Slot]>,
}

#[derive(Debug)]
struct Entry {
    key: SmallVec<[u8; KEY_INLINE]>,
    hash: u32,
    number: u32,
}

/// A slot of the hash table; `entry` is an index plus one, 0 means free.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hash: u32,
    entry: u32,
}

/// A key in two pieces: what is asked for is `head` followed by `tail`. One map is always asked with pieces of the
/// same lengths, or always with whole keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces<'a> {
    pub(super) head: &'a [u8],
    pub(super) tail: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// A key in one piece.
    pub(super) fn whole(text: &'a [u8]) -> Self {
        Self { head: text, tail: &[] }
    }

    fn is(self, key: &[u8]) -> bool {
        let Self { head, tail } = self;
        match key.split_at_checked(head.len()) {
            Some((start, end)) => same(start, head) && same(end, tail),
            None => false,
        }
    }

    fn hash(self) -> u32 {
        let hash = mix(mix(0, self.head), self.tail);
        (hash ^ (hash >> 32)) as u32
    }
}

impl Literals {
    /// The number of a text, if it is known. Adds the comparisons it took to `steps`.
    pub(super) fn find(&self, asked: Pieces<'_>, steps: &mut u32) -> Option<u32> {
        if self.slots.is_empty() {
            *steps += self.entries.len() as u32;
            return self
                .entries
                .iter()
                .find(|entry| asked.is(&entry.key))
                .map(|entry| entry.number);
        }
        let hash = asked.hash();
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            *steps += 1;
            let slot = self.slots[at];
            let index = (slot.entry as usize).checked_sub(1)?;
            let entry = &self.entries[index];
            if slot.hash == hash && asked.is(&entry.key) {
                return Some(entry.number);
            }
            at = (at + 1) & mask;
        }
    }

    /// The number of a text, which is `fresh()` when the text is new.
    pub(super) fn find_or_insert(&mut self, asked: Pieces<'_>, fresh: impl FnOnce() -> u32) -> u32 {
        if let Some(number) = self.find(asked, &mut 0) {
            return number;
        }
        let (number, hash) = (fresh(), asked.hash());
        self.entries.push(Entry {
            key: asked.head.iter().chain(asked.tail).copied().collect(),
            hash,
            number,
        });
        if self.entries.len() > COMPARED_MAX && self.entries.len() * 2 > self.slots.len() {
            self.rehash();
        } else if !self.slots.is_empty() {
            place(&mut self.slots, hash, self.entries.len() as u32);
        }
        number
    }

    /// All texts with their numbers, in the order of the texts.
    pub(super) fn sorted(&self) -> Vec<(&[u8], u32)> {
        let mut all: Vec<_> =
            self.entries.iter().map(|entry| (&*entry.key, entry.number)).collect();
        all.sort_unstable();
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn rehash(&mut self) {
        let mut slots = vec![Slot::default(); (self.entries.len() * 4).next_power_of_two()];
        for (index, entry) in self.entries.iter().enumerate() {
            place(&mut slots, entry.hash, index as u32 + 1);
        }
        self.slots = slots.into();
    }
}

fn place(slots: &mut [Slot], hash: u32, entry: u32) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at].entry != 0 {
        at = (at + 1) & mask;
    }
    slots[at] = Slot { hash, entry };
}

/// Whether two texts are the same, eight bytes at a time. Segments are short: measured, the calls of `memcmp` that the
/// standard comparison makes took half of the time of a search.
fn same(one: &[u8], other: &[u8]) -> bool {
    let (words, rest) = one.as_chunks::<8>();
    let (other_words, other_rest) = other.as_chunks::<8>();
    one.len() == other.len()
        && words.iter().zip(other_words).all(|(one, other)| one == other)
        && rest.iter().zip(other_rest).all(|(one, other)| one == other)
}

/// A multiply-and-fold hash, eight bytes at a time.
fn mix(seed: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let fold = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word).wrapping_mul(u128::from(FACTOR));
        (product as u64) ^ ((product >> 64) as u64)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(seed ^ bytes.len() as u64, |hash, word| {
        fold(hash.wrapping_add(FACTOR), u64::from_le_bytes(*word))
    });
    let last = rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
    fold(hash.wrapping_add(FACTOR), last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_found_again_and_no_other() {
        for count in [0_u32, 1, 4, 5, 6, 100, 10_000] {
            let mut literals = Literals::default();
            for number in 0..count {
                let text = format!("segment-{number}");
                assert_eq!(
                    literals.find_or_insert(Pieces::whole(text.as_bytes()), || number),
                    number
                );
            }
            for number in 0..count {
                let text = format!("segment-{number}");
                let found = literals.find(Pieces::whole(text.as_bytes()), &mut 0);
                assert_eq!(found, Some(number), "{text} of {count}");
            }
            assert_eq!(literals.find(Pieces::whole(b"segment-"), &mut 0), None);
            assert_eq!(literals.find(Pieces::whole(b""), &mut 0), None);
        }
    }

    #[test]
    fn a_key_in_two_pieces_is_one_text() {
        let mut literals = Literals::default();
        for number in 0..50 {
            let head = format!("v{number:02}-");
            literals.find_or_insert(Pieces { head: head.as_bytes(), tail: b".json" }, || number);
        }
        let asked = Pieces { head: b"v17-", tail: b".json" };
        assert_eq!(literals.find(asked, &mut 0), Some(17));
        assert_eq!(literals.find(Pieces { head: b"v17-", tail: b".html" }, &mut 0), None);
    }
}
