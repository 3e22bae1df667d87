//! Servers: which one is asked, what happens when one fails, and how bodies stream (issue 2, section 4).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cognitive_complexity,
    clippy::excessive_nesting,
    reason = "tests"
)]

mod rig;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rig::origin::{HOLD, ok};
use rig::{ByHand, Client, Gateway, Origin, all_to, soon, until, upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::time::Instant;

const ROUTE: &str = "[[routes]]\nname = \"all\"\npath = \"/{*rest}\"\nupstream = \"origin\"\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

async fn set(server: SocketAddr, keys: &str) -> Gateway {
    Gateway::start_single(&format!("{}{ROUTE}", upstream(&[server], keys))).await
}

/// An address on which nobody listens.
async fn nobody() -> SocketAddr {
    ByHand::start().await.address
}

fn failure(reply: &rig::Reply) -> (u16, String) {
    (reply.status, reply.json()["reason"].as_str().unwrap().to_owned())
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test]
async fn turns_are_taken_exactly_by_weight() {
    let origins = [Origin::start().await, Origin::start().await, Origin::start().await];
    let [a, b, c] = origins.each_ref().map(|origin| origin.address);
    let servers = format!(
        "[upstreams.origin]\nservers = [{{ address = \"{a}\", weight = 3 }}, \"{b}\", {{ address = \"{c}\", weight = 0 }}]\n{ROUTE}"
    );
    let gateway = Gateway::start(&servers).await;
    // Several connections on several workers share the turns.
    let mut clients = [gateway.connect().await, gateway.connect().await, gateway.connect().await];
    for turn in 0..40 {
        assert_eq!(clients[turn % 3].get("/").await.status, 200);
    }
    assert_eq!(origins.each_ref().map(|origin| origin.seen().len()), [30, 10, 0]);
}

#[tokio::test]
async fn of_two_choices_the_less_busy_is_taken() {
    let answer =
        |seen: &rig::Seen| if seen.line().contains("hold") { HOLD.to_vec() } else { ok("") };
    let origins = [Origin::answering(answer).await, Origin::answering(answer).await];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let config = format!("{}{ROUTE}", upstream(&addresses, "balance = \"two-choices\""));
    let gateway = Gateway::start(&config).await;
    let mut holding = gateway.connect().await;
    holding.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let busy = until("the request that is held", || async {
        origins.iter().position(|origin| !origin.seen().is_empty())
    })
    .await;
    let mut client = gateway.connect().await;
    for _ in 0..200 {
        assert_eq!(client.get("/").await.status, 200);
    }
    // Of two servers both are looked at. The other one may still be counted as busy when its answer is here: then they
    // are equal, and half of those would be taken.
    let taken = origins[busy].seen().len() - 1;
    assert!(taken < 50, "{taken} of 200");
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over() {
    let origin = Origin::answering(|seen| ok(&String::from_utf8_lossy(&seen.body))).await;
    let down = nobody().await;
    let config = format!(
        "[access-log]\nfile = \"access.log\"\nflush = \"10ms\"\n{}",
        all_to(&[down, origin.address])
    );
    let gateway = Gateway::start_single(&config).await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        client.send(GET).await;
        assert_eq!(client.reply().await.status, 200);
        client.send(POST).await;
        assert_eq!(
            client.reply().await.text(),
            "hello",
            "nothing had been sent, so it may be sent again"
        );
    }
    assert!(
        gateway.metric("gateway_upstream_connect_failures_total{upstream=\"origin\"}").await >= 1.0
    );
    let log = gateway.log_of(4).await;
    assert!(log.iter().any(|line| line["retries"] == 1), "{log:?}");
    assert!(log.iter().all(|line| line["server"] == origin.address.to_string()), "{log:?}");
}

#[tokio::test]
async fn without_a_server_there_is_an_answer_all_the_same() {
    let gateway = Gateway::start(&all_to(&[nobody().await, nobody().await])).await;
    let mut client = gateway.connect().await;
    assert_eq!(failure(&client.get("/").await), is(502, "connect-failed"));
    client.send(POST).await;
    assert_eq!(failure(&client.reply().await), is(502, "connect-failed"));
    // Not resolvable, by RFC 6761.
    let config = format!(
        "{}[upstreams.origin]\nservers = [\"nowhere.invalid:80\"]\n{ROUTE}",
        rig::gateway::LISTENER
    );
    let gateway = Gateway::start_as(&config).await;
    let mut client = gateway.connect().await;
    assert_eq!(failure(&client.get("/").await), is(503, "no-server"));
    assert_eq!(failure(&client.get("/").await), is(503, "no-server"), "the connection goes on");
}

#[tokio::test]
async fn a_server_has_its_time_to_answer() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "timeout = { response = \"200ms\" }").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    assert_eq!(failure(&client.reply().await), is(504, "upstream-timeout"));
    assert!(server.is_closed().await);
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.reply().await.text(), "ok", "the client's connection goes on");
}

