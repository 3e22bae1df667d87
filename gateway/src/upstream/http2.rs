//! An HTTP/2 connection to a server: shared by the requests of one worker, driven by a task of its own.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, timeout};

use super::Server;
use super::call::{Broken, CallError};
use super::connect::ConnectError;
use super::heard::{Ear, Heard};
use super::request_body::RequestBody;
use crate::socket::Socket;

/// Streams on one connection before another is opened: what most servers allow.
const STREAMS_MAX: usize = 100;
/// What a server may send on one stream before its client has taken it.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same for all streams together: clients that take nothing must not hold up those they share a connection with.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;

/// Spawns on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnWorker;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnWorker {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Why a request got no response.
pub(super) struct SendError {
    /// What hyper says.
    pub(super) error: hyper::Error,
    /// The request, if nothing of it was sent.
    pub(super) unsent: Option<Request<RequestBody>>,
}

/// A handle on the connection.
#[derive(Clone)]
pub(super) struct Http2 {
    sender: SendRequest<RequestBody>,
    streams: Rc<Cell<usize>>,
    /// Streams the server allows at once.
    allowed: Rc<Cell<usize>>,
    last_used: Rc<Cell<Instant>>,
    server: Arc<Server>,
}

/// One stream; gives its place back when it ends.
pub(crate) struct Stream {
    http2: Http2,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.http2.streams.set(self.http2.streams.get().saturating_sub(1));
    }
}

impl Http2 {
    /// Opens a connection, and waits for the server's settings: before them nobody knows how many streams it allows,
    /// and what is sent beyond that waits for the others to end.
    pub(super) async fn handshake(socket: Socket, server: Arc<Server>) -> Result<Self, CallError> {
        let ear = Rc::new(Ear::default());
        let heard = Heard { socket, ear: Rc::clone(&ear) };
        let (sender, connection) = Builder::new(OnWorker)
            .timer(TokioTimer::new())
            .initial_max_send_streams(0)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(std::time::Duration::from_secs(20))
            .handshake::<_, RequestBody>(TokioIo::new(heard))
            .await
            .map_err(Broken::Http2)?;
        let is_settled = async {
            while connection.current_max_send_streams() == 0 && !ear.ended.get() {
                ear.news.notified().await;
            }
        };
        timeout(server.connect_timeout, is_settled).await.map_err(|_| ConnectError::TimedOut)?;
        let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
        let told = Rc::clone(&allowed);
        tokio::task::spawn_local(async move {
            let mut connection = pin!(connection);
            // What breaks the connection is told to each of its requests.
            let ended = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                told.set(connection.current_max_send_streams());
                polled
            });
            drop(ended.await);
        });
        let last_used = Rc::new(Cell::new(Instant::now()));
        Ok(Self { sender, streams: Rc::default(), allowed, last_used, server })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < STREAMS_MAX.min(self.allowed.get())
    }

    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let rested = now.saturating_duration_since(self.last_used.get());
        self.streams.get() == 0 && rested >= self.server.pool.idle_timeout
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(
        mut self,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Stream), SendError> {
        self.streams.set(self.streams.get() + 1);
        self.last_used.set(Instant::now());
        let stream = Stream { http2: self.clone() };
        if let Err(error) = self.sender.ready().await {
            return Err(SendError { error, unsent: Some(request) });
        }
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok((response, stream)),
            Err(mut refused) => {
                Err(SendError { unsent: refused.take_message(), error: refused.into_error() })
            }
        }
    }
}
