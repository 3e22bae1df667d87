//! The rounds of a comparison in time: every proxy in turn, CPU time beside what the load counted.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::certificates::Certificates;
use super::configs::Prepared;
use super::document::LeftOut;
use super::load::{self, Amount, Generator, LoadError};
use super::process::{PROXY_CORE, ProcessError, Started, pause, pinned};
use super::procfs::{self, ProcfsError};
use super::proxies::Kind;
use crate::failure::FileError;

/// Why a round has no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundError {
    #[error("{name}: {source}")]
    Of { name: &'static str, source: Box<Self> },
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Procfs(#[from] ProcfsError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("it is not running")]
    NotRunning,
    #[error("not one request was answered")]
    NothingAnswered,
}

impl RoundError {
    /// Whose round it was.
    pub(super) fn of(self, kind: Kind) -> Self {
        Self::Of { name: kind.name(), source: Box::new(self) }
    }
}

/// One proxy's figures in one round.
pub(super) struct Figures {
    pub(super) cpu_us_per_request: f64,
    pub(super) requests_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p99_9_ms: Option<f64>,
    pub(super) resident_mb: f64,
    pub(super) percentiles: Value,
    pub(super) timeline: Value,
}

/// One proxy's figures, a round each.
pub(super) struct Measured {
    pub(super) kind: Kind,
    pub(super) config: String,
    pub(super) rounds: Vec<Figures>,
    /// Log lines ÷ requests over all rounds, where the log is a file: 1 when nothing was dropped.
    pub(super) logged: Option<f64>,
}

/// How the rounds go.
pub(super) struct Plan<'a> {
    pub(super) rounds: u32,
    pub(super) amount: Amount,
    pub(super) generator: Generator,
    pub(super) certificates: &'a Certificates,
}

/// The share of requests that has to be in the log; what is under way at the end of a round may be missing.
const LOGGED_LEAST: f64 = 0.999;

/// A proxy that runs, and its figures so far.
pub(super) struct Runner<'a> {
    pub(super) prepared: &'a Prepared<'a>,
    process: Option<Started>,
    rounds: Vec<Figures>,
    requests: u64,
    lines: u64,
}

/// How long a buffered log may take to reach its file: nginx's flush is one second.
const LOG_FLUSH: Duration = Duration::from_millis(1_500);

/// Starts all, measures in turn. Who does not start or answer at first is left out with the reason.
pub(super) fn measure(
    plan: &Plan<'_>,
    set: &[Prepared<'_>],
) -> Result<(Vec<Measured>, Vec<LeftOut>), RoundError> {
    let mut runners = Vec::new();
    let mut failed = Vec::new();
    for prepared in set {
        match start(prepared).and_then(|runner| warm_up(plan, runner)) {
            Ok(runner) => runners.push(runner),
            // Ours and the base have to work; a peer that does not is the reader's to judge.
            Err(error) if matches!(prepared.kind(), Kind::Nginx | Kind::Gateway) => {
                return Err(error.of(prepared.kind()));
            }
            Err(error) => failed.push((prepared.kind(), error.to_string())),
        }
    }
    for round in 1..=plan.rounds {
        super::report::note(&format!("round {round} of {}", plan.rounds));
        one_round(plan, &mut runners, round)?;
    }
    let mut measured: Vec<Measured> = runners.into_iter().map(finish).collect();
    measured.iter().for_each(warn_of_dropped_lines);
    measured.sort_by_key(|one| set.iter().position(|prepared| prepared.kind() == one.kind));
    Ok((measured, failed))
}

/// Everybody once. Another one begins each round: nobody always runs on the warmest or the most disturbed core.
/// And a new process for each round: where the system lays one out in memory makes it some percent dearer or cheaper for
/// all of its life, which rounds of the same process would all repeat.
fn one_round(plan: &Plan<'_>, runners: &mut [Runner<'_>], round: u32) -> Result<(), RoundError> {
    if !runners.is_empty() {
        runners.rotate_left(1);
    }
    for runner in &mut *runners {
        let kind = runner.prepared.kind();
        let renewed = if round > 1 { runner.renew(plan) } else { Ok(()) };
        renewed.and_then(|()| runner.measure(plan)).map_err(|error| error.of(kind))?;
    }
    count_logs(runners)
}

