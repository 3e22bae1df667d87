//! `loadtest`: what the gateway promises under load, counted over sockets at both ends.

mod body;
mod compare;
mod connection;
mod digest;
mod failure;
mod idle;
mod latency;
mod load;
mod nonces;
mod origin;
mod page;
mod process;
mod report;
mod rig;
mod robot;
mod slow_headers;
mod soak;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// Measured: a tenth of the generator's CPU time per request less than with glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts over sockets what the gateway promises. Exit code 0: kept; 1: broken; 2: could not be measured.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    chosen: Chosen,
    /// Print the report as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Chosen {
    /// The gateway beside nginx and others: the same work, figures as ratios to nginx.
    Compare(compare::Settings),
    /// A result that was kept as JSON, as one HTML file with plots.
    Page {
        /// What `run --json` or `compare --json` printed.
        result: PathBuf,
        /// The file to write.
        page: PathBuf,
    },
    #[command(flatten)]
    Task(Task),
}

/// What runs on our runtime.
#[derive(Subcommand)]
enum Task {
    /// A scripted origin: each request says what its answer shall be like.
    #[command(after_help = origin::HELP)]
    Origin {
        /// Where it listens; port 0 for a free one, which is printed.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Where its behaviour is changed while it runs.
        #[arg(long)]
        control: Option<SocketAddr>,
    },
    /// Load by a scenario at a constant rate, by connections, or rising: every percentile from the intended start.
    Run(Box<load::Settings>),
    /// Mixed traffic at a constant rate through reloads and upgrades; not one request may fail.
    Soak(soak::Settings),
    /// Memory of an idle keep-alive connection.
    Idle(idle::Settings),
    /// Clients that send a header byte a second are closed by the deadline and disturb nobody.
    SlowHeaders(slow_headers::Settings),
    /// A huge body goes through without staying in memory.
    Stream(stream::Settings),
    /// What a reader of the news portal does, at a gateway that runs; ends at the first broken promise.
    Robot(robot::Settings),
}

fn main() -> ExitCode {
    let Arguments { chosen, json } = Arguments::parse();
    let done = match chosen {
        // Starts and pins processes, and waits for them; listens for signals by itself.
        Chosen::Compare(settings) => compare(&settings, json),
        Chosen::Page { result, page } => {
            page::draw(&result, &page).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Chosen::Task(task) => run(task, json),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            report::complain(&told(&error));
            ExitCode::from(2)
        }
    }
}

/// What went wrong and why; our own errors say their cause themselves.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| {
        match (told.is_empty(), told.ends_with(&cause)) {
            (true, _) => cause,
            (false, true) => told,
            (false, false) => format!("{told}: {cause}"),
        }
    })
}

fn compare(settings: &compare::Settings, json: bool) -> anyhow::Result<ExitCode> {
    let output = match json {
        true => compare::Output::Json,
        false => compare::Output::Table,
    };
    Ok(compare::run(settings, output)?)
}

/// One thread does all: no locks in the counting, and a core stays free for the gateway.
fn run(task: Task, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // A dropped task ends what it started: gateways are killed, folders removed.
        tokio::select! {
            result = perform(task, json) => result,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            _ = terminate.recv() => anyhow::bail!("terminated"),
        }
    }))
}

async fn perform(task: Task, json: bool) -> anyhow::Result<ExitCode> {
    let report = match task {
        Task::Origin { listen, control } => {
            let bind = async |address: SocketAddr| {
                TcpListener::bind(address).await.with_context(|| address.to_string())
            };
            let listener = bind(listen).await?;
            let control = match control {
                Some(address) => Some(bind(address).await?),
                None => None,
            };
            report::say(&format!("origin listens on {}", listener.local_addr()?));
            origin::serve(listener, control).await;
            return Ok(ExitCode::SUCCESS);
        }
        Task::Run(settings) => return load::run(*settings, json).await,
        Task::Soak(settings) => soak::run(settings).await?,
        Task::Idle(settings) => idle::run(settings).await?,
        Task::SlowHeaders(settings) => slow_headers::run(settings).await?,
        Task::Stream(settings) => stream::run(settings).await?,
        Task::Robot(settings) => return Ok(robot::run(settings).await?.print(json)),
    };
    Ok(report.print(json))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || std::io::Error::other("no room");
        let said = failure::FileError::at("/x".as_ref())(cause());
        assert_eq!(told(&said.into()), "/x: no room");
        assert_eq!(
            told(&anyhow::Error::from(cause()).context("at the end")),
            "at the end: no room"
        );
    }

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}
