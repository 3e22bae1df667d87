//! What a server sees of a request, and a client of its response.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use rig::origin::ok;
use rig::{Gateway, Origin};

fn to(origin: &Origin) -> String {
    format!(
        "[upstreams.origin]\nservers = [\"{}\"]\n[[routes]]\npath = \"/{{*rest}}\"\nupstream = \"origin\"\n",
        origin.address
    )
}

#[tokio::test]
async fn a_request_reaches_the_server_and_its_answer_comes_back() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(&to(&origin)).await;
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
    let gateway = Gateway::start(&to(&origin)).await;
    let mut client = gateway.connect().await;
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.reply().await.text(), "hello");
    client.send("POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(client.reply().await.text(), "abcde");
}
