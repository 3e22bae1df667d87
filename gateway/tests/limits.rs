//! What a client is held to: each limit at its edge, with what the client gets and what the server saw (issue 2).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cognitive_complexity,
    clippy::excessive_nesting,
    reason = "tests"
)]

mod rig;

use std::time::Duration;

use http_body_util::BodyExt;
use rig::h2_ends::{Fed, H2Origin};
use rig::origin::ok;
use rig::{ByHand, Client, Gateway, Origin, all_to, until};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";

async fn limited(origin: &Origin, limits: &str) -> Gateway {
    Gateway::start(&format!("[limits]\n{limits}\n{}", all_to(&[origin.address]))).await
}

async fn refusals(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!("gateway_refusals_total{{reason=\"{reason}\"}}")).await
}

/// A request whose head has exactly this many bytes.
fn head_of(length: usize) -> String {
    let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(length - frame))
}

/// Sends `bytes` on a connection of its own: the answer, after which the connection must be closed if it is an error.
async fn ask(gateway: &Gateway, bytes: &str) -> (u16, String) {
    let mut client = gateway.connect().await;
    client.send(bytes).await;
    let reply = client.reply().await;
    if reply.status == 200 {
        return (200, String::new());
    }
    assert!(client.is_closed().await, "{reply:?}");
    (reply.status, reply.json()["reason"].as_str().unwrap().to_owned())
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test]
async fn a_head_may_have_as_many_bytes_as_the_limit_says() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "header-bytes = \"8KiB\"").await;
    assert_eq!(ask(&gateway, &head_of(8192)).await, is(200, ""));
    assert_eq!(origin.only().header("x").unwrap().len(), 8192 - 32);
    assert_eq!(ask(&gateway, &head_of(8193)).await, is(431, "header-bytes"));
    assert_eq!(ask(&gateway, &head_of(100_000)).await, is(431, "header-bytes"));
    let endless = "GET /".to_owned() + &"a".repeat(8200);
    assert_eq!(ask(&gateway, &endless).await, is(431, "header-bytes"));
    assert_eq!(origin.seen().len(), 1);
    assert_eq!(refusals(&gateway, "header-bytes").await, 3.0);
    // The same as the second request of a connection, and of several in one piece.
    assert_eq!(ask(&gateway, &format!("{GOOD}{}", head_of(8192))).await, is(200, ""));
}

#[tokio::test]
async fn the_limits_without_a_word_in_the_config() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "").await;
    assert_eq!(ask(&gateway, &head_of(32 * 1024)).await, is(200, ""));
    assert_eq!(ask(&gateway, &head_of(32 * 1024 + 1)).await, is(431, "header-bytes"));
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(32_000));
    assert_eq!(ask(&gateway, &long_path).await, is(200, ""));
    let fields =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    assert_eq!(ask(&gateway, &fields(100)).await, is(200, ""));
    assert_eq!(ask(&gateway, &fields(101)).await, is(431, "header-count"));
    assert_eq!(origin.seen().len(), 3);
}

#[tokio::test]
async fn a_head_may_have_as_many_fields_as_the_limit_says() {
    let origin = Origin::start().await;
    for limit in [10, 300] {
        let gateway = limited(&origin, &format!("header-count = {limit}")).await;
        let before = origin.seen().len();
        let fields = |count: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1))
        };
        assert_eq!(ask(&gateway, &fields(limit)).await, is(200, ""));
        assert_eq!(origin.seen()[before].all("x").len(), limit - 1);
        assert_eq!(ask(&gateway, &fields(limit + 1)).await, is(431, "header-count"));
        assert_eq!(origin.seen().len(), before + 1);
        assert_eq!(refusals(&gateway, "header-count").await, 1.0);
    }
}