#[tokio::test]
async fn a_response_that_stands_still_is_cut() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "timeout = { idle = \"200ms\" }").await;
    for (head, start) in
        [("Content-Length: 10", "start"), ("Transfer-Encoding: chunked", "5\r\nstart\r\n")]
    {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{start}")).await;
        client.head().await;
        assert_eq!(client.rest().await, start.as_bytes(), "cut, and not ended");
        assert!(server.is_closed().await);
    }
}

#[tokio::test]
async fn a_routes_time_covers_the_whole_request() {
    let origin = ByHand::start().await;
    let config = format!("{}timeout = \"300ms\"\n", all_to(&[origin.address]));
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    assert_eq!(failure(&client.reply().await), is(504, "deadline"));
    assert!(server.is_closed().await);
    let begun = Instant::now();
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.head().await;
    // It never stands still, and yet it ends.
    let mut sent = 0;
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(20));
    while server.stream.write_all(b"1\r\nx\r\n").await.is_ok() && sent < 500 {
        pause.tick().await;
        sent += 1;
    }
    assert!(sent < 500);
    assert!(!client.rest().await.ends_with(b"0\r\n\r\n"));
    assert!((300..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn on_a_kept_connection_only_what_is_safe_is_sent_again() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "pool = { idle-timeout = \"1m\" }").await;
    for (request, again) in [
        (GET, true),
        ("GET /at-once HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        (POST, false),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", false),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", false),
    ] {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        client.reply().await;
        // Idle for long enough that the server may be about to close it.
        if !request.contains("at-once") {
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
        client.send(request).await;
        server.head().await;
        drop(server);
        if again {
            let mut server = origin.accept().await;
            assert_eq!(server.head().await.split(' ').next(), request.split(' ').next());
            server
                .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nagain")
                .await;
            assert_eq!(client.reply().await.text(), "again", "{request}");
        } else {
            assert_eq!(failure(&client.reply().await), is(502, "upstream-broken"), "{request}");
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_not_used() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    let mut client = gateway.connect().await;
    for (request, body) in [(GET, ""), (POST, "hello"), (POST, "hello")] {
        client.send(request).await;
        let mut server = origin.accept().await;
        server.head().await;
        assert_eq!(server.read_exactly(body.len()).await, body.as_bytes());
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(client.reply().await.text(), "ok");
        drop(server);
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_body_has() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    for closes in [true, false] {
        let mut client = gateway.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nstart").await;
        let mut server = origin.accept().await;
        server.head().await;
        server.read_past(b"start").await;
        server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
        if closes {
            server.end().await;
        }
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.text().as_str()), (403, "no"), "closes: {closes}");
        // What was not read cannot be told from a next request: the connection ends.
        assert!(client.is_closed().await, "closes: {closes}");
        assert!(server.rest().await.len() < 1_000_000, "closes: {closes}");
    }
}

#[tokio::test]
async fn what_is_no_response_is_not_passed_on() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    for nonsense in [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/3.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\0: y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send(nonsense).await;
        server.end().await;
        let reply = client.reply().await;
        assert_eq!(failure(&reply), is(502, "upstream-broken"), "{nonsense:?}");
        assert!(server.is_closed().await);
    }
}

#[tokio::test]
async fn what_servers_write_oddly_is_understood() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    for odd in [
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5   \r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
        "HTTP/1.0 200 OK\r\n\r\nhello",
    ] {
        for in_pieces in [false, true] {
            let mut client = gateway.connect().await;
            client.send(GET).await;
            let mut server = origin.accept().await;
            server.head().await;
            for piece in odd.as_bytes().chunks(if in_pieces { 1 } else { odd.len() }) {
                server.send_bytes(piece).await;
                tokio::task::yield_now().await;
            }
            server.end().await;
            let reply = client.reply().await;
            assert_eq!((reply.status, &*reply.text()), (200, "hello"), "{odd:?}");
        }
    }
}

