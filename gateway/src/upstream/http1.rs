//! An HTTP/1.1 connection to a server, driven by whoever waits for its response.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, request, response};
use http_body::{Body as _, Frame, SizeHint};
use thiserror::Error;
use tokio::time::Instant;

use super::Server;
use super::request_body::{BodyError, RequestBody};
use super::silence;
use super::upload::{Progress, Upload};
use crate::http1::chunked::{Chunked, Piece};
use crate::http1::input::Input;
use crate::http1::lines::{HeadLimits, Kind, LineEnds, Lines};
use crate::http1::output::Output;
use crate::http1::request_head::{self, Framing};
use crate::http1::response_head::{self, BodyEnd};
use crate::refusal::WireRefusal;
use crate::socket::Socket;
use crate::splice::Pipe;

/// What the head of a response may be: nginx' largest usual buffers for one, several times over.
const LIMITS: HeadLimits =
    HeadLimits { bytes: 64 * 1024, count: 256, line_ends: LineEnds::Lenient };

/// A connection: in the pool, or lent to the one request it serves.
pub(crate) struct Http1 {
    socket: Socket,
    input: Input,
    output: Output,
    /// What is still to be sent of the request's body.
    upload: Option<Upload>,
    /// It was sent whole.
    uploaded: bool,
    reading: Reading,
    lines: Lines,
    /// Nothing more of the request goes out: its client broke off, or the server takes no more, which may have answered
    /// before.
    hung_up: bool,
    /// The last response had no body where another reader may expect one (HEAD, 204, 304): a server that sends it all the
    /// same would answer the next request with it.
    doubtful: bool,
    /// Whom it leads to.
    pub(crate) server: Arc<Server>,
    /// When it came to rest; for the pool.
    pub(super) idle_since: Instant,
}

/// How far the response has been read.
#[derive(Debug)]
enum Reading {
    /// Its head is to come.
    Head { to_head: bool },
    /// So many bytes of its body.
    Length { left: u64, after: After },
    /// Chunks.
    Chunked { chunked: Box<Chunked>, after: After },
    /// Everything until the server closes.
    UntilClose,
    /// All of it.
    Over(After),
}

/// What becomes of the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// It can be used again.
    Stays,
    /// The server closes it, or speaks something else on it.
    Ends,
}

/// Why there is no response, or not all of it.
#[derive(Debug, Error)]
pub(crate) enum Http1Error {
    /// The connection ended before the response did.
    #[error("the connection ended")]
    Closed,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no response.
    #[error("not a response of HTTP/1: {}", .0.detail())]
    Malformed(WireRefusal),
    /// The request's body ended early.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl From<WireRefusal> for Http1Error {
    fn from(refusal: WireRefusal) -> Self {
        Self::Malformed(refusal)
    }
}

impl Http1 {
    pub(super) fn new(socket: Socket, server: Arc<Server>) -> Box<Self> {
        Box::new(Self {
            socket,
            input: Input::new(),
            output: Output::default(),
            upload: None,
            uploaded: false,
            reading: Reading::Over(After::Stays),
            lines: Lines::new(Kind::Message),
            hung_up: false,
            doubtful: false,
            server,
            idle_since: Instant::now(),
        })
    }

    /// Begins a request: its head is written with the first [`Http1::poll_head`].
    pub(super) fn begin(&mut self, parts: &request::Parts, host: &HeaderValue, body: RequestBody) {
        let framing = match body.size_hint().exact() {
            _ if body.is_end_stream() && body.is_empty() => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        request_head::write(self.output.gather(), parts, host, framing);
        self.upload = Upload::new(body, framing, &self.socket);
        self.uploaded = false;
        self.reading = Reading::Head { to_head: parts.method == Method::HEAD };
    }

    /// Sends the request and waits for the head of its response.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut response::Parts,
    ) -> Poll<Result<(), Http1Error>> {
        loop {
            self.poll_send(cx)?;
            if self.next_head(head)? {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.input.poll_fill(cx, &mut self.socket))? == 0 {
                return Poll::Ready(Err(Http1Error::Closed));
            }
        }
    }

