//! START HERE: what a server sees of a request, and a client of its response, when nothing is out of the ordinary.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::time::Duration;

use rig::origin::ok;
use rig::{Gateway, Origin, all_to};

#[tokio::test]
async fn a_request_reaches_the_server_and_its_answer_comes_back() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    let mut client = gateway.connect().await;
    let reply = client.get("/hello?x=1").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "GET /hello?x=1 HTTP/1.1"));
    assert_eq!(client.get("/again").await.text(), "GET /again HTTP/1.1");
    assert_eq!(origin.connections(), 1, "the connection to the server is kept");
    let seen = &origin.seen()[0];
    assert_eq!(seen.header("host"), Some("test.example"));
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-host"), Some("test.example"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
}

#[tokio::test]
async fn bodies_pass_in_both_directions() {
    let origin = Origin::answering(|seen| ok(&String::from_utf8_lossy(&seen.body))).await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    let mut client = gateway.connect().await;
    for (request, body) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            "abcde",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nget", "get"),
        ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    ] {
        client.send(request).await;
        assert_eq!(client.reply().await.text(), body, "{request}");
    }
}

/// A route that closes `/in/metrics` must not have a way around it.
#[tokio::test]
async fn an_empty_segment_is_not_lost_in_a_rewrite() {
    let origin = Origin::start().await;
    let config =
        all_to(&[origin.address]).replace("/{*rest}\"", "/in/{*rest}\"\nrewrite = \"/{rest}\"");
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/in/metrics").await.text(), "GET /metrics HTTP/1.1");
    assert_eq!(client.get("/in//metrics").await.text(), "GET //metrics HTTP/1.1");
}

#[tokio::test]
async fn the_gateways_own_reply_to_head_has_no_body() {
    let origin = Origin::start().await;
    let config = all_to(&[origin.address]).replace("/{*rest}", "/there");
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    client.send("HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await.to_lowercase();
    assert!(head.starts_with("http/1.1 404 ") && head.contains("content-length: "), "{head}");
    assert_eq!(client.get("/there").await.text(), "GET /there HTTP/1.1");
}

#[tokio::test]
async fn a_connection_that_has_rested_speaks_on() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&all_to(&[origin.address])).await;
    let mut client = gateway.connect().await;
    for round in 0..2 {
        assert_eq!(client.get("/").await.status, 200);
        // After a second the driver takes hyper apart and keeps the socket only.
        tokio::time::sleep(Duration::from_millis(2200)).await;
        client.send("GET /a HTTP/1.1\r\nHo").await;
        client.send("st: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
        for line in ["GET /a HTTP/1.1", "GET /b HTTP/1.1"] {
            assert_eq!(client.reply().await.text(), line, "round {round}");
        }
    }
}