/// Starts a proxy on its core.
pub(super) fn start<'a>(prepared: &'a Prepared<'a>) -> Result<Runner<'a>, RoundError> {
    let process = Some(start_process(prepared)?);
    Ok(Runner { prepared, process, rounds: Vec::new(), requests: 0, lines: 0 })
}

fn start_process(prepared: &Prepared<'_>) -> Result<Started, ProcessError> {
    let mut command = pinned(PROXY_CORE, &prepared.proxy.program);
    prepared.add_arguments(&mut command, &prepared.config);
    let name = prepared.kind().name();
    let mut process = Started::start(name, &mut command, prepared.folder.join("messages"))?;
    process.wait_for_port(prepared.port, Duration::from_secs(20))?;
    Ok(process)
}

/// Fills pools and caches, so that the first round is like the others.
pub(super) fn warm_up<'a>(
    plan: &Plan<'_>,
    mut runner: Runner<'a>,
) -> Result<Runner<'a>, RoundError> {
    runner.warm_up(plan)?;
    Ok(runner)
}

impl Runner<'_> {
    /// Another process of the same proxy, as warm as the one before.
    fn renew(&mut self, plan: &Plan<'_>) -> Result<(), RoundError> {
        // The old one has to give up the port first.
        drop(self.process.take());
        self.process = Some(start_process(self.prepared)?);
        self.warm_up(plan)
    }

    fn warm_up(&mut self, plan: &Plan<'_>) -> Result<(), RoundError> {
        let amount = Amount { seconds: 1, ..plan.amount };
        let warm = load::run(plan.generator, self.prepared, plan.certificates, amount)?;
        self.requests += warm.requests;
        Ok(())
    }

    /// One round of this proxy.
    pub(super) fn measure(&mut self, plan: &Plan<'_>) -> Result<(), RoundError> {
        let pid = self.process.as_ref().ok_or(RoundError::NotRunning)?.pid();
        let before = procfs::cpu_ns(pid)?;
        let counted = load::run(plan.generator, self.prepared, plan.certificates, plan.amount)?;
        let used = procfs::cpu_ns(pid)?.saturating_sub(before);
        if counted.requests == 0 {
            return Err(RoundError::NothingAnswered);
        }
        self.requests += counted.requests;
        self.rounds.push(Figures {
            cpu_us_per_request: used as f64 / 1e3 / counted.requests as f64,
            requests_per_second: counted.requests_per_second,
            p50_ms: counted.p50_ms,
            p99_ms: counted.p99_ms,
            p99_9_ms: counted.p99_9_ms,
            resident_mb: procfs::resident_kib(pid)? as f64 / 1024.0,
            percentiles: counted.percentiles,
            timeline: counted.timeline,
        });
        Ok(())
    }
}

/// Counts what the logs got and empties them: a round writes tens of megabytes.
fn count_logs(runners: &mut [Runner<'_>]) -> Result<(), RoundError> {
    if runners.iter().any(|runner| runner.prepared.log.is_some()) {
        pause(LOG_FLUSH);
    }
    for runner in runners {
        if let Some(log) = &runner.prepared.log {
            runner.lines += count_lines(log).map_err(FileError::at(log))?;
        }
    }
    Ok(())
}

fn count_lines(log: &Path) -> std::io::Result<u64> {
    let mut file = fs::File::open(log)?;
    let mut bytes = vec![0; 256 * 1024];
    let mut lines = 0;
    loop {
        let read = file.read(&mut bytes)?;
        if read == 0 {
            break;
        }
        lines += bytes[..read].iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
    fs::File::options().write(true).open(log)?.set_len(0)?;
    Ok(lines)
}

/// Ends the proxy and keeps its figures.
pub(super) fn finish(runner: Runner<'_>) -> Measured {
    let Runner { prepared, process, rounds, requests, lines } = runner;
    drop(process);
    let logged = prepared.log.is_some().then(|| lines as f64 / requests as f64);
    Measured { kind: prepared.kind(), config: prepared.config_text(), rounds, logged }
}

/// Who drops log lines does less work than the others.
fn warn_of_dropped_lines(one: &Measured) {
    if let Some(share) = one.logged.filter(|share| *share < LOGGED_LEAST) {
        let name = one.kind.name();
        super::report::note(&format!(
            "NOT THE SAME WORK: {name} logged {:.1} % of its requests",
            share * 100.0
        ));
    }
}
