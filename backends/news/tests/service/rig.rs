//! A service of its own for each test, on a free port and in a home of its own, and a client to speak to it.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use news::{ReadSide, Running};
use serde_json::Value;
use tokio::time::Instant;

use crate::homes::{Home, Homes};

/// How long something may take that is said to happen soon.
const SOON: Duration = Duration::from_secs(20);

/// A running instance and the home that keeps its stores.
pub(crate) struct Service {
    home: Home,
    running: Running,
}

impl Service {
    pub(crate) async fn start(homes: &Homes) -> Self {
        Self::start_in(homes.make(), ReadSide::CatchUp).await
    }

    pub(crate) async fn start_in(home: Home, read_side: ReadSide) -> Self {
        let settings = home.settings(read_side);
        let running = news::start_with(settings, home.events.clone()).await.unwrap();
        Self { home, running }
    }

    /// Ends the instance and keeps what it wrote.
    pub(crate) async fn stop(self) -> Home {
        self.running.stop().await.unwrap();
        self.home
    }

    pub(crate) fn into_running(self) -> (Running, Home) {
        (self.running, self.home)
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
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
    try_send(address, request).await.unwrap()
}

/// `None` if the service went away before it had answered.
pub(crate) async fn try_send(address: SocketAddr, request: Request<Full<Bytes>>) -> Option<Answer> {
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.ok()?;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.ok()?.to_bytes();
    connection.abort();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Some(Answer { status: head.status, headers: head.headers, text })
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
    eventually("readers see it", async || events_behind(service).await == 0).await;
    answer["news"].clone()
}

/// Asks until the answer is yes, or fails when that takes too long.
pub(crate) async fn eventually(what: &str, mut question: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !question().await {
        assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::task::yield_now().await;
    }
}

async fn events_behind(service: &Service) -> u64 {
    let health = service.send("GET", "/health", ()).await.json();
    health["components"]["latest"]["events_behind"].as_u64().unwrap()
}

/// Three articles, of which one has three versions.
pub(crate) async fn written(homes: &Homes) -> Service {
    let service = Service::start(homes).await;
    for title in ["One", "Two"] {
        add(&service, "POST", draft(title)).await;
    }
    let mut article = add(&service, "POST", draft("Three")).await;
    for title in ["Three, corrected", "Three, corrected again"] {
        article["title"] = Value::from(title);
        article = add(&service, "PUT", article).await;
    }
    service
}

pub(crate) fn titles(articles: &Value) -> Vec<&str> {
    articles.as_array().unwrap().iter().map(|it| it["title"].as_str().unwrap()).collect()
}
