//! The body of a request as it comes from a client, whatever version of HTTP it speaks.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::http1::wire::{BodyBroken, WireBody};
use crate::splice::Pipe;

/// See the module.
pub(crate) enum Incoming {
    /// There is none.
    Empty,
    /// HTTP/1: read from the connection by whoever polls it.
    Http1(WireBody),
    /// HTTP/2: handed over by the connection's own task.
    Http2(hyper::body::Incoming),
}

impl Incoming {
    /// The bytes still to come, if they could go into a pipe.
    pub(crate) fn left_for_pipe(&self) -> Option<u64> {
        match self {
            Self::Http1(body) => body.left_for_pipe(),
            Self::Empty | Self::Http2(_) => None,
        }
    }

    /// Moves more into an empty pipe. Only while [`Incoming::left_for_pipe`] says how much.
    pub(crate) fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BodyBroken>> {
        match self {
            Self::Http1(body) => body.poll_pipe(cx, pipe),
            Self::Empty | Self::Http2(_) => Poll::Ready(Err(BodyBroken)),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => body.poll_frame(cx),
            Self::Http2(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| Some(frame?.map_err(|_| BodyBroken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