    /// Whether nothing of the response has come: the server may not have seen the request.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.reading, Reading::Head { .. }) && self.input.is_empty()
    }

    /// The request's body, if it could be sent once more.
    pub(super) fn take_unsent(&mut self) -> Option<RequestBody> {
        match self.upload.take() {
            Some(upload) => upload.into_unsent(),
            None => (!self.uploaded).then_some(RequestBody::Empty),
        }
    }

    /// Bytes sent so far.
    pub(super) fn written(&self) -> u64 {
        self.output.written()
    }

    /// Sends what can be sent. That the server takes nothing at the moment is no reason not to hear it.
    ///
    /// The head goes first, alone: as long as nothing was taken of the body, all of the request can be sent again.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Http1Error> {
        loop {
            match self.output.poll_write(cx, &mut self.socket) {
                Poll::Ready(Ok(())) => {}
                // Services refuse a long upload and close at once; what is still on its way to them resets the
                // connection. They may have answered before: reading tells.
                Poll::Ready(Err(error)) if is_hang_up(&error) => {
                    self.hung_up = true;
                    self.output.clear();
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => return Ok(()),
            }
            if self.hung_up || self.poll_upload(cx)?.is_pending() {
                return Ok(());
            }
        }
    }

    /// Takes what there is of the body, as far as it may wait together to be written.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Http1Error> {
        if let Some(upload) = &mut self.upload {
            let progress = upload.poll_into(cx, &mut self.output);
            if progress.inspect_err(|_| self.hung_up = true)? == Progress::Over {
                (self.upload, self.uploaded) = (None, true);
            }
        }
        Ok(if self.output.is_empty() { Poll::Pending } else { Poll::Ready(()) })
    }

    /// Whether the head of the response is complete. Interim ones (RFC 9110, section 15.2) are passed over.
    fn next_head(&mut self, head: &mut response::Parts) -> Result<bool, Http1Error> {
        let Reading::Head { to_head } = self.reading else { return Ok(false) };
        loop {
            if self.input.is_empty() {
                return Ok(false);
            }
            let Some(length) = self.lines.scan(self.input.bytes(), LIMITS)? else {
                return Ok(false);
            };
            let facts = response_head::parse(&self.input.take(length), &self.lines, head)?;
            self.lines.clear();
            let status = head.status;
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                continue;
            }
            let after = if facts.persistent { After::Stays } else { After::Ends };
            let body_end = facts.body_end(status, to_head);
            self.doubtful = body_end == BodyEnd::None;
            self.reading = match body_end {
                BodyEnd::Switched => Reading::Over(After::Ends),
                BodyEnd::None => Reading::Over(after),
                BodyEnd::Length(left) => Reading::Length { left, after },
                BodyEnd::Chunked => {
                    Reading::Chunked { chunked: Box::new(Chunked::new(LIMITS)), after }
                }
                BodyEnd::Close => Reading::UntilClose,
            };
            return Ok(true);
        }
    }

    /// The next piece of the response's body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        if self.upload.is_some() || !self.output.is_empty() {
            self.poll_send(cx)?;
        }
        loop {
            match self.step()? {
                Step::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Step::Trailers(trailers) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Step::End => return Poll::Ready(None),
                Step::Missing => {}
            }
            if let Reading::Length { left, .. } = self.reading {
                self.input.expect(left);
            }
            let ended = ready!(self.input.poll_fill(cx, &mut self.socket))? == 0;
            match self.reading {
                Reading::UntilClose if ended => self.reading = Reading::Over(After::Ends),
                _ if ended => return Poll::Ready(Some(Err(Http1Error::Closed))),
                _ => {}
            }
        }
    }

    /// The bytes of the body still to come, if nothing of it was read and they could go into a pipe.
    pub(super) fn left_for_pipe(&self) -> Option<u64> {
        let (Reading::Length { left, .. }, Socket::Tcp(_)) = (&self.reading, &self.socket) else {
            return None;
        };
        let uploads = self.upload.is_some() || !self.output.is_empty();
        (self.input.is_empty() && !uploads).then_some(*left)
    }

    /// Moves more of the body into an empty pipe. Only while [`Http1::left_for_pipe`] says how much.
    pub(super) fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, Http1Error>> {
        let (Reading::Length { left, after }, Socket::Tcp(stream)) =
            (&mut self.reading, &self.socket)
        else {
            return Poll::Ready(Err(Http1Error::Closed));
        };
        let count = ready!(pipe.poll_fill(cx, stream, *left))?;
        if count == 0 {
            return Poll::Ready(Err(Http1Error::Closed));
        }
        *left -= count as u64;
        if *left == 0 {
            self.reading = Reading::Over(*after);
        }
        Poll::Ready(Ok(count))
    }

    fn step(&mut self) -> Result<Step, Http1Error> {
        let missing = self.input.is_empty();
        Ok(match &mut self.reading {
            Reading::Over(_) | Reading::Head { .. } => Step::End,
            Reading::Length { .. } | Reading::UntilClose if missing => Step::Missing,
            Reading::Length { left, after } => {
                let data = self.input.take_of(left);
                if *left == 0 {
                    self.reading = Reading::Over(*after);
                }
                Step::Data(data)
            }
            Reading::Chunked { chunked, after } => match chunked.next(&mut self.input)? {
                Piece::Missing => Step::Missing,
                Piece::Data(data) => Step::Data(data),
                Piece::End(trailers) => {
                    self.reading = Reading::Over(*after);
                    trailers.map_or(Step::End, Step::Trailers)
                }
            },
            Reading::UntilClose => Step::Data(self.input.take(self.input.bytes().len())),
        })
    }

    /// Passes over what has come of the response's body.
    pub(super) fn skip(&mut self) {
        while matches!(self.step(), Ok(Step::Data(_) | Step::Trailers(_))) {}
    }

    /// Whether all of the response has been read.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.reading, Reading::Over(_))
    }

    /// The bytes of the body still to come, if they are known.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.reading {
            Reading::Over(_) => SizeHint::with_exact(0),
            Reading::Length { left, .. } => SizeHint::with_exact(*left),
            Reading::Head { .. } | Reading::Chunked { .. } | Reading::UntilClose => {
                SizeHint::default()
            }
        }
    }

    /// Whether another request may be sent on it: the last one is over on both sides, and nothing came unasked.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.reading, Reading::Over(After::Stays))
            && self.upload.is_none()
            && !self.hung_up
            && self.output.is_empty()
            && self.input.is_empty()
    }

    /// Gives back what memory it does not need while it rests.
    pub(super) fn rest(&mut self, now: Instant) {
        self.input.shrink();
        self.idle_since = now;
    }

    /// Whether it still is, after it rested. Asks the system only if something has happened on its socket.
    pub(super) fn is_still_free(&mut self) -> bool {
        match &self.socket {
            Socket::Tcp(stream) if self.doubtful => silence::is_silent(silence::peek(stream)),
            Socket::Unix(stream) if self.doubtful => silence::is_silent(silence::peek(stream)),
            Socket::Tcp(stream) => silence::is_silent(stream.try_read(&mut [0])),
            Socket::Unix(stream) => silence::is_silent(stream.try_read(&mut [0])),
            // The server may have something to say of the TLS session, which is no part of HTTP.
            Socket::Tls(_) => {
                let mut cx = Context::from_waker(Waker::noop());
                self.input.poll_fill(&mut cx, &mut self.socket).is_pending()
            }
        }
    }

    /// After a 101: the socket, with what was read beyond the response.
    pub(crate) fn into_switched(self: Box<Self>) -> (Socket, Bytes) {
        let Self { socket, mut input, .. } = *self;
        let rest = input.take(input.bytes().len());
        (socket, rest)
    }
}

/// What there is of a response's body.
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    Missing,
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
