//! Chance without a lock: even enough for a balancer, not for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// A random number of 32 bits (xorshift64*), one state a thread.
pub fn random() -> u32 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        // The upper half: the lower bits of a product are the weaker ones.
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    })
}

/// An even number below `end`; 0 if that is 0. Without a division (Lemire); the bias is below `end` / 2^32.
pub fn below(end: u32) -> u32 {
    ((u64::from(random()) * u64::from(end)) >> 32) as u32
}

/// Between 0 and 1.
pub fn share() -> f64 {
    f64::from(random()) / 4_294_967_296.0
}
