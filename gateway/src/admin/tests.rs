//! The admin endpoint over a socket, before a gateway that is only pretended.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::endpoints::{Access, ENDPOINTS};
use super::*;
use crate::config::{self, Place, Problem, Sources};
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

/// A gateway with a configuration and a mood.
struct Pretended {
    loaded: Arc<Loaded>,
    mood: Mood,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    Bad,
}

fn problems(text: &str) -> Problems {
    let mut sources = Sources::default();
    sources.add(&PathBuf::from("config.toml"), text);
    let start = text.find("brust").unwrap_or_default();
    let problem = Problem::at(Place::new(&(start..start + 5)), "unknown key `brust`");
    Problems::new(sources, vec![problem.help("keys are requests, burst")])
}

impl Control for Pretended {
    fn ready(&self) -> Result<(), Vec<String>> {
        match self.mood {
            Mood::Good => Ok(()),
            Mood::Bad => Err(vec!["draining".to_owned()]),
        }
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded)
    }

    fn last_refusal(&self) -> Option<Arc<Refused>> {
        let problems = problems("a = 1\nbrust = 2\n");
        (self.mood == Mood::Bad).then(|| Arc::new(Refused { at: SystemTime::now(), problems }))
    }

    fn servers(&self, upstream: UpstreamId) -> Vec<view::ServerView> {
        self.loaded.config.upstreams[upstream.0].servers.iter().map(Into::into).collect()
    }

    fn check(&self, text: &str) -> Result<(), Problems> {
        if text.contains("brust") { Err(problems(text)) } else { Ok(()) }
    }

    fn reload(&self) -> Result<Reloaded, Problems> {
        match self.mood {
            Mood::Good => Ok(Reloaded { generation: 8, not_applied: vec!["threads".to_owned()] }),
            Mood::Bad => Err(problems("brust = 2")),
        }
    }
}

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

fn document() -> Value {
    serde_json::from_str(include_str!("openapi.json")).unwrap()
}

/// `GET /path` and what the document says of it.
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, of)| (format!("{} {path}", method.to_uppercase()), of))
    })
}

/// Whether a value is of a schema: what our document uses of JSON schema, no more.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(document, document.pointer(&name[1..]).unwrap(), value);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let any = choices.iter().any(|choice| fits(document, choice, value).is_ok());
            return if any { Ok(()) } else { Err(format!("{value} is none of {key}")) };
        }
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed =
        schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    let is_allowed = |kind: &str| allowed.contains(&Value::from(kind));
    if !(is_allowed(kind) || kind == "integer" && is_allowed("number")) {
        return Err(format!("{value} is not {allowed:?}"));
    }
    for element in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], element)?;
    }
    let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object())
    else {
        return Ok(());
    };
    for (key, value) in object {
        let schema = properties.get(key).ok_or_else(|| format!("{key} is not documented"))?;
        fits(document, schema, value).map_err(|error| format!("{key}: {error}"))?;
    }
    let missing = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| !object.contains_key(key.as_str().unwrap()));
    missing.map_or(Ok(()), |key| Err(format!("{key} is missing")))
}

#[tokio::test]
async fn every_documented_operation_answers_as_documented() {
    let document = document();
    for (mood, text) in [(Mood::Good, "a = 1"), (Mood::Bad, "brust = 1")] {
        let admin = Admin::start(Some("s3cret"), mood);
        for (line, operation) in operations(&document) {
            let body = operation.get("requestBody").map_or("", |_| text);
            let answer = admin.ask_with_token(&line, body).await;
            documented(&document, operation, &answer)
                .unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

/// Whether an answer is one that the document says the operation gives.
fn documented(document: &Value, operation: &Value, answer: &Answer) -> Result<(), String> {
    let response = operation["responses"].get(answer.status.to_string());
    let response = response.ok_or_else(|| format!("{} is not documented", answer.status))?;
    let (kind, content) = response["content"].as_object().unwrap().iter().next().unwrap();
    if !answer.head.contains(&format!("content-type: {kind}")) {
        return Err(format!("{kind} is not in {}", answer.head));
    }
    let value = match kind.ends_with("json") {
        true => answer.json(),
        false => Value::from(&*answer.body),
    };
    fits(document, &content["schema"], &value)
}

#[test]
fn what_is_answered_and_what_is_documented_is_the_same() {
    let document = document();
    let documented = operations(&document).map(|(line, operation)| {
        let access = match operation["security"].is_null() {
            true => Access::Anyone,
            false => Access::WithToken,
        };
        format!("{line} {access:?}")
    });
    let documented: BTreeSet<_> = documented.collect();
    let describe = |of: &endpoints::Endpoint| format!("{} {} {:?}", of.method, of.path, of.access);
    let answered: BTreeSet<_> = ENDPOINTS.iter().map(describe).collect();
    assert_eq!(answered, documented);
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
