//! A service of its own for each test, on a free port and in a folder that goes away, and a client to speak to it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use recommendation::{Running, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::directory::{Directory, Listening, Mood};

/// How long something may take that is said to happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Users that every test's directory knows.
pub(crate) const ANN: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const BOB: &str = "22222222-2222-4222-8222-222222222222";

/// A running service, what keeps its data, and the users it asks.
pub(crate) struct Service {
    pub(crate) directory: Directory,
    listening: Option<Listening>,
    folder: TempDir,
    running: Running,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let (directory, listening) = Directory::open(&[(ANN, "Ann"), (BOB, "Bob")]).await;
        let folder = tempfile::tempdir().unwrap();
        let running = run(&directory, folder.path()).await;
        Self { directory, listening: Some(listening), folder, running }
    }

    /// Ends the service and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        let Self { directory, listening, folder, running } = self;
        running.stop().await.unwrap();
        let running = run(&directory, folder.path()).await;
        Self { directory, listening, folder, running }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Takes users away: no new connections, no more answers on those that are open.
    pub(crate) fn close_directory(&mut self) {
        self.directory.be(Mood::Fails);
        self.listening = None;
    }

    pub(crate) async fn reopen_directory(&mut self) {
        self.directory.be(Mood::Answers);
        self.listening = Some(self.directory.reopen().await);
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        send(self.address(), request(method, path, body.into())).await
    }

    /// Publishes an event and sees it taken.
    pub(crate) async fn tell(&self, event: Value) {
        let answer = self.send("POST", "/events/viewed", event).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }

    /// A user's labels with their counts, in order.
    pub(crate) async fn labels(&self, user: &str) -> Value {
        let answer = self.send("GET", &format!("/user/{user}"), ()).await;
        if answer.status == 404 { json!([]) } else { answer.json()["labels"].clone() }
    }

    /// Waits until nothing is in the inbox but dead letters, `dead` of them.
    pub(crate) async fn settled(&self, dead: u64) {
        let settled = [("waiting", 0), ("dead", dead)];
        eventually("the inbox is settled", async || {
            let metrics = self.send("GET", "/metrics", ()).await.text;
            settled.iter().all(|(state, number)| {
                metrics.contains(&format!("recommendation_inbox_{state} {number}\n"))
            })
        })
        .await;
    }
}

async fn run(directory: &Directory, folder: &Path) -> Running {
    let settings = Settings::try_parse_from([
        "recommendation".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        format!("--database=sqlite:{}", folder.join("counts.sqlite").display()),
        format!("--users={}", directory.url()),
        "--users-timeout-ms=300".to_owned(),
    ])
    .unwrap();
    recommendation::start(settings).await.unwrap()
}

/// An event as publishers send it.
pub(crate) fn viewed(id: &str, user: &str, tags: &[&str]) -> Value {
    json!({ "id": id, "user_id": user, "news": { "id": "n", "news_type": "famous", "tags": tags } })
}

/// Asks until the answer is yes, or fails when that takes too long.
pub(crate) async fn eventually(what: &str, mut question: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !question().await {
        assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::task::yield_now().await;
    }
}

/// What to send.
pub(crate) enum Body {
    None,
    Json(Value),
    Text(String),
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }
}

pub(crate) fn request(method: &str, path: &str, body: Body) -> Request<Full<Bytes>> {
    let builder =
        Request::builder().method(method).uri(path).header(header::HOST, "recommendation");
    let text = match body {
        Body::None => return builder.body(Full::default()).unwrap(),
        Body::Json(value) => value.to_string(),
        Body::Text(text) => text,
    };
    let builder = builder.header(header::CONTENT_TYPE, "application/json");
    builder.body(Full::new(Bytes::from(text))).unwrap()
}

pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    connection.abort();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: head.status, headers: head.headers, text }
}
