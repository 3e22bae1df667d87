//! The gateway under test: its real binary, with a configuration in a temporary folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::client::Client;
use super::{soon, until};

/// A running gateway; killed when dropped.
pub struct Gateway {
    child: Child,
    folder: Arc<TempDir>,
    pub listeners: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    said: Arc<Mutex<String>>,
}

/// The token of the admin API in tests.
pub const TOKEN: &str = "test-token";

impl Gateway {
    /// Starts with a plain listener and the admin endpoint, and `config` for the rest.
    pub async fn start(config: &str) -> Self {
        Self::start_as(&format!("{LISTENER}{ADMIN}{config}")).await
    }

    /// With one worker, where several connections must share one pool.
    pub async fn start_single(config: &str) -> Self {
        let admin = ADMIN.replace("threads = 2", "threads = 1");
        Self::start_as(&format!("{LISTENER}{admin}{config}")).await
    }

    /// Starts with exactly this configuration.
    pub async fn start_as(config: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        Self::spawn(folder, &[]).await
    }

    /// Runs the program in this one's folder to its end: its exit code, and what it said.
    pub async fn beside(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(arguments).current_dir(self.folder()).kill_on_drop(true);
        let output = soon("the program to end", command.output()).await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Puts another configuration in place of the one it was started with.
    pub fn write_config(&self, text: &str) {
        let next = self.folder().join("next.toml");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.config_path()).unwrap();
    }

    /// Waits until it has said this on standard error.
    pub async fn has_said(&self, words: &str) {
        until(words, || async { self.said().contains(words).then_some(()) }).await;
    }

    /// Starts the next process on this one's folder: `gateway run --upgrade`.
    pub async fn upgrade(&self) -> Self {
        Self::spawn(Arc::clone(&self.folder), &["--upgrade"]).await
    }

    async fn spawn(folder: Arc<TempDir>, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(["run", "--config", "config.toml"])
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        tokio::spawn(listen(stderr, Arc::clone(&said)));
        let mut gateway = Self { child, folder, listeners: Vec::new(), admin: None, said };
        gateway.wait_listening().await;
        gateway
    }

    async fn wait_listening(&mut self) {
        let text = std::fs::read_to_string(self.config_path()).unwrap();
        let expected = text.matches("[[listeners]]").count();
        let with_admin = text.contains("[admin]");
        let said = Arc::clone(&self.said);
        let child = &mut self.child;
        let (listeners, admin) = until("the gateway to listen", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "it did not start: {}", said.lock().unwrap());
            let said = said.lock().unwrap().clone();
            let after = |start: &'static str| {
                said.lines().filter_map(move |line| line.strip_prefix(start).map(str::to_owned))
            };
            let listening = after("listening on ").collect::<Vec<_>>();
            let admin = after("admin on ").next();
            let complete = listening.len() == expected && admin.is_some() == with_admin;
            async move { complete.then_some((listening, admin)) }
        })
        .await;
        self.listeners = listeners.iter().filter_map(|address| address.parse().ok()).collect();
        self.admin = admin.and_then(|address| address.parse().ok());
        if self.admin.is_some() {
            until("readiness", || async {
                (self.admin_get("/readyz").await.status == 200).then_some(())
            })
            .await;
        }
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has said on standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub fn address(&self) -> SocketAddr {
        self.listeners[0]
    }

    /// A new connection to the first listener.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address()).await
    }

    pub async fn admin_get(&self, path: &str) -> super::Reply {
        let mut client = Client::connect(self.admin.unwrap()).await;
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n")).await;
        client.reply().await
    }

    pub async fn admin_post(&self, path: &str, body: &str) -> super::Reply {
        let mut client = Client::connect(self.admin.unwrap()).await;
        let length = body.len();
        client.send(&format!("POST {path} HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")).await;
        client.reply().await
    }

    /// The value of a metric line that starts with `series`.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.admin_get("/metrics").await.text();
        let line = text
            .lines()
            .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal by name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(status.await.unwrap().success());
    }

    /// Waits for it to end by itself; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        soon("the gateway to end", self.child.wait()).await.unwrap().code()
    }

    /// The access log, once it has this many lines.
    pub async fn log_of(&self, lines: usize) -> Vec<serde_json::Value> {
        until("lines of the access log", || async {
            let log = self.access_log();
            (log.len() >= lines).then_some(log)
        })
        .await
    }

    /// The lines of an access log named `access.log` in its folder, as JSON.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder().join("access.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// What [`Gateway::start`] puts before a configuration.
pub const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";
pub const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\ntoken = { text = \"test-token\" }\n[server]\nthreads = 2\n";

async fn listen(stderr: BufReader<tokio::process::ChildStderr>, said: Arc<Mutex<String>>) {
    let mut lines = stderr.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut said = said.lock().unwrap();
        said.push_str(&line);
        said.push('\n');
    }
}
