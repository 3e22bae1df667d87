//! The auth service as a program: flags, start, wait for a signal, stop.

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Bad arguments or a configuration that cannot be used.
const REFUSED: u8 = 1;
/// The service ran and failed.
const FAILED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let settings = match auth::Settings::try_parse() {
        Ok(settings) => settings,
        Err(error) => {
            // Nothing can be done about a terminal that does not take the message.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS };
        }
    };
    log_as_json();
    match run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended::NotStarted(error)) => {
            tracing::error!(%error, "not started");
            ExitCode::from(REFUSED)
        }
        Err(Ended::Failed(error)) => {
            tracing::error!(%error, "failed");
            ExitCode::from(FAILED)
        }
    }
}

/// Why the program ended other than by a signal.
enum Ended {
    NotStarted(auth::StartError),
    Failed(auth::StopError),
}

async fn run(settings: auth::Settings) -> Result<(), Ended> {
    // Before anybody is told that we are ready, and may stop us.
    let asked_to_stop = asked_to_stop().map_err(Ended::Failed)?;
    let running = auth::start(settings).await.map_err(Ended::NotStarted)?;
    tracing::info!(address = %running.address(), "ready");
    serve(running, asked_to_stop).await.map_err(Ended::Failed)
}

async fn serve(
    mut running: auth::Running,
    asked_to_stop: impl Future<Output = ()>,
) -> Result<(), auth::StopError> {
    tokio::select! {
        ended = running.ended() => return ended,
        () = asked_to_stop => {}
    }
    tracing::info!("stopping");
    running.stop().await
}

/// Resolves at the first signal that comes from now on.
fn asked_to_stop() -> Result<impl Future<Output = ()>, auth::StopError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(auth::StopError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(auth::StopError::Signal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn log_as_json() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
}
