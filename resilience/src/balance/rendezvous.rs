//! Consistent hashing: each key has an order of its own among the servers, and goes to the first that fits.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights after Schindelhauer and Schomaker 2005), not a ring
//! of points. A server draws one number for each key, which depends on nothing but the two of them, and the least of them
//! (divided by the weight) wins. So when a server goes, its keys and no others move, spread over the rest by weight;
//! when one comes, or gets more weight, it takes its share and nothing else moves. Nothing is built or kept, whatever
//! changes, and the shares are the weights' (a ring of 160 points each is off by 8 %). The price: a pick looks at every
//! server, about 2 ns each.
//!
//! pingora-ketama does not fit: it knows IP addresses only (a server may be a Unix socket); it sorts 160 points for each
//! unit of weight (1.6 million for 100 servers of weight 100) whenever a weight changes, as in every step of a slow
//! start; which of two points of equal hash stays depends on the order of the servers; and it bounds no load.

use super::segment::Candidate;

/// A hash of what a key is made of, and of a server's address: the same in every gateway and after a restart, so that
/// gateways beside each other agree. FNV-1a with a final mix; not for keys whose hash a client must not foresee.
pub fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(folded)
}

/// Every bit of the result depends on every bit of the number (the finaliser of SplitMix64, Stafford's variant 13).
pub(super) const fn mix(number: u64) -> u64 {
    let mut x = number;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The place of the key's first server that fits. `fits` is asked only of those that are ahead of all before them.
pub(super) fn first(
    candidates: &[Candidate],
    key: u64,
    fits: impl Fn(&Candidate) -> bool,
) -> Option<usize> {
    let mut least = Draw { number: 1.0, weight: 1.0 };
    let mut found = None;
    for (place, candidate) in candidates.iter().enumerate() {
        let drawn =
            Draw { number: draw(key, candidate.identity), weight: f64::from(candidate.weight) };
        if (found.is_none() || drawn.is_before(least)) && fits(candidate) {
            least = drawn;
            found = Some(place);
        }
    }
    found
}

/// What a server has drawn for a key.
#[derive(Clone, Copy)]
struct Draw {
    number: f64,
    weight: f64,
}

impl Draw {
    /// By -ln(1 - number) ÷ weight, the time until the first event of a Poisson process of this rate: who is first is so
    /// by weight. As x ≤ -ln(1 - x) ≤ x ÷ (1 - x), the logarithm is seldom needed.
    fn is_before(self, other: Self) -> bool {
        let (mine, its) = (self.number * other.weight, other.number * self.weight);
        if self.weight == other.weight {
            return self.number < other.number;
        }
        if mine * (1.0 - other.number) >= its {
            return false;
        }
        if mine < its * (1.0 - self.number) {
            return true;
        }
        (1.0 - self.number).ln() * other.weight > (1.0 - other.number).ln() * self.weight
    }
}

/// Between 0 and 1, and never 1.
fn draw(key: u64, identity: u64) -> f64 {
    const STEPS: f64 = (1_u64 << 53) as f64;
    (mix(key ^ identity) >> 11) as f64 / STEPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: u64 = 50_000;
    /// What chance adds to a share among so many keys: more than four standard deviations of any share.
    const SLACK: f64 = 0.01;

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let named = weights.iter().enumerate().map(|(server, &weight)| {
            let identity = hash(format!("10.0.0.{server}:3000").as_bytes());
            Candidate { identity, part: 0.0, weight, server: server as u32 }
        });
        named.collect()
    }

    /// The server of each key.
    fn servers(candidates: &[Candidate]) -> Vec<u32> {
        let keys = (0..KEYS).map(|key| hash(&key.to_le_bytes()));
        keys.map(|key| candidates[first(candidates, key, |_| true).unwrap()].server).collect()
    }

    #[test]
    fn a_hash_is_the_same_everywhere() {
        // Worked out by hand of the published constants; a change would move every key of every user.
        assert_eq!(hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
        assert_eq!(mix(1), 0x5692_161d_100b_05e5);
    }

    #[test]
    fn without_servers_there_is_none() {
        assert_eq!(first(&[], 7, |_| true), None);
        assert_eq!(first(&candidates(&[1, 1]), 7, |_| false), None);
    }

    #[test]
    fn who_does_not_fit_is_passed_over_for_the_keys_next() {
        let all = candidates(&[3, 1, 2]);
        for key in 0..1_000 {
            let key = hash(&u64::to_le_bytes(key));
            let place = first(&all, key, |_| true).unwrap();
            let second = first(&all, key, |candidate| candidate.server != all[place].server);
            let rest: Vec<_> =
                all.iter().copied().filter(|one| one.server != all[place].server).collect();
            let without = rest[first(&rest, key, |_| true).unwrap()];
            assert_eq!(all[second.unwrap()].server, without.server);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn shares_follow_weights(weights in proptest::collection::vec(1..10_u32, 2..12)) {
            let servers = servers(&candidates(&weights));
            let total: u32 = weights.iter().sum();
            for (server, &weight) in weights.iter().enumerate() {
                let got = servers.iter().filter(|&&one| one as usize == server).count();
                let share = got as f64 / KEYS as f64;
                let due = f64::from(weight) / f64::from(total);
                prop_assert!((share - due).abs() < SLACK, "{share} for {due}");
            }
        }

        #[test]
        fn only_the_keys_of_a_server_that_goes_move(
            weights in proptest::collection::vec(1..10_u32, 2..30), gone in any::<prop::sample::Index>(),
        ) {
            let all = candidates(&weights);
            let gone = gone.index(all.len()) as u32;
            let rest: Vec<_> = all.iter().copied().filter(|one| one.server != gone).collect();
            let (with, without) = (servers(&all), servers(&rest));
            let moved = with.iter().zip(&without).filter(|(before, after)| before != after);
            let mut count = 0;
            for (before, _) in moved {
                prop_assert_eq!(*before, gone, "a key moved that was not the lost server's");
                count += 1;
            }
            let due = f64::from(weights[gone as usize]) / f64::from(weights.iter().sum::<u32>());
            prop_assert!(f64::from(count) / KEYS as f64 <= due + SLACK, "{count} keys moved, due are {due}");
        }

        #[test]
        fn more_weight_takes_keys_and_gives_none(weights in proptest::collection::vec(1..10_u32, 2..12)) {
            let mut more = weights.clone();
            more[0] += 3;
            let (before, after) = (servers(&candidates(&weights)), servers(&candidates(&more)));
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(before == after || *after == 0);
            }
        }
    }
}
