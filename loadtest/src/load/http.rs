//! HTTP on one connection: HTTP/1.1 driven by the task that uses it, HTTP/2 by a task of its own.

use std::future::{Future as _, poll_fn};
use std::mem::take;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::connect::Stream;
use super::trouble::Trouble;
use crate::body::Body;

/// So much may be on its way: the load should never be what a big body waits for.
const WINDOW: u32 = 4 * 1024 * 1024;

/// A connection that takes a request.
pub(super) enum Connection {
    Http1(Http1),
    Http2(http2::SendRequest<Body>),
}

/// hyper's connection beside its sender, polled by whoever waits for an answer: no task to wake.
pub(super) struct Http1 {
    sender: http1::SendRequest<Body>,
    driver: Option<Driver>,
}

type Driver = Pin<Box<http1::Connection<TokioIo<Stream>, Body>>>;

impl Connection {
    pub(super) async fn http1(stream: Stream) -> Result<Self, Trouble> {
        let (sender, driver) = http1::Builder::new()
            // One buffer: a plain write costs less than a vector of one, and heads are short.
            .writev(false)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Trouble::Closed)?;
        Ok(Self::Http1(Http1 { sender, driver: Some(Box::pin(driver)) }))
    }

    pub(super) async fn http2(stream: Stream) -> Result<Self, Trouble> {
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW * 4)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Trouble::Closed)?;
        tokio::task::spawn_local(async move {
            // Whoever has a request under way is told there.
            driver.await.ok();
        });
        Ok(Self::Http2(sender))
    }

    /// Whether a request can be sent; false once the server has closed.
    pub(super) async fn is_open(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_open().await,
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// A second handle on the same connection, where it carries several requests at once.
    pub(super) fn another(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    /// Sends a request and waits for the head of its answer. It is taken where it is: a moved future moves all it holds.
    pub(super) async fn send(
        &mut self,
        request: &mut Request<Body>,
    ) -> Result<Response<Incoming>, Trouble> {
        match self {
            Self::Http1(connection) => connection.send(request).await,
            Self::Http2(sender) => {
                let answer = sender.send_request(take(request));
                answer.await.map_err(|error| before(&error))
            }
        }
    }

    /// The next piece of an answer.
    pub(super) async fn piece(&mut self, body: &mut Incoming) -> Result<Piece, Trouble> {
        let frame = match self {
            Self::Http1(connection) => connection.frame(body).await,
            Self::Http2(_) => body.frame().await,
        };
        let Some(frame) = frame else { return Ok(Piece::End) };
        let frame = frame.map_err(|_| Trouble::Truncated)?;
        match frame.into_data() {
            Ok(bytes) => Ok(Piece::Data(bytes)),
            Err(frame) => Ok(frame.into_trailers().map_or(Piece::End, Piece::Trailers)),
        }
    }
}

/// A part of a body.
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl Http1 {
    async fn is_open(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            self.sender.poll_ready(context)
        })
        .await
        .is_ok()
    }

    async fn send(&mut self, request: &mut Request<Body>) -> Result<Response<Incoming>, Trouble> {
        let Self { sender, driver } = self;
        let mut answer = pin!(sender.send_request(take(request)));
        let answer = poll_fn(|context| {
            drive(driver, context);
            answer.as_mut().poll(context)
        });
        answer.await.map_err(|error| before(&error))
    }

    async fn frame(&mut self, body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        poll_fn(|context| {
            // Asking first tells hyper that the body is wanted; driving then reads it.
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
                return Poll::Ready(frame);
            }
            self.drive(context);
            Pin::new(&mut *body).poll_frame(context)
        })
        .await
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.driver, context);
    }
}

/// What goes wrong here is told to the request that meets it.
fn drive(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if let Some(connection) = driver
        && connection.as_mut().poll(context).is_ready()
    {
        *driver = None;
    }
}

/// What went wrong before there was a head.
fn before(error: &hyper::Error) -> Trouble {
    match error.is_parse() {
        true => Trouble::Protocol,
        false => Trouble::Closed,
    }
}
