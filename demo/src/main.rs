//! Runs the portal on one machine: users, three themes of news, recommendation and auth in this process, the gateway before
//! them as its child, until Ctrl-C or until one of them ends.

mod portal;

mod stores;

mod gateway;

mod ready;

mod addresses;

mod failure;

mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::addresses::Addresses;
use crate::failure::Failure;
use crate::gateway::Gateway;
use crate::portal::Portal;
use crate::stores::{Servers, Stores};

/// Gives the memory of password hashes back to the system, which glibc's keeps for each thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The portal on one machine: services, and the gateway before them
#[derive(Parser)]
#[command(name = "demo")]
struct Flags {
    /// The gateway's configuration; the services listen where its upstreams are
    #[arg(long, default_value = "config.toml")]
    config: PathBuf,

    /// Where databases and logs are kept, also from one run to the next
    #[arg(long, default_value = "target/demo-data")]
    data: PathBuf,

    /// The gateway's program [default: the one beside this program]
    #[arg(long)]
    gateway: Option<PathBuf>,

    /// Keep everything in PostgreSQL, Redis and RabbitMQ that run already, instead of in files
    #[arg(long)]
    real: bool,

    #[command(flatten)]
    servers: Servers,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) => {
            // Nothing can be done about a terminal that does not take the message.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    match run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::complain(&failure);
            failure.exit_code()
        }
    }
}

async fn run(flags: Flags) -> Result<(), Failure> {
    let Flags { config, data, gateway: program, real, servers } = flags;
    let mut signals = Signals::watch()?;
    let program = program.map_or_else(gateway::beside_this_program, Ok)?;
    let addresses = Addresses::read(&config)?;
    std::fs::create_dir_all(&data)
        .map_err(|source| Failure::Folder { path: data.clone(), source })?;
    portal::log_to(&data)?;

    let stores = if real { Stores::real(servers).await? } else { Stores::embedded() };
    let mut portal = Portal::start(&addresses, &data, &stores).await?;
    let launch = Launch { program, config, data, addresses };
    let served = serve(&launch, &mut portal, &mut signals).await;
    if let Err(Failure::ServiceEnded { name: _, reason: _ }) = served {
        // What has ended cannot be stopped; the stores of the others survive even a killed process.
        return served;
    }
    served.and(portal.stop().await)
}

/// What the gateway is started with, and what is told about it.
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) addresses: Addresses,
}

/// Runs the gateway until a signal comes or something ends by itself.
async fn serve(launch: &Launch, portal: &mut Portal, signals: &mut Signals) -> Result<(), Failure> {
    let mut gateway = Gateway::start(launch)?;
    let probes = ready::probes(portal, &launch.addresses);
    let services = portal.addresses();
    let introduced = async {
        ready::wait(&probes).await?;
        terminal::introduce(launch, &services);
        std::future::pending().await
    };
    let outcome = tokio::select! {
        () = signals.next() => Ok(()),
        failure = portal.failed() => Err(failure),
        failure = gateway.died() => Err(failure),
        outcome = introduced => outcome,
    };
    if outcome.is_ok() {
        terminal::say("ending; once more Ctrl-C does not wait for requests that are still running");
    }
    outcome.and(gateway.stop(signals).await)
}

/// What tells this program to end.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn watch() -> Result<Self, Failure> {
        let watch = |kind| signal(kind).map_err(Failure::Signals);
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hang_up: watch(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
