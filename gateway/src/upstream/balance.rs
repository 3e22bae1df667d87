//! Chooses a server: weighted round robin, or the less busy of two.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Server;
use crate::config;

/// The servers of an upstream as they are now, and the order in which they take turns.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) servers: Vec<Arc<Server>>,
    /// Indices into `servers`; each stands there as often as its weight says, spread evenly.
    order: Vec<u16>,
    /// Shared by all workers; Relaxed, because only the sum of turns matters, not who took which.
    next: AtomicUsize,
}

impl Turns {
    /// The turns of these servers; those of weight 0 take none.
    pub(crate) fn new(servers: Vec<Arc<Server>>) -> Self {
        let weights: Vec<u32> = servers.iter().map(|server| server.weight).collect();
        Self { order: spread(&weights), servers, next: AtomicUsize::new(0) }
    }

    /// A server that is not among `tried`.
    pub(crate) fn pick(&self, balance: &config::Balance, tried: &[u64]) -> Option<&Arc<Server>> {
        let picked = match balance {
            config::Balance::RoundRobin => self.take_turn()?,
            config::Balance::TwoChoices
            | config::Balance::LeastRequests
            | config::Balance::LeastTime
            | config::Balance::ConsistentHash { .. } => {
                let (one, other) = (self.random()?, self.random()?);
                if other.load() < one.load() { other } else { one }
            }
        };
        if !tried.contains(&picked.id) {
            return Some(picked);
        }
        self.servers.iter().find(|server| server.weight > 0 && !tried.contains(&server.id))
    }

    fn take_turn(&self) -> Option<&Arc<Server>> {
        let turn = match self.order.len() {
            0 => return None,
            1 => 0,
            length => self.next.fetch_add(1, Ordering::Relaxed) % length,
        };
        self.servers.get(usize::from(self.order[turn]))
    }

    fn random(&self) -> Option<&Arc<Server>> {
        let length = u64::try_from(self.order.len()).ok().filter(|&length| length > 0)?;
        let index = usize::try_from(random() % length).ok()?;
        self.servers.get(usize::from(self.order[index]))
    }
}

/// Smooth weighted round robin, as nginx does it, worked out beforehand: of servers with weights 5, 1, 1 the first
/// comes five times in seven, but never five times in a row.
fn spread(weights: &[u32]) -> Vec<u16> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let weights: Vec<i64> = weights.iter().map(|&weight| i64::from(weight / divisor)).collect();
    let total: i64 = weights.iter().sum();
    let mut current = vec![0_i64; weights.len()];
    let mut order = Vec::new();
    for _ in 0..total {
        for (current, weight) in current.iter_mut().zip(&weights) {
            *current += weight;
        }
        // The first of the greatest: with equal weights the config's order.
        let best =
            current.iter().rev().zip((0..current.len()).rev()).max_by_key(|(value, _)| **value);
        let Some((_, best)) = best else { break };
        current[best] -= total;
        order.extend(u16::try_from(best));
    }
    order
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// xorshift64*: even enough for a balancer, nothing to guard.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(seed());
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    })
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_by_weight() {
        assert_eq!(spread(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(spread(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(spread(&[100, 50]), [0, 1, 0]);
        assert_eq!(spread(&[0, 3]), [1]);
        assert!(spread(&[0, 0]).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn every_server_gets_exactly_its_share(weights in proptest::collection::vec(0..50_u32, 1..8)) {
            let order = spread(&weights);
            let total: u32 = weights.iter().sum();
            for (index, weight) in weights.iter().enumerate() {
                let turns = order.iter().filter(|&&turn| usize::from(turn) == index).count();
                proptest::prop_assert_eq!(turns as u64 * u64::from(total), u64::from(*weight) * order.len() as u64);
            }
        }
    }
}
