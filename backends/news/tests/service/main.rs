//! An instance as its clients see it, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

mod rig;

mod endpoints;
mod event_sourcing;
mod versions;
