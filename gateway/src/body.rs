//! The body of a response on its way to the client; its end is the end of the request.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, response};
use http_body::{Frame, SizeHint};
use plugins::Transform;

use crate::chain;
use crate::finish::Finish;
use crate::splice::Pipe;
use crate::upstream::response_body::{ResponseBody, ResponseBodyError};

/// A response body, and the end of its request.
pub(crate) struct Body {
    payload: Payload,
    finish: Box<Finish>,
}

/// Where the bytes come from.
pub(crate) enum Payload {
    /// There are none.
    Empty,
    /// They are here.
    Whole(Bytes),
    /// They stream from a server.
    Upstream(Box<ResponseBody>),
    /// They stream from a server and are changed on the way.
    Changed(Box<Changed>),
}

/// A streaming body with transforms.
pub(crate) struct Changed {
    body: Box<ResponseBody>,
    transforms: Vec<Box<dyn Transform>>,
    /// Trailers that came before the transforms' rest went out.
    waiting: VecDeque<Frame<Bytes>>,
    ended: bool,
}

impl Changed {
    pub(crate) fn new(body: Box<ResponseBody>, transforms: Vec<Box<dyn Transform>>) -> Self {
        Self { body, transforms, waiting: VecDeque::new(), ended: false }
    }

    /// More transforms, after those it has.
    pub(crate) fn add(&mut self, transforms: Vec<Box<dyn Transform>>) {
        self.transforms.extend(transforms);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match std::task::ready!(http_body::Body::poll_frame(Pin::new(&mut *self.body), cx)) {
                None => self.end(None)?,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.change(data)?,
                    Err(trailers) => self.end(Some(trailers))?,
                },
            }
        }
    }

    fn change(&mut self, data: Bytes) -> Result<(), ResponseBodyError> {
        let changed = chain::transform(&mut self.transforms, data);
        self.push(changed.map_err(|_| ResponseBodyError::Broken)?);
        Ok(())
    }

    fn end(&mut self, trailers: Option<Frame<Bytes>>) -> Result<(), ResponseBodyError> {
        self.ended = true;
        let rest = chain::end_transforms(&mut self.transforms);
        self.push(rest.map_err(|_| ResponseBodyError::Broken)?);
        self.waiting.extend(trailers);
        Ok(())
    }

    fn push(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.waiting.push_back(Frame::data(data));
        }
    }
}

impl http_body::Body for Changed {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        self.get_mut().poll(cx)
    }
}

impl Body {
    /// The body of the response that `finish` waits for.
    pub(crate) fn new(payload: Payload, mut finish: Box<Finish>) -> Self {
        finish.complete |= payload.is_end();
        Self { payload, finish }
    }

    /// The head of the response.
    pub(crate) fn head(&self) -> &response::Parts {
        &self.finish.head
    }

    /// Takes the head out, for those who send it by itself.
    pub(crate) fn take_head(&mut self) -> response::Parts {
        let (empty, ()) = Response::new(()).into_parts();
        std::mem::replace(&mut self.finish.head, empty)
    }

    /// The end of the request, for what takes over from HTTP.
    pub(crate) fn into_finish(self) -> Box<Finish> {
        self.finish
    }

    /// Nobody asks for it: the response has none.
    pub(crate) fn forgo(&mut self) {
        self.finish.complete = true;
    }

    /// Goes on with what is still sent of the request, while nothing more of the response is wanted.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        match &mut self.payload {
            Payload::Upstream(body) => body.poll_upload(cx),
            Payload::Changed(changed) => changed.body.poll_upload(cx),
            Payload::Empty | Payload::Whole(_) => {}
        }
    }

    /// The bytes still to come, if nobody has to read them.
    pub(crate) fn left_for_pipe(&self) -> Option<u64> {
        match &self.payload {
            Payload::Upstream(body) => body.left_for_pipe(),
            Payload::Empty | Payload::Whole(_) | Payload::Changed(_) => None,
        }
    }

    /// Moves more into an empty pipe. Only while [`Body::left_for_pipe`] says how much.
    pub(crate) fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<(), ResponseBodyError>> {
        let Self { payload, finish } = self;
        let Payload::Upstream(body) = payload else { return Poll::Ready(Ok(())) };
        let moved = std::task::ready!(body.poll_pipe(cx, pipe));
        match moved {
            Ok(count) => {
                finish.bytes_out += count as u64;
                finish.complete |= payload.is_end();
            }
            Err(error) => finish.reason = error.reason(),
        }
        Poll::Ready(moved.map(drop))
    }

    /// Not all of what was handed over has reached the client.
    pub(crate) fn break_off(&mut self) {
        self.finish.complete = false;
    }
}

impl Payload {
    fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Upstream(body) => http_body::Body::is_end_stream(&**body),
            Self::Changed(changed) => changed.ended && changed.waiting.is_empty(),
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Upstream(body) => http_body::Body::poll_frame(Pin::new(&mut **body), cx),
            Self::Changed(changed) => changed.poll(cx),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let Self { payload, finish } = self.get_mut();
        let polled = payload.poll(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                finish.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                finish.complete |= payload.is_end();
            }
            Poll::Ready(Some(Err(error))) => finish.reason = error.reason(),
            Poll::Ready(None) => finish.complete = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.payload.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.payload {
            Payload::Empty => SizeHint::with_exact(0),
            Payload::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Payload::Upstream(body) => http_body::Body::size_hint(&**body),
            Payload::Changed(_) => SizeHint::default(),
        }
    }
}
