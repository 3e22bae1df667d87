//! A proxy between generator and origin that tells one lie about every tenth request: the ledger has to name it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{listener, run};
use crate::body::Body;
use crate::connection::{Connection, NONCE};
use crate::load::ledger::Balance;
use crate::origin;

/// What a server does with the request of this number before it answers as the origin would.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    None,
    /// The answer to another request.
    Swap,
    /// Another body of the same length.
    Change,
    /// Half of the body, then the end.
    Truncate,
    /// The origin gets it, the client gets nothing.
    Lose,
    /// The origin gets it twice.
    Duplicate,
    /// The origin never gets it.
    AnswerItself,
}

/// A proxy between generator and origin that tells one lie about every tenth request.
async fn liar(origin: SocketAddr, lie: Lie) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            tokio::task::spawn_local(lying(stream, origin, lie));
        }
    });
    address
}

async fn lying(mut stream: TcpStream, origin: SocketAddr, lie: Lie) {
    let mut connection = Connection::open(origin).await.expect("open");
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut head)).expect("ASCII");
        let nonce = text.lines().find_map(|line| line.strip_prefix("x-load-nonce: "));
        let nonce: u64 = nonce.expect("a nonce").parse().expect("a number");
        let now = if nonce % 10 == 9 { lie } else { Lie::None };
        if answer(&mut stream, &mut connection, nonce, now).await == Going::Ends {
            return;
        }
    }
}

#[derive(PartialEq)]
enum Going {
    On,
    Ends,
}

async fn answer(
    stream: &mut TcpStream,
    connection: &mut Connection,
    nonce: u64,
    lie: Lie,
) -> Going {
    let body = b"0123456789";
    let hash = crate::digest::text(crate::digest::hash(body));
    let hash = std::str::from_utf8(&hash).expect("hex");
    let times = match lie {
        Lie::AnswerItself => 0,
        Lie::Duplicate => 2,
        Lie::None | Lie::Swap | Lie::Change | Lie::Truncate | Lie::Lose => 1,
    };
    for _ in 0..times {
        let mut request = connection.request("GET", "/echo/x", Body::empty()).expect("valid");
        request.headers_mut().insert(NONCE, nonce.into());
        connection.exchange(request).await.expect("answered");
    }
    let (nonce, body, end) = match lie {
        Lie::None | Lie::Duplicate | Lie::AnswerItself => (nonce, &body[..], Going::On),
        Lie::Swap => (nonce + 1, &body[..], Going::On),
        Lie::Change => (nonce, &b"0123456780"[..], Going::On),
        Lie::Truncate => (nonce, &body[..5], Going::Ends),
        Lie::Lose => return Going::Ends,
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{NONCE}: {nonce}\r\nx-load-hash: {hash}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("written");
    end
}

#[tokio::test(flavor = "local")]
async fn the_ledger_tells_every_lie_apart() {
    let origin = origin::start().await.expect("a free port");
    for (lie, expected) in [
        (Lie::None, Balance::default()),
        (Lie::Swap, Balance { swapped: 10, ..Balance::default() }),
        (Lie::Change, Balance { changed: 10, ..Balance::default() }),
        (Lie::Truncate, Balance { truncated: 10, ..Balance::default() }),
        (Lie::Lose, Balance { lost: 10, ..Balance::default() }),
        (Lie::Duplicate, Balance { duplicated: 10, answered: 10, ..Balance::default() }),
        (Lie::AnswerItself, Balance { answered_by_others: 10, answered: 10, ..Balance::default() }),
    ] {
        let liar = liar(origin, lie).await;
        let text = format!(
            "url = 'http://{liar}'\nrate = 200\nconnections = 4\nseconds = 0.5\nledger = '{origin}'\n\
             [[requests]]\npath = '/x'"
        );
        let (_, outcome) = run(&text).await;
        let balance = outcome.balance.expect("a ledger");
        let honest = if lie == Lie::None { 100 } else { 90 };
        let arrived = if lie == Lie::AnswerItself { 90 } else { 100 };
        let answered = honest + expected.answered;
        assert_eq!(balance, Balance { sent: 100, answered, arrived, ..expected }, "{lie:?}");
    }
}
