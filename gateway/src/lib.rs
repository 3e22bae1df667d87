//! A programmable API gateway and smart proxy: one binary, one TOML file, one admin endpoint.
//!
//! The path of a request:
//!
//! ```text
//! accept → PROXY protocol → TLS → HTTP/1.1 or HTTP/2 → proxy.rs: async fn answer(request) → Body
//!   1 admit     limits, strictness, one form of host and path, client address   limits.rs, http1/, strict_http2.rs, client.rs
//!   2 route     host + path + method + condition → &Route (from one Snapshot)   routing/
//!   3 down      the route's plugins, in order: Continue, Respond or Refuse      chain.rs, plugins
//!   4 serve     one of: proxy · redirect · respond                              ask.rs, target.rs, upstream/
//!   5 up        the same plugins, reversed, see the response                    chain.rs
//!   6 finish    headers out, metrics, access log                                forward.rs, finish.rs, observe/
//! ```
//!
//! An error anywhere becomes a reply in one place, `reply.rs`. Modules lean on those after them; they are to be read in
//! this order.

pub mod cli;
pub mod server;
pub mod admin;
mod proxy;
mod ask;
mod target;
mod change;
mod timing;
mod reply;
mod forward;
mod chain;
mod body;
mod incoming;
mod finish;
mod connection;
mod worker;
mod limits;
mod overload;
mod client;
mod client_deadline;
mod deadline;
mod moment;
mod http1;
mod refusal;
mod strict_http2;
mod syntax;
mod upstream;
mod socket;
mod splice;
pub mod snapshot;
mod certificates;
pub mod routing;
pub mod observe;
pub mod config;
