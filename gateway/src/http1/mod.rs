//! HTTP/1.1 on the wire, as both sides of the gateway read and write it (RFC 9112).
//!
//! One parser for requests, responses and trailers: what is passed on is what was judged, so nothing can be read in two
//! ways. Who drives it: `server/http1.rs` towards clients, `upstream/http1.rs` towards servers.

pub(crate) mod wire;
pub(crate) mod request_head;
pub(crate) mod response_head;
pub(crate) mod lines;
pub(crate) mod fields;
pub(crate) mod chunked;
pub(crate) mod input;
pub(crate) mod output;
