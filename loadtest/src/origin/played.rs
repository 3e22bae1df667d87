//! The bodies of answers: sent at once, in pieces, slowly, up to a break, with trailers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::script::{Pace, WAIT_MAX};
use super::wire::Orders;
use crate::body::Body;
use crate::digest;

/// Before a break the bytes sent so far get this long to reach the client: a reset discards what still waits in the kernel.
const BEFORE_BREAK: Duration = Duration::from_millis(10);

/// The body of an answer.
pub(super) enum AnswerBody {
    Plain(Body),
    Played(Box<Played>),
}

/// The body ends here, as asked for.
#[derive(Debug, thiserror::Error)]
#[error("the body breaks off, as its request asked")]
pub(super) struct Broken;

/// A body that is more than its bytes.
pub(super) struct Played {
    pub(super) source: Source,
    pub(super) pace: Pace,
    /// Bytes left before the connection ends in mid-body.
    pub(super) before_break: Option<u64>,
    /// How it then ends.
    pub(super) end: End,
    /// The socket of an HTTP/1.1 connection; over HTTP/2 only the stream ends.
    pub(super) orders: Option<Arc<Orders>>,
    pub(super) length: Length,
    pub(super) trailers: Option<HeaderMap>,
    chunk: Bytes,
    wait: Option<Pin<Box<Sleep>>>,
    breaking: Option<Instant>,
}

/// Where the bytes come from.
pub(super) enum Source {
    Body(Body),
    /// The same message, so many times.
    Messages {
        message: Bytes,
        left: u32,
    },
}

/// Whether the length is told before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Told,
    Open,
}

/// How a connection ends in mid-body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Reset,
    Orderly,
}

impl Played {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            pace: Pace::AtOnce,
            before_break: None,
            end: End::Orderly,
            orders: None,
            length: Length::Told,
            trailers: None,
            chunk: Bytes::new(),
            wait: None,
            breaking: None,
        }
    }

    /// Takes the next piece off the chunk.
    fn piece(&mut self) -> Bytes {
        let bytes = match self.pace {
            Pace::AtOnce => self.chunk.len(),
            Pace::Trickle { bytes } | Pace::Drip { bytes, .. } => bytes.min(self.chunk.len()),
        };
        let left = self.before_break.and_then(|left| usize::try_from(left).ok());
        let piece = self.chunk.split_to(bytes.min(left.unwrap_or(bytes)));
        if let Some(left) = &mut self.before_break {
            *left -= piece.len() as u64;
        }
        if let Pace::Drip { every, .. } = self.pace {
            self.wait = Some(Box::pin(sleep(every)));
        }
        piece
    }

    /// Waits until what was sent so far has left us, as far as can be seen, and breaks.
    fn poll_break(&mut self, context: &mut Context<'_>) -> Poll<Broken> {
        let begun = *self.breaking.get_or_insert_with(|| {
            self.orders.iter().for_each(|orders| orders.watch());
            Instant::now()
        });
        let flushed = self.orders.as_ref().is_none_or(|orders| orders.flushed());
        if begun.elapsed() < BEFORE_BREAK || !flushed && begun.elapsed() < WAIT_MAX {
            let mut wait = Box::pin(sleep(BEFORE_BREAK));
            // Asks to be woken, and is never ready at once.
            let pending = wait.as_mut().poll(context);
            self.wait = Some(wait);
            ready!(pending);
        }
        if let (End::Reset, Some(orders)) = (self.end, &self.orders) {
            orders.reset();
        }
        Poll::Ready(Broken)
    }
}

impl Source {
    fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Body(body) => body.next(),
            Self::Messages { left: 0, .. } => None,
            Self::Messages { message, left } => {
                *left -= 1;
                Some(message.clone())
            }
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Body(body) => body.bytes(),
            Self::Messages { message, left } => message.len() as u64 * u64::from(*left),
        }
    }
}

impl AnswerBody {
    /// How long it is, before any of it is sent.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Plain(body) => body.bytes(),
            Self::Played(played) => played.source.bytes(),
        }
    }

    /// Of the whole body that is meant; `None` where that would take too long.
    pub(super) fn hash(&self) -> Option<u64> {
        let body = match self {
            Self::Plain(body) => body,
            Self::Played(played) => match &played.source {
                Source::Body(body) => body,
                Source::Messages { message, left: 1 } => return Some(digest::hash(message)),
                Source::Messages { .. } => return None,
            },
        };
        match body {
            Body::Text(text) => Some(digest::hash(text.as_deref().unwrap_or_default())),
            Body::Pattern(length) => digest::hash_of_pattern(*length),
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let played = match self.get_mut() {
            Self::Plain(body) => {
                return Poll::Ready(body.next().map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Played(played) => played,
        };
        if let Some(wait) = &mut played.wait {
            ready!(wait.as_mut().poll(context));
            played.wait = None;
        }
        if played.before_break == Some(0) {
            return played.poll_break(context).map(|broken| Some(Err(broken)));
        }
        if played.chunk.is_empty() {
            played.chunk = played.source.next().unwrap_or_default();
        }
        Poll::Ready(match played.chunk.is_empty() {
            false => Some(Ok(Frame::data(played.piece()))),
            true => played.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Played(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Played(played) if played.length == Length::Told => {
                SizeHint::with_exact(played.source.bytes() + played.chunk.len() as u64)
            }
            Self::Played(_) => SizeHint::default(),
        }
    }
}
