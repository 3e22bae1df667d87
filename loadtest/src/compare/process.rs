//! Starts programs on one core and ends them again, whatever happens to us.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::load::Generator;
use super::settings::Measure;

/// The core of the proxies; the origin and the load share the other one.
pub(super) const PROXY_CORE: u32 = 0;
pub(super) const LOAD_CORE: u32 = 1;

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("not installed: apt-get install {}", .0.join(" "))]
    NotInstalled(Vec<&'static str>),
    #[error("two cores are needed: one for the proxy, one for origin and load")]
    OneCore,
    #[error("no free port: {0}")]
    NoPort(io::Error),
    #[error("{name}: {source}")]
    System { name: String, source: io::Error },
    #[error("{name} does not start: {source}")]
    Start { name: String, source: io::Error },
    #[error("{name} {fate}; it said:\n{said}")]
    Fate { name: String, fate: Fate, said: String },
    #[error("process {0} is gone")]
    Gone(u32),
}

/// What became of a program that was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fate {
    #[error("ended at its start with {0}")]
    Ended(ExitStatus),
    #[error("does not listen on {0}")]
    Silent(SocketAddr),
    #[error("did not end within {0} s of SIGTERM")]
    Lasting(u64),
}

/// The machine has what a comparison needs; else everything that is missing is said at once.
pub(super) fn check(measure: Measure, generator: Generator) -> Result<(), ProcessError> {
    let mut needed = vec![("taskset", "util-linux"), ("setpriv", "util-linux")];
    match measure {
        // The origin is an nginx too, so without nginx there is nothing to compare with.
        Measure::Time => needed.push(("nginx", "nginx-light")),
        Measure::Instructions => {
            needed.extend([("nginx", "nginx-light"), ("valgrind", "valgrind")]);
        }
        Measure::Resilience => {}
    }
    if generator == Generator::Wrk {
        needed.push(("wrk", "wrk"));
    }
    let missing: Vec<&str> = needed
        .into_iter()
        .filter(|(program, _)| find_program(program).is_none())
        .map(|(_, package)| package)
        .collect();
    if !missing.is_empty() {
        return Err(ProcessError::NotInstalled(missing));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match cores {
        0 | 1 => Err(ProcessError::OneCore),
        _ => Ok(()),
    }
}

/// A program's place in PATH, or in the folders of system programs that PATH often lacks.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// A port of the loopback that was free a moment ago.
pub(super) fn free_port() -> Result<u16, ProcessError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(ProcessError::NoPort)
}

/// A command pinned to `core` that the kernel ends when we die, also by Ctrl-C or SIGKILL.
pub(super) fn pinned(core: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()]).arg(program);
    command.stdin(Stdio::null());
    command
}

/// A started program; ends with this value.
pub(super) struct Started {
    child: Child,
    name: String,
    messages: PathBuf,
}

impl Started {
    /// Starts `command`; what it says goes to `messages`.
    pub(super) fn start(
        name: &str,
        command: &mut Command,
        messages: PathBuf,
    ) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::System { name: name.to_owned(), source };
        let file = File::create(&messages).map_err(failed)?;
        let copy = file.try_clone().map_err(failed)?;
        let child = command
            .stdout(file)
            .stderr(copy)
            .spawn()
            .map_err(|source| ProcessError::Start { name: name.to_owned(), source })?;
        Ok(Self { child, name: name.to_owned(), messages })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the port takes connections. No request is sent: callgrind would count it.
    pub(super) fn wait_for_port(&mut self, port: u16, most: Duration) -> Result<(), ProcessError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let step = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while TcpStream::connect_timeout(&address, step).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.said(Fate::Ended(status)));
            }
            if waited >= most {
                return Err(self.said(Fate::Silent(address)));
            }
            pause(step);
            waited += step;
        }
        Ok(())
    }

    /// Asks the program to end and waits for it; afterwards it is killed.
    pub(super) fn end(&mut self, most: Duration) -> Result<ExitStatus, ProcessError> {
        signal(self.pid(), "TERM")?;
        let step = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while waited < most {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => pause(step),
                Err(source) => {
                    return Err(ProcessError::System { name: self.name.clone(), source });
                }
            }
            waited += step;
        }
        Err(self.said(Fate::Lasting(most.as_secs())))
    }

    fn said(&self, fate: Fate) -> ProcessError {
        let text = fs::read_to_string(&self.messages).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(12).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        ProcessError::Fate { name: self.name.clone(), fate, said: last.join("\n") }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // SIGTERM first: nginx's master ends its workers then, SIGKILL would leave them.
        let asked = self.end(Duration::from_secs(3));
        if asked.is_err() && self.child.kill().and_then(|()| self.child.wait()).is_err() {
            super::report::note(&format!("{} (process {}) stays", self.name, self.pid()));
        }
    }
}

/// The shell's own kill: std cannot send signals, and /bin/kill is not on every machine.
fn signal(pid: u32, name: &str) -> Result<(), ProcessError> {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .stderr(Stdio::null())
        .status()
        .map_err(|source| ProcessError::System { name: "sh".to_owned(), source })?;
    match status.success() {
        true => Ok(()),
        false => Err(ProcessError::Gone(pid)),
    }
}

/// Waits between two looks at another process, which has no other way to tell us.
#[expect(clippy::disallowed_methods, reason = "no runtime and no worker here to block")]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        env::temp_dir().join(format!("compare-process-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_started_program_ends_with_its_value() {
        let mut command = Command::new("sh");
        command.args(["-c", "exec sleep 60"]);
        let started =
            Started::start("sleep", &mut command, scratch("ends")).expect("sh is everywhere");
        let folder = PathBuf::from(format!("/proc/{}", started.pid()));
        assert!(folder.exists());
        drop(started);
        assert!(!folder.exists());
        fs::remove_file(scratch("ends")).expect("made above");
    }

    #[test]
    fn a_program_that_fails_at_its_start_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such directive; exit 3"]);
        let mut started =
            Started::start("proxy", &mut command, scratch("fails")).expect("sh is everywhere");
        let port = free_port().expect("a port");
        let said = started
            .wait_for_port(port, Duration::from_secs(5))
            .expect_err("it has ended")
            .to_string();
        assert!(said.contains("no such directive") && said.contains("exit status: 3"), "{said}");
        fs::remove_file(scratch("fails")).expect("made above");
    }
}
