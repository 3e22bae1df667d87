//! What the origin answers, by path and script.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;

use super::cacheable::Conditions;
use super::played::{AnswerBody, Broken, End, Length, Played, Source};
use super::script::{ManyHeaders, Mistake, Pace, SCRIPT, Script, Unknown, WAIT_MAX};
use super::wire::Orders;
use super::{Origin, grpc, websocket};
use crate::body::{Body, PatternCheck};
use crate::connection::NONCE;
use crate::digest::{self, HASH};

/// What is sent.
pub(super) type Answer = Response<AnswerBody>;

/// Counts the request and answers it.
pub(super) async fn answer(
    request: Request<Incoming>,
    origin: Rc<Origin>,
    orders: Arc<Orders>,
) -> Result<Answer, Broken> {
    let nonce = origin.note_request(&request);
    let behaviour = origin.behaviour.borrow().clone();
    behaviour.admit().await?;
    let mut answer = match script(&request).or_else(|| behaviour.script.clone().map(Ok)) {
        None => by_path(request, &origin, Duration::ZERO).await,
        Some(Ok(script)) => scripted(request, script, &origin, orders).await,
        Some(Err(mistake)) => refused(&mistake),
    };
    if let Some(nonce) = nonce {
        mark(&mut answer, nonce);
    }
    Ok(answer)
}

/// What the client's ledger compares: the nonce as it came, and the hash of the body we mean to send.
fn mark(answer: &mut Answer, nonce: u64) {
    answer.headers_mut().insert(NONCE, nonce.into());
    // A cache would take the hash of nothing for that of the body it has.
    if answer.status() == StatusCode::NOT_MODIFIED {
        return;
    }
    let hash = answer.body().hash().map(digest::text);
    if let Some(hash) = hash.and_then(|hash| HeaderValue::from_bytes(&hash).ok()) {
        answer.headers_mut().insert(HASH, hash);
    }
}

/// `None` for a request that asks for nothing beyond its path: most, and they shall be quick.
fn script(request: &Request<Incoming>) -> Option<Result<Script, Mistake>> {
    let header = request.headers().get(SCRIPT).map(|script| script.to_str().unwrap_or_default());
    if let Some(text) = header {
        return Some(Script::parse(text, Unknown::Refused));
    }
    let query = request.uri().query()?;
    let unknown = match split(request.uri().path()).0 {
        "bytes" | "delay" | "sink" | "websocket" | "ledger" | "loadtest.Echo" => Unknown::Refused,
        _ => Unknown::Ignored,
    };
    Some(Script::parse(query, unknown))
}

/// The first part of a path, and the rest.
fn split(path: &str) -> (&str, &str) {
    let path = path.trim_start_matches('/');
    path.split_once('/').unwrap_or((path, ""))
}

async fn by_path(request: Request<Incoming>, origin: &Rc<Origin>, stall: Duration) -> Answer {
    let path = request.uri().path().to_owned();
    match split(&path) {
        ("bytes", rest) => {
            rest.parse().map_or_else(|_| wrong(), |count| reply(Body::Pattern(count)))
        }
        ("delay", rest) => delay(rest).await,
        ("sink", _) => sink(request, stall).await,
        ("websocket", _) => websocket::upgrade(request, origin.clone()),
        ("ledger", _) => report(request.method(), origin),
        ("loadtest.Echo", method) => grpc::call(method, request).await,
        _ => json_reply(&json!({ "method": request.method().as_str(), "path": path })),
    }
}

async fn scripted(
    request: Request<Incoming>,
    script: Script,
    origin: &Rc<Origin>,
    orders: Arc<Orders>,
) -> Answer {
    let Script { delay, errors, pace, reset, length, many_headers, headers, stall } = script;
    if let Some(delay) = delay {
        origin.chance.wait(delay).await;
    }
    let conditions = Conditions::of(request.method(), request.headers());
    let orders = (request.version() < Version::HTTP_2).then_some(orders);
    let mut answer = match errors.and_then(|errors| origin.chance.failure(errors)) {
        Some(status @ 1..=16) => grpc::refused(status),
        Some(status) => failed(status),
        None => by_path(request, origin, stall.unwrap_or_default()).await,
    };
    if let Some(headers) = many_headers {
        add_many(&mut answer, headers);
    }
    for (name, value) in headers {
        answer.headers_mut().append(name, value);
    }
    if answer.status() == StatusCode::OK && conditions.hold(answer.headers()) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        *answer.body_mut() = AnswerBody::Plain(Body::empty());
        return answer;
    }
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return answer;
    }
    let plain = pace == Pace::AtOnce && reset.is_none() && length.is_none();
    if plain { answer } else { play(answer, &Playing { pace, reset, length }, orders) }
}

/// What becomes of a body.
struct Playing {
    pace: Pace,
    reset: Option<u64>,
    length: Option<u64>,
}

/// `orders` is for HTTP/1.1 only.
fn play(answer: Answer, playing: &Playing, orders: Option<Arc<Orders>>) -> Answer {
    let Playing { pace, reset, length } = *playing;
    let (mut head, body) = answer.into_parts();
    let real = body.bytes();
    let mut played = match body {
        AnswerBody::Plain(body) => Played::new(Source::Body(body)),
        AnswerBody::Played(played) => *played,
    };
    if let Pace::Trickle { .. } = pace {
        played.length = Length::Open;
    }
    if let Some(said) = length {
        played.length = Length::Open;
        match &orders {
            // hyper would cut the body off at the length said; so it is told the truth, and the head is changed later.
            Some(orders) if said < real => {
                played.length = Length::Told;
                orders.lie(real, said);
            }
            Some(_) | None => {
                head.headers.insert(header::CONTENT_LENGTH, said.into());
            }
        }
    }
    played.pace = pace;
    played.before_break = reset;
    if orders.is_some() && length.is_some_and(|said| said > real) {
        // hyper would end the connection before it has sent what there is.
        played.before_break = Some(reset.map_or(real, |bytes| bytes.min(real)));
    }
    played.end = if reset.is_some() { End::Reset } else { End::Orderly };
    played.orders = orders;
    Response::from_parts(head, AnswerBody::Played(Box::new(played)))
}

