//! Clients with long WebSocket connections: a message, its echo, and no cut in between.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{Interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Run;
use super::tally::Kind;
use crate::connection::{PATIENCE, connect};
use crate::failure::Failure;

type Socket = WebSocketStream<TcpStream>;

/// What came after a message.
enum Echo {
    Same,
    /// A close frame: the server is leaving, properly.
    Closed,
}

/// Sends a number at each tick and waits for its echo; a properly closed connection is opened again.
pub(super) async fn client(run: Run, mut pace: Interval) {
    let mut open: Option<Socket> = None;
    while !run.over.get() {
        let due = idle(&run, &mut open, &mut pace).await;
        let mut socket = match open.take() {
            Some(socket) => socket,
            None => match reopen(&run).await {
                Some(socket) => socket,
                None => continue,
            },
        };
        let nonce = run.tally.borrow_mut().send(Kind::WebSocket);
        let echo = exchange(&mut socket, nonce).await;
        let mut tally = run.tally.borrow_mut();
        match echo {
            Ok(Echo::Same) => {
                tally.answered(nonce, due.elapsed());
                open = Some(socket);
            }
            Ok(Echo::Closed) => {
                tally.connections.websockets_closed += 1;
                tally.unknown(nonce);
            }
            Err(failure) => tally.failed(nonce, Kind::WebSocket, &failure),
        }
    }
    if let Some(mut socket) = open {
        socket.close(None).await.ok();
    }
}

/// Waits for the next tick and reads meanwhile, so that a close between two messages is seen as one.
async fn idle(run: &Run, open: &mut Option<Socket>, pace: &mut Interval) -> tokio::time::Instant {
    let Some(socket) = open else { return pace.tick().await };
    tokio::select! {
        due = pace.tick() => return due,
        message = next(socket) => {
            let mut tally = run.tally.borrow_mut();
            match message {
                Ok(Some(_)) => tally.fault(Kind::WebSocket, "a message that nobody sent"),
                Ok(None) => tally.connections.websockets_closed += 1,
                Err(failure) => tally.fault(Kind::WebSocket, &format!("cut while idle: {failure}")),
            }
        }
    }
    *open = None;
    pace.tick().await
}

async fn reopen(run: &Run) -> Option<Socket> {
    let opened = async {
        let stream = connect(run.target, None).await?;
        let url = format!("ws://{}/websocket", run.target);
        let upgrade = timeout(PATIENCE, client_async(url, stream)).await;
        Ok::<_, Failure>(upgrade.map_err(|_| late("a WebSocket's opening"))??.0)
    };
    let opened = opened.await;
    let mut tally = run.tally.borrow_mut();
    match opened {
        Ok(socket) => {
            tally.connections.websockets_opened += 1;
            Some(socket)
        }
        Err(failure) => {
            tally.fault(Kind::WebSocket, &format!("opening: {failure}"));
            None
        }
    }
}

async fn exchange(socket: &mut Socket, nonce: u64) -> Result<Echo, Failure> {
    let text = nonce.to_string();
    socket.send(Message::text(text.clone())).await?;
    let echo = timeout(PATIENCE, next(socket)).await.map_err(|_| late("an echo"))?;
    match echo? {
        Some(message) if message.to_text().is_ok_and(|echoed| echoed == text) => Ok(Echo::Same),
        Some(_) => Err(Failure::Body),
        None => Ok(Echo::Closed),
    }
}

/// The next text; nothing after a close frame. An end without a close frame is an error.
async fn next(socket: &mut Socket) -> Result<Option<Message>, Failure> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(_))) => {
                // Answers the close frame, which ends the handshake.
                socket.close(None).await.ok();
                return Ok(None);
            }
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                return Ok(Some(message));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Failure::Body),
        }
    }
}

fn late(what: &'static str) -> Failure {
    Failure::TooLate { what, seconds: PATIENCE.as_secs() }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::net::TcpListener;

    use super::*;
    use crate::origin;
    #[tokio::test(flavor = "local")]
    async fn messages_come_back_and_are_counted_at_the_origin() {
        let target = origin::start().await.expect("a free port");
        let run = Run { target, tally: Rc::default(), over: Rc::default() };
        let mut socket = reopen(&run).await.expect("upgraded");
        for nonce in 0..3 {
            let echo = exchange(&mut socket, nonce).await.expect("echoed");
            assert!(matches!(echo, Echo::Same));
        }
        let ledger = crate::connection::fetch(target, "GET", "/ledger").await.expect("answered");
        assert!(ledger.body.starts_with(br#"{"beyond":0,"distinct":3"#), "{:?}", ledger.body);
    }

    /// Reads one message, then leaves with a close frame or without.
    async fn serve(listener: &TcpListener, leaves: Leaves) {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut socket = tokio_tungstenite::accept_async(stream).await.expect("upgraded");
        socket.next().await.expect("a message").expect("well-formed");
        if leaves == Leaves::Properly {
            socket.close(None).await.expect("open");
            while let Some(Ok(_)) = socket.next().await {}
        }
    }

    #[derive(PartialEq, Eq)]
    enum Leaves {
        Properly,
        Cutting,
    }

    #[tokio::test]
    async fn a_close_frame_is_told_from_a_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = listener.local_addr().expect("bound");
        let run = Run { target, tally: Rc::default(), over: Rc::default() };
        let ask = async || exchange(&mut reopen(&run).await.expect("upgraded"), 0).await;
        let (proper, ()) = tokio::join!(ask(), serve(&listener, Leaves::Properly));
        assert!(matches!(proper, Ok(Echo::Closed)));
        let (cut, ()) = tokio::join!(ask(), serve(&listener, Leaves::Cutting));
        assert!(cut.is_err());
    }
}
