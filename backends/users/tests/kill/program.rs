//! The service as a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running service; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// Starts it and waits until it says where it listens.
    pub(crate) async fn start(database: &str, queue: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_users"))
            .args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
            .args(["--database", database, "--queue", queue])
            // The least that argon2 takes.
            .args(["--hash-memory-kib", "8", "--hash-passes", "1"])
            .env("RUST_LOG", "users=info")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(line) = lines.next_line().await.unwrap() else {
                panic!("the service ended:\n{}", said.join("\n"));
            };
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            if entry["fields"]["message"] == "ready" {
                break entry["fields"]["address"].as_str().unwrap().parse().unwrap();
            }
            said.push(line);
        };
        // A pipe that nobody reads would fill up and stop the service.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it without a chance to finish anything.
    pub(crate) async fn kill_9(&mut self) {
        self.child.kill().await.unwrap();
    }
}
