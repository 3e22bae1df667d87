//! What is still to be sent of a request's body to a server that speaks HTTP/1.1.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body as _, Frame};

use super::request_body::{BodyError, RequestBody};
use crate::http1::output::{Coding, Output};
use crate::http1::request_head::Framing;
use crate::socket::Socket;
use crate::splice::{self, Piped};

/// See the module.
pub(super) struct Upload {
    body: RequestBody,
    coding: Coding,
    piped: Piped,
    /// Something of it was taken, so the request cannot be sent again.
    begun: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    Goes,
    /// All of it was given to be written.
    Over,
}

impl Upload {
    /// Nothing, if the request has no body.
    pub(super) fn new(body: RequestBody, framing: Framing, to: &Socket) -> Option<Self> {
        let piped = match (framing, to) {
            (Framing::Length(length), Socket::Tcp(_)) if length >= splice::LONG => Piped::Yes,
            (Framing::None | Framing::Length(_) | Framing::Chunked, _) => Piped::No,
        };
        let coding = match framing {
            Framing::None => return None,
            Framing::Length(_) => Coding::Plain,
            Framing::Chunked => Coding::Chunked,
        };
        Some(Self { body, coding, piped, begun: false })
    }

    /// The body, if it could be sent once more.
    pub(super) fn into_unsent(self) -> Option<RequestBody> {
        (!self.begun).then_some(self.body)
    }

    /// Adds what there is, as far as it may wait together to be written.
    pub(super) fn poll_into(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Output,
    ) -> Result<Progress, BodyError> {
        while output.has_room() {
            if self.piped == Piped::Yes && self.body.left_for_pipe().is_some() {
                match self.poll_pipe(cx, output)? {
                    Poll::Ready(()) => continue,
                    Poll::Pending => break,
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { break };
            self.begun = true;
            let trailers: Option<HeaderMap> = match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    output.add(data, self.coding);
                    continue;
                }
                Some(Err(trailers)) => trailers.into_trailers().ok(),
                None => None,
            };
            output.end(self.coding, trailers.as_ref());
            output.give_back_pipe();
            return Ok(Progress::Over);
        }
        Ok(Progress::Goes)
    }

    /// Moves a part of the body from socket to socket. Without a pipe the rest is read.
    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Output,
    ) -> Result<Poll<()>, BodyError> {
        let Some(pipe) = output.pipe(|| self.body.lend_pipe()) else {
            self.piped = Piped::No;
            return Ok(Poll::Ready(()));
        };
        let polled = self.body.poll_pipe(cx, pipe)?;
        self.begun |= polled.is_ready();
        Ok(polled)
    }
}