#[tokio::test]
async fn a_trailer_reaches_the_client() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").await;
    let mut server = origin.accept().await;
    server.head().await;
    let trailer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
    server.send(trailer).await;
    let head = client.head().await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(client.read_past(b"\r\n\r\n").await, b"5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n");
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_complete() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    for (response, complete) in [
        ("Content-Length: 10\r\n\r\nhello", false),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", false),
        ("Content-Length: 5\r\n\r\nhello and more", true),
        ("X: until the end\r\n\r\nhello", true),
        ("Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n", true),
    ] {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send(&format!("HTTP/1.1 200 OK\r\n{response}")).await;
        server.end().await;
        if complete {
            let head = client.head().await.to_lowercase();
            let body = if head.contains("content-length") {
                client.read_exactly(5).await
            } else {
                client.read_chunks().await
            };
            assert_eq!(body, b"hello", "{response:?}");
            client.send(GET).await;
            let mut server = origin.accept().await;
            server.head().await;
            server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").await;
            assert_eq!(client.reply().await.text(), "next", "{response:?}");
            // Not kept for the next case.
            drop(server);
        } else {
            let rest = client.rest().await;
            let text = String::from_utf8_lossy(&rest);
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            assert!(!body.ends_with("0\r\n\r\n") && body.len() < 15, "{response:?}: {text:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    let mut waiting = gateway.connect().await;
    waiting.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    drop(waiting);
    assert!(server.is_closed().await, "before the head");
    let mut reading = gateway.connect().await;
    reading.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    reading.head().await;
    drop(reading);
    assert!(server.is_closed().await, "within the body");
    until("nothing to be in flight", || async {
        (gateway.metric("gateway_requests_in_flight").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_chunk_of_an_event_stream_goes_out_as_it_comes() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.head().await;
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        server.send(&chunk).await;
        // Nothing more is sent before it has arrived.
        assert_eq!(
            client.read_exactly(chunk.len()).await,
            chunk.to_ascii_uppercase().replace("DATA", "data").as_bytes()
        );
    }
    // And upwards.
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut server = origin.accept().await;
    server.head().await;
    for chunk in ["3\r\none\r\n", "3\r\ntwo\r\n"] {
        client.send(chunk).await;
        assert_eq!(server.read_exactly(chunk.len()).await, chunk.as_bytes());
    }
}

/// Resident memory in KiB.
fn resident(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const BIG: usize = 64 << 20;

#[tokio::test]
async fn a_big_body_passes_through_in_little_memory() {
    let origin = ByHand::start().await;
    let config = format!("[limits]\nbody = \"none\"\n{}", all_to(&[origin.address]));
    let gateway = Gateway::start_single(&config).await;
    let mut client = gateway.connect().await;
    client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BIG}\r\n\r\n")).await;
    let mut server = origin.accept().await;
    server.head().await;
    let before = resident(&gateway);
    let up = stream_big(client.stream, server.stream, &gateway).await;
    assert!(up.saturating_sub(before) < 8 * 1024, "{before} KiB became {up} going up");
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n")).await;
    client.head().await;
    let down = stream_big(server.stream, client.stream, &gateway).await;
    assert!(down.saturating_sub(before) < 8 * 1024, "{before} KiB became {down} coming down");
}

/// Writes while nobody reads, until that comes to a stop; then reads all. The most memory the gateway had.
async fn stream_big(mut from: TcpStream, mut to: TcpStream, gateway: &Gateway) -> u64 {
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let writing = tokio::spawn(async move {
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..BIG / piece.len() {
            soon("room", from.write_all(&piece)).await.unwrap();
            counter.fetch_add(piece.len(), Ordering::Relaxed);
        }
        from
    });
    let mut last = 0;
    until("the writing to stand still", || {
        let now = written.load(Ordering::Relaxed);
        let stands = now > 0 && now == std::mem::replace(&mut last, now);
        async move { stands.then_some(()) }
    })
    .await;
    assert!(last < BIG, "nobody reads, and yet all was written");
    let stopped = resident(gateway);
    let mut piece = vec![0; 256 * 1024];
    let mut read = 0;
    while read < BIG {
        read += soon("bytes", to.read(&mut piece)).await.unwrap();
    }
    drop(writing.await.unwrap());
    stopped.max(resident(gateway))
}

#[tokio::test]
async fn unix_sockets_serve_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let server_path = folder.path().join("server.sock");
    let listener = UnixListener::bind(&server_path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut space = [0; 1024];
            let count = stream.read(&mut space).await.unwrap();
            let head = String::from_utf8_lossy(&space[..count]).to_lowercase();
            assert!(head.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
            stream.write_all(&ok("over Unix")).await.unwrap();
        }
    });
    let gateway_path = folder.path().join("gateway.sock");
    let config = format!(
        "[[listeners]]\naddress = \"unix:{}\"\n{}[upstreams.origin]\nservers = [\"unix:{}\"]\n{ROUTE}",
        gateway_path.display(),
        rig::gateway::ADMIN,
        server_path.display()
    );
    let gateway = Gateway::start_as(&config).await;
    for _ in 0..2 {
        let mut stream = UnixStream::connect(&gateway_path).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        soon("the answer", stream.read_to_string(&mut text)).await.unwrap();
        assert!(text.ends_with("over Unix"), "{text}");
    }
    assert!(gateway.said().contains("listening on unix:"));
}

#[tokio::test]
async fn a_server_may_be_a_name() {
    let origin = Origin::start().await;
    let config = format!(
        "[upstreams.origin]\nservers = [\"localhost:{}\"]\nhost = \"server\"\n{ROUTE}",
        origin.address.port()
    );
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    let host = format!("localhost:{}", origin.address.port());
    assert_eq!(origin.only().header("host"), Some(host.as_str()));
}

#[tokio::test]
async fn no_more_connections_are_kept_than_the_pool_may() {
    let origin = ByHand::start().await;
    for idle in [0, 1, 2] {
        let gateway =
            set(origin.address, &format!("pool = {{ idle = {idle}, idle-timeout = \"1m\" }}"))
                .await;
        let mut clients = Vec::new();
        let mut servers: Vec<Client> = Vec::new();
        for _ in 0..3 {
            let mut client = gateway.connect().await;
            client.send(GET).await;
            let mut server = origin.accept().await;
            server.head().await;
            clients.push(client);
            servers.push(server);
        }
        for (client, server) in clients.iter_mut().zip(&mut servers) {
            server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            assert_eq!(client.reply().await.status, 200);
        }
        for (index, server) in servers.iter_mut().enumerate().skip(idle) {
            assert!(server.is_closed().await, "number {index} of {idle}");
        }
        if idle > 0 {
            clients[0].send(GET).await;
            // The last one given back is the first to be used.
            assert!(servers[idle - 1].head().await.starts_with("GET / "));
        }
    }
}

#[tokio::test]
async fn a_kept_connection_ends_after_its_time() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "pool = { idle-timeout = \"200ms\" }").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    assert!(server.is_closed().await);
}

