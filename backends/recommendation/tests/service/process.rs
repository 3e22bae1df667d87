//! The service as a process of its own that can be killed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A program, how it is started, and the process that runs of it.
pub(crate) struct Program {
    path: &'static str,
    arguments: Vec<String>,
    folder: TempDir,
    starts: u32,
    child: Option<Child>,
}

impl Program {
    pub(crate) fn new(path: &'static str, arguments: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path, arguments, folder, starts: 0, child: None }
    }

    /// Starts it as often as it takes until it is ready, as a supervisor would, and says where it listens.
    pub(crate) async fn start(&mut self) -> SocketAddr {
        self.kill_9();
        self.spawn();
        loop {
            if let Some(address) = self.ready() {
                return address;
            }
            let child = self.child.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
                self.spawn();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn spawn(&mut self) {
        self.starts += 1;
        let log = File::create(self.log()).unwrap();
        let mut command = Command::new(self.path);
        command.args(&self.arguments).args(["--listen", "127.0.0.1:0"]);
        self.child = Some(command.stdin(Stdio::null()).stdout(log).spawn().unwrap());
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join(format!("log-{}", self.starts))
    }

    fn ready(&self) -> Option<SocketAddr> {
        let log = std::fs::read_to_string(self.log()).unwrap();
        let ready = log.lines().find(|line| line.contains("\"ready\""))?;
        let line: Value = serde_json::from_str(ready).ok()?;
        line["fields"]["address"].as_str()?.parse().ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill_9();
    }
}
