//! Notices an HTTP/2 client that takes nothing of what waits for it; for HTTP/1 the wire sees that.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::body::Body;
use crate::upstream::response_body::ResponseBodyError;

/// What the streams of a connection wait for.
#[derive(Debug, Default)]
pub(super) struct Taking {
    /// Streams that have more to send as soon as the client takes it.
    waiting: Cell<u32>,
    /// Pieces the client has taken of all streams, to see progress.
    taken: Cell<u64>,
    /// Since when there is none, and what had been taken by then.
    stuck: Cell<Option<(Instant, u64)>>,
}

impl Taking {
    /// Whether nothing was taken for `patience` although something waits. Asked again and again: time runs from the
    /// first answer on.
    pub(super) fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        if self.waiting.get() == 0 {
            self.stuck.set(None);
            return false;
        }
        match self.stuck.get() {
            Some((since, taken)) if taken == self.taken.get() => now >= since + patience,
            Some(_) | None => {
                self.stuck.set(Some((now, self.taken.get())));
                false
            }
        }
    }
}

/// A response body whose connection is watched. hyper asks for a piece only when the client has room for one, so a body
/// that is not asked waits for the client.
pub(super) struct Watched {
    body: Body,
    taking: Rc<Taking>,
    waits: bool,
}

impl Watched {
    pub(super) fn new(body: Body, taking: &Rc<Taking>) -> Self {
        let mut watched = Self { body, taking: Rc::clone(taking), waits: false };
        watched.set_waits(!http_body::Body::is_end_stream(&watched.body));
        watched
    }

    fn set_waits(&mut self, waits: bool) {
        let waiting = self.taking.waiting.get();
        match (self.waits, waits) {
            (false, true) => self.taking.waiting.set(waiting + 1),
            (true, false) => self.taking.waiting.set(waiting.saturating_sub(1)),
            (false, false) | (true, true) => {}
        }
        self.waits = waits;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.set_waits(false);
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let watched = self.get_mut();
        let polled = Pin::new(&mut watched.body).poll_frame(cx);
        watched.taking.taken.set(watched.taking.taken.get() + 1);
        let more = matches!(polled, Poll::Ready(Some(Ok(_))));
        watched.set_waits(more && !watched.body.is_end_stream());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
