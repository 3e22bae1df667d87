//! The gateway as a child process: started, watched, and ended as an operator would, by SIGTERM.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::{Launch, Signals};

/// How long the gateway may take to finish what its clients began.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(60);
/// How much of the gateway's last words is shown when it died.
const LAST_LINES: usize = 20;

/// The gateway that runs. Dropped without [`Gateway::stop`] it is killed.
pub(crate) struct Gateway {
    child: Child,
    log: PathBuf,
}

impl Gateway {
    /// Starts it, unless somebody else listens where it is going to.
    pub(crate) fn start(launch: &Launch) -> Result<Self, Failure> {
        let Launch { program, config, data, addresses } = launch;
        for (key, address) in [("listeners", addresses.gateway), ("admin", addresses.admin)] {
            TcpListener::bind(address).map_err(|source| Failure::Listen {
                key,
                address,
                source,
            })?;
        }
        let log = data.join("gateway.log");
        let folder = |source| Failure::Folder { path: log.clone(), source };
        let output = File::create(&log).map_err(folder)?;
        let errors = output.try_clone().map_err(folder)?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(config);
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C reaches this process alone, which then ends the gateway in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Failure::Program { program: program.clone(), source })?;
        Ok(Self { child, log })
    }

    /// Resolves when it ends by itself, which it should not.
    pub(crate) async fn died(&mut self) -> Failure {
        match self.child.wait().await {
            Ok(status) => Failure::GatewayDied { status, said: last_lines(&self.log) },
            Err(source) => Failure::Wait(source),
        }
    }

    /// Tells it to end and waits until it has; a signal in the meantime kills it.
    pub(crate) async fn stop(mut self, signals: &mut Signals) -> Result<(), Failure> {
        if self.child.try_wait().map_err(Failure::Wait)?.is_some() {
            return Ok(());
        }
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let gateway = Pid::from_raw(id).ok_or(Failure::NoProcess)?;
            kill_process(gateway, Signal::TERM).map_err(|error| Failure::Wait(error.into()))?;
        }
        let ended = tokio::select! {
            ended = self.child.wait() => ended.map_err(Failure::Wait)?,
            () = tokio::time::sleep(DRAIN_TIME_MAX) => return self.kill().await,
            () = signals.next() => return self.kill().await,
        };
        ended_well(ended, &self.log)
    }

    async fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(Failure::Wait)?;
        Err(Failure::GatewayKilled)
    }
}

fn ended_well(status: ExitStatus, log: &Path) -> Result<(), Failure> {
    if status.success() {
        Ok(())
    } else {
        Err(Failure::GatewayDied { status, said: last_lines(log) })
    }
}

/// The gateway that was built together with this program.
pub(crate) fn beside_this_program() -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().map_err(Failure::Wait)?;
    let gateway = this.with_file_name("gateway");
    if gateway.is_file() { Ok(gateway) } else { Err(Failure::NoGateway { path: gateway }) }
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(LAST_LINES).collect();
    lines.into_iter().rev().map(|line| format!("\n  {line}")).collect()
}
