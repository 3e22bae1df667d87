//! An HTTP/1.1 connection to a server, driven by the task of the request that uses it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::Server;
use super::gate::Gate;
use super::request_body::RequestBody;
use super::to_server::ToServer;
use crate::socket::Socket;

/// Both halves of a connection. Nobody but its user polls it: in the pool it rests without a task.
pub(crate) struct Http1 {
    sender: SendRequest<RequestBody>,
    connection: Connection<TokioIo<ToServer>, RequestBody>,
    ended: bool,
    gate: Arc<Gate>,
    waker: Waker,
    /// Whom it leads to.
    pub(crate) server: Arc<Server>,
    /// When it came to rest; for the pool.
    pub(super) idle_since: Instant,
}

/// What is read of a response at once, and the longest head of one. hyper's own bound is 400 KiB for each connection
/// that has ever had a big response.
const BUFFER_MAX: usize = 64 * 1024;

/// A connection that was used within this time is hardly ever closed by its server at that moment, so a request on it
/// is not copied for a second try.
const RESTED: Duration = Duration::from_millis(20);

/// Whom [`Http1::drive`] polls first: where there probably is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The connection.
    Connection,
    /// Who waits for it.
    Caller,
}

/// Why a request got no response.
pub(crate) struct SendError {
    /// What hyper says.
    pub(crate) error: hyper::Error,
    /// The request, if nothing of it was sent.
    pub(crate) unsent: Option<Request<RequestBody>>,
}

impl Http1 {
    pub(super) async fn handshake(socket: Socket, server: Arc<Server>) -> hyper::Result<Box<Self>> {
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER_MAX)
            .handshake::<_, RequestBody>(TokioIo::new(ToServer::new(socket)))
            .await?;
        let gate = Arc::new(Gate::default());
        let waker = Waker::from(Arc::clone(&gate));
        let idle_since = Instant::now();
        Ok(Box::new(Self { sender, connection, ended: false, gate, waker, server, idle_since }))
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let mut response = pin!(self.sender.try_send_request(request));
        let first = First::Connection;
        let response = poll_fn(|cx| self.drive(cx, first, |cx| response.as_mut().poll(cx))).await;
        response.map_err(|mut refused| SendError {
            unsent: refused.take_message(),
            error: refused.into_error(),
        })
    }

    /// Polls the connection and `poll` in turn, until there is a result or both wait for the socket.
    pub(super) fn drive<R>(
        &mut self,
        cx: &mut Context<'_>,
        first: First,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        self.gate.shut(cx.waker());
        let mut inner = Context::from_waker(&self.waker);
        if first == First::Caller {
            let result = poll(&mut inner);
            if result.is_ready() {
                self.gate.open_anyway();
                return result;
            }
        }
        loop {
            if !self.ended {
                self.ended = Pin::new(&mut self.connection).poll(&mut inner).is_ready();
            }
            let result = poll(&mut inner);
            if result.is_ready() {
                self.gate.open_anyway();
                return result;
            }
            if self.gate.open() {
                return Poll::Pending;
            }
        }
    }

    /// Whether another request may be sent on it. Looks at the connection only if it does not say so already.
    pub(super) fn is_free(&mut self) -> bool {
        if !self.ended && !self.sender.is_ready() {
            self.look();
        }
        !self.ended && self.sender.is_ready()
    }

    /// Whether it still is, after it rested: only if something happened on its socket, is it looked at.
    pub(super) fn is_still_free(&mut self) -> bool {
        if self.gate.is_stirred() {
            self.gate.rest();
            self.look();
        }
        !self.ended && self.sender.is_ready()
    }

    fn look(&mut self) {
        if !self.ended {
            let mut inner = Context::from_waker(&self.waker);
            self.ended = Pin::new(&mut self.connection).poll(&mut inner).is_ready();
        }
    }

    /// Whether it was idle long enough that its server may have begun to close it.
    pub(super) fn has_rested(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.idle_since) > RESTED
    }

    /// Lets go of the task that used it.
    pub(super) fn rest(&mut self, now: Instant) {
        self.gate.rest();
        self.idle_since = now;
    }

    /// After a 101: waits until hyper is done with the socket; returns it with what was read beyond the response.
    pub(crate) async fn into_upgraded(
        mut self: Box<Self>,
    ) -> hyper::Result<(Socket, bytes::Bytes)> {
        if !self.ended {
            poll_fn(|cx| Pin::new(&mut self.connection).poll(cx)).await?;
        }
        let parts = self.connection.into_parts();
        Ok((parts.io.into_inner().into_inner(), parts.read_buf))
    }
}
