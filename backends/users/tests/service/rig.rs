//! A service of its own for each test, on free ports and stores that nobody else uses, and a client to speak to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use servers::{PostgreSql, Redis};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use users::{Configuration, HashCost, Running};

/// Makes two tests of each function: one on embedded stores, one on PostgreSQL and Redis.
macro_rules! on_both_kinds_of_stores {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $test() {
                super::$test(crate::rig::Stores::embedded()).await;
            })*
        }
        mod real {
            $(#[tokio::test] async fn $test() {
                super::$test(crate::rig::Stores::real().await).await;
            })*
        }
    };
}
pub(crate) use on_both_kinds_of_stores;

/// Where a service keeps its users.
pub(crate) struct Stores {
    pub(crate) database: String,
    pub(crate) queue: String,
    folder: TempDir,
}

impl Stores {
    /// Two SQLite files in a folder that goes away.
    pub(crate) fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("users.sqlite").display());
        Self { database, queue: "memory".to_owned(), folder }
    }

    /// A database of its own in each of two servers that the tests of this process share. They end with the process.
    pub(crate) async fn real() -> Self {
        static POSTGRESQL: OnceCell<PostgreSql> = OnceCell::const_new();
        static REDIS: OnceCell<Redis> = OnceCell::const_new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let postgresql = POSTGRESQL.get_or_init(async || PostgreSql::start().await.unwrap()).await;
        let redis = REDIS.get_or_init(async || Redis::start().await.unwrap()).await;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut connection = PgConnection::connect(&postgresql.url()).await.unwrap();
        let create = format!("CREATE DATABASE users_{number}");
        sqlx::query(&create).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let server = postgresql.url();
        let server = server.strip_suffix("/postgres").unwrap();
        Self {
            database: format!("{server}/users_{number}"),
            queue: format!("{}/{number}", redis.url()),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Those of servers that the test may kill.
    pub(crate) fn of(postgresql: &PostgreSql, redis: &Redis) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { database: postgresql.url(), queue: redis.url(), folder }
    }

    /// Where the files are, if there are any.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A service on these stores.
    pub(crate) fn configuration(&self) -> Configuration {
        let any_port = "127.0.0.1:0".parse().unwrap();
        Configuration {
            listen: any_port,
            grpc_listen: any_port,
            database: self.database.parse().unwrap(),
            queue: self.queue.parse().unwrap(),
            // The least that argon2 takes: the tests are not about its cost.
            hash_cost: HashCost { memory_kib: 8, passes: 1 },
        }
    }

    /// One number that the database is asked for.
    pub(crate) async fn query_number(&self, query: &str) -> i64 {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&self.database).await.unwrap();
        let number = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    /// Something that the database is told.
    pub(crate) async fn execute(&self, statements: &str) {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&self.database).await.unwrap();
        sqlx::Executor::execute(&mut connection, statements).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// A running service and its stores.
pub(crate) struct Service {
    pub(crate) stores: Stores,
    running: Running,
}

impl Service {
    pub(crate) async fn start(stores: Stores) -> Self {
        let running = users::start(stores.configuration()).await.unwrap();
        Self { stores, running }
    }

    pub(crate) async fn restart(self) -> Self {
        Self::start(self.stop().await).await
    }

    /// Ends the service and keeps what it kept.
    pub(crate) async fn stop(self) -> Stores {
        self.running.stop().await.unwrap();
        self.stores
    }

    pub(crate) fn into_running(self) -> (Running, Stores) {
        (self.running, self.stores)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub(crate) fn grpc_address(&self) -> SocketAddr {
        self.running.grpc_address()
    }

    /// Sends JSON (or text that is none) and takes the answer apart.
    pub(crate) async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        send(self.address(), request(method, path, body.into())).await
    }

    /// Registers `NAME@example.org` with the password `s3cret-s3cret`.
    pub(crate) async fn create(&self, name: &str) -> Value {
        let answer = self.send("POST", "/user", draft(name)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    /// The value of a metric, with its labels if it has any; 0 if it was never counted.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.send("GET", "/metrics", ()).await.text;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

/// What registers `NAME@example.org`.
pub(crate) fn draft(name: &str) -> Value {
    let email = format!("{name}@example.org");
    serde_json::json!({ "name": name, "email": email, "password": "s3cret-s3cret" })
}

/// Where a user is.
pub(crate) fn path_of(user: &Value) -> String {
    format!("/user/{}", user["id"].as_str().unwrap())
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
