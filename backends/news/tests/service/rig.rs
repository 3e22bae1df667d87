//! A service of its own for each test, on a free port and in a folder that goes away, and a client to speak to it.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use news::{Database, ReadSide, Running, Settings};
use serde_json::Value;
use tempfile::TempDir;

/// A running instance and the folder that keeps its stores.
pub(crate) struct Service {
    folder: TempDir,
    running: Running,
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), ReadSide::CatchUp).await
    }

    pub(crate) async fn start_in(folder: TempDir, read_side: ReadSide) -> Self {
        let settings = Settings {
            theme: "famous".parse().unwrap(),
            address: "127.0.0.1:0".parse().unwrap(),
            event_log: Database::Sqlite(folder.path().join("event-log.sqlite")),
            latest: Database::Sqlite(folder.path().join("latest.sqlite")),
            read_side,
        };
        let running = news::start(settings).await.unwrap();
        Self { folder, running }
    }

    /// Ends the instance and keeps the folder.
    pub(crate) async fn stop(self) -> TempDir {
        self.running.stop().await.unwrap();
        self.folder
    }

    pub(crate) fn into_running(self) -> (Running, TempDir) {
        (self.running, self.folder)
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Sends JSON (or text that is none) and takes the answer apart.
    pub(crate) async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        send(self.address(), request(method, path, body.into())).await
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
    let builder = Request::builder().method(method).uri(path).header(header::HOST, "news");
    let json = |text: String| Full::new(Bytes::from(text));
    let typed = |builder: hyper::http::request::Builder| {
        builder.header(header::CONTENT_TYPE, "application/json")
    };
    match body {
        Body::None => builder.body(Full::default()),
        Body::Json(value) => typed(builder).body(json(value.to_string())),
        Body::Text(text) => typed(builder).body(json(text)),
    }
    .unwrap()
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

/// An article that is as it should be.
pub(crate) fn draft(title: &str) -> Value {
    serde_json::json!({ "title": title, "content": "Content.", "author": "Ann", "tags": ["a", "b"] })
}

/// What readers see, all of it.
pub(crate) async fn everything(service: &Service) -> Value {
    let page = service.send("GET", "/1/100", ()).await;
    assert_eq!(page.status, 200, "{}", page.text);
    page.json()["news"].clone()
}

/// Adds an article, or a version of one, waits until readers see it, and gives it back as the service sees it.
pub(crate) async fn add(service: &Service, method: &str, draft: Value) -> Value {
    let answer = service.send(method, "/", draft).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(answer["status"], "success");
    while events_behind(service).await > 0 {
        tokio::task::yield_now().await;
    }
    answer["news"].clone()
}

async fn events_behind(service: &Service) -> u64 {
    let health = service.send("GET", "/health", ()).await.json();
    health["components"]["latest"]["events_behind"].as_u64().unwrap()
}
