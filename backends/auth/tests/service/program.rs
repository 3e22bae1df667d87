//! The program itself: its flags, its exit codes, and what is left when it is killed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::rig::json_request;
use crate::users_stub::{PASSWORD, UsersStub};

/// Rounds of running and being killed.
const KILLS: usize = 50;
/// Clients that refresh their tokens meanwhile.
const CLIENTS: usize = 4;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth"));
    command.env_clear();
    command
}

/// A program that ends with its value.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// Starts it and waits until its log says where it listens.
    fn start(folder: &Path, users: SocketAddr) -> Self {
        let mut child = program()
            .current_dir(folder)
            .args(["--listen", "127.0.0.1:0", "--users", &format!("http://{users}")])
            .env("DATABASE", "sqlite:auth.sqlite")
            // Logins that a kill leaves unanswered count as failed.
            .env("LOGIN_ATTEMPTS", "100")
            .env("RUST_LOG", "auth=info")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = log
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["fields"]["message"] == "ready")
            .unwrap();
        // Nobody reads on, so the rest must not fill the pipe.
        std::thread::spawn(move || log.for_each(drop));
        let address = ready["fields"]["address"].as_str().unwrap().parse().unwrap();
        Self { child, address }
    }

    fn end(mut self, signal: Signal) -> std::process::ExitStatus {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn help_and_mistakes_have_their_exit_codes() {
    let help = program().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    for flag in ["--listen", "DATABASE", "ISSUER", "--clients", "--access-lifetime", "Exit codes"] {
        assert!(help.contains(flag), "{flag} is not in {help}");
    }
    for (flags, said) in [
        (["--issuer", "portal.example"], "an issuer looks like https://host/path"),
        (["--users", "https://users"], "give http://HOST:PORT"),
        (["--database", "mysql:x"], "give sqlite:FILE or postgres://"),
        (["--clients", "no-such-file.toml"], "cannot read no-such-file.toml"),
        (["--access-lifetime", "5"], "a whole number with its unit"),
    ] {
        let refused = program().args(flags).output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{flags:?}");
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(message.contains(said), "{said:?} is not in {message:?}");
    }
    let secret = "postgres://auth:s3cret@127.0.0.1/auth";
    let help = program().arg("--help").env("DATABASE", secret).output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("s3cret"));
}

#[tokio::test]
async fn a_signal_ends_it_well() {
    let folder = tempfile::tempdir().unwrap();
    let users = UsersStub::start().await;
    let running = Program::start(folder.path(), users.address);
    assert_eq!(running.end(Signal::TERM).code(), Some(0));
}

#[tokio::test]
async fn what_was_answered_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let users = UsersStub::start().await;
    let mut clients: Vec<TokenOwner> = (0..CLIENTS).map(|_| TokenOwner::default()).collect();
    let mut refreshed = 0;
    for round in 0..KILLS {
        let running = Program::start(folder.path(), users.address);
        let address = running.address;
        let working: Vec<_> = clients
            .into_iter()
            .map(|client| tokio::spawn(client.refresh_until_it_breaks(address)))
            .collect();
        // A moment that is another one each time; the clients are at work from the first on.
        tokio::time::sleep(Duration::from_millis(40 + 37 * round as u64 % 90)).await;
        running.end(Signal::KILL);
        clients = Vec::new();
        for client in working {
            clients.push(client.await.unwrap());
        }
        refreshed += clients.iter().map(|client| client.refreshed).sum::<usize>();
    }
    assert!(refreshed > KILLS, "only {refreshed} answers: the test did not get to its point");
}

/// Somebody who holds a refresh token, and knows whether it must be good.
#[derive(Default)]
struct TokenOwner {
    /// The last that was answered, unless a question about it was left without an answer.
    current: Option<Value>,
    /// How many were answered in this round.
    refreshed: usize,
}

impl TokenOwner {
    /// Goes on until the service breaks off. A token that was answered must be good, whatever happened in between.
    async fn refresh_until_it_breaks(mut self, address: SocketAddr) -> Self {
        self.refreshed = 0;
        loop {
            let request = match self.current.take() {
                Some(token) => json_request("/refresh", &json!({ "refresh_token": token })),
                None => {
                    let body = json!({ "email": "ann@example.org", "password": PASSWORD });
                    json_request("/login", &body)
                }
            };
            let Ok((status, body)) = try_send(address, request).await else {
                return self;
            };
            assert_eq!(status, 200, "{body}");
            self.current = Some(body["refresh_token"].clone());
            self.refreshed += 1;
        }
    }
}

async fn try_send(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Result<(u16, Value), Box<dyn std::error::Error + Send + Sync>> {
    request.headers_mut().insert("host", "auth".parse()?);
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, serde_json::from_slice(&bytes)?))
}
