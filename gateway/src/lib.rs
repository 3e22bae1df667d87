//! A programmable API gateway and smart proxy: one binary, one TOML file, one admin endpoint.
//!
//! The path of a request:
//!
//! ```text
//! accept → PROXY protocol → TLS → HTTP/1.1 or HTTP/2 → proxy.rs: async fn answer(request) → Response
//!   1 admit     limits, strictness, one form of host and path, client address   limits.rs, server/head.rs, strict_http2.rs, client.rs
//!   2 route     host + path + method + condition → &Route (from one Snapshot)   routing/
//!   3 down      the route's plugins, in order: Continue, Respond or Refuse      chain.rs, plugins
//!   4 serve     one of: proxy · redirect · respond                              ask.rs, target.rs, upstream/
//!   5 up        the same plugins, reversed, see the response                    chain.rs
//!   6 finish    headers out, metrics, access log                                forward.rs, finish.rs, observe/
//! ```
//!
//! An error anywhere becomes a reply in one place, `reply.rs`. Modules use those after them, and are to be read in this
//! order.

pub mod admin;
mod ask;
mod body;
mod certificates;
mod chain;
mod change;
pub mod cli;
mod client;
pub mod config;
mod connection;
mod deadline;
mod finish;
mod forward;
mod limits;
pub mod observe;
mod proxy;
mod refusal;
mod reply;
pub mod routing;
pub mod server;
pub mod snapshot;
mod socket;
mod strict_http2;
mod syntax;
mod target;
mod timing;
mod upstream;
mod worker;
