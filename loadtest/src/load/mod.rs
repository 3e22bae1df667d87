//! `loadtest run`: a load generator that counts latency from the time a request was due.

mod answer;
mod change;
mod connect;
mod http;
pub(crate) mod ledger;
mod link;
mod live;
mod outcome;
mod ramp;
mod request;
mod scenario;
mod schedule;
mod tally;
mod template;
mod trouble;
mod user;
mod websocket;
mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::process::allow_files;
use crate::report;
use ledger::Balance;
use outcome::Outcome;
use scenario::{Instead, Scenario};
use schedule::Share;
use worker::{Done, Order};

/// What is asked for.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// A scenario (docs/loadtest.md), or a URL with a path for GET requests to it.
    scenario: String,
    /// Where requests go, instead of the scenario's `url`.
    #[arg(long)]
    url: Option<String>,
    /// Requests a second, whatever the answers do: open loop, latency from the intended start.
    #[arg(long)]
    rate: Option<f64>,
    /// Connections kept.
    #[arg(long)]
    connections: Option<usize>,
    /// Seconds of load.
    #[arg(long)]
    seconds: Option<f64>,
    /// Threads, each with its share of connections and rate.
    #[arg(long)]
    threads: Option<usize>,
    /// Raises the rate step by step until the server no longer keeps up, and says which rate it kept.
    #[command(flatten)]
    ramp: ramp::Settings,
    /// Writes a page with plots there.
    #[arg(long)]
    html: Option<PathBuf>,
}

pub(crate) async fn run(settings: Settings, json: bool) -> anyhow::Result<ExitCode> {
    let Settings { scenario, url, rate, connections, seconds, threads, ramp, html } = settings;
    let instead = Instead { url, rate, connections, seconds, threads };
    let scenario = match scenario.contains("://") {
        true => scenario::of_url(&scenario, &instead)?,
        false => scenario::read(scenario.as_ref(), &instead)?,
    };
    let target = resolve(&scenario).await?;
    allow_files(scenario.connections as u64 + 512)?;
    let (document, lines, clean) = match ramp.ramp(&scenario)? {
        Some(ramp) => ramp.run(&scenario, target).await?,
        None => {
            let outcome = once(&scenario, target).await?;
            (outcome.document(&scenario), outcome.lines(&scenario), outcome.is_clean())
        }
    };
    print(&document, &lines, json);
    if let Some(file) = html {
        crate::page::write(&document, &file)?;
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(document: &Value, lines: &[String], json: bool) {
    match json {
        true => report::say(&document.to_string()),
        false => lines.iter().for_each(|line| report::say(line)),
    }
}

async fn resolve(scenario: &Scenario) -> anyhow::Result<SocketAddr> {
    let authority = scenario.origin.authority();
    let mut found = tokio::net::lookup_host(&authority).await.with_context(|| authority.clone())?;
    found.next().with_context(|| format!("{authority} has no address"))
}

/// Runs a scenario once.
async fn once(scenario: &Scenario, target: SocketAddr) -> anyhow::Result<Outcome> {
    for &origin in &scenario.ledgers {
        ledger::clear(origin).await.with_context(|| format!("the ledger of {origin}"))?;
    }
    let mut all = work(scenario, target).await?.into_iter();
    let first = all.next().context("no thread")?;
    let whole = all.fold(first, Done::merge);
    let balance = match &whole.tally.ledger {
        Some(ours) => Some(Balance::of(ours, &ledger::read_all(&scenario.ledgers).await?)),
        None => None,
    };
    let Done { tally, opened, handshakes_full, handshakes_resumed, late_at_most, cpu, tickets } =
        whole;
    Ok(Outcome {
        tally,
        balance,
        opened,
        handshakes_full,
        handshakes_resumed,
        late_at_most,
        cpu,
        tickets,
    })
}

/// Starts the threads, draws while they work, and gathers what they found.
async fn work(scenario: &Scenario, target: SocketAddr) -> anyhow::Result<Vec<Done>> {
    let barrier = Arc::new(Barrier::new(scenario.threads));
    let (glances, looks) = mpsc::unbounded_channel();
    let mut results = Vec::new();
    for thread in 0..scenario.threads {
        let order = Order {
            scenario: scenario.clone(),
            target,
            share: Share { thread, threads: scenario.threads },
            barrier: barrier.clone(),
            glances: glances.clone(),
        };
        let (sender, result) = oneshot::channel();
        std::thread::Builder::new().name(format!("load-{thread}")).spawn(move || {
            // Nobody waits any more: the run was interrupted.
            sender.send(worker::work(order)).ok();
        })?;
        results.push(result);
    }
    drop(glances);
    live::watch(looks, scenario.warm_up + scenario.time, &scenario.name).await;
    let mut done = Vec::new();
    for result in results {
        let ended: Result<Done, Failure> =
            result.await.context("a thread of the load ended early")?;
        done.push(ended?);
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