fn add_many(answer: &mut Answer, ManyHeaders { count, bytes }: ManyHeaders) {
    let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(vec![b'h'; bytes])) else { return };
    for number in 0..count {
        if let Ok(name) = HeaderName::try_from(format!("x-load-header-{number}")) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
}

async fn delay(milliseconds: &str) -> Answer {
    let Ok(milliseconds) = milliseconds.parse() else { return wrong() };
    tokio::time::sleep(Duration::from_millis(milliseconds).min(WAIT_MAX)).await;
    json_reply(&json!({ "delay_ms": milliseconds }))
}

/// Reads the body to its end and says how long it was and whether it was the pattern. It waits for `stall` first:
/// a proxy without back-pressure gathers the body meanwhile.
async fn sink(request: Request<Incoming>, stall: Duration) -> Answer {
    if !stall.is_zero() {
        tokio::time::sleep(stall).await;
    }
    let mut body = request.into_body();
    let mut check = PatternCheck::default();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return wrong() };
        if let Some(bytes) = frame.data_ref() {
            check.add(bytes);
        }
    }
    json_reply(&json!({ "bytes": check.bytes, "intact": check.intact() }))
}

pub(super) fn report(method: &Method, origin: &Origin) -> Answer {
    if *method == Method::DELETE {
        origin.arrived.borrow_mut().clear();
    }
    json_reply(&origin.arrived.borrow().document())
}

pub(super) fn json_reply(document: &serde_json::Value) -> Answer {
    let mut answer = reply(Body::from(document.to_string()));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

fn reply(body: Body) -> Answer {
    Response::new(AnswerBody::Plain(body))
}

fn failed(status: u16) -> Answer {
    let mut answer = json_reply(&json!({ "status": status }));
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

pub(super) fn refused(mistake: &Mistake) -> Answer {
    let mut answer = json_reply(&json!({ "error": mistake.to_string() }));
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
}

pub(super) fn wrong() -> Answer {
    let mut answer = reply(Body::empty());
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Connection, fetch};
    use crate::origin;

    #[tokio::test(flavor = "local")]
    async fn bytes_come_in_the_number_asked_for() {
        let origin = origin::start().await.expect("a free port");
        let answer = fetch(origin, "GET", "/bytes/100000").await.expect("answered");
        let mut check = PatternCheck::default();
        check.add(&answer.body);
        assert_eq!((answer.status, check.bytes, check.intact()), (200, 100_000, true));
        let answer = fetch(origin, "GET", "/bytes/many").await.expect("answered");
        assert_eq!(answer.status, 400);
    }

    #[tokio::test(flavor = "local")]
    async fn the_sink_tells_length_and_change() {
        let origin = origin::start().await.expect("a free port");
        let mut connection = Connection::open(origin).await.expect("open");
        for (body, expected) in [
            (Body::Pattern(300_000), r#"{"bytes":300000,"intact":true}"#),
            (Body::from("other"), r#"{"bytes":5,"intact":false}"#),
        ] {
            let request = connection.request("POST", "/sink", body).expect("valid");
            let answer = connection.exchange(request).await.expect("answered");
            assert_eq!(answer.body, expected);
        }
    }

    #[tokio::test(flavor = "local")]
    async fn an_answer_to_a_nonce_has_it_and_the_hash_of_its_body() {
        let origin = origin::start().await.expect("a free port");
        let mut connection = Connection::open(origin).await.expect("open");
        for path in ["/bytes/100000", "/bytes/0", "/echo"] {
            let mut request = connection.request("GET", path, Body::empty()).expect("valid");
            request.headers_mut().insert(NONCE, 17.into());
            let response = connection.send(request).await.expect("answered");
            let headers = response.headers().clone();
            let body = response.into_body().collect().await.expect("whole").to_bytes();
            assert_eq!(headers[NONCE], "17");
            assert_eq!(headers[HASH].as_bytes(), digest::text(digest::hash(&body)), "{path}");
        }
        let request = connection.request("GET", "/echo", Body::empty()).expect("valid");
        let response = connection.send(request).await.expect("answered");
        assert!(!response.headers().contains_key(NONCE) && !response.headers().contains_key(HASH));
    }

    #[tokio::test(flavor = "local")]
    async fn the_ledger_counts_by_nonce_until_it_is_cleared() {
        let origin = origin::start().await.expect("a free port");
        let mut connection = Connection::open(origin).await.expect("open");
        for nonce in [0, 1, 1] {
            let mut request = connection.request("GET", "/echo/a", Body::empty()).expect("valid");
            request.headers_mut().insert(NONCE, nonce.into());
            let answer = connection.exchange(request).await.expect("answered");
            assert_eq!(answer.body, r#"{"method":"GET","path":"/echo/a"}"#);
        }
        let ledger = fetch(origin, "GET", "/ledger").await.expect("answered").body;
        let expected = r#"{"beyond":0,"distinct":2,"ranges":[[0,1]],"repeated":[[1,2]]}"#;
        assert_eq!(ledger, expected);
        let ledger = fetch(origin, "DELETE", "/ledger").await.expect("answered").body;
        assert!(ledger.starts_with(br#"{"beyond":0,"distinct":0"#));
    }
}
