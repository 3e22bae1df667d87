//! The body of a request on its way to a server: bounded, timed, counted.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use plugins::{Refusal, Transform};
use thiserror::Error;
use tokio::time::Instant;

use crate::deadline::Timer;
use crate::incoming::Incoming;
use crate::splice::{Pipe, Pipes};

/// A request body as a server gets it.
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// A plugin asked for it whole.
    Whole(Option<Bytes>),
    /// It streams through.
    Streaming(Box<Streaming>),
}

/// A streaming request body and what it is held to.
pub(crate) struct Streaming {
    incoming: Incoming,
    limits: BodyLimits,
    timer: Timer,
    received: Rc<Cell<u64>>,
    fate: Rc<Fate>,
    window: Option<Window>,
    transforms: Vec<Box<dyn Transform>>,
    ended: bool,
    pipes: Rc<Pipes>,
}

/// What can still be seen of a body that was given away to be sent.
#[derive(Default)]
pub(crate) struct Fate {
    /// When the client's last piece came.
    last_piece: Cell<Option<Instant>>,
    /// Why it ended early; hyper does not tell.
    failed: Cell<Option<BodyError>>,
}

impl Fate {
    /// When the client's last piece came.
    pub(super) fn last_piece(&self) -> Option<Instant> {
        self.last_piece.get()
    }

    /// Why it ended early; told once.
    pub(super) fn take_failure(&self) -> Option<BodyError> {
        self.failed.take()
    }
}

/// What happens to a streaming body on its way.
pub(crate) struct Changes {
    /// Plugins that read it.
    pub(crate) transforms: Vec<Box<dyn Transform>>,
    /// If there are none of those, it may go by a pipe.
    pub(crate) pipes: Rc<Pipes>,
}

/// What a request body is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// `body-limit` of the route, in bytes.
    pub(crate) bytes: Option<u64>,
    /// `limits.receive-rate`, in bytes per second.
    pub(crate) rate: u64,
    /// `limits.receive-grace`.
    pub(crate) grace: Duration,
}

/// A stretch of time in which the client lets us wait.
#[derive(Debug)]
struct Window {
    end: Instant,
    bytes: u64,
    waited: bool,
}

/// Why a request body ends early.
#[derive(Clone, Debug, Error)]
pub(crate) enum BodyError {
    /// More bytes than the route takes.
    #[error("the body is longer than the limit")]
    TooLong,
    /// Slower than `limits.receive-rate`.
    #[error("the body comes too slowly")]
    TooSlow,
    /// The client's stream broke, or its framing is malformed.
    #[error("the body broke off")]
    Broken,
    /// A plugin's transform refused it.
    #[error("refused by a plugin: {}", .0.reason)]
    Refused(Arc<Refusal>),
}

impl RequestBody {
    /// A body that streams from the client.
    pub(crate) fn streaming(
        incoming: Incoming,
        limits: BodyLimits,
        timer: Timer,
        received: Rc<Cell<u64>>,
        changes: Changes,
    ) -> Self {
        let Changes { transforms, pipes } = changes;
        let window = None;
        let ended = false;
        let fate = Rc::default();
        Self::Streaming(Box::new(Streaming {
            incoming,
            limits,
            timer,
            received,
            fate,
            window,
            transforms,
            ended,
            pipes,
        }))
    }

    /// What can be seen of it once it is given away, if it streams.
    pub(super) fn fate(&self) -> Option<Rc<Fate>> {
        match self {
            Self::Streaming(streaming) => Some(Rc::clone(&streaming.fate)),
            Self::Empty | Self::Whole(_) => None,
        }
    }

    /// The bytes still to come, if nobody has to read them.
    pub(super) fn left_for_pipe(&self) -> Option<u64> {
        match self {
            Self::Streaming(streaming) if streaming.transforms.is_empty() => {
                streaming.incoming.left_for_pipe()
            }
            Self::Streaming(_) | Self::Empty | Self::Whole(_) => None,
        }
    }