#[tokio::test]
async fn a_route_may_rewrite_redirect_or_answer_itself() {
    let origin = Origin::start().await;
    let config = format!(
        "{}[[routes]]\npath = \"/api/{{id}}/{{*rest}}\"\nupstream = \"origin\"\nrewrite = \"/{{rest}}/of/{{id}}\"\n\
         [[routes]]\npath = \"/old/{{*rest}}\"\nredirect = {{ to = \"https://new.example/{{rest}}\", status = 308 }}\n\
         [[routes]]\npath = \"/fixed\"\nmethods = [\"GET\"]\nrespond = {{ status = 201, json = {{ a = 1 }}, headers = {{ x = \"y\" }} }}\n\
         [[routes]]\npath = \"/fixed\"\nmethods = [\"PUT\"]\nrespond = {{ body = \"put\" }}\n",
        upstream(&[origin.address], "")
    );
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.connect().await;
    for (path, seen) in [
        ("/api/7/a/b?q=1", "GET /a/b/of/7?q=1 HTTP/1.1"),
        ("/api/%7e%20/x", "GET /x/of/~%20 HTTP/1.1"),
        ("/api/7/", "GET //of/7 HTTP/1.1"),
    ] {
        assert_eq!(client.get(path).await.text(), seen, "{path}");
    }
    let reply = client.get("/old/a/b?q=1&r").await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (308, Some("https://new.example/a/b?q=1&r"))
    );
    let reply = client.get("/fixed").await;
    assert_eq!((reply.status, reply.text().as_str()), (201, "{\"a\":1}"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("x"), Some("y"));
    client.send("HEAD /fixed HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 201 "));
    client.send("PUT /fixed HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.reply().await.text(), "put");
    let reply = client.get("/nothing").await;
    assert_eq!(failure(&reply), is(404, "no-route"));
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    client.send("DELETE /fixed HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!(failure(&reply), is(405, "method"));
    assert_eq!(reply.header("allow"), Some("GET, HEAD, PUT"));
    assert_eq!(client.get("/fixed").await.status, 201, "all on one connection");
}

#[tokio::test]
async fn what_a_server_sends_beyond_its_response_reaches_nobody() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "pool = { idle-timeout = \"1m\" }").await;
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (request, response) in [
        (GET, format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{evil}")),
        (
            GET,
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{evil}"
            ),
        ),
        (GET, format!("HTTP/1.1 204 No Content\r\n\r\n{evil}")),
        (GET, format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n{evil}")),
        (
            "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n{evil}"),
        ),
    ] {
        let mut client = gateway.connect().await;
        client.send(request).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send(&response).await;
        client.head().await;
        assert!(server.is_closed().await, "{response:?}");
        let mut next = gateway.connect().await;
        next.send(GET).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngood").await;
        assert_eq!(next.reply().await.text(), "good", "{response:?}");
    }
}

