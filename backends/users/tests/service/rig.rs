//! A service of its own for each test, on a free port and in a folder that goes away, and a client to speak to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use users::{Database, HashCost, Running, Settings};

/// A running service and the folder that keeps its database.
pub(crate) struct Service {
    folder: TempDir,
    running: Running,
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let settings = Settings {
            address: "127.0.0.1:0".parse().unwrap(),
            database: Database::Sqlite(folder.path().join("users.sqlite")),
            // The least that argon2 takes: the tests are not about its cost.
            hash_cost: HashCost { memory_kib: 8, passes: 1 },
        };
        let running = users::start(settings).await.unwrap();
        Self { folder, running }
    }

    pub(crate) async fn restart(self) -> Self {
        let Self { folder, running } = self;
        running.stop().await.unwrap();
        Self::start_in(folder).await
    }

    /// Ends the service and keeps the folder.
    pub(crate) async fn stop(self) -> TempDir {
        self.running.stop().await.unwrap();
        self.folder
    }

    pub(crate) fn into_running(self) -> (Running, TempDir) {
        (self.running, self.folder)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
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
    let builder = Request::builder().method(method).uri(path).header(header::HOST, "users");
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

/// Every byte the service has written to its folder.
pub(crate) fn bytes_on_disk(folder: &Path) -> Vec<u8> {
    let files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
}
