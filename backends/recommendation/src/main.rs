//! The recommendation service as a program: flags, start, wait for a signal, stop.

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Bad arguments or a configuration that cannot be used.
const REFUSED: u8 = 1;
/// The service ran and failed.
const FAILED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let settings = match recommendation::Settings::try_parse() {
        Ok(settings) => settings,
        Err(error) => {
            // Nothing can be done about a terminal that does not take the message.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS };
        }
    };
    log_as_json();
    // Watched from the first moment: whoever is told to stop while it starts stops in order too.
    let terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return failed(&recommendation::StopError::Signal(error)),
    };
    let running = match recommendation::start(settings).await {
        Ok(running) => running,
        Err(error) => {
            tracing::error!(%error, "not started");
            return ExitCode::from(REFUSED);
        }
    };
    tracing::info!(address = %running.address(), "ready");
    match run(running, terminate).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &recommendation::StopError) -> ExitCode {
    tracing::error!(%error, "failed");
    ExitCode::from(FAILED)
}

async fn run(
    mut running: recommendation::Running,
    mut terminate: Signal,
) -> Result<(), recommendation::StopError> {
    tokio::select! {
        ended = running.ended() => return ended,
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("stopping");
    running.stop().await
}

fn log_as_json() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
}
