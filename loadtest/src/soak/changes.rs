//! Reloads and upgrades of the gateway under load, one after the other, evenly over the time.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, header};
use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::{Instant, interval, sleep, sleep_until};

use crate::body::Body;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::process::{is_alive, send};
use crate::report::Report;
use crate::rig::{Gateway, command, wait_until_ready};

/// How long the old process may take to end after the new one has started.
const HANDOVER_TIME: Duration = Duration::from_secs(60);

/// The gateway that runs now.
pub(super) struct Running {
    pub(super) admin: SocketAddr,
    pub(super) token: String,
    pub(super) program: PathBuf,
    pub(super) config: PathBuf,
    pub(super) pid: u32,
    /// The process, if it is ours: after the first upgrade it always is.
    pub(super) child: Option<Child>,
    /// Keeps the folder of a gateway that was started here, and its first process.
    pub(super) started: Option<Gateway>,
}

impl Running {
    pub(super) fn of(gateway: Gateway, pid: u32) -> Self {
        Self {
            admin: gateway.admin,
            token: crate::rig::TOKEN.to_owned(),
            program: gateway.program.clone(),
            config: gateway.config.clone(),
            pid,
            child: None,
            started: Some(gateway),
        }
    }

    /// A changed file, so that a reload has something to read.
    fn touch(&self, number: u32) -> Result<(), Failure> {
        let failed = |source| Failure::File { path: self.config.clone(), source };
        let mut file = std::fs::File::options().append(true).open(&self.config).map_err(failed)?;
        writeln!(file, "# reload {number}").map_err(failed)
    }

    async fn reload_by_api(&self) -> Result<(), Failure> {
        let mut connection = Connection::open(self.admin).await?;
        let mut request = connection.request("POST", "/api/v1/config/reload", Body::empty())?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", self.token));
        request.headers_mut().insert(header::AUTHORIZATION, bearer.map_err(http::Error::from)?);
        let answer = connection.exchange(request).await?;
        match answer.status {
            200..300 => Ok(()),
            status => Err(Failure::Status(status)),
        }
    }

    /// Starts the next process and waits until this one has ended.
    async fn upgrade(&mut self) -> Result<(), Failure> {
        let mut next = command(&self.program, &self.config)
            .arg("--upgrade")
            .spawn()
            .map_err(|source| Failure::Program { program: self.program.clone(), source })?;
        self.wait_for_the_old(&mut next).await?;
        wait_until_ready(self.admin, &mut next).await?;
        self.pid = next.id().ok_or(Failure::Ended { status: "no process id".to_owned() })?;
        self.child = Some(next);
        Ok(())
    }

    async fn wait_for_the_old(&mut self, next: &mut Child) -> Result<(), Failure> {
        let started = Instant::now();
        let mut look = interval(Duration::from_millis(20));
        while started.elapsed() < HANDOVER_TIME {
            look.tick().await;
            if let Ok(Some(status)) = next.try_wait() {
                return Err(Failure::Ended { status: status.to_string() });
            }
            if self.has_ended() {
                return Ok(());
            }
        }
        Err(Failure::TooLate { what: "the old process' end", seconds: HANDOVER_TIME.as_secs() })
    }

    /// Asks a child of ours, which also takes its zombie away; looks at any other.
    fn has_ended(&mut self) -> bool {
        let first = self.started.as_mut().map(|gateway| &mut gateway.child);
        match self.child.as_mut().or(first) {
            Some(child) => matches!(child.try_wait(), Ok(Some(_))),
            None => !is_alive(self.pid),
        }
    }
}

/// One thing to do to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    ReloadByApi,
    ReloadBySignal,
    Upgrade,
}

/// How it went.
#[derive(Debug, Default)]
pub(super) struct Changed {
    reloads: u32,
    upgrades: u32,
    failures: Vec<String>,
}

/// What is to be done, and to what.
pub(super) struct Changes {
    running: Running,
    planned: Vec<Change>,
}

impl Changes {
    pub(super) fn new(running: Running, reloads: u32, upgrades: u32) -> Self {
        Self { running, planned: plan(reloads, upgrades) }
    }

    /// Does everything within `time`, or within four times that if upgrades are slow. The first failed upgrade ends
    /// it: nobody knows then which process serves.
    pub(super) async fn perform(&mut self, time: Duration) -> Changed {
        let mut changed = Changed::default();
        let started = Instant::now();
        let between = time / (self.planned.len() as u32 + 1);
        for (number, &change) in (1_u32..).zip(&self.planned) {
            sleep_until(started + between * number).await;
            if started.elapsed() > time * 4 {
                changed.failures.push(format!("given up before change {number}"));
                return changed;
            }
            let result = match change {
                Change::ReloadByApi => match self.running.touch(number) {
                    Ok(()) => self.running.reload_by_api().await,
                    Err(failure) => Err(failure),
                },
                Change::ReloadBySignal => {
                    self.running.touch(number).and_then(|()| send(self.running.pid, Signal::HUP))
                }
                Change::Upgrade => self.running.upgrade().await,
            };
            match (change, result) {
                (Change::Upgrade, Ok(())) => changed.upgrades += 1,
                (Change::ReloadByApi | Change::ReloadBySignal, Ok(())) => changed.reloads += 1,
                (Change::Upgrade, Err(failure)) => {
                    changed.failures.push(format!("upgrade {number}: {failure}"));
                    return changed;
                }
                (Change::ReloadByApi | Change::ReloadBySignal, Err(failure)) => {
                    changed.failures.push(format!("reload {number}: {failure}"));
                }
            }
        }
        // The last one's effects belong to the run.
        sleep(between.min(Duration::from_secs(1))).await;
        changed
    }

    pub(super) fn report(&self, changed: Changed, report: &mut Report) {
        let Changed { reloads, upgrades, failures } = changed;
        report.figure("reloads", reloads);
        report.figure("upgrades", upgrades);
        report.figure("gateway process at the end", self.running.pid);
        let well = failures.is_empty();
        report.figure("failed reloads and upgrades", failures);
        report.promise("every reload and upgrade was done", well);
    }
}

/// Upgrades evenly among the reloads, which alternate.
fn plan(reloads: u32, upgrades: u32) -> Vec<Change> {
    let all = reloads + upgrades;
    let mut reloaded = 0;
    let upgrade_at = |place: u32| (place + 1) * upgrades / all > place * upgrades / all;
    let change = |place| match (upgrade_at(place), reloaded % 2) {
        (true, _) => Change::Upgrade,
        (false, even) => {
            reloaded += 1;
            match even {
                0 => Change::ReloadByApi,
                _ => Change::ReloadBySignal,
            }
        }
    };
    (0..all).map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_are_spread_among_alternating_reloads() {
        let planned = plan(4, 2);
        let expected = [
            Change::ReloadByApi,
            Change::ReloadBySignal,
            Change::Upgrade,
            Change::ReloadByApi,
            Change::ReloadBySignal,
            Change::Upgrade,
        ];
        assert_eq!(planned, expected);
        assert_eq!(plan(200, 20).iter().filter(|change| **change == Change::Upgrade).count(), 20);
        assert_eq!(plan(0, 0), []);
        assert_eq!(plan(0, 2), [Change::Upgrade, Change::Upgrade]);
    }
}
