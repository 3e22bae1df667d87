//! A client's HTTP/1 connection: what is read of requests, and what is written of responses.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request;
use http_body::{Frame, SizeHint};
use thiserror::Error;

use super::chunked::{Chunked, Piece};
use super::input::Input;
use super::lines::{HeadLimits, Kind, Lines};
use super::output::Output;
use super::request_head::{self, BodyKind, Told};
use crate::refusal::WireRefusal;
use crate::socket::Socket;
use crate::splice::Pipe;

/// A connection between two heads, or within a request.
pub(crate) struct Wire {
    /// Not once the connection has been taken apart.
    socket: Option<Socket>,
    pub(crate) output: Output,
    pub(crate) reading: Reading,
    /// Counts requests: the body of one that has ended must not read that of the next.
    epoch: u64,
    /// The final response of the request that is under way has begun to go out.
    responding: bool,
    link: Rc<Link>,
}

/// What the wire tells those who do not read from it.
#[derive(Default)]
pub(crate) struct Link {
    /// Why no more is read of the body of the request that is under way: that request answers it.
    pub(crate) body_refusal: Cell<Option<WireRefusal>>,
}

/// How far what the client sends has been read.
pub(crate) struct Reading {
    pub(crate) input: Input,
    limits: HeadLimits,
    lines: Lines,
    body: BodyState,
    /// The client waits for 100.
    expects: bool,
}

/// What is still to come of the body of the request that is under way.
#[derive(Debug)]
enum BodyState {
    /// Nothing: the next byte begins a head.
    Over,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<Chunked>),
    /// Nobody knows: it was refused, or broke off.
    Broken,
}

/// The client has gone, its connection broke, or its chunks are malformed.
#[derive(Clone, Copy, Debug, Error)]
#[error("the body broke off")]
pub(crate) struct BodyBroken;

/// What there is of a body.
enum Step {
    Data(Bytes),
    Trailers(http::HeaderMap),
    End,
    Missing,
}

impl Reading {
    pub(crate) fn new(input: Input, limits: HeadLimits) -> Self {
        let lines = Lines::new(Kind::Message);
        Self { input, limits, lines, body: BodyState::Over, expects: false }
    }

    /// The next request, read into `parts` if its head is complete. Only when the body before it is over.
    pub(crate) fn next_head(
        &mut self,
        parts: &mut request::Parts,
    ) -> Result<Option<Told>, WireRefusal> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let Some(length) = self.lines.scan(self.input.bytes(), self.limits)? else {
            return Ok(None);
        };
        let told = request_head::parse(&self.input.take(length), &self.lines, parts)?;
        self.lines.clear();
        self.expects = told.expects;
        self.body = match told.body {
            BodyKind::None => BodyState::Over,
            BodyKind::Length(length) => BodyState::Length(length),
            BodyKind::Chunked => BodyState::Chunked(Box::new(Chunked::new(self.limits))),
        };
        Ok(Some(told))
    }

    /// Whether nothing has come that could be the start of a request. Some clients send an empty line behind a body.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.input.bytes(), b"" | b"\r" | b"\r\n")
    }

    /// Whether the body of the request has come to its end.
    pub(crate) fn body_is_over(&self) -> bool {
        matches!(self.body, BodyState::Over)
    }

    /// Throws away what has come of a body that nobody wants. Returns whether that was all of it.
    pub(crate) fn skip_body(&mut self) -> bool {
        loop {
            match self.step() {
                Ok(Step::Data(_) | Step::Trailers(_)) => {}
                Ok(Step::End) => return true,
                Ok(Step::Missing) | Err(_) => return false,
            }
        }
    }

    fn step(&mut self) -> Result<Step, WireRefusal> {
        match &mut self.body {
            BodyState::Over => Ok(Step::End),
            BodyState::Broken => Ok(Step::Missing),
            BodyState::Length(_) if self.input.is_empty() => Ok(Step::Missing),
            BodyState::Length(left) => {
                let data = self.input.take_of(left);
                if *left == 0 {
                    self.body = BodyState::Over;
                }
                Ok(Step::Data(data))
            }
            BodyState::Chunked(chunked) => match chunked.next(&mut self.input) {
                Ok(Piece::Missing) => Ok(Step::Missing),
                Ok(Piece::Data(data)) => Ok(Step::Data(data)),
                Ok(Piece::End(trailers)) => {
                    self.body = BodyState::Over;
                    Ok(trailers.map_or(Step::End, Step::Trailers))
                }
                Err(refusal) => {
                    self.body = BodyState::Broken;
                    Err(refusal)
                }
            },
        }
    }

    /// The bytes still to come, if they are known.
    fn length(&self) -> Option<u64> {
        match self.body {
            BodyState::Over => Some(0),
            BodyState::Length(left) => Some(left),
            BodyState::Chunked(_) | BodyState::Broken => None,
        }
    }
}

impl Wire {
    pub(crate) fn new(socket: Socket, reading: Reading, link: Rc<Link>) -> Self {
        Self {
            socket: Some(socket),
            output: Output::default(),
            reading,
            epoch: 0,
            responding: false,
            link,
        }
    }

