//! What the origin answers, by path.

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;

use super::{Ledger, websocket};
use crate::body::{Body, PatternCheck};
use crate::connection::NONCE;
use crate::digest::{self, HASH};

/// Longest `/delay`: no client waits longer.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// Counts the request and answers it.
pub(super) async fn answer(
    request: Request<Incoming>,
    ledger: Ledger,
) -> Result<Response<Body>, Infallible> {
    let nonce = ledger.note_request(&request);
    let mut response = by_path(request, ledger).await;
    if let Some(nonce) = nonce {
        mark(&mut response, nonce);
    }
    Ok(response)
}

/// What the client's ledger compares: the nonce as it came, and the hash of the body we mean to send.
fn mark(response: &mut Response<Body>, nonce: u64) {
    let hash = match response.body() {
        Body::Text(text) => Some(digest::hash(text.as_deref().unwrap_or_default())),
        Body::Pattern(length) => digest::hash_of_pattern(*length),
    };
    response.headers_mut().insert(NONCE, nonce.into());
    if let Some(hash) = hash.and_then(|hash| HeaderValue::from_bytes(&digest::text(hash)).ok()) {
        response.headers_mut().insert(HASH, hash);
    }
}

async fn by_path(request: Request<Incoming>, ledger: Ledger) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (first, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match first {
        "bytes" => rest.parse().map_or_else(|_| wrong(), |count| reply(Body::Pattern(count))),
        "delay" => delay(rest).await,
        "sink" => sink(request).await,
        "websocket" => websocket::upgrade(request, ledger),
        "ledger" => report(request.method(), &ledger),
        _ => json_reply(&json!({ "method": request.method().as_str(), "path": path })),
    }
}

async fn delay(milliseconds: &str) -> Response<Body> {
    let Ok(milliseconds) = milliseconds.parse() else { return wrong() };
    tokio::time::sleep(Duration::from_millis(milliseconds).min(DELAY_MAX)).await;
    json_reply(&json!({ "delay_ms": milliseconds }))
}

/// Reads the body to its end and says how long it was and whether it was the pattern. `?stall=MS` waits first:
/// a proxy without back-pressure gathers the body meanwhile.
async fn sink(request: Request<Incoming>) -> Response<Body> {
    let stall = request.uri().query().and_then(|query| query.strip_prefix("stall=")?.parse().ok());
    if let Some(stall) = stall {
        tokio::time::sleep(Duration::from_millis(stall).min(DELAY_MAX)).await;
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

fn report(method: &Method, ledger: &Ledger) -> Response<Body> {
    if *method == Method::DELETE {
        ledger.0.borrow_mut().clear();
    }
    json_reply(&ledger.0.borrow().document())
}

fn json_reply(document: &serde_json::Value) -> Response<Body> {
    let mut response = reply(Body::from(document.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn reply(body: Body) -> Response<Body> {
    Response::new(body)
}

fn wrong() -> Response<Body> {
    let mut response = reply(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
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
