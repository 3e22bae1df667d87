//! The demo as a program, with a stand-in for the gateway: what it says, what it waits for, how it ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Longer than anything here takes, so that a test that hangs fails instead.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A folder with a config and a stand-in for the gateway.
struct Stage {
    folder: TempDir,
    admin: SocketAddr,
}

impl Stage {
    /// `script` runs in place of the gateway, in a shell, in this folder.
    async fn set(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [gateway, admin] = free_addresses().await;
        let config = format!(
            "listeners = [{{ address = \"{gateway}\" }}]\nadmin.address = \"{admin}\"\n\
             upstreams.users.servers = [\"127.0.0.1:0\"]\n\
             upstreams.famous-news.servers = [\"127.0.0.1:0\"]\n\
             upstreams.politics-news.servers = [\"127.0.0.1:0\"]\n\
             upstreams.sports-news.servers = [\"127.0.0.1:0\"]\n\
             upstreams.recommendation.servers = [\"127.0.0.1:0\"]\n\
             upstreams.auth.servers = [\"127.0.0.1:0\"]\n"
        );
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("config.toml"), config).unwrap();
        let script = format!("#!/bin/sh\ncd {}\n{script}\n", folder.path().display());
        std::fs::write(path("gateway"), script).unwrap();
        let executable = PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(path("gateway"), executable).unwrap();
        Self { folder, admin }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn demo(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_demo"))
            .arg("--config")
            .arg(self.path("config.toml"))
            .arg("--data")
            .arg(self.path("data"))
            .arg("--gateway")
            .arg(self.path("gateway"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Exit code and everything that was said on stderr.
    async fn outcome(&self) -> (i32, String) {
        let ended = self.demo().wait_with_output();
        let output = tokio::time::timeout(TIME_MAX, ended).await.unwrap().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

/// Free a moment ago: the demo needs to know them beforehand. Not on the address that the services take ports of.
async fn free_addresses() -> [SocketAddr; 2] {
    let first = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let second = TcpListener::bind("127.0.0.2:0").await.unwrap();
    [first.local_addr().unwrap(), second.local_addr().unwrap()]
}

/// Answers 200 to everything, as a ready gateway's admin does.
async fn be_ready(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = [0; 256];
        let length = stream.read(&mut question).await.unwrap();
        assert!(question[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }
}

async fn until_there(file: &Path) {
    while !file.exists() {
        tokio::task::yield_now().await;
    }
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let question = format!("GET {path} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A stand-in that says it has started, waits, and says that it was told to end.
const OBEDIENT: &str = "trap 'echo > ended; kill $!; exit 0' TERM\nsleep 60 &\n\
                        echo \"$@\" > begun.tmp\nmv begun.tmp begun\nwait";

#[tokio::test]
async fn the_portal_runs_until_it_is_told_to_end() {
    let stage = Stage::set(OBEDIENT).await;
    let mut demo = stage.demo();
    let id = i32::try_from(demo.id().unwrap()).unwrap();
    let story = async {
        until_there(&stage.path("begun")).await;
        let given = std::fs::read_to_string(stage.path("begun")).unwrap();
        assert_eq!(given.trim(), format!("run --config {}", stage.path("config.toml").display()));
        let admin = tokio::spawn(be_ready(stage.admin));

        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        let mut said = String::new();
        while !said.contains("Ctrl-C ends it") {
            said += &(lines.next_line().await.unwrap().unwrap() + "\n");
        }
        assert_eq!(said.matches("curl").count(), 5, "{said}");
        for (service, path) in [
            ("users", "/users"),
            ("famous-news", "/1/10"),
            ("politics-news", "/1/10"),
            ("sports-news", "/1/10"),
        ] {
            let line = said.lines().find(|line| line.trim().starts_with(service)).unwrap();
            let (_, address) = line.split_once("http://").unwrap();
            let answer = get(address.split(' ').next().unwrap(), path).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{service}: {answer}");
        }
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        let status = demo.wait().await.unwrap();
        admin.abort();
        assert_eq!(status.code(), Some(0));
        assert!(stage.path("ended").exists(), "the gateway was told to end and waited for");
    };
    tokio::time::timeout(TIME_MAX, story).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_dies_ends_the_demo_with_its_last_words() {
    let stage = Stage::set("echo 'config.toml:9:1: unknown key' >&2\nexit 1").await;
    let (code, said) = stage.outcome().await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("the gateway ended with exit status: 1"), "{said}");
    assert!(said.contains("config.toml:9:1: unknown key"), "{said}");
}

#[tokio::test]
async fn an_address_in_use_is_named_and_nothing_is_started() {
    let stage = Stage::set("echo > begun").await;
    let _other = TcpListener::bind(stage.admin).await.unwrap();
    let (code, said) = stage.outcome().await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("{} (admin in the config)", stage.admin)), "{said}");
    assert!(!stage.path("begun").exists());
}

#[tokio::test]
async fn a_service_that_cannot_start_is_named() {
    let stage = Stage::set("echo > begun").await;
    std::fs::create_dir_all(stage.path("data/politics-news-latest.sqlite")).unwrap();
    let (code, said) = stage.outcome().await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("politics-news did not start"), "{said}");
    assert!(!stage.path("begun").exists());
}

#[tokio::test]
async fn a_config_that_cannot_be_used_is_named() {
    let stage = Stage::set("").await;
    for (config, said_of_it) in [(None, "No such file"), (Some("x = 1"), "the first listener")] {
        match config {
            Some(text) => std::fs::write(stage.path("config.toml"), text).unwrap(),
            None => std::fs::remove_file(stage.path("config.toml")).unwrap(),
        }
        let (code, said) = stage.outcome().await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("config.toml") && said.contains(said_of_it), "{said}");
    }
}