/// An address where connecting takes for ever: its queue is full. The connections must be kept.
async fn full() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    let patience = std::time::Duration::from_millis(200);
    while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        held.push(stream.unwrap());
        assert!(held.len() < 100, "its queue does not fill");
    }
    (address, listener, held)
}

#[tokio::test]
async fn a_connection_has_its_time_to_open() {
    let (address, _listener, _held) = full().await;
    let connect = "timeout = { connect = \"200ms\" }";
    let deadline = "[[routes]]\npath = \"/soon\"\nupstream = \"patient\"\ntimeout = \"200ms\"\n";
    let patient = format!(
        "[upstreams.patient]\nservers = [\"{address}\"]\ntimeout = {{ connect = \"30s\" }}\n"
    );
    let config = format!("{}{ROUTE}{patient}{deadline}", upstream(&[address], connect));
    let gateway = Gateway::start(&config).await;
    let begun = Instant::now();
    let mut client = gateway.connect().await;
    assert_eq!(failure(&client.get("/").await), is(504, "connect-timeout"));
    assert_eq!(failure(&client.get("/soon").await), is(504, "deadline"));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_slow_upload_is_not_taken_for_a_slow_server() {
    let origin = Origin::start().await;
    let gateway = set(origin.address, "timeout = { response = \"300ms\" }").await;
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 800\r\n\r\n").await;
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(100));
    for _ in 0..8 {
        pause.tick().await;
        client.send(&"x".repeat(100)).await;
    }
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn a_server_that_hangs_up_within_the_body_is_the_one_to_blame() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nstart").await;
    let mut server = origin.accept().await;
    server.head().await;
    drop(server);
    assert_eq!(failure(&client.reply().await), is(502, "upstream-broken"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn what_a_server_said_before_it_hung_up_is_passed_on() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    for round in 0..20 {
        let client = gateway.connect().await;
        let (mut reading, mut writing) = client.stream.into_split();
        // As much as fits: the server's side is never read, so closing it resets the connection.
        let upload = tokio::spawn(async move {
            let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n";
            let piece = vec![b'x'; 100_000];
            let mut sent = writing.write_all(head).await.is_ok();
            for _ in 0..90 {
                sent = sent && writing.write_all(&piece).await.is_ok();
            }
        });
        let mut server = origin.accept().await;
        server.head().await;
        server.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmuch").await;
        drop(server);
        let mut text = Vec::new();
        drop(soon("the reply", reading.read_to_end(&mut text)).await);
        let text = String::from_utf8_lossy(&text);
        assert!(
            text.starts_with("HTTP/1.1 413 ") && text.ends_with("much"),
            "round {round}: {text}"
        );
        soon("the upload to end", upload).await.unwrap();
    }
}

/// What a server sends in a second step, after a response that has no body, is not the answer to the next request.
#[tokio::test]
async fn what_a_server_sends_late_reaches_nobody() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "pool = { idle-timeout = \"1m\" }").await;
    for (request, head) in [
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n"),
        (GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 45\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\n\r\n"),
    ] {
        let mut client = gateway.connect().await;
        client.send(request).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send(head).await;
        client.head().await;
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
        client.send(GET).await;
        let mut server = origin.accept().await;
        server.head().await;
        server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngood").await;
        assert_eq!(client.reply().await.text(), "good", "{head:?}");
    }
}

/// The client writes all before it reads, the server answers while it reads: whoever stops the upload stops both.
#[tokio::test]
async fn an_upload_goes_on_while_its_response_waits_for_the_client() {
    const BYTES: usize = 24 << 20;
    let origin = ByHand::start().await;
    let limits = "[limits]\nbody = \"none\"\n";
    let config = format!("{}{ROUTE}{limits}", upstream(&[origin.address], ""));
    let gateway = Gateway::start_single(&config).await;
    let mut client = gateway.connect().await;
    client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n")).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n")).await;
    let echo = async {
        // Answers beyond what all buffers on the way take, and reads beside it.
        let (mut read, mut write) = server.stream.split();
        let mut piece = vec![0; 1 << 16];
        let upload = async { while read.read(&mut piece).await.unwrap() > 0 {} };
        let answer = async {
            write.write_all(&vec![b'x'; BYTES]).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! { () = upload => {}, () = answer => {} }
    };
    let ask = async {
        client.send_bytes(&vec![b'y'; BYTES]).await;
        client.head().await;
        client.read_exactly(BYTES).await.len()
    };
    tokio::select! {
        read = ask => assert_eq!(read, BYTES),
        () = echo => panic!("the gateway ended the upload"),
    }
}

