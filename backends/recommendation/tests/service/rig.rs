//! A service of its own for each test, on a free port and in a folder that goes away, and a client to speak to it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use recommendation::{Running, Settings};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::directory::{Directory, Listening, Mood};
use crate::homes::{Home, Homes};

/// How long something may take that is said to happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Users that every test's directory knows.
pub(crate) const ANN: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const BOB: &str = "22222222-2222-4222-8222-222222222222";

/// A running service, what keeps its data, and the users it asks.
pub(crate) struct Service {
    pub(crate) directory: Directory,
    listening: Option<Listening>,
    pub(crate) home: Home,
    running: Running,
    /// Events that were published and had no outcome when the service started.
    told: Cell<u64>,
}

impl Service {
    pub(crate) async fn start(homes: &Homes) -> Self {
        Self::start_in(homes.make().await).await
    }

    pub(crate) async fn start_in(home: Home) -> Self {
        let (directory, listening) = Directory::open(&[(ANN, "Ann"), (BOB, "Bob")]).await;
        let running = run(&directory, &home).await;
        Self { directory, listening: Some(listening), home, running, told: Cell::new(0) }
    }

    /// Ends the service and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        let done = self.done().await;
        let Self { directory, listening, home, running, told } = self;
        running.stop().await.unwrap();
        let running = run(&directory, &home).await;
        Self { directory, listening, home, running, told: Cell::new(told.get() - done) }
    }

    pub(crate) async fn stop(self) -> Home {
        self.running.stop().await.unwrap();
        self.home
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// How events come, as dead letters tell it.
    pub(crate) fn way(&self) -> &'static str {
        if self.home.broker.is_some() { "amqp" } else { "http" }
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
        self.tell_under("test", event).await;
    }

    /// Publishes an event under a correlation id.
    pub(crate) async fn tell_under(&self, correlation_id: &str, event: Value) {
        self.told.set(self.told.get() + 1);
        if let Some(broker) = &self.home.broker {
            return broker.publish(event.to_string().as_bytes(), correlation_id).await;
        }
        let mut request = request("POST", "/events/viewed", event.into());
        request.headers_mut().insert("x-correlation-id", correlation_id.parse().unwrap());
        let answer = send(self.address(), request).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }

    /// Asks for the dead letters to be tried again, and says how many those are.
    pub(crate) async fn retry(&self) -> u64 {
        let answer = self.send("POST", "/dead-letters/retry", ()).await;
        let retried = answer.json()["retried"].as_u64().unwrap();
        self.told.set(self.told.get() + retried);
        retried
    }

    /// A user's labels with their counts, in order.
    pub(crate) async fn labels(&self, user: &str) -> Value {
        let answer = self.send("GET", &format!("/user/{user}"), ()).await;
        if answer.status == 404 { json!([]) } else { answer.json()["labels"].clone() }
    }

    /// Waits until every event has its outcome and `dead` lie with the dead letters.
    pub(crate) async fn settled(&self, dead: u64) {
        eventually("every event is done", async || {
            self.done().await >= self.told.get() && self.dead().await == dead
        })
        .await;
    }

    async fn dead(&self) -> u64 {
        match &self.home.broker {
            Some(broker) => u64::from(broker.queues().await[1].messages),
            None => self.figure("recommendation_inbox_dead").await,
        }
    }

    /// How many events have had an outcome since the service started.
    async fn done(&self) -> u64 {
        let mut done = 0;
        for outcome in ["counted", "repeated", "dead"] {
            let name = format!("recommendation_events_total{{outcome=\"{outcome}\"}}");
            done += self.figure(&name).await;
        }
        done
    }

    /// How many attempts have failed since the service started.
    pub(crate) async fn postponed(&self) -> u64 {
        self.figure("recommendation_events_total{outcome=\"postponed\"}").await
    }

    async fn figure(&self, name: &str) -> u64 {
        let metrics = self.send("GET", "/metrics", ()).await.text;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }
}

async fn run(directory: &Directory, home: &Home) -> Running {
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        database: home.database.clone(),
        events: home.events.clone(),
        users: directory.url().parse().unwrap(),
        users_timeout_ms: 300,
        remember_days: 30,
    };
    let running = recommendation::start(settings).await.unwrap();
    if let Some(broker) = &home.broker {
        // Before the queue is bound for the first time nobody keeps what is published.
        eventually("it listens", async || broker.queues().await[0].consumers > 0).await;
    }
    running
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
