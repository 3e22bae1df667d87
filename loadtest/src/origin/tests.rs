//! Every form of answer, as it comes over a socket.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::*;
use crate::body::{Body, PatternCheck};
use crate::connection::{Connection, PATIENCE, fetch};
use crate::digest::{self, HASH};

/// A connection on which every byte is seen.
struct Raw(TcpStream);

/// What came before the connection ended, or was silent.
struct Seen {
    head: String,
    body: Vec<u8>,
    end: Option<ErrorKind>,
}

impl Raw {
    async fn open() -> Self {
        let origin = start().await.expect("a free port");
        Self(TcpStream::connect(origin).await.expect("open"))
    }

    async fn ask(&mut self, path: &str, headers: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        self.0.write_all(request.as_bytes()).await.expect("sent");
    }

    /// Reads until the head and `bytes` of a body are there.
    async fn read(&mut self, bytes: usize) -> Seen {
        let (mut all, mut end) = (Vec::new(), None);
        while end.is_none() && split(&all).is_none_or(|(_, body)| body.len() < bytes) {
            match timeout(PATIENCE, self.0.read_buf(&mut all)).await.expect("in time") {
                Ok(0) => end = Some(ErrorKind::UnexpectedEof),
                Ok(_) => {}
                Err(error) => end = Some(error.kind()),
            }
        }
        let (head, body) = split(&all).expect("a head");
        Seen { head: String::from_utf8_lossy(head).into_owned(), body: body.to_vec(), end }
    }

    async fn seen(path: &str) -> Seen {
        let mut raw = Self::open().await;
        raw.ask(path, "").await;
        raw.read(usize::MAX).await
    }
}

fn split(all: &[u8]) -> Option<(&[u8], &[u8])> {
    let place = all.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&all[..place + 2], &all[place + 4..]))
}

fn is_pattern(body: &[u8], bytes: u64) -> bool {
    let mut check = PatternCheck::default();
    check.add(body);
    check.bytes == bytes && check.intact()
}

async fn status(path: &str) -> u16 {
    let origin = start().await.expect("a free port");
    fetch(origin, "GET", path).await.expect("answered").status
}