#[tokio::test]
async fn a_trailer_is_held_to_the_same_limits() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "header-count = 10\nheader-bytes = \"8KiB\"").await;
    let with = |trailer: String| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailer}\r\n"
        )
    };
    assert_eq!(ask(&gateway, &with("X: y\r\n".repeat(11))).await, is(431, "header-count"));
    let long = format!("X: {}\r\n", "y".repeat(9000));
    assert_eq!(ask(&gateway, &with(long)).await, is(431, "header-bytes"));
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn a_head_that_drips_is_cut_at_its_deadline_and_others_are_served() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "header-timeout = \"300ms\"").await;
    let mut dripping = gateway.connect().await;
    let mut standing = gateway.connect().await;
    let mut silent = gateway.connect().await;
    let mut second = gateway.connect().await;
    assert_eq!(second.get("/first").await.status, 200);
    let begun = Instant::now();
    standing.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    second.send("GET / HT").await;
    // A byte now and then, as long as somebody takes it.
    let (reading, mut writing) = dripping.stream.into_split();
    let drip = tokio::spawn(async move {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        for byte in "GET / HTTP/1.1\r\nX: ".bytes().chain(std::iter::repeat(b'y')) {
            pause.tick().await;
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
        }
        writing
    });
    let mut other = gateway.connect().await;
    assert_eq!(other.get("/other").await.status, 200);
    for client in [&mut standing, &mut second] {
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.json()["reason"].as_str()), (408, Some("header-timeout")));
        assert!(client.is_closed().await);
    }
    assert!(silent.is_closed().await, "nothing was asked, so nothing is answered");
    let mut text = Vec::new();
    let mut reading = reading;
    rig::soon("the end", tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut text))
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&text).starts_with("HTTP/1.1 408 "));
    drip.abort();
    let took = begun.elapsed();
    assert!((300..2500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(refusals(&gateway, "header-timeout").await, 3.0);
    dripping = other;
    assert_eq!(dripping.get("/still").await.status, 200);
    assert_eq!(origin.seen().len(), 3);
}

#[tokio::test]
async fn a_slow_request_is_not_cut_by_the_head_that_waits_behind_it() {
    let origin = ByHand::start().await;
    let config = format!("[limits]\nheader-timeout = \"200ms\"\n{}", all_to(&[origin.address]));
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    client.send(&format!("{GOOD}GET /half")).await;
    let mut server = origin.accept().await;
    server.head().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood").await;
    assert_eq!(client.reply().await.text(), "good");
    client.send(" HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(server.head().await.starts_with("GET /half HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_refused_at_once() {
    let origin = Origin::start().await;
    let config = format!(
        "[limits]\nbody = \"1KiB\"\n{}[[routes]]\npath = \"/more\"\nupstream = \"origin\"\nbody-limit = \"2KiB\"\n\
         [[routes]]\npath = \"/any\"\nupstream = \"origin\"\nbody-limit = \"none\"\n",
        all_to(&[origin.address])
    );
    let gateway = Gateway::start(&config).await;
    let announced = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
    };
    assert_eq!(ask(&gateway, &announced("/", 1025)).await, is(413, "body-too-long"));
    assert_eq!(ask(&gateway, &announced("/more", 2049)).await, is(413, "body-too-long"));
    let expecting =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\nExpect: 100-continue\r\n\r\n";
    let mut client = gateway.connect().await;
    client.send(expecting).await;
    assert_eq!(client.any_reply().await.status, 413, "not 100");
    assert!(origin.seen().is_empty());
    assert_eq!(origin.connections(), 0);
    assert_eq!(refusals(&gateway, "body-too-long").await, 3.0);
    for (path, length) in [("/", 1024), ("/more", 2048), ("/any", 20 << 20)] {
        let mut client = gateway.connect().await;
        client.send(&announced(path, length)).await;
        client.send_bytes(&vec![b'x'; length]).await;
        assert_eq!(client.reply().await.status, 200);
        assert_eq!(origin.seen().last().unwrap().body.len(), length);
    }
}

#[tokio::test]
async fn a_chunked_body_is_cut_where_it_becomes_too_long() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "body = \"1KiB\"").await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
    assert_eq!(ask(&gateway, &format!("{head}{chunk}{chunk}0\r\n\r\n")).await, is(200, ""));
    assert_eq!(origin.only().body.len(), 1024);
    let too_long = format!("{head}{chunk}{chunk}1\r\ny\r\n0\r\n\r\n{GOOD}");
    assert_eq!(ask(&gateway, &too_long).await, is(413, "body-too-long"));
    // One that never ends, and goes on after the refusal.
    let mut client = gateway.connect().await;
    client.send(head).await;
    let (mut reading, mut writing) = client.stream.into_split();
    let flood =
        tokio::spawn(async move { while writing.write_all(chunk.as_bytes()).await.is_ok() {} });
    let mut text = Vec::new();
    drop(rig::soon("the end", tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut text)).await);
    assert!(String::from_utf8_lossy(&text).starts_with("HTTP/1.1 413 "));
    rig::soon("the flood to meet a closed connection", flood).await.unwrap();
    assert_eq!(origin.seen().len(), 1);
    assert_eq!(refusals(&gateway, "body-too-long").await, 2.0);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    for (limit, reason) in [
        ("connections = 3", "connections"),
        ("connections-per-client = 3", "connections-per-client"),
    ] {
        let origin = Origin::start().await;
        let gateway = limited(&origin, limit).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = gateway.connect().await;
            assert_eq!(client.get("/").await.status, 200);
            clients.push(client);
        }
        for refused in [1.0, 2.0] {
            assert!(gateway.connect().await.is_closed().await);
            assert_eq!(refusals(&gateway, reason).await, refused);
        }
        let mut stranger = Client::connect_from("127.0.0.2", gateway.address()).await;
        if reason == "connections" {
            assert!(stranger.is_closed().await);
        } else {
            assert_eq!(stranger.get("/").await.status, 200);
        }
        for client in &mut clients {
            assert_eq!(client.get("/").await.status, 200, "who is in stays in");
        }
        clients.pop();
        until("a place", || async {
            let mut client = gateway.connect().await;
            drop(client.stream.write_all(GOOD.as_bytes()).await);
            (!client.rest_within(Duration::from_millis(200)).await.is_empty()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn behind_a_load_balancer_each_client_has_its_own_connections() {
    let origin = Origin::start().await;
    let listener = rig::gateway::LISTENER.to_owned() + "proxy-protocol = true\n";
    let config = format!(
        "trusted-proxies = [\"127.0.0.1\"]\n{listener}{}[limits]\nconnections-per-client = 1\n{}",
        rig::gateway::ADMIN,
        all_to(&[origin.address])
    );
    let gateway = Gateway::start_as(&config).await;
    let mut kept = Vec::new();
    for (source, let_in) in [("192.0.2.1", true), ("192.0.2.2", true), ("192.0.2.1", false)] {
        let mut client = gateway.connect().await;
        client.send(&format!("PROXY TCP4 {source} 10.0.0.1 1 2\r\n{GOOD}")).await;
        if let_in {
            assert_eq!(client.reply().await.status, 200, "{source}");
            kept.push(client);
        } else {
            assert!(client.is_closed().await, "{source}");
        }
    }
    assert_eq!(refusals(&gateway, "connections-per-client").await, 1.0);
}

#[tokio::test]
async fn the_last_request_of_a_connection_is_told_so() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "requests-per-connection = 3").await;
    let mut client = gateway.connect().await;
    for last in [false, false, true] {
        let reply = client.get("/").await;
        assert_eq!(reply.header("connection"), last.then_some("close"));
    }
    assert!(client.is_closed().await);
    let mut client = gateway.connect().await;
    client.send(&GOOD.repeat(5)).await;
    for _ in 0..3 {
        assert_eq!(client.reply().await.status, 200);
    }
    assert!(client.is_closed().await);
    assert_eq!(origin.seen().len(), 6, "what is pipelined behind the last is not served");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "keep-alive = \"300ms\"").await;
    let mut idle = gateway.connect().await;
    assert_eq!(idle.get("/").await.status, 200);
    let begun = Instant::now();
    let mut busy = gateway.connect().await;
    let mut pause = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..15 {
        pause.tick().await;
        assert_eq!(busy.get("/").await.status, 200);
    }
    assert!(idle.is_closed().await);
    assert!((300..4000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_slower_than_the_rate_is_given_up() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "receive-rate = \"1kB\"\nreceive-grace = \"500ms\"").await;
    let mut standing = gateway.connect().await;
    standing.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello").await;
    let begun = Instant::now();
    // Twice as fast as it must be.
    let mut steady = gateway.connect().await;
    steady.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n").await;
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..30 {
        pause.tick().await;
        steady.send(&"x".repeat(100)).await;
    }
    assert_eq!(steady.reply().await.status, 200);
    let reply = standing.reply().await;
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (408, Some("body-too-slow")));
    assert!(standing.is_closed().await);
    assert!((500..5000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(origin.only().body.len(), 3000);
    assert_eq!(refusals(&gateway, "body-too-slow").await, 1.0);
}

/// Over HTTP/2 a task of its own sends the body.
#[tokio::test]
async fn a_body_slower_than_the_rate_is_given_up_towards_http2_as_well() {
    let origin = H2Origin::answering(|request| async move {
        drop(request.into_body().collect().await);
        http::Response::new(Fed::empty())
    })
    .await;
    let limits = "[limits]\nreceive-rate = \"1kB\"\nreceive-grace = \"300ms\"\n";
    let upstream = rig::upstream(&[origin.address], "protocol = \"http2\"");
    let route = "[[routes]]\npath = \"/{*rest}\"\nupstream = \"origin\"\n";
    let gateway = Gateway::start_single(&format!("{upstream}{route}{limits}")).await;
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello").await;
    let begun = Instant::now();
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (408, Some("body-too-slow")));
    assert!((300..5000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

/// Some clients send an empty line behind a body. It is no request that has begun.
#[tokio::test]
async fn an_empty_line_behind_a_body_is_not_a_head_that_drips() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "header-timeout = \"300ms\"").await;
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    tokio::time::sleep(Duration::from_millis(700)).await;
    client.send(GOOD).await;
    assert_eq!(client.reply().await.status, 200);
    assert_eq!(refusals(&gateway, "header-timeout").await, 0.0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let origin = Origin::answering(|_| ok(&"x".repeat(32 << 20))).await;
    let gateway = limited(&origin, "send-timeout = \"300ms\"").await;
    let mut client = gateway.connect().await;
    client.send(GOOD).await;
    until("the request to be under way", || async {
        (gateway.metric("gateway_requests_in_flight").await == 1.0).then_some(())
    })
    .await;
    until("the request to be given up", || async {
        (gateway.metric("gateway_requests_in_flight").await == 0.0).then_some(())
    })
    .await;
    assert!(client.rest().await.len() < 32 << 20);
}

#[tokio::test]
async fn many_pipelined_requests_are_answered_in_order() {
    let origin = Origin::start().await;
    let gateway = limited(&origin, "").await;
    let mut client = gateway.connect().await;
    let requests: String =
        (0..1000).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(&requests).await;
    for number in 0..1000 {
        assert_eq!(client.reply().await.text(), format!("GET /{number} HTTP/1.1"));
    }
    assert_eq!(origin.connections(), 1);
}
