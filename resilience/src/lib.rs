//! Decisions that keep failures small and answers quick: which server, whether to try again, whether to try at all.
//!
//! Nothing here opens a socket or looks at a clock: who calls says what time it is ([`Moment`]), so that every transition
//! is tested in virtual time. What many workers touch is lock free on the usual path.

pub mod adaptive;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod checks;
pub mod criticality;
pub mod deadline;
pub mod ejection;
pub mod moment;
pub mod overload;
pub mod quantiles;
pub mod random;
mod sync;
pub mod window;

pub use moment::Moment;