    /// A pipe for them.
    pub(super) fn lend_pipe(&self) -> Option<Pipe> {
        match self {
            Self::Streaming(streaming) => streaming.pipes.lend(),
            Self::Empty | Self::Whole(_) => None,
        }
    }

    /// Moves more into an empty pipe. Only while [`RequestBody::left_for_pipe`] says how much.
    pub(super) fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Result<Poll<()>, BodyError> {
        let Self::Streaming(streaming) = self else { return Err(BodyError::Broken) };
        let polled = streaming.poll_pipe(cx, pipe);
        if let Err(error) = &polled {
            streaming.fate.failed.set(Some(error.clone()));
        }
        polled
    }

    /// Whether it comes from the client as it is sent.
    pub(crate) fn is_streaming(&self) -> bool {
        matches!(self, Self::Streaming(_))
    }

    /// Whether it could be sent a second time.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                ready!(self.poll_rate(cx))?;
                return Poll::Pending;
            };
            let frame = match frame {
                None => return Poll::Ready(self.end()),
                Some(Err(_)) => return Poll::Ready(Some(Err(BodyError::Broken))),
                Some(Ok(frame)) => frame,
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return Poll::Ready(Some(Ok(crate::forward::trailing(frame)))),
            };
            self.count(data.len() as u64)?;
            let data = crate::chain::transform(&mut self.transforms, data).map_err(refused)?;
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn poll_pipe(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Result<Poll<()>, BodyError> {
        match self.incoming.poll_pipe(cx, pipe) {
            Poll::Ready(Ok(count)) => self.count(count as u64).map(Poll::Ready),
            Poll::Ready(Err(_)) => Err(BodyError::Broken),
            Poll::Pending => match self.poll_rate(cx) {
                Poll::Ready(slow) => slow.map(|()| Poll::Pending),
                Poll::Pending => Ok(Poll::Pending),
            },
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), BodyError> {
        self.received.set(self.received.get() + bytes);
        self.fate.last_piece.set(Some(Instant::now()));
        match &mut self.window {
            Some(window) if window.waited => {
                window.bytes += bytes;
                window.waited = false;
            }
            // It was there before we asked: the client is not what holds things up.
            window => *window = None,
        }
        match self.limits.bytes {
            Some(limit) if self.received.get() > limit => Err(BodyError::TooLong),
            Some(_) | None => Ok(()),
        }
    }

    fn poll_rate(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let BodyLimits { rate, grace, .. } = self.limits;
        loop {
            let window = self.window.get_or_insert_with(|| Window {
                end: Instant::now() + grace,
                bytes: 0,
                waited: true,
            });
            window.waited = true;
            ready!(self.timer.poll(cx, window.end));
            let owed = u128::from(rate) * grace.as_millis() / 1000;
            if u128::from(window.bytes) < owed.max(1) {
                return Poll::Ready(Err(BodyError::TooSlow));
            }
            self.window = None;
        }
    }

    /// Each transform's rest passes through those after it.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        if std::mem::replace(&mut self.ended, true) || self.transforms.is_empty() {
            return None;
        }
        match crate::chain::end_transforms(&mut self.transforms) {
            Ok(rest) if rest.is_empty() => None,
            Ok(rest) => Some(Ok(Frame::data(rest))),
            Err(refusal) => Some(Err(refused(refusal))),
        }
    }
}

fn refused(refusal: Box<Refusal>) -> BodyError {
    BodyError::Refused(Arc::from(refusal))
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streaming(streaming) => {
                let polled = streaming.poll(cx);
                if let Poll::Ready(Some(Err(error))) = &polled {
                    streaming.fate.failed.set(Some(error.clone()));
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streaming(streaming) => {
                streaming.transforms.is_empty() && streaming.incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streaming(streaming) if streaming.transforms.is_empty() => {
                streaming.incoming.size_hint()
            }
            Self::Streaming(_) => SizeHint::default(),
        }
    }
}
