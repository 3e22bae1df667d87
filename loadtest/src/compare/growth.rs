//! Cost by growth: the same request while routes, idle connections or plugins become more.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::configs::{Prepared, Workspace, WorkspaceError};
use super::load::Amount;
use super::proxies::{Kind, Proxy};
use super::rounds::{self, Measured, Plan, RoundError};
use super::scenarios::Job;
use crate::failure::Failure;

/// Why a ladder has no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrowthError {
    #[error("{source}: {connections} connections need more open files (ulimit -n {needed})")]
    Files { connections: usize, needed: u64, source: Failure },
    #[error("{name}: idle connections: {source}")]
    Idle { name: &'static str, source: io::Error },
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    #[error(transparent)]
    Round(#[from] RoundError),
}

/// What becomes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Growth {
    /// 10 to 10,000; any of them is asked for, at random.
    Routes,
    /// 10 to 10,000 connections; 64 of them active, the others idle.
    Connections,
    /// 1 to 10 plugins that set a field of the request and one of the response.
    Plugins,
}

impl Growth {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Connections => "connections",
            Self::Plugins => "plugins",
        }
    }

    const fn steps(self) -> &'static [usize] {
        match self {
            Self::Routes | Self::Connections => &[10, 100, 1_000, 10_000],
            Self::Plugins => &[1, 2, 5, 10],
        }
    }

    fn job(self, step: usize) -> Job {
        match self {
            Self::Routes => Job::of_routes(step),
            Self::Connections => Job::of_connections(step.saturating_sub(ACTIVE as usize)),
            Self::Plugins => Job::of_header_rules(step),
        }
    }
}

/// Connections that ask all the time.
const ACTIVE: u32 = 64;

/// Whose growth is measured: the others' way of choosing a route among many is another one.
const MEASURED: [Kind; 3] = [Kind::Nginx, Kind::Haproxy, Kind::Gateway];

/// One step of a ladder: how many, and everybody's figures.
pub(super) struct Step {
    pub(super) count: usize,
    pub(super) measured: Vec<Measured>,
}

/// All steps of one ladder.
pub(super) fn measure(
    growth: Growth,
    plan: &Plan<'_>,
    workspace: &Workspace,
    proxies: &[Proxy],
) -> Result<Vec<Step>, GrowthError> {
    let most = growth.job(*growth.steps().last().unwrap_or(&0)).idle_connections;
    // Ours and those of the proxies, which inherit the limit.
    let needed = most as u64 + 5_000;
    crate::process::allow_files(needed).map_err(|source| GrowthError::Files {
        connections: most,
        needed,
        source,
    })?;
    growth
        .steps()
        .iter()
        .map(|&count| {
            super::report::note(&format!("{count} {}", growth.name()));
            let job = growth.job(count);
            let origin = workspace.start_origin(&job)?;
            let name = format!("{}-{count}", growth.name());
            let set = proxies
                .iter()
                .filter(|proxy| MEASURED.contains(&proxy.kind))
                .map(|proxy| workspace.prepare(proxy, &name, &job, origin.port))
                .collect::<Result<Vec<_>, WorkspaceError>>()?;
            let active = (count as u32).min(ACTIVE);
            let connections = if growth == Growth::Connections { active } else { ACTIVE };
            let amount = Amount { connections, ..plan.amount };
            Ok(Step { count, measured: one_step(&Plan { amount, ..*plan }, &set)? })
        })
        .collect()
}

fn one_step(plan: &Plan<'_>, set: &[Prepared<'_>]) -> Result<Vec<Measured>, GrowthError> {
    let mut runners = Vec::new();
    for prepared in set {
        let named = |error: RoundError| error.of(prepared.kind());
        let runner = rounds::start(prepared).map_err(named)?;
        runners.push(rounds::warm_up(plan, runner).map_err(named)?);
    }
    for round in 1..=plan.rounds {
        super::report::note(&format!("round {round} of {}", plan.rounds));
        runners.rotate_left(1);
        for runner in &mut runners {
            let kind = runner.prepared.kind();
            // Of one proxy at a time: three times 10,000 are more than most systems let us have.
            let idle = rest(runner.prepared)
                .map_err(|source| GrowthError::Idle { name: kind.name(), source })?;
            runner.measure(plan).map_err(|error| error.of(kind))?;
            drop(idle);
        }
    }
    let mut measured: Vec<Measured> = runners.into_iter().map(rounds::finish).collect();
    measured.sort_by_key(|one| set.iter().position(|prepared| prepared.kind() == one.kind));
    Ok(measured)
}

/// Opens a job's idle connections: each asks once, so that it is a connection between two requests.
fn rest(prepared: &Prepared<'_>) -> io::Result<Vec<TcpStream>> {
    let path = prepared.job.path();
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let mut answer = [0; 4096];
    (0..prepared.job.idle_connections)
        .map(|_| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, prepared.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(request.as_bytes())?;
            // Some 500 bytes, which come at once or not at all; the rest would stay in the socket.
            match stream.read(&mut answer)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(stream),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ladder_grows_in_what_it_is_named_for() {
        assert_eq!(Growth::Routes.job(1_000).routes().len(), 1_000);
        assert_eq!(Growth::Plugins.job(5).header_rules, 5);
        assert_eq!(Growth::Connections.job(10).idle_connections, 0);
        assert_eq!(Growth::Connections.job(10_000).idle_connections, 9_936);
        for growth in [Growth::Routes, Growth::Connections, Growth::Plugins] {
            assert!(growth.steps().is_sorted() && growth.steps().len() == 4);
        }
    }
}
