//! The service as its clients see it, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]
#![allow(clippy::cognitive_complexity, reason = "each assertion counts as a branch")]

mod rig;

mod dead_letters;
mod endpoints;
mod keeping;
mod queueing;

mod grpc;
