//! The service as a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A service that runs or was killed; it is killed when this is dropped.
pub(crate) struct Program {
    /// The same every time: on another its clients might find the service of another test.
    address: SocketAddr,
    database: String,
    queue: String,
    child: Option<Child>,
}

impl Program {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(database: &str, queue: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], servers::free_port()));
        let (database, queue) = (database.to_owned(), queue.to_owned());
        let mut program = Self { address, database, queue, child: None };
        program.start_again().await;
        program
    }

    pub(crate) async fn start_again(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_users"))
            .args(["--listen", &self.address.to_string(), "--grpc-listen", "127.0.0.1:0"])
            .args(["--database", &self.database, "--queue", &self.queue])
            // The least that argon2 takes.
            .args(["--hash-memory-kib", "8", "--hash-passes", "1"])
            .env("RUST_LOG", "users=info")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        loop {
            let Some(line) = lines.next_line().await.unwrap() else {
                panic!("the service ended:\n{}", said.join("\n"));
            };
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            if entry["fields"]["message"] == "ready" {
                break;
            }
            said.push(line);
        }
        // A pipe that nobody reads would fill up and stop the service.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.child = Some(child);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it without a chance to finish anything.
    pub(crate) async fn kill_9(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }
}