#[tokio::test]
async fn a_trailer_cannot_say_what_a_head_may_not() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    let mut client = gateway.connect().await;
    let trailer = "X-Sum: 7\r\nX-Real-IP: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.1\r\nAuthorization: Basic eA==\r\nCookie: a=b\r\n";
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(&format!("{head}5\r\nhello\r\n0\r\n{trailer}\r\n")).await;
    let mut server = origin.accept().await;
    server.head().await;
    assert_eq!(server.read_past(b"0\r\n").await, b"5\r\nhello\r\n0\r\n");
    assert_eq!(server.read_past(b"\r\n\r\n").await, b"x-sum: 7\r\n\r\n");
    server
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nSet-Cookie: a=b\r\nX-Sum: 8\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.read_past(b"\r\n\r\n").await, b"0\r\nx-sum: 8\r\n\r\n");
}

/// HTTP/1.0 knows the end of a body by the end of the connection.
#[tokio::test]
async fn what_broke_off_does_not_look_complete_to_http_1_0() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    client.head().await;
    drop(server);
    let mut rest = Vec::new();
    let read = soon("the end", client.stream.read_to_end(&mut rest)).await;
    assert!(read.is_err(), "{rest:?}");
}

#[tokio::test]
async fn a_request_with_a_body_does_not_leave_http() {
    let origin = ByHand::start().await;
    let gateway = set(origin.address, "").await;
    let mut client = gateway.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\n";
    client.send(&format!("{head}hello")).await;
    let mut server = origin.accept().await;
    let seen = server.head().await.to_lowercase();
    assert!(!seen.contains("upgrade"), "{seen}");
}
