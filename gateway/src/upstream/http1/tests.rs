//! What may be sent again when a kept connection turns out to be closed.

use std::collections::BTreeMap;
use std::time::Duration;

use resilience::Moment;
use tokio::net::UnixStream;

use super::*;
use crate::config;
use crate::upstream::server::{Address, Condition, ServerSettings};

fn server() -> Arc<Server> {
    Arc::new(Server {
        id: 0,
        address: Address::Unix("/none".into()),
        text: "unix:/none".into(),
        host: HeaderValue::from_static("localhost"),
        settings: ServerSettings { weight: 1, zone: None, priority: 0, labels: BTreeMap::new() },
        pool: config::Pool { idle: 1, idle_timeout: Duration::from_secs(60) },
        protocol: config::Protocol::Http1,
        connect_timeout: Duration::from_secs(1),
        tls: None,
        condition: Arc::new(Condition::new(Moment::ZERO, Moment::ZERO)),
    })
}

/// Sends a PUT over a connection whose server has gone before a byte of it was written.
async fn sent_to_nobody(body: RequestBody) -> Option<RequestBody> {
    let (near, far) = UnixStream::pair().unwrap();
    drop(far);
    let mut http1 = Http1::new(Socket::Unix(near), server());
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::PUT;
    let host = HeaderValue::from_static("a");
    http1.begin(&parts, &host, body);
    let (mut head, ()) = http::Response::new(()).into_parts();
    let answered = std::future::poll_fn(|cx| http1.poll_head(cx, &mut head)).await;
    assert!(answered.is_err() && http1.is_unanswered());
    assert_eq!(http1.written(), 0);
    http1.take_unsent()
}

#[tokio::test]
async fn a_body_that_was_not_begun_is_sent_again_and_not_lost() {
    let whole = RequestBody::Whole(Some(Bytes::from_static(b"hello")));
    let again = sent_to_nobody(whole).await;
    let Some(RequestBody::Whole(Some(bytes))) = again else { panic!("the body was lost") };
    assert_eq!(bytes, "hello");
    assert!(matches!(sent_to_nobody(RequestBody::Empty).await, Some(RequestBody::Empty)));
}

#[tokio::test]
async fn a_body_that_was_begun_is_not_sent_again() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut http1 = Http1::new(Socket::Unix(near), server());
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::PUT;
    let body = RequestBody::Whole(Some(Bytes::from_static(b"hello")));
    http1.begin(&parts, &HeaderValue::from_static("a"), body);
    let (mut head, ()) = http::Response::new(()).into_parts();
    let ask = std::future::poll_fn(|cx| http1.poll_head(cx, &mut head));
    let hang_up = async {
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello") {
            tokio::io::AsyncReadExt::read_buf(&mut far, &mut seen).await.unwrap();
        }
        drop(far);
    };
    let (answered, ()) = tokio::join!(ask, hang_up);
    assert!(answered.is_err());
    assert!(http1.take_unsent().is_none());
}

/// The runtime hears of it only when it next waits; by then the connection would be another request's.
#[tokio::test]
async fn what_came_behind_a_response_without_a_body_is_seen_at_once() {
    for unasked in [b"evil".as_slice(), b""] {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut http1 = Http1::new(Socket::Unix(near), server());
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = Method::HEAD;
        http1.begin(&parts, &HeaderValue::from_static("a"), RequestBody::Empty);
        let (mut head, ()) = http::Response::new(()).into_parts();
        let ask = std::future::poll_fn(|cx| http1.poll_head(cx, &mut head));
        let answer = async {
            let response = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut far, response).await.unwrap();
        };
        let (answered, ()) = tokio::join!(ask, answer);
        answered.unwrap();
        assert!(http1.is_over() && http1.is_free());
        if !unasked.is_empty() {
            far.try_write(unasked).unwrap();
        }
        assert_eq!(http1.is_still_free(), unasked.is_empty());
    }
}
