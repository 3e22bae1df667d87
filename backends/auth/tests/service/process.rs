//! The service as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::rig::{CLIENTS, ISSUER};

/// The program, which inherits nothing.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth"));
    command.env_clear();
    command
}

/// A program that can be started again and again at one place; it ends with its value.
pub(crate) struct Program {
    command: Command,
    child: Option<Child>,
    address: SocketAddr,
}

impl Program {
    /// Starts it and waits until its log says that it listens. The folder is where SQLite and the clients' file are.
    pub(crate) fn start(folder: &Path, database: &str, users: SocketAddr) -> Self {
        std::fs::write(folder.join("clients.toml"), CLIENTS).unwrap();
        // The same every time: at another address clients might find the service of another test.
        let address = SocketAddr::from(([127, 0, 0, 1], servers::free_port()));
        let mut command = program();
        command
            .current_dir(folder)
            .args(["--listen", &address.to_string(), "--users", &format!("http://{users}")])
            .args(["--issuer", ISSUER, "--clients", "clients.toml"])
            .env("DATABASE", database)
            // Logins that a kill leaves unanswered count as failed.
            .args(["--login-attempts", "100", "--login-attempt-every", "1s"])
            // A spent code has to be refused because it is spent, not because it is old.
            .args(["--code-lifetime", "1h"])
            .env("RUST_LOG", "auth=info")
            .stdout(Stdio::piped());
        let mut program = Self { command, child: None, address };
        program.start_again();
        program
    }

    /// Starts it after its end.
    pub(crate) fn start_again(&mut self) {
        let mut child = self.command.spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        log.by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["fields"]["message"] == "ready")
            .unwrap();
        // Nobody reads on, so the rest must not fill the pipe.
        std::thread::spawn(move || log.for_each(drop));
        self.child = Some(child);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends it a signal and waits until it has ended.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already, which is what is wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
