//! Which numbers were seen, and how often: the ledger of one end.

use serde_json::{Value, json};

/// Numbers beyond are counted but not told apart; a byte each, so this bounds the memory to 32 MiB.
const NONCES_MAX: usize = 32 * 1024 * 1024;

/// Ranges and repeated numbers written out at most: one of several origins sees every fourth number or so, and each is a
/// range of its own.
const LISTED_MAX: usize = 1_000_000;

/// How often each number was seen.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    counts: Vec<u8>,
    beyond: u64,
}

impl Nonces {
    pub(crate) fn add(&mut self, nonce: u64) {
        let Some(place) = usize::try_from(nonce).ok().filter(|&place| place < NONCES_MAX) else {
            self.beyond += 1;
            return;
        };
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] = self.counts[place].saturating_add(1);
    }

    pub(crate) fn times(&self, nonce: u64) -> u8 {
        usize::try_from(nonce).ok().and_then(|place| self.counts.get(place)).copied().unwrap_or(0)
    }

    /// Every number that was seen, in order.
    pub(crate) fn seen(&self) -> impl Iterator<Item = u64> {
        let seen = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        seen.map(|(nonce, _)| nonce as u64)
    }

    /// Adds what another has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (ours, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *ours = ours.saturating_add(*theirs);
        }
        self.beyond += other.beyond;
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// `{"distinct": 3, "ranges": [[0,1],[7,7]], "repeated": [[7,2]], "beyond": 0}`
    pub(crate) fn document(&self) -> Value {
        let seen = || self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        let mut ranges: Vec<[usize; 2]> = Vec::new();
        for (nonce, _) in seen() {
            match ranges.last_mut() {
                Some([_, last]) if *last + 1 == nonce => *last = nonce,
                _ => ranges.push([nonce, nonce]),
            }
        }
        ranges.truncate(LISTED_MAX);
        let repeated = seen().filter(|&(_, &count)| count > 1).take(LISTED_MAX);
        let repeated: Vec<Value> = repeated.map(|(nonce, count)| json!([nonce, count])).collect();
        json!({
            "distinct": seen().count(),
            "ranges": ranges,
            "repeated": repeated,
            "beyond": self.beyond,
        })
    }

    /// Reads what `document` wrote at the other end.
    pub(crate) fn from_document(document: &Value) -> Option<Self> {
        let mut nonces = Self::default();
        for range in document["ranges"].as_array()? {
            let (first, last) = (range[0].as_u64()?, range[1].as_u64()?);
            (first..=last.min(NONCES_MAX as u64)).for_each(|nonce| nonces.add(nonce));
        }
        for pair in document["repeated"].as_array()? {
            let (nonce, count) = (pair[0].as_u64()?, pair[1].as_u64()?);
            (1..count.min(255)).for_each(|_| nonces.add(nonce));
        }
        // Some were not written out: what is missing is not what never came.
        let seen = u64::try_from(nonces.seen().count()).ok()?;
        (document["distinct"].as_u64()? == seen).then_some(nonces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_survives_its_document() {
        let mut nonces = Nonces::default();
        [0, 1, 2, 7, 9, 7, 7].into_iter().for_each(|nonce| nonces.add(nonce));
        let document = nonces.document();
        assert_eq!(document["ranges"], json!([[0, 2], [7, 7], [9, 9]]));
        assert_eq!(document["repeated"], json!([[7, 3]]));
        assert_eq!(document["distinct"], 5);
        let read = Nonces::from_document(&document).expect("written above");
        let times: Vec<u8> = (0..11).map(|nonce| read.times(nonce)).collect();
        assert_eq!(times, [1, 1, 1, 0, 0, 0, 0, 3, 0, 1, 0]);
    }

    #[test]
    fn a_list_that_was_cut_off_is_not_believed() {
        let mut nonces = Nonces::default();
        (0..10).for_each(|nonce| nonces.add(nonce * 2));
        let mut document = nonces.document();
        document["ranges"].as_array_mut().expect("ranges").pop();
        assert!(Nonces::from_document(&document).is_none());
    }

    #[test]
    fn a_huge_number_takes_no_memory() {
        let mut nonces = Nonces::default();
        nonces.add(u64::MAX);
        nonces.add(NONCES_MAX as u64);
        assert_eq!(nonces.document()["beyond"], 2);
        assert_eq!(nonces.counts.len(), 0);
    }
}
