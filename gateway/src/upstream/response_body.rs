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

use super::http1::Http1;
use super::http2::Stream;
use super::pool::Pools;
use crate::deadline::Timer;
use crate::forward::trailing;
use crate::splice::Pipe;

/// A response body that drives the connection it comes from.
pub(crate) struct ResponseBody {
    source: Source,
    pools: Rc<Pools>,
    timer: Timer,
    idle: Duration,
    waits_until: Option<Instant>,
    deadline: Option<Instant>,
    /// When the server was last seen to be busy with it.
    seen: Instant,
}

/// Where a response body comes from.
pub(crate) enum Source {
    /// HTTP/1.1: its connection.
    Http1(Box<Http1>),
    /// HTTP/2: one stream of a connection that is driven by a task of its own.
    Http2 {
        /// hyper's body.
        incoming: Incoming,
        /// The place on the connection.
        _place: Stream,
    },
    /// It has ended, and its connection is in the pool again, or closed.
    Over,
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

impl Source {
    /// Nobody wants it. Its connection can be used again if all of it is here already.
    pub(super) fn discard(self, pools: &Pools, now: Instant) {
        if let Self::Http1(mut http1) = self {
            http1.skip();
            if http1.is_over() {
                pools.give_back(http1, now);
            }
        }
    }
}

impl ResponseBody {
    pub(crate) fn new(source: Source, pools: &Rc<Pools>, limits: ResponseLimits) -> Self {
        let ResponseLimits { timer, idle, deadline, arrived: seen } = limits;
        let pools = Rc::clone(pools);
        let mut body = Self { source, pools, timer, idle, waits_until: None, deadline, seen };
        body.give_back_if_over();
        body
    }

    fn give_back_if_over(&mut self) {
        if !matches!(&self.source, Source::Http1(http1) if http1.is_over()) {
            return;
        }
        if let Source::Http1(http1) = std::mem::replace(&mut self.source, Source::Over) {
            self.pools.give_back(http1, self.seen);
        }
    }

    /// Goes on with the upload. What goes wrong with it shows when the response is read on.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Source::Http1(http1) = &mut self.source {
            drop(http1.poll_send(cx));
        }
    }

    /// The bytes still to come, if they could go into a pipe.
    pub(crate) fn left_for_pipe(&self) -> Option<u64> {
        match &self.source {
            Source::Http1(http1) => http1.left_for_pipe(),
            Source::Http2 { .. } | Source::Over => None,
        }
    }

    /// Moves more into an empty pipe. Only while [`ResponseBody::left_for_pipe`] says how much.
    pub(crate) fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, ResponseBodyError>> {
        let polled = match &mut self.source {
            Source::Http1(http1) => http1.poll_pipe(cx, pipe),
            Source::Http2 { .. } | Source::Over => return Poll::Ready(Ok(0)),
        };
        match polled {
            Poll::Ready(Ok(count)) => {
                self.waits_until = None;
                self.give_back_if_over();
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(_)) => {
                self.source = Source::Over;
                Poll::Ready(Err(ResponseBodyError::Broken))
            }
            Poll::Pending => self.poll_time(cx).map(Err),
        }
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        match &mut self.source {
            Source::Http1(http1) => http1
                .poll_frame(cx)
                .map(|frame| Some(frame?.map_err(|_| ResponseBodyError::Broken))),
            Source::Http2 { incoming, .. } => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| Some(frame?.map_err(|_| ResponseBodyError::Broken))),
            Source::Over => Poll::Ready(None),
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
        let polled = match body.poll_source(cx) {
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {
                Poll::Ready(Some(Ok(trailing(frame))))
            }
            other => other,
        };
        match &polled {
            Poll::Ready(Some(Err(_))) => body.source = Source::Over,
            Poll::Ready(Some(Ok(_)) | None) => {
                body.waits_until = None;
                body.give_back_if_over();
            }
            Poll::Pending => return body.poll_time(cx).map(|error| Some(Err(error))),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http1(http1) => http1.is_over(),
            Source::Http2 { incoming, .. } => incoming.is_end_stream(),
            Source::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1(http1) => http1.size_hint(),
            Source::Http2 { incoming, .. } => incoming.size_hint(),
            Source::Over => SizeHint::with_exact(0),
        }
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
