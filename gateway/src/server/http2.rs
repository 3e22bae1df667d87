//! Serves an HTTP/2 connection: hyper's streams under our limits, GOAWAY when it is to end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, Cursor};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::slow_client::{Taking, Watched};
use crate::config::Limits;
use crate::connection::Connection;
use crate::incoming::Incoming;
use crate::proxy;
use crate::socket::Socket;
use crate::upstream::OnWorker;

/// How often the driver looks at idleness and drain.
const TICK: Duration = Duration::from_secs(1);
/// What a client may send on one stream, and on all, before somebody has read it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What may wait on one stream for a slow client.
const SEND_BUFFER: usize = 64 * 1024;
/// A peer that does not close for this long after GOAWAY is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves until the connection ends.
pub(super) async fn serve(socket: Socket, first: Vec<u8>, connection: Rc<Connection>) {
    let limits = connection.worker.current().config.limits.clone();
    let taking = Rc::new(Taking::default());
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (connection, taking) = (Rc::clone(&connection), Rc::clone(&taking));
        // Boxed here: hyper and the runtime move what they are given four times, and a request's state is kilobytes.
        Box::pin(async move {
            let (mut parts, incoming) = request.into_parts();
            let incoming = Incoming::Http2(incoming);
            let mut body = proxy::answer(&connection, &mut parts, incoming).await;
            let head = body.take_head();
            Ok::<_, Infallible>(Response::from_parts(head, Watched::new(body, &taking)))
        })
    });
    let mut hyper =
        pin!(builder(&limits).serve_connection(TokioIo::new(Rewound::new(first, socket)), service));
    let mut sleep = pin!(sleep_until(Instant::now() + TICK));
    let mut drained = pin!(connection.worker.drain.notified());
    let mut ending = None;
    let mut armed = false;
    poll_fn(|cx| {
        loop {
            // A broken connection has no one left to tell.
            if hyper.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let drains = connection.worker.draining.get() || drained.as_mut().poll(cx).is_ready();
            let full = connection.served.get() >= limits.requests_per_connection;
            if ending.is_none() && (drains || full) {
                ending = Some(Instant::now());
                hyper.as_mut().graceful_shutdown();
                continue;
            }
            // The task's waker stays with the timer; asking whether it fired costs less than registering again.
            if armed && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            armed = true;
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            armed = false;
            let now = Instant::now();
            if taking.is_stuck(now, limits.send_timeout) {
                return Poll::Ready(());
            }
            let idle_since = connection.last_active.get();
            let idle = connection.in_flight.get() == 0;
            match ending {
                None if idle && now >= idle_since + limits.keep_alive => {
                    ending = Some(now);
                    hyper.as_mut().graceful_shutdown();
                }
                Some(since) if idle && now >= since + PATIENCE => return Poll::Ready(()),
                Some(_) | None => {}
            }
            sleep.as_mut().reset(now + TICK);
        }
    })
    .await;
}

/// Our limits in hyper's words. Without its pings, which look at the clock with each frame: TCP's own tell whether a
/// peer is there (listener.rs), and what it takes is watched.
fn builder(limits: &Limits) -> http2::Builder<OnWorker> {
    let header_list = u32::try_from(limits.header_bytes).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(OnWorker);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_pending_accept_reset_streams(limits.http2_resets)
        .max_local_error_reset_streams(limits.http2_resets)
        .max_header_list_size(header_list)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// A socket of which the first bytes were read already.
struct Rewound {
    first: Cursor<Vec<u8>>,
    socket: Socket,
}

impl Rewound {
    fn new(first: Vec<u8>, socket: Socket) -> Self {
        Self { first: Cursor::new(first), socket }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let position = usize::try_from(self.first.position()).unwrap_or(usize::MAX);
        let left = self.first.get_ref().get(position..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let count = left.len().min(buf.remaining());
        buf.put_slice(&left[..count]);
        self.first.set_position((position + count) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
