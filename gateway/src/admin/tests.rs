//! The admin endpoint over a socket, before a gateway that is only pretended.

mod contract;
mod pretended;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use pretended::{Mood, Pretended};

use super::endpoints::{Access, ENDPOINTS};
use super::*;
use crate::config;
use crate::observe::metrics::Metrics;

const CONFIG: &str = r#"
[admin]
address = "127.0.0.1:9000"
token = { text = "hidden-away" }

[[listeners]]
address = "127.0.0.1:8080"

[upstreams.users]
servers = ["10.0.0.1:3000", "users.internal:3000"]

[[routes]]
path = "/users/v1/{*rest}"
methods = ["GET", "POST"]
upstream = "users"
rewrite = "/{rest}"
timeout = "5s"

[[routes]]
path = "/old/{id}"
redirect = { to = "/new/{id}", status = 308 }

[[routes]]
path = "/hello"
respond = { status = 200, body = "hello" }
"#;

/// A served admin endpoint.
struct Admin {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    served: JoinHandle<std::io::Result<()>>,
}

/// What came back.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Admin {
    fn start(token: Option<&str>, mood: Mood) -> Self {
        let config = config::from_text("config.toml", CONFIG).unwrap_or_else(|p| panic!("{p}"));
        let file = ConfigFile { path: "config.toml".into(), text: CONFIG.into() };
        let loaded = Arc::new(Loaded {
            generation: 7,
            at: SystemTime::now(),
            config: Arc::new(config),
            files: vec![file],
            token: token.map(Into::into),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let control = Arc::new(Pretended { loaded, mood });
        let served = tokio::spawn(serve(listener, control, Metrics::new(1), stopped));
        Self { address, stop, served }
    }

    async fn ask(&self, line: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let head =
            format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{headers}\r\n");
        self.send(&format!("{head}{body}")).await
    }

    async fn ask_with_token(&self, line: &str, body: &str) -> Answer {
        self.ask(line, "Authorization: Bearer s3cret\r\n", body).await
    }

    async fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let text = read(&mut stream).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

/// All that comes until the connection is closed.
async fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_api_is_for_who_has_the_token() {
    let admin = Admin::start(Some("s3cret"), Mood::Good);
    let without = Admin::start(None, Mood::Good);
    for endpoint in &ENDPOINTS {
        let line = format!("{} {}", endpoint.method, endpoint.path);
        let expected = match endpoint.access {
            Access::Anyone => [200, 200, 200],
            Access::WithToken => [401, 401, 403],
        };
        let nothing = admin.ask(&line, "", "").await;
        let wrong = admin.ask(&line, "Authorization: Bearer s3cres\r\n", "").await;
        let no_token = without.ask_with_token(&line, "").await;
        assert_eq!([nothing.status, wrong.status, no_token.status], expected, "{line}");
        if endpoint.access == Access::WithToken {
            assert!(wrong.head.contains("www-authenticate: bearer realm="), "{}", wrong.head);
            assert!(no_token.body.contains("admin.token"), "{}", no_token.body);
        }
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_told_apart() {
    let admin = Admin::start(Some("s3cret"), Mood::Good);
    for (line, status, in_head) in [
        ("GET /nothing", 404, "application/problem+json"),
        ("GET /api/v1", 404, "application/problem+json"),
        ("DELETE /healthz", 405, "allow: get, head"),
        ("GET /api/v1/config/reload", 405, "allow: post"),
        ("HEAD /healthz", 200, "content-length: 6"),
        ("GET /readyz?verbose", 200, "application/json"),
    ] {
        let answer = admin.ask_with_token(line, "").await;
        assert_eq!(answer.status, status, "{line}");
        assert!(answer.head.contains(in_head), "{line}: {}", answer.head);
        assert_eq!(answer.body.is_empty(), line.starts_with("HEAD"), "{line}");
    }
}

#[tokio::test]
async fn servers_are_told_what_to_do_by_name_and_address() {
    let admin = Admin::start(Some("s3cret"), Mood::Good);
    let path = |rest: &str| format!("POST /api/v1/upstreams/{rest}");
    for (rest, status, part) in [
        ("users/servers/10.0.0.1:3000/drain", 200, "\"switch\": \"draining\""),
        ("users/servers/10.0.0.1%3A3000/enable", 200, "\"address\": \"10.0.0.1:3000\""),
        ("users/servers/10.0.0.2:3000/disable", 404, "no server at this address"),
        ("nobody/servers/10.0.0.1:3000/drain", 404, "no upstream of this name"),
        ("users/servers/10.0.0.1:3000/stop", 404, "openapi.json"),
    ] {
        let answer = admin.ask_with_token(&path(rest), "").await;
        assert_eq!(answer.status, status, "{rest}: {}", answer.body);
        assert!(answer.body.contains(part), "{rest}: {}", answer.body);
    }
    let get = "GET /api/v1/upstreams/users/servers/10.0.0.1:3000/drain";
    let answer = admin.ask_with_token(get, "").await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: post"), "{}", answer.head);
}

#[tokio::test]
async fn a_body_that_is_no_question_is_told_what_would_be_one() {
    let admin = Admin::start(Some("s3cret"), Mood::Good);
    let answer = admin.ask_with_token("POST /api/v1/explain", "{\"uri\": \"/\"}").await;
    assert_eq!(answer.status, 400);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("unknown key \"uri\"; keys are method, url"), "{detail}");
}

#[tokio::test]
async fn readiness_tells_its_reasons() {
    let answer = Admin::start(None, Mood::Bad).ask("GET /readyz", "", "").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["reasons"][0], "draining");
}

#[tokio::test]
async fn a_refused_configuration_is_told_with_its_place() {
    let admin = Admin::start(Some("s3cret"), Mood::Good);
    let answer = admin.ask_with_token("POST /api/v1/config/check", "a = 1\n  brust = 2").await;
    assert_eq!(answer.status, 422);
    let problem = &answer.json()["problems"][0];
    assert_eq!((&problem["line"], &problem["column"]), (&Value::from(2), &Value::from(3)));
    assert_eq!(problem["file"], "config.toml");
    assert_eq!(problem["help"], "keys are requests, burst");
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_text_is_refused() {
    let admin = Admin::start(Some("s3cret"), Mood::Good);
    let head = "POST /api/v1/config/check HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\n";
    let announced = admin.send(&format!("{head}Content-Length: 1048577\r\n\r\n")).await;
    assert_eq!(announced.status, 413);
    let rest = "x".repeat(0x10_0001);
    let chunk = format!("{head}Transfer-Encoding: chunked\r\n\r\n100001\r\n{rest}");
    assert_eq!(admin.send(&chunk).await.status, 413);
    let body = "\u{c4}".as_bytes()[0];
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    let mut request = format!("{head}Content-Length: 1\r\n\r\n").into_bytes();
    request.push(body);
    stream.write_all(&request).await.unwrap();
    let text = read(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
}

#[tokio::test]
async fn secrets_of_the_configuration_are_not_shown() {
    let admin = Admin::start(Some("s3cret"), Mood::Good);
    let answer = admin.ask_with_token("GET /api/v1/config", "").await;
    assert!(!answer.body.contains("hidden-away"), "{}", answer.body);
    let text = answer.json()["files"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("token = { text = \"***\" }"), "{text}");
}

#[tokio::test]
async fn routes_read_as_they_were_written() {
    let admin = Admin::start(Some("s3cret"), Mood::Good);
    let routes = admin.ask_with_token("GET /api/v1/routes", "").await.json();
    let actions: BTreeSet<String> = routes["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| route["action"].to_string())
        .collect();
    for expected in [
        r#"{"proxy":{"rewrite":"/{rest}","upstream":"users"}}"#,
        r#"{"redirect":{"location":"/new/{id}","status":308}}"#,
        r#"{"respond":{"body_bytes":5,"status":200}}"#,
    ] {
        assert!(actions.contains(expected), "{expected} not in {actions:?}");
    }
}

#[tokio::test]
async fn idle_connections_are_bounded() {
    let admin = Admin::start(None, Mood::Good);
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(admin.address).await.unwrap());
    }
    let mut further = TcpStream::connect(admin.address).await.unwrap();
    assert_eq!(read(&mut further).await, "");
    // The others have not been closed for their age meanwhile.
    idle[0].write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(read(&mut idle[0]).await.ends_with("alive\n"));
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_after_the_stop() {
    let admin = Admin::start(None, Mood::Good);
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    // Another answer shows that the first connection has been accepted.
    assert_eq!(admin.ask("GET /healthz", "", "").await.status, 200);
    admin.stop.send(true).unwrap();
    stream.write_all(b"Host: a\r\n\r\n").await.unwrap();
    let text = read(&mut stream).await;
    assert!(text.ends_with("alive\n"), "{text}");
    admin.served.await.unwrap().unwrap();
}
