//! The rig of the traffic tests: an origin that records what it saw, the gateway's binary, and a client of raw bytes.
//!
//! A test reads as a story: `let origin = Origin::start().await; let gateway = Gateway::start(&config).await;` and then
//! bytes in, bytes out. Everything is on port 0 of the loopback and ends with the test.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses its part of the rig"
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a rig that fails is a test that fails")]
#![allow(
    clippy::excessive_nesting,
    clippy::cognitive_complexity,
    reason = "chunks are read where they come"
)]

pub mod client;
pub mod gateway;
pub mod h2_ends;
pub mod h2_frames;
pub mod origin;
pub mod tls_ends;
pub mod ws_origin;

pub use client::{Client, Reply};
pub use gateway::Gateway;
pub use origin::{ByHand, Origin, Seen};

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

/// Nothing in a test takes longer; what does, hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that should come soon.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// One upstream called `origin`, and a route that sends everything there.
pub fn all_to(servers: &[SocketAddr]) -> String {
    let route = "[[routes]]\nname = \"all\"\npath = \"/{*rest}\"\nupstream = \"origin\"\n";
    format!("{}{route}", upstream(servers, ""))
}

/// The upstream called `origin`, with more keys.
pub fn upstream(servers: &[SocketAddr], keys: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("{server}")).collect();
    format!("[upstreams.origin]\nservers = {servers:?}\n{keys}\n")
}

/// Asks again until it is so; for what another process does in its own time.
pub async fn until<F, T>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    soon(what, async {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        loop {
            pause.tick().await;
            if let Some(found) = ask().await {
                return found;
            }
        }
    })
    .await
}