#[tokio::test(flavor = "local")]
async fn an_answer_waits_for_its_delay() {
    let origin = start().await.expect("a free port");
    for delay in ["40", "fixed:40", "uniform:40-60", "stall:60000:60000"] {
        let started = Instant::now();
        let path = format!("/bytes/10?delay={delay}");
        let answer = timeout(Duration::from_millis(500), fetch(origin, "GET", &path)).await;
        match delay.starts_with("stall") {
            true => assert!(answer.is_err(), "answered in a stall"),
            false => assert_eq!(answer.expect("in time").expect("answered").body.len(), 10),
        }
        assert!(started.elapsed() >= Duration::from_millis(40), "{delay}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_share_of_the_answers_fails() {
    let origin = start().await.expect("a free port");
    let mut connection = Connection::open(origin).await.expect("open");
    let mut failed = 0;
    for _ in 0..200 {
        let request = connection.request("GET", "/echo?errors=0.5:503", Body::empty());
        let answer = connection.exchange(request.expect("valid")).await.expect("answered");
        failed += u32::from(answer.status == 503);
        assert!(answer.status == 503 || answer.status == 200);
    }
    // Eight standard deviations.
    assert!((44..=156).contains(&failed), "{failed}");
    assert_eq!(status("/bytes/1?errors=1:418").await, 418);
    assert_eq!(status("/bytes/1?errors=0:418").await, 200);
}

#[tokio::test(flavor = "local")]
async fn a_mistake_in_a_script_is_told() {
    let origin = start().await.expect("a free port");
    let answer = fetch(origin, "GET", "/bytes/1?error=1:503").await.expect("answered");
    let expected = r#"{"error":"unknown key `error`; see `loadtest origin --help`"}"#;
    assert_eq!((answer.status, &answer.body[..]), (400, expected.as_bytes()));
    assert_eq!(status("/bytes/1?errors=2:503").await, 400);
    assert_eq!(status("/any/path?page=1&errors=2:503").await, 400);
    assert_eq!(status("/any/path?page=1").await, 200);
    assert_eq!(status("/bytes/1?tag=1").await, 200);
}

#[tokio::test(flavor = "local")]
async fn a_script_may_stand_in_a_header() {
    let mut raw = Raw::open().await;
    raw.ask("/bytes/5?delay=60000", "x-load-script: errors=1:503\r\n").await;
    assert!(raw.read(0).await.head.starts_with("HTTP/1.1 503 "));
}

#[tokio::test(flavor = "local")]
async fn a_dripping_body_takes_its_time() {
    let origin = start().await.expect("a free port");
    let started = Instant::now();
    let answer = fetch(origin, "GET", "/bytes/100?drip=10:5").await.expect("answered");
    assert!(is_pattern(&answer.body, 100));
    assert!(started.elapsed() >= Duration::from_millis(9 * 5));
}

#[tokio::test(flavor = "local")]
async fn a_trickling_body_comes_in_tiny_chunks() {
    let mut raw = Raw::open().await;
    raw.ask("/bytes/3?trickle=1", "connection: close\r\n").await;
    let seen = raw.read(usize::MAX).await;
    assert!(seen.head.contains("transfer-encoding: chunked\r\n"), "{}", seen.head);
    assert_eq!(seen.body, b"1\r\n\0\r\n1\r\n\x01\r\n1\r\n\x02\r\n0\r\n\r\n");
}

#[tokio::test(flavor = "local")]
async fn a_connection_is_reset_after_exactly_so_many_bytes() {
    for bytes in [0, 1, 700, 100_000] {
        let seen = Raw::seen(&format!("/bytes/200000?reset={bytes}")).await;
        assert!(seen.head.contains("content-length: 200000\r\n"), "{}", seen.head);
        assert!(is_pattern(&seen.body, bytes), "{} of {bytes}", seen.body.len());
        assert_eq!(seen.end, Some(ErrorKind::ConnectionReset), "{bytes}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_length_may_be_too_large() {
    let seen = Raw::seen("/bytes/100?length=150").await;
    assert!(seen.head.contains("content-length: 150\r\n"), "{}", seen.head);
    assert!(is_pattern(&seen.body, 100));
    assert_eq!(seen.end, Some(ErrorKind::UnexpectedEof));
}

#[tokio::test(flavor = "local")]
async fn a_length_may_be_too_small_and_the_connection_goes_on() {
    let mut raw = Raw::open().await;
    for _ in 0..2 {
        raw.ask("/bytes/100000?length=90", "").await;
        let seen = raw.read(100_000).await;
        assert!(seen.head.contains("content-length: 90\r\n"), "{}", seen.head);
        assert!(is_pattern(&seen.body, 100_000));
        raw.ask("/bytes/100", "").await;
        assert!(raw.read(100).await.head.contains("content-length: 100\r\n"));
    }
}

#[tokio::test(flavor = "local")]
async fn headers_may_be_many_huge_and_any() {
    let mut raw = Raw::open().await;
    raw.ask("/bytes/1?headers=3x8000&header=server:a%20b&header=x-two:1&header=x-two:2", "").await;
    let head = raw.read(1).await.head;
    for number in 0..3 {
        let wanted = format!("x-load-header-{number}: {}\r\n", "h".repeat(8_000));
        assert!(head.contains(&wanted), "{number}");
    }
    assert!(head.contains("server: a b\r\n") && head.contains("x-two: 1\r\nx-two: 2\r\n"));
}

#[tokio::test(flavor = "local")]
async fn a_cacheable_answer_is_asked_for_once() {
    let path = "/bytes/50?cache-control=max-age=60&etag=v1&vary=accept&last-modified=Mon,%2023%20Nov%202026%2008:00:00%20GMT";
    let mut raw = Raw::open().await;
    raw.ask(path, "x-load-nonce: 1\r\n").await;
    let seen = raw.read(50).await;
    for header in [
        "cache-control: max-age=60\r\n",
        "etag: \"v1\"\r\n",
        "vary: accept\r\n",
        "last-modified: Mon, 23 Nov 2026 08:00:00 GMT\r\n",
        "x-load-hash: ",
    ] {
        assert!(seen.head.contains(header), "{header} in {}", seen.head);
    }
    for (condition, status) in [
        ("if-none-match: \"v1\"", "304"),
        ("if-modified-since: Mon, 23 Nov 2026 08:00:00 GMT", "304"),
        ("if-none-match: \"v2\"", "200"),
    ] {
        raw.ask(path, &format!("x-load-nonce: 2\r\n{condition}\r\n")).await;
        let seen = raw.read(if status == "200" { 50 } else { 0 }).await;
        assert!(seen.head.starts_with(&format!("HTTP/1.1 {status} ")), "{condition}");
        assert!(seen.head.contains("x-load-nonce: 2\r\n") && seen.head.contains("etag: \"v1\""));
        assert_eq!(seen.head.contains("x-load-hash"), status == "200", "{condition}");
    }
}

#[tokio::test(flavor = "local")]
async fn forms_go_together_and_the_hash_is_of_what_is_meant() {
    let whole: Vec<u8> = (0..1_000_u32).map(|place| (place % 251) as u8).collect();
    let hash = String::from_utf8(digest::text(digest::hash(&whole)).to_vec()).expect("digits");
    for script in
        ["delay=exponential:2&headers=3x100", "reset=10&drip=5:1", "length=900", "trickle=7"]
    {
        let mut raw = Raw::open().await;
        raw.ask(&format!("/bytes/1000?{script}"), "x-load-nonce: 7\r\n").await;
        let head = raw.read(0).await.head;
        assert!(head.contains("x-load-nonce: 7\r\n"), "{script}: {head}");
        assert!(head.contains(&format!("{HASH}: {hash}\r\n")), "{script}: {head}");
    }
}

/// A client that speaks HTTP/2 from the first byte.
struct Second(http2::SendRequest<Full<Bytes>>);

impl Second {
    async fn open() -> Self {
        let origin = start().await.expect("a free port");
        let stream = TcpStream::connect(origin).await.expect("open");
        let (sender, connection) =
            http2::handshake(OnThisThread, TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::task::spawn_local(async move { connection.await.ok() });
        Self(sender)
    }

    async fn send(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Response<Incoming> {
        let mut request = Request::post(format!("http://a{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("valid");
        timeout(PATIENCE, self.0.send_request(request)).await.expect("in time").expect("answered")
    }
}

#[tokio::test(flavor = "local")]
async fn http_2_is_spoken_on_the_same_port() {
    let mut client = Second::open().await;
    let response = client.send("/bytes/300000?drip=100000:5", &[(NONCE, "3")], Bytes::new()).await;
    assert_eq!(
        (&response.headers()[NONCE], &response.headers()["content-length"]),
        (&"3".parse().expect("a number"), &"300000".parse().expect("a number"))
    );
    assert!(is_pattern(&response.into_body().collect().await.expect("whole").to_bytes(), 300_000));
    let body: Bytes = (0..100_000_u32).map(|place| (place % 251) as u8).collect();
    let answer = client.send("/sink", &[], body).await.into_body().collect().await.expect("whole");
    assert_eq!(answer.to_bytes(), r#"{"bytes":100000,"intact":true}"#);
}

#[tokio::test(flavor = "local")]
async fn over_http_2_only_the_stream_breaks() {
    let mut client = Second::open().await;
    for path in ["/bytes/1000?reset=10", "/bytes/1000?length=2000", "/bytes/1000?length=10"] {
        let response = client.send(path, &[], Bytes::new()).await;
        let broken = response.into_body().collect().await;
        assert!(broken.is_err(), "{path}");
    }
    assert_eq!(client.send("/bytes/5", &[], Bytes::new()).await.status(), 200);
}

fn message(text: &str) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(text.len() as u32);
    message.put_slice(text.as_bytes());
    message.freeze()
}

/// The body and the status, from the trailers or the head.
async fn grpc(
    client: &mut Second,
    method: &str,
    metadata: &[(&str, &str)],
    body: Bytes,
) -> (Bytes, String) {
    let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], metadata].concat();
    let response = client.send(&format!("/loadtest.Echo/{method}"), &headers, body).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/grpc".parse().expect("a value"))
    );
    let head = response.headers().clone();
    let body = response.into_body().collect().await.expect("whole");
    let status = |headers: &HeaderMap| Some(headers.get("grpc-status")?.to_str().ok()?.to_owned());
    let status = body.trailers().and_then(status).or_else(|| status(&head));
    (body.to_bytes(), status.expect("a status"))
}

#[tokio::test(flavor = "local")]
async fn grpc_calls_come_back_with_a_status() {
    let mut client = Second::open().await;
    let hello = message("hello");
    let cases = [
        ("Unary", vec![], hello.clone(), hello.clone(), "0"),
        ("Unary", vec![("x-load-script", "delay=2&drip=3:1")], hello.clone(), hello.clone(), "0"),
        ("Unary", vec![("x-load-grpc-status", "5")], hello.clone(), Bytes::new(), "5"),
        ("Unary", vec![("x-load-script", "errors=1:14")], hello.clone(), Bytes::new(), "14"),
        ("Stream", vec![("x-load-messages", "3")], hello.clone(), hello.repeat(3).into(), "0"),
        (
            "Stream",
            vec![("x-load-messages", "2"), ("x-load-grpc-status", "13")],
            hello.clone(),
            hello.repeat(2).into(),
            "13",
        ),
        ("Stream", vec![], hello.clone(), hello.repeat(10).into(), "0"),
        ("Other", vec![], hello.clone(), Bytes::new(), "12"),
        ("Unary", vec![], hello.slice(..8), Bytes::new(), "3"),
    ];
    for (method, metadata, body, expected, status) in cases {
        let found = grpc(&mut client, method, &metadata, body).await;
        assert_eq!(found, (expected, status.to_owned()), "{method} {metadata:?}");
    }
    let response = client.send("/loadtest.Echo/Unary", &[], hello).await;
    assert_eq!(response.status(), 415);
}
