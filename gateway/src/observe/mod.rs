//! What is seen from outside: metrics for Prometheus and the access log.

pub mod exposition;
mod faults;
mod lanes;
pub mod metrics;
pub mod reading;
mod upstream_metrics;
mod process;

pub mod access_log;
mod escape;
mod line;
mod log_target;
mod queue;
