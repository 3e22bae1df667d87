//! The body of a response on its way from a server; when it has ended, its connection goes back to the pool.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Instant;

use super::call::Held;
use super::http1::{First, Http1};
use super::pool::Pools;
use crate::deadline::Timer;

/// A response body that drives the connection it comes from.
pub(crate) struct ResponseBody {
    incoming: Incoming,
    /// HTTP/1.1: the connection, until the body has ended. HTTP/2 connections are driven by a task of their own.
    http1: Option<Box<Http1>>,
    pools: Rc<Pools>,
    timer: Timer,
    idle: Duration,
    waits_until: Option<Instant>,
    deadline: Option<Instant>,
    /// When the server was last seen to be busy with it.
    seen: Instant,
    _held: Held,
}

/// Where a response body comes from.
pub(crate) struct Source {
    /// hyper's body.
    pub(crate) incoming: Incoming,
    /// HTTP/1.1: the connection.
    pub(crate) http1: Option<Box<Http1>>,
    /// The place at the server.
    pub(crate) held: Held,
}

/// Why a response body ends early.
#[derive(Clone, Copy, Debug, Error)]
pub(crate) enum ResponseBodyError {
    /// Nothing came for `timeout.idle` of the upstream.
    #[error("the server sent nothing for too long")]
    Idle,
    /// The route's `timeout` has passed.
    #[error("the request took too long")]
    Deadline,
    /// The server's connection broke.
    #[error("the server broke off")]
    Broken,
}

impl ResponseBody {
    /// Boxed, because it moves through hyper with the response.
    pub(crate) fn new(source: Source, pools: Rc<Pools>, limits: ResponseLimits) -> Box<Self> {
        let Source { incoming, http1, held: _held } = source;
        let ResponseLimits { timer, idle, deadline, arrived: seen } = limits;
        let waits_until = None;
        let mut body = Box::new(Self {
            incoming,
            http1,
            pools,
            timer,
            idle,
            waits_until,
            deadline,
            seen,
            _held,
        });
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(http1) = self.http1.take() {
            self.pools.give_back(http1, self.seen);
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let incoming = &mut self.incoming;
        match &mut self.http1 {
            Some(http1) => {
                http1.drive(cx, First::Caller, |cx| Pin::new(&mut *incoming).poll_frame(cx))
            }
            None => Pin::new(incoming).poll_frame(cx),
        }
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<ResponseBodyError> {
        let idle_end = match self.waits_until {
            Some(end) => end,
            None => {
                self.seen = Instant::now();
                *self.waits_until.insert(self.seen + self.idle)
            }
        };
        match self.deadline {
            Some(deadline) if deadline < idle_end => {
                self.timer.poll(cx, deadline).map(|()| ResponseBodyError::Deadline)
            }
            Some(_) | None => self.timer.poll(cx, idle_end).map(|()| ResponseBodyError::Idle),
        }
    }
}

/// The time limits of a response body.
pub(crate) struct ResponseLimits {
    /// The request's timer.
    pub(crate) timer: Timer,
    /// `timeout.idle` of the upstream.
    pub(crate) idle: Duration,
    /// The end of the route's `timeout`.
    pub(crate) deadline: Option<Instant>,
    /// When the head of the response came.
    pub(crate) arrived: Instant,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let body = self.get_mut();
        match body.poll_incoming(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                body.waits_until = None;
                if body.incoming.is_end_stream() {
                    body.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => {
                body.http1 = None;
                Poll::Ready(Some(Err(ResponseBodyError::Broken)))
            }
            Poll::Ready(None) => {
                body.give_back();
                Poll::Ready(None)
            }
            Poll::Pending => body.poll_time(cx).map(|error| Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl ResponseBodyError {
    /// The short word for the log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Idle => "upstream-idle",
            Self::Deadline => "deadline",
            Self::Broken => "upstream-broken",
        }
    }
}
