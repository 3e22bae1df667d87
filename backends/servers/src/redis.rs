//! Redis with an append-only file that is synced before a write is answered.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::Program;
use crate::server::{Kind, Server, StartError};

const PROGRAM: Program = Program { name: "redis-server", package: "redis-server", besides: &[] };

/// A Redis server that nobody else uses.
#[derive(Debug)]
pub struct Redis(Server<Installation>);

impl Redis {
    /// Starts an empty one and waits until it answers.
    pub async fn start() -> Result<Self, StartError> {
        Ok(Self(Server::start(Installation { program: PROGRAM.find()? }).await?))
    }

    /// `redis://127.0.0.1:PORT`; it stays the same over [`Self::start_again`]. With `/NUMBER` after it, below 1000,
    /// it is a database of its own.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port())
    }

    /// Ends it as a power failure would.
    pub async fn kill_9(&mut self) {
        self.0.kill_9().await;
    }

    /// Starts it on the same port with the data it had, and waits until it answers.
    pub async fn start_again(&mut self) -> Result<(), StartError> {
        self.0.start_again().await
    }
}

#[derive(Debug)]
struct Installation {
    program: PathBuf,
}

impl Kind for Installation {
    const NAME: &'static str = "Redis";
    const QUESTION: &'static [u8] = b"PING\r\n";
    // While it loads its file it answers -LOADING.
    const ANSWER: &'static [u8] = b"+PONG";

    fn prepare(&self, _folder: &Path) -> Result<(), StartError> {
        Ok(())
    }

    fn command(&self, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--daemonize", "no"])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .args(["--databases", "1000"])
            .arg("--dir")
            .arg(folder);
        command
    }
}
