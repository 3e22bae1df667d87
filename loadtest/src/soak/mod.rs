//! Constant mixed traffic through reloads and upgrades; both ends count, and not one request may fail.

mod changes;
mod tally;
mod traffic;
mod websocket;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::failure::Failure;
use crate::load::ledger;
use crate::process::allow_files;
use crate::report::Report;
use crate::rig::{Rig, TOKEN, Wanted};
use changes::{Changes, Running};
use tally::Tally;

/// What is asked for.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    #[command(flatten)]
    gateway: Wanted,
    /// Requests and WebSocket messages a second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(50..=50_000))]
    rate: u32,
    /// Seconds of traffic; longer if reloads and upgrades are not done by then, at most four times as long.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Reloads, evenly over the time, by the admin API and SIGHUP in turn.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    reloads: u32,
    /// Upgrades, evenly over the time.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    upgrades: u32,
    /// Of a running gateway: its admin address.
    #[arg(long, requires_all = ["target", "config", "origin", "program"])]
    admin: Option<SocketAddr>,
    /// Of a running gateway: its admin token.
    #[arg(long, default_value = TOKEN)]
    token: String,
    /// Of a running gateway: its config, which gets a comment with each reload.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Of a running gateway: the `loadtest origin` behind it.
    #[arg(long)]
    origin: Option<SocketAddr>,
    /// Of a running gateway: the program to upgrade to.
    #[arg(long)]
    program: Option<PathBuf>,
}

/// What all clients of one run share.
#[derive(Clone)]
struct Run {
    target: SocketAddr,
    tally: Rc<RefCell<Tally>>,
    over: Rc<Cell<bool>>,
}

pub(crate) async fn run(settings: Settings) -> Result<Report, Failure> {
    allow_files(4_096)?;
    let rig = Rig::new(&settings.gateway).await?;
    let target = rig.target;
    let (running, origin) = running(&settings, rig)?;
    ledger::clear(origin).await?;
    let run = Run { target, tally: Rc::default(), over: Rc::default() };
    let clients = tokio::task::spawn_local({
        let clients = traffic::clients(&run, settings.rate);
        async move { join_all(clients).await.len() }
    });
    let time = Duration::from_secs(settings.seconds);
    let started = Instant::now();
    let mut changes = Changes::new(running, settings.reloads, settings.upgrades);
    let changed = changes.perform(time).await;
    sleep(time.saturating_sub(started.elapsed())).await;
    run.over.set(true);
    clients.await.ok();
    let elapsed = started.elapsed();
    let arrived = ledger::read(origin).await?;
    let mut report = Report::default();
    report.figure("seconds", elapsed.as_secs_f64());
    run.tally.borrow().report(&arrived, elapsed, &mut report);
    changes.report(changed, &mut report);
    Ok(report)
}

/// What reloads and upgrades act on, and where the other ledger is.
fn running(settings: &Settings, rig: Rig) -> Result<(Running, SocketAddr), Failure> {
    let Rig { target: _, pid, started } = rig;
    if let Some(gateway) = started {
        let origin = gateway.origin;
        return Ok((Running::of(gateway, pid), origin));
    }
    match settings {
        Settings {
            admin: Some(admin),
            config: Some(config),
            origin: Some(origin),
            program: Some(program),
            ..
        } => Ok((
            Running {
                admin: *admin,
                token: settings.token.clone(),
                program: program.clone(),
                config: config.clone(),
                pid,
                child: None,
                started: None,
            },
            *origin,
        )),
        Settings { .. } => Err(Failure::Setting {
            option: "--target",
            reason: "a running gateway needs --admin, --config, --origin and --program too",
        }),
    }
}
