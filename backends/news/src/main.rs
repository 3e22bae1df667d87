//! The news service as a program: flags, start, wait for a signal, stop.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use news::{Database, Events, ReadSide, Settings, Theme};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Bad arguments or a configuration that cannot be used.
const REFUSED: u8 = 1;
/// The service ran and failed.
const FAILED: u8 = 2;

/// The portal's news: the articles of one theme over HTTP
#[derive(Parser)]
#[command(name = "news")]
struct Flags {
    /// What the articles are about, for example famous, politics or sports
    #[arg(long, env = "THEME")]
    theme: Theme,

    /// Where to listen; port 0 takes a free one
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3011")]
    listen: SocketAddr,

    /// Where every version is kept: sqlite:FILE or postgres://USER:PASSWORD@HOST/NAME; created if it is not there
    #[arg(
        long,
        env = "DATABASE",
        hide_env_values = true,
        default_value = "sqlite:news-event-log.sqlite"
    )]
    database: Database,

    /// Where the latest versions are kept for readers, another database than that above: sqlite:FILE or
    /// postgres://USER:PASSWORD@HOST/NAME; may be deleted, the log makes it again
    #[arg(
        long,
        env = "READ_DATABASE",
        hide_env_values = true,
        default_value = "sqlite:news-latest.sqlite"
    )]
    read_database: Database,

    /// How the read side hears of new versions: http (here the same as within the process) or
    /// amqp://USER:PASSWORD@HOST:PORT/VHOST; amqps://, that is TLS, is not supported
    #[arg(long, env = "EVENTS", hide_env_values = true, default_value = "http")]
    events: Events,

    /// Make the latest versions again from the whole log before serving; a running instance does it on POST /rebuild
    #[arg(long)]
    rebuild: bool,
}

impl Flags {
    fn into_settings(self) -> (Settings, Events) {
        let Self { theme, listen: address, database, read_database, events, rebuild } = self;
        let read_side = if rebuild { ReadSide::Rebuild } else { ReadSide::CatchUp };
        let (event_log, latest) = (database, read_database);
        (Settings { theme, address, event_log, latest, read_side }, events)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) => {
            // Nothing can be done about a terminal that does not take the message.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS };
        }
    };
    log_as_json();
    let (settings, events) = flags.into_settings();
    // Watched from the first moment: whoever is told to stop while it starts stops in order too.
    let terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return failed(&news::StopError::Signal(error)),
    };
    let running = match news::start_with(settings, events).await {
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

fn failed(error: &news::StopError) -> ExitCode {
    tracing::error!(%error, "failed");
    ExitCode::from(FAILED)
}

async fn run(mut running: news::Running, mut terminate: Signal) -> Result<(), news::StopError> {
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
