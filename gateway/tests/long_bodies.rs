//! Bodies that are long enough to go from socket to socket without being read, and what may happen to them on the way.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use rig::{ByHand, Gateway, Reply, until, upstream};
use tokio::io::AsyncWriteExt as _;

const BYTES: usize = 3 << 20;
const ROUTE: &str = "[[routes]]\nname = \"all\"\npath = \"/{*rest}\"\nupstream = \"origin\"\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Its period is a prime, so that a piece that is lost or comes twice shows.
fn body() -> Vec<u8> {
    (0..BYTES).map(|place| (place % 251) as u8).collect()
}

fn response(bytes: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n")
}

fn post(bytes: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n")
}

async fn start(origin: &ByHand, keys: &str, tables: &str) -> Gateway {
    let upstream = upstream(&[origin.address], keys);
    Gateway::start_single(&format!("{upstream}{ROUTE}[limits]\nbody = \"none\"\n{tables}")).await
}

fn reason(reply: &Reply) -> String {
    reply.json()["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn they_arrive_whole_and_are_counted_and_the_connections_stay() {
    let origin = ByHand::start().await;
    let log = "[access-log]\nfile = \"access.log\"\n";
    let gateway = start(&origin, "", log).await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    for round in 0..3 {
        server.head().await;
        let answer = async {
            server.send(&response(BYTES)).await;
            server.send_bytes(&body()).await;
        };
        let ask = async {
            client.head().await;
            client.read_exactly(BYTES).await
        };
        let ((), received) = tokio::join!(answer, ask);
        assert!(received == body(), "response {round}");

        let (sent, ()) = (body(), client.send(&post(BYTES)).await);
        server.head().await;
        let ((), received) = tokio::join!(client.send_bytes(&sent), server.read_exactly(BYTES));
        assert!(received == sent, "request {round}");
        server.send(OK).await;
        assert_eq!(client.reply().await.text(), "ok");
        client.send(GET).await;
    }
    for (place, line) in gateway.log_of(6).await.iter().enumerate() {
        let counted = if place % 2 == 0 { "bytes_out" } else { "bytes_in" };
        assert_eq!(line[counted], BYTES, "{line}");
    }
}

#[tokio::test]
async fn one_that_breaks_off_does_not_look_complete() {
    let origin = ByHand::start().await;
    let gateway = start(&origin, "", "").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send(&response(BYTES)).await;
    server.send_bytes(&body()[..BYTES / 2]).await;
    server.end().await;
    client.head().await;
    assert!(client.rest().await == body()[..BYTES / 2], "what there was, and then the end");

    let mut client = gateway.connect().await;
    client.send(&post(BYTES)).await;
    let mut server = origin.accept().await;
    server.head().await;
    let (sent, half) = (body(), BYTES / 2);
    tokio::join!(client.send_bytes(&sent[..half]), server.read_exactly(half));
    drop(client);
    assert!(server.rest().await.is_empty(), "and the server sees that it broke off");
}

#[tokio::test]
async fn one_that_stands_still_is_cut() {
    let origin = ByHand::start().await;
    let limits = "receive-rate = \"1000B\"\nreceive-grace = \"300ms\"\n";
    let gateway = start(&origin, "timeout = { idle = \"200ms\" }", limits).await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send(&response(BYTES)).await;
    server.send_bytes(&body()[..BYTES / 2]).await;
    client.head().await;
    assert_eq!(client.rest().await.len(), BYTES / 2);
    assert!(server.is_closed().await);

    let mut client = gateway.connect().await;
    client.send(&post(BYTES)).await;
    let mut server = origin.accept().await;
    server.head().await;
    let (sent, half) = (body(), BYTES / 2);
    tokio::join!(client.send_bytes(&sent[..half]), server.read_exactly(half));
    let reply = client.reply().await;
    assert_eq!((reply.status, reason(&reply).as_str()), (408, "body-too-slow"));
    assert!(server.rest().await.is_empty());
}

#[tokio::test]
async fn one_that_nobody_takes_is_given_up() {
    let origin = ByHand::start().await;
    let gateway = start(&origin, "", "send-timeout = \"300ms\"\n").await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.send(&response(64 << 20)).await;
    let serve = async {
        while server.stream.write_all(&[0; 1 << 16]).await.is_ok() {}
        std::future::pending::<()>().await
    };
    let given_up = until("the request to be given up", || async {
        (gateway.metric("gateway_requests_in_flight").await == 0.0).then_some(())
    });
    tokio::select! {
        () = serve => {}
        () = given_up => {}
    }
}

/// More at once than there are pipes: the rest is read and written, and nobody sees a difference.
#[tokio::test]
async fn more_at_once_than_there_are_pipes_arrive_too() {
    const MANY: usize = 140;
    const EACH: usize = 300_000;
    let origin = ByHand::start().await;
    let gateway = start(&origin, "", "").await;
    let mut pairs = Vec::new();
    for _ in 0..MANY {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        let mut server = origin.accept().await;
        server.head().await;
        // In one piece: nobody waits for an acknowledgement.
        server.send_bytes(&[response(EACH).as_bytes(), &body()[..EACH / 2]].concat()).await;
        client.head().await;
        assert!(client.read_exactly(1_000).await == body()[..1_000]);
        pairs.push((client, server));
    }
    for (mut client, mut server) in pairs {
        server.send_bytes(&body()[EACH / 2..EACH]).await;
        assert!(client.read_exactly(EACH - 1_000).await == body()[1_000..EACH]);
    }
}
