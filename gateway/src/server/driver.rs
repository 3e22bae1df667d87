//! Drives one client's connection: rests between requests without any state of theirs, and speaks HTTP while they last.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::http1::{self, Ended};
use super::{http2, linger, tunnel};
use crate::connection::Connection;
use crate::http1::input::Input;
use crate::http1::lines::{HeadLimits, LineEnds};
use crate::http1::wire::{Reading, Wire};
use crate::refusal::WireRefusal;
use crate::reply;
use crate::socket::Socket;

/// How a client begins HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The driver looks at its deadlines this often.
const TICK: Duration = Duration::from_secs(1);

/// What TLS has settled about the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Nothing: the first bytes tell.
    Unknown,
    /// `h2` by ALPN.
    Http2,
}

/// Serves a connection until it ends.
pub(super) async fn serve(mut socket: Socket, connection: Rc<Connection>, protocol: Protocol) {
    if protocol == Protocol::Http2 {
        return Box::pin(http2::serve(socket, Vec::new(), connection)).await;
    }
    let Some(mut first) = rest(&mut socket, &connection, Patience::New).await else { return };
    // A few bytes may be the start of either version: `P` begins POST as well.
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        match rest(&mut socket, &connection, Patience::New).await {
            Some(more) => first.extend(more),
            None => return,
        }
    }
    if first.starts_with(PREFACE) {
        return Box::pin(http2::serve(socket, first, connection)).await;
    }
    loop {
        match Box::pin(speak_http1(socket, first, &connection)).await {
            Some(rested) => socket = rested,
            None => return,
        }
        match rest(&mut socket, &connection, Patience::Kept).await {
            Some(bytes) => first = bytes,
            None => return,
        }
    }
}

/// How long a connection at rest is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// It has asked nothing yet: the header timeout, as for one that says too little.
    New,
    /// It was idle after a request: `limits.keep-alive`.
    Kept,
}

/// Waits for the first bytes of a request. A connection that rests is its socket, a timer and this future.
async fn rest(socket: &mut Socket, connection: &Connection, patience: Patience) -> Option<Vec<u8>> {
    let worker = &connection.worker;
    let (until, drain_idle) = {
        let config = &worker.current().config;
        let limits = &config.limits;
        let patience = match patience {
            Patience::New => limits.header_timeout,
            Patience::Kept => limits.keep_alive,
        };
        (connection.last_active.get() + patience, config.server.drain.idle)
    };
    let mut drained = pin!(worker.drain.notified());
    let mut told = worker.draining.get();
    let until = if told { Instant::now() + drain_idle } else { until };
    let mut sleep = pin!(sleep_until(until));
    poll_fn(|cx| {
        if !told && drained.as_mut().poll(cx).is_ready() {
            told = true;
            sleep.as_mut().reset(Instant::now() + drain_idle);
        }
        if let Poll::Ready(first) = poll_first(socket, cx) {
            return Poll::Ready(first);
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Reads into the stack, so that nothing is allocated before there is something.
fn poll_first(socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
    let mut space = [const { MaybeUninit::uninit() }; 4096];
    let mut space = ReadBuf::uninit(&mut space);
    match Pin::new(socket).poll_read(cx, &mut space) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(())) if !space.filled().is_empty() => {
            Poll::Ready(Some(space.filled().to_vec()))
        }
        Poll::Ready(Ok(()) | Err(_)) => Poll::Ready(None),
    }
}

/// Speaks HTTP/1 until the connection is idle (then the socket comes back) or over.
async fn speak_http1(
    socket: Socket,
    first: Vec<u8>,
    connection: &Rc<Connection>,
) -> Option<Socket> {
    let limits = {
        let limits = &connection.worker.current().config.limits;
        let (bytes, count) = (limits.header_bytes, limits.header_count);
        HeadLimits { bytes, count, line_ends: LineEnds::Strict }
    };
    let reading = Reading::new(Input::starting_with(&first), limits);
    let wire = Rc::new(RefCell::new(Wire::new(socket, reading, Rc::clone(&connection.link))));
    let ended = on_time(connection, http1::speak(&wire, connection)).await;
    let (mut socket, rest, body_is_over) = wire.borrow_mut().take_apart()?;
    match ended {
        Ended::Quiet => {
            connection.worker.rested.set(connection.worker.rested.get() + 1);
            return Some(socket);
        }
        Ended::Refused(refusal) => refuse(&mut socket, connection, refusal).await,
        Ended::Over => linger::close(socket, body_is_over && rest.is_empty()).await,
        Ended::Cut => socket.reset(),
        Ended::Gone | Ended::Stuck => {}
        Ended::Switched(finish) => {
            let tunnel = connection.tunnel.take();
            if let Some(tunnel) = tunnel {
                Box::pin(tunnel::run(socket, rest, tunnel, finish)).await;
            }
        }
    }
    None
}

/// A head that was refused has no request: the reply is written here.
async fn refuse(socket: &mut Socket, connection: &Connection, refusal: WireRefusal) {
    connection.worker.process.metrics.refused(refusal.reason());
    connection.note_refused(refusal);
    let reply = reply::raw(refusal);
    let written = tokio::time::timeout(TICK, socket.write_all(&reply)).await;
    if matches!(written, Ok(Ok(()))) {
        linger::drain(socket).await;
    }
}

/// Runs `future` with one timer for all deadlines of a connection: those asked of its clock. It is looked at once a
/// tick, unless something is due earlier.
async fn on_time<F: Future>(connection: &Connection, future: F) -> F::Output {
    let clock = &connection.clock;
    let mut future = pin!(future);
    let mut sleep = pin!(sleep_until(Instant::now() + TICK));
    let mut armed = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            if let Some(due) = clock.take_wake_at().filter(|due| *due < sleep.deadline()) {
                sleep.as_mut().reset(due);
                armed = false;
            }
            // The task's waker stays with the timer; asking whether it fired costs less than registering again.
            if armed && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            armed = true;
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            clock.advance(now);
            sleep.as_mut().reset(now + TICK);
            armed = false;
        }
    })
    .await
}
