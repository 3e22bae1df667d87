//! A service of the portal as a process of its own, which can be killed, and told to stop.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Between two looks at what it wrote, or whether it is there.
const PAUSE: Duration = Duration::from_millis(20);

/// A service's program, how it is started, and the process that runs of it. It is killed when this is dropped.
#[derive(Debug)]
pub struct ServiceProcess {
    program: PathBuf,
    arguments: Vec<String>,
    /// Holds one file a start, with what was written to standard output.
    folder: TempDir,
    starts: u32,
    child: Option<Child>,
}

impl ServiceProcess {
    /// A service that does not run yet. To `arguments` is added where to listen: a free port of 127.0.0.1.
    pub fn new(program: impl Into<PathBuf>, arguments: Vec<String>) -> io::Result<Self> {
        let (program, folder) = (program.into(), tempfile::tempdir()?);
        Ok(Self { program, arguments, folder, starts: 0, child: None })
    }

    /// Starts it as often as it takes until it says that it is ready, as a supervisor would, and says where it listens.
    pub async fn start(&mut self) -> io::Result<SocketAddr> {
        self.kill_9();
        loop {
            if self.child.is_none() {
                self.spawn()?;
            }
            if let Some(address) = self.ready()? {
                return Ok(address);
            }
            if self.try_wait()?.is_some() {
                self.child = None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends it as a crash would.
    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Who has ended already need not be killed; nothing else can go wrong with our own child.
            _ = child.kill();
            _ = child.wait();
        }
    }

    /// Asks it to stop, as an operator would, by SIGTERM.
    pub fn terminate(&self) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        Ok(kill_process(Pid::from_child(child), Signal::TERM)?)
    }

    /// Waits until it has ended by itself; `None` if it does not run.
    pub async fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        while self.child.is_some() {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(None)
    }

    /// What it has written to standard output since its last start.
    pub fn log(&self) -> io::Result<String> {
        std::fs::read_to_string(self.log_file())
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    fn spawn(&mut self) -> io::Result<()> {
        self.starts += 1;
        let log = File::create(self.log_file())?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(["--listen", "127.0.0.1:0"]);
        self.child = Some(command.stdin(Stdio::null()).stdout(log).spawn()?);
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join(format!("log-{}", self.starts))
    }

    fn ready(&self) -> io::Result<Option<SocketAddr>> {
        Ok(self.log()?.lines().filter(|line| line.contains("\"ready\"")).find_map(address))
    }
}

/// The value of the key `address`, which needs no escapes, in a line of JSON.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, value) = line.split_once("\"address\":\"")?;
    value.split('"').next()?.parse().ok()
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        self.kill_9();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_a_line_of_the_log() {
        let line = r#"{"level":"INFO","fields":{"message":"ready","address":"127.0.0.1:3011"}}"#;
        assert_eq!(address(line), Some(([127, 0, 0, 1], 3011).into()));
        assert_eq!(address("{}"), None);
    }
}
