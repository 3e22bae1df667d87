//! Why the demo could not start or had to end: one sentence each, and an exit code.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

/// Why the demo ends other than by a signal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{path}: {reason}")]
    Config { path: PathBuf, reason: String },
    #[error("cannot write {path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("there is no gateway at {path}: build it with `cargo build --release -p gateway`")]
    NoGateway { path: PathBuf },
    #[error("cannot run {program}: {source}")]
    Program { program: PathBuf, source: std::io::Error },
    #[error("the gateway cannot listen on {address} ({key} in the config): {source}")]
    Listen { key: &'static str, address: SocketAddr, source: std::io::Error },
    #[error(
        "nobody answers there:{missing}\n`docker compose -f deploy/compose.yaml up -d` starts all of them"
    )]
    NoServers { missing: String },
    #[error("the database {name} cannot be had: {source}")]
    Database { name: String, source: sqlx::Error },
    #[error("{name} did not start: {reason}")]
    ServiceNotStarted { name: &'static str, reason: String },
    #[error("not ready after {seconds} s:{missing}")]
    NotReady { seconds: u64, missing: String },
    #[error("{name} ended: {reason}")]
    ServiceEnded { name: &'static str, reason: String },
    #[error("the gateway ended with {status}; its last words:{said}")]
    GatewayDied { status: ExitStatus, said: String },
    #[error("the gateway did not end in time and was killed")]
    GatewayKilled,
    #[error("the gateway has no process id")]
    NoProcess,
    #[error("cannot wait for the gateway: {0}")]
    Wait(#[source] std::io::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
}

impl Failure {
    /// 1: nothing was wrong with us, but with what we were given; 2: something failed while running.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config { .. }
            | Self::Folder { .. }
            | Self::NoGateway { .. }
            | Self::Program { .. }
            | Self::Listen { .. }
            | Self::NoServers { .. }
            | Self::Database { .. }
            | Self::ServiceNotStarted { .. } => 1,
            Self::NotReady { .. }
            | Self::ServiceEnded { .. }
            | Self::GatewayDied { .. }
            | Self::GatewayKilled
            | Self::NoProcess
            | Self::Wait(_)
            | Self::Signals(_) => 2,
        })
    }
}
