//! Which route takes a request: host, then path, then method and condition.
//!
//! The order of the routes in the file never matters. What is tried first is decided by what the routes say:
//!
//! 1. **Host**: the exact host, then the longest `*.wildcard`, then routes without a host. A host that has routes,
//!    none of which takes the request, does not end the search: the wildcards and the routes without a host follow.
//! 2. **Path**, segment by segment from the left: exact text, then `prefix{parameter}suffix` with the longest fixed
//!    text, then `{parameter}`, then `{*rest}`. When the better beginning leads nowhere the next one is tried.
//! 3. **Routes of the same host and path**: those with `when` first, the higher `priority` first, and those that name
//!    methods before those that take any. Two that are still alike are refused when the router is built.
//!
//! `HEAD` is taken by routes that take `GET`. When a path is known but not with this method, the answer is 405 with
//! `Allow`; routes whose condition does not hold count as not being there.

pub mod path;
pub mod router;

pub mod condition;
mod hosts;
mod literals;
pub mod methods;
pub mod parameters;
mod trie;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod sample;

pub use parameters::Parameters;
pub use router::{Asked, Found, Router};
