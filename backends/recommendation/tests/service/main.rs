//! The service as its clients, its publishers and its operators see it, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

mod directory;
mod rig;

mod counting;
mod dead_letters;
mod endpoints;
mod operation;
