//! The rounds of a comparison in time: every proxy in turn, CPU time beside what wrk counted.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::configs::Prepared;
use super::process::{PROXY_CORE, Stage, Started, pause, pinned};
use super::procfs;
use super::proxies::Kind;
use super::settings::Settings;
use super::wrk;

/// One proxy's figures in one round.
pub(super) struct Figures {
    pub(super) cpu_us_per_request: f64,
    pub(super) requests_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) resident_mb: f64,
}

/// One proxy's figures, a round each.
pub(super) struct Measured {
    pub(super) kind: Kind,
    pub(super) rounds: Vec<Figures>,
    /// Log lines ÷ requests over all rounds, where the log is a file: 1 when nothing was dropped.
    pub(super) logged: Option<f64>,
}

/// The share of requests that has to be in the log; what is under way at the end of a round may be missing.
const LOGGED_LEAST: f64 = 0.999;

struct Runner<'a> {
    prepared: &'a Prepared<'a>,
    process: Started,
    rounds: Vec<Figures>,
    requests: u64,
    lines: u64,
}

/// How long a buffered log may take to reach its file: nginx's flush is one second.
const LOG_FLUSH: Duration = Duration::from_millis(1_500);

pub(super) fn measure(
    settings: &Settings,
    stage: &Stage,
    set: &[Prepared<'_>],
) -> Result<Vec<Measured>, String> {
    let Some(first) = set.first() else { return Ok(Vec::new()) };
    let script = wrk::write_script(&first.folder)?;
    let mut runners = set.iter().map(start).collect::<Result<Vec<_>, String>>()?;
    for runner in &mut runners {
        // Fills pools and caches, so that the first round is like the others.
        let warm = wrk::run(&script, runner.prepared.port, settings.connections, 1);
        runner.requests += named(runner.prepared, warm)?.requests;
    }
    for round in 1..=settings.rounds {
        super::report::note(&format!("round {round} of {}", settings.rounds));
        // Another one begins each round: nobody always runs on the warmest or the most disturbed core.
        runners.rotate_left(1);
        for runner in &mut runners {
            one_round(settings, stage, &script, runner)?;
        }
        count_logs(&mut runners)?;
    }
    let mut measured: Vec<Measured> = runners.into_iter().map(finish).collect();
    measured.iter().for_each(warn_of_dropped_lines);
    measured.sort_by_key(|one| set.iter().position(|prepared| prepared.kind() == one.kind));
    Ok(measured)
}

fn start<'a>(prepared: &'a Prepared<'a>) -> Result<Runner<'a>, String> {
    let mut command = pinned(PROXY_CORE, &prepared.proxy.program);
    prepared.add_arguments(&mut command, &prepared.config);
    let name = prepared.kind().name();
    let mut process = Started::start(name, &mut command, prepared.folder.join("messages"))?;
    process.wait_for_port(prepared.port, Duration::from_secs(10))?;
    Ok(Runner { prepared, process, rounds: Vec::new(), requests: 0, lines: 0 })
}

fn one_round(
    settings: &Settings,
    stage: &Stage,
    script: &Path,
    runner: &mut Runner<'_>,
) -> Result<(), String> {
    let pid = runner.process.pid();
    let before = procfs::cpu_ticks(pid)?;
    let counted = wrk::run(script, runner.prepared.port, settings.connections, settings.seconds);
    let counted = named(runner.prepared, counted)?;
    let ticks = procfs::cpu_ticks(pid)? - before;
    let cpu_us = ticks as f64 * 1e6 / stage.ticks_per_second as f64;
    runner.requests += counted.requests;
    runner.rounds.push(Figures {
        cpu_us_per_request: cpu_us / counted.requests as f64,
        requests_per_second: counted.requests_per_second,
        p50_ms: counted.p50.as_secs_f64() * 1e3,
        p99_ms: counted.p99.as_secs_f64() * 1e3,
        resident_mb: procfs::resident_kib(pid)? as f64 / 1024.0,
    });
    Ok(())
}

/// Counts what the logs got and empties them: a round writes tens of megabytes.
fn count_logs(runners: &mut [Runner<'_>]) -> Result<(), String> {
    if runners.iter().any(|runner| runner.prepared.log.is_some()) {
        pause(LOG_FLUSH);
    }
    for runner in runners {
        if let Some(log) = &runner.prepared.log {
            runner.lines +=
                count_lines(log).map_err(|error| format!("{}: {error}", log.display()))?;
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

fn finish(runner: Runner<'_>) -> Measured {
    let logged =
        runner.prepared.log.is_some().then(|| runner.lines as f64 / runner.requests as f64);
    Measured { kind: runner.prepared.kind(), rounds: runner.rounds, logged }
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

fn named<T>(prepared: &Prepared<'_>, result: Result<T, String>) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", prepared.kind().name()))
}
