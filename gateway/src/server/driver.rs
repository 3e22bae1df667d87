//! Drives one client's connection: rests between requests without any state of theirs, and speaks HTTP while they last.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::head::HeadLimits;
use super::wire::Wire;
use super::{http2, linger, tunnel};
use crate::connection::Connection;
use crate::proxy;
use crate::refusal::WireRefusal;
use crate::reply;
use crate::socket::Socket;

/// How a client begins HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The driver looks at its deadlines this often, and puts a connection to rest that was idle for as long.
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
        HeadLimits { bytes: limits.header_bytes, count: limits.header_count }
    };
    let wire = Wire::new(socket, first, limits, Rc::clone(&connection.link));
    let service = service_fn(|request| proxy::answer(Rc::clone(connection), request));
    let mut builder = http1::Builder::new();
    builder.half_close(false).max_buf_size(limits.bytes.max(MIN_BUFFER) + MIN_BUFFER);
    if limits.count > HYPER_HEADERS {
        // Only then: hyper fills a table of that size for each request.
        builder.max_headers(limits.count);
    }
    let mut hyper = builder.serve_connection(TokioIo::new(wire), service);
    let mut watch = Watch::new(connection);
    let ended = {
        let mut sleep = pin!(sleep_until(Instant::now() + TICK));
        poll_fn(|cx| watch.poll(cx, &mut sleep, |cx| Pin::new(&mut hyper).poll(cx))).await
    };
    let parts = hyper.into_parts();
    let (mut socket, held) = parts.io.into_inner().into_parts();
    match ended {
        Ended::Quiet => {
            connection.worker.rested.set(connection.worker.rested.get() + 1);
            Some(socket)
        }
        Ended::Refused(refusal) => {
            refuse(&mut socket, connection, refusal).await;
            None
        }
        Ended::Stuck => None,
        Ended::Closed => {
            let tunnel = connection.tunnel.take();
            if let Some(tunnel) = tunnel {
                let first = [&parts.read_buf[..], &held].concat();
                Box::pin(tunnel::run(socket, first, tunnel, connection)).await;
            } else if let Some(refusal) = connection.link.refusal.get() {
                refuse(&mut socket, connection, refusal).await;
            } else {
                linger::close(socket, connection.link.awaits_request.get()).await;
            }
            None
        }
    }
}

/// The header fields hyper takes without being told.
const HYPER_HEADERS: usize = 100;
/// hyper wants room for at least this.
const MIN_BUFFER: usize = 8192;

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

/// How speaking HTTP/1 ended.
enum Ended {
    /// hyper is done: closed by either side, refused, or handed over.
    Closed,
    /// Nothing is under way; the connection may rest.
    Quiet,
    /// A head took too long.
    Refused(WireRefusal),
    /// The client takes nothing of what is sent.
    Stuck,
}

/// Looks at a connection's deadlines, at most once a tick unless something is due earlier.
struct Watch<'a> {
    connection: &'a Connection,
    head_since: Option<Instant>,
    blocked: Option<(Instant, u64)>,
    armed: Cell<bool>,
}

impl<'a> Watch<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self { connection, head_since: None, blocked: None, armed: Cell::new(false) }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        sleep: &mut Pin<&mut Sleep>,
        mut hyper: impl FnMut(&mut Context<'_>) -> Poll<hyper::Result<()>>,
    ) -> Poll<Ended> {
        loop {
            // What hyper returns beside its state on the wire says nothing more.
            if hyper(cx).is_ready() {
                return Poll::Ready(Ended::Closed);
            }
            self.arm(sleep);
            // The task's waker stays with the timer; asking whether it fired costs less than registering again.
            if self.armed.replace(true) && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if let Some(ended) = self.look(now) {
                return Poll::Ready(ended);
            }
            self.connection.clock.advance(now);
            sleep.as_mut().reset(now + TICK);
            self.armed.set(false);
        }
    }

    /// Moves the timer forward if something is due before it.
    fn arm(&mut self, sleep: &mut Pin<&mut Sleep>) {
        let connection = self.connection;
        let mut due = connection.clock.take_wake_at();
        match (connection.link.head_begun.get(), self.head_since) {
            (true, None) => {
                let now = Instant::now();
                self.head_since = Some(now);
                let end = now + self.header_timeout();
                due = Some(due.map_or(end, |due| due.min(end)));
            }
            (true, Some(_)) => {}
            (false, _) => self.head_since = None,
        }
        if let Some(due) = due.filter(|due| *due < sleep.deadline()) {
            sleep.as_mut().reset(due);
            self.armed.set(false);
        }
    }

    fn header_timeout(&self) -> Duration {
        self.connection.worker.current().config.limits.header_timeout
    }

    fn look(&mut self, now: Instant) -> Option<Ended> {
        let connection = self.connection;
        let link = &connection.link;
        if self.head_since.is_some_and(|since| now >= since + self.header_timeout()) {
            return Some(Ended::Refused(WireRefusal::HeaderTimeout));
        }
        if self.is_stuck(now) {
            return Some(Ended::Stuck);
        }
        let idle = connection.in_flight.get() == 0
            && link.awaits_request.get()
            && !link.write_blocked.get()
            && now >= connection.last_active.get() + TICK;
        idle.then_some(Ended::Quiet)
    }

    /// A client that takes no byte of a response for `limits.send-timeout`.
    fn is_stuck(&mut self, now: Instant) -> bool {
        let link = &self.connection.link;
        if !link.write_blocked.get() {
            self.blocked = None;
            return false;
        }
        match self.blocked {
            Some((since, written)) if written == link.written.get() => {
                now >= since + self.connection.worker.current().config.limits.send_timeout
            }
            Some(_) | None => {
                self.blocked = Some((now, link.written.get()));
                false
            }
        }
    }
}