    /// The next request, read into `parts` if its head is complete.
    pub(crate) fn next_head(
        &mut self,
        parts: &mut request::Parts,
    ) -> Result<Option<Told>, WireRefusal> {
        let told = self.reading.next_head(parts)?;
        self.epoch += u64::from(told.is_some());
        self.responding = false;
        Ok(told)
    }

    /// The socket, what was read beyond the last request, and whether that had come to its end. A body that is still held
    /// somewhere finds that the client has gone.
    pub(crate) fn take_apart(&mut self) -> Option<(Socket, Vec<u8>, bool)> {
        let rest = self.reading.input.bytes().to_vec();
        self.socket.take().map(|socket| (socket, rest, self.reading.body_is_over()))
    }

    /// Reads more; 0 is the end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Some(socket) => self.reading.input.poll_fill(cx, socket),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// Whether what is written could come from a pipe.
    pub(crate) fn takes_pipe(&self) -> bool {
        matches!(self.socket, Some(Socket::Tcp(_)))
    }

    /// From here on only the response is written.
    pub(crate) fn begin_response(&mut self) -> &mut Vec<u8> {
        self.responding = true;
        self.reading.expects = false;
        self.output.gather()
    }

    /// Writes what is there to be written.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Some(socket) => self.output.poll_write(cx, socket),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Whether the client has gone while it is not its turn to say anything. What it says all the same waits.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.reading.body_is_over() || !self.reading.input.is_empty() {
            return Poll::Pending;
        }
        match self.poll_fill(cx) {
            Poll::Ready(Ok(count)) if count > 0 => Poll::Pending,
            Poll::Ready(Ok(_) | Err(_)) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The bytes of the body still to come, if nothing of it was read and they could go into a pipe.
    fn left_for_pipe(&self) -> Option<u64> {
        match self.reading.body {
            BodyState::Length(left) => {
                let read = self.reading.expects || !self.reading.input.is_empty();
                (self.takes_pipe() && !read).then_some(left)
            }
            BodyState::Over | BodyState::Chunked(_) | BodyState::Broken => None,
        }
    }

    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BodyBroken>> {
        let (BodyState::Length(left), Some(Socket::Tcp(stream))) =
            (&mut self.reading.body, &self.socket)
        else {
            return Poll::Ready(Err(BodyBroken));
        };
        let Ok(count @ 1..) = ready!(pipe.poll_fill(cx, stream, *left)) else {
            self.reading.body = BodyState::Broken;
            return Poll::Ready(Err(BodyBroken));
        };
        *left -= count as u64;
        if *left == 0 {
            self.reading.body = BodyState::Over;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        if matches!(self.reading.body, BodyState::Broken) {
            // Whoever asks again must not make us read on: nobody would take it.
            return Poll::Ready(Some(Err(BodyBroken)));
        }
        if std::mem::take(&mut self.reading.expects) && self.reading.input.is_empty() {
            // Somebody wants the body now (RFC 9110, section 10.1.1).
            self.output.gather().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        // Once the response has begun, whoever writes it waits for the socket.
        let says_100 = !self.responding && !self.output.is_empty();
        if says_100 && matches!(self.poll_write(cx), Poll::Ready(Err(_))) {
            self.reading.body = BodyState::Broken;
            return Poll::Ready(Some(Err(BodyBroken)));
        }
        loop {
            match self.reading.step() {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Step::Trailers(fields)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(fields))));
                }
                Ok(Step::End) => return Poll::Ready(None),
                Ok(Step::Missing) => {}
                Err(refusal) => {
                    self.link.body_refusal.set(Some(refusal));
                    return Poll::Ready(Some(Err(BodyBroken)));
                }
            }
            if let BodyState::Length(left) = self.reading.body {
                self.reading.input.expect(left);
            }
            if !matches!(ready!(self.poll_fill(cx)), Ok(count) if count > 0) {
                self.reading.body = BodyState::Broken;
                return Poll::Ready(Some(Err(BodyBroken)));
            }
        }
    }
}

/// The body of a request over HTTP/1: reads from its connection as it is polled.
pub(crate) struct WireBody {
    wire: Rc<RefCell<Wire>>,
    epoch: u64,
}

impl WireBody {
    pub(crate) fn new(wire: &Rc<RefCell<Wire>>) -> Self {
        let epoch = wire.borrow().epoch;
        Self { wire: Rc::clone(wire), epoch }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        let mut wire = self.wire.borrow_mut();
        if wire.epoch == self.epoch { wire.poll_body(cx) } else { Poll::Ready(None) }
    }

    /// The bytes still to come, if they could go into a pipe.
    pub(crate) fn left_for_pipe(&self) -> Option<u64> {
        let wire = self.wire.borrow();
        if wire.epoch == self.epoch { wire.left_for_pipe() } else { None }
    }

    /// Moves more into an empty pipe. Only while [`WireBody::left_for_pipe`] says how much.
    pub(crate) fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BodyBroken>> {
        self.wire.borrow_mut().poll_pipe(cx, pipe)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let wire = self.wire.borrow();
        wire.epoch != self.epoch || wire.reading.body_is_over()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let wire = self.wire.borrow();
        let length = if wire.epoch == self.epoch { wire.reading.length() } else { Some(0) };
        length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests;
