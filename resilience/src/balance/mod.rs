//! Balancing: which server of an upstream gets the next request.
//!
//! A [`Picture`] says who takes part and is made anew only when something changes (health, drain, a slow start's next
//! step). A pick from it takes a few relaxed reads: it allocates nothing, locks nothing and writes at most one counter.

use crate::Moment;

pub mod picture;
pub mod member;
pub mod verdict;
mod draft;
mod shares;
mod segment;
mod spread;
pub mod least_time;
pub mod rendezvous;
#[cfg(test)]
mod simulation;

pub use member::Member;
pub use picture::Picture;

/// How a server is chosen among those that take part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// One after the other, each as often as its weight says, evenly spread (as nginx does it).
    RoundRobin,
    /// The one with the fewest requests in flight for each unit of weight. Among more than [`FEW`] servers, the best of
    /// one drawn by weight and eight more: to read the counters of all would cost more than it gains.
    LeastRequests,
    /// The less busy of two, the first drawn by weight (Mitzenmacher, "The power of two choices", 2001).
    TwoChoices,
    /// The one where latency × (in flight + 1) ÷ weight is least (Finagle's peak EWMA); of two if more than [`FEW`].
    LeastTime,
    /// The same key goes to the same server, as long as that takes part. Without a key: two choices.
    Hash {
        /// How many times the average load a server may carry before its keys go to their next server; at least 1
        /// (Mirrokni and others, "Consistent hashing with bounded loads", 2017). None: no bound.
        bounded_load: Option<f64>,
    },
}

/// So many servers are all looked at; of more, only some.
pub const FEW: usize = 8;

/// What a pick sees of the servers as they are at this moment. `server` is the place in the list the [`Picture`] was made
/// of. All of it is a hint: relaxed atomics will do.
pub trait Loads {
    /// Requests the server is busy with.
    fn in_flight(&self, server: usize) -> u32;

    /// How long the server takes to answer, in nanoseconds, as [`least_time::PeakTime::read`] says it; 0 if not known.
    fn time(&self, server: usize, now: Moment) -> u64;

    /// Requests in flight at all servers of the upstream: one counter, so that a bound costs one read (as in Envoy).
    /// Asked for only by a hash with a bounded load.
    fn all_in_flight(&self) -> u32;
}

/// What is known of the request when its server is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// When.
    pub now: Moment,
    /// What its server depends on, as [`rendezvous::hash`] gives it; None if the request has no such thing.
    pub key: Option<u64>,
}
