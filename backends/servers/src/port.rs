//! Ports that nobody listens on.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

/// Below the ports from which systems take those of outgoing connections (32768 on Linux): else, while a server is
/// down, some connection might be given its port, even one that a client makes to that very port.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port of 127.0.0.1 that was free a moment ago, also for programs that a test itself starts again and again: no
/// other is given it in between, as happens with port 0. It may be taken before it is used, so a first start has to
/// be tried with another if it fails.
pub fn free_port() -> u16 {
    loop {
        // A random hash is the standard library's only source of randomness; it is below COUNT, so it fits.
        let random = (RandomState::new().hash_one(()) % u64::from(COUNT)) as u16;
        let port = FIRST + random;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_one_that_connections_are_not_given() {
        for _ in 0..100 {
            assert!((FIRST..FIRST + COUNT).contains(&free_port()));
        }
    }
}
