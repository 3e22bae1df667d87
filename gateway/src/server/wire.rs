//! The stream between the socket and hyper: lets through what framing passes, and tells the driver how it stands.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Framing;
use super::head::HeadLimits;
use crate::connection::Link;

/// A stream that hands hyper only what is certain to be read one way.
pub(crate) struct Wire<T> {
    stream: T,
    framing: Framing,
    /// Bytes read but not passed: the start of a head that is not complete, or pipelined requests.
    held: Vec<u8>,
    /// How many of them may pass.
    passable: usize,
    link: Rc<Link>,
}

/// How much is read at once while bytes are held; a head that comes in pieces is rare.
const PIECE: usize = 2048;

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// A wire over `stream`, of which `first` was read already.
    pub(crate) fn new(stream: T, first: Vec<u8>, limits: HeadLimits, link: Rc<Link>) -> Self {
        let mut wire =
            Self { stream, framing: Framing::new(limits), held: first, passable: 0, link };
        wire.judge_held();
        wire
    }

    /// The stream, and what was read but never passed.
    pub(crate) fn into_parts(self) -> (T, Vec<u8>) {
        (self.stream, self.held)
    }

    fn judge_held(&mut self) {
        self.passable += self.framing.pass(&self.held[self.passable..]);
        self.tell();
    }

    fn tell(&mut self) {
        self.link.under_way.set(self.link.under_way.get() + self.framing.take_heads());
        if let Some(refusal) = self.framing.refusal() {
            let in_body = self.framing.refused_in_body();
            let place = if in_body { &self.link.body_refusal } else { &self.link.refusal };
            place.set(Some(refusal));
        }
        let waits = self.held.len() > self.passable && self.framing.in_head();
        self.link.head_waits.set(waits);
        self.link.head_begun.set(waits && self.link.under_way.get() == 0);
        self.link.awaits_request.set(self.held.is_empty() && self.framing.in_head());
    }

    fn give_held(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.passable.min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.held.drain(..count);
        self.passable -= count;
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        self.tell();
    }

    /// Reads straight into hyper's buffer; the usual case: one whole head in one read.
    fn read_direct(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Read>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(Read::End));
        }
        let passed = self.framing.pass(fresh);
        let all = passed == fresh.len();
        if !all {
            self.held.extend_from_slice(&fresh[passed..]);
            buf.set_filled(before + passed);
        }
        self.tell();
        Poll::Ready(Ok(if passed > 0 { Read::Some } else { Read::Nothing }))
    }

    fn read_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        let mut piece = [const { std::mem::MaybeUninit::uninit() }; PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        if piece.filled().is_empty() {
            return Poll::Ready(Ok(Read::End));
        }
        self.held.extend_from_slice(piece.filled());
        self.judge_held();
        Poll::Ready(Ok(Read::Nothing))
    }
}

enum Read {
    /// The buffer has new bytes.
    Some,
    /// Bytes came, none of which may pass yet.
    Nothing,
    /// The client has closed its side.
    End,
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        if let Some(decision) = wire.link.decided.take() {
            wire.framing.decide(decision);
            wire.judge_held();
        }
        loop {
            if wire.passable > 0 {
                wire.give_held(buf);
                return Poll::Ready(Ok(()));
            }
            if wire.framing.refused_in_body() {
                return Poll::Ready(Err(refused()));
            }
            // hyper takes the end of what it can read for the end of the client, and gives up what is under way.
            let has_refused = wire.framing.refusal().is_some();
            let undecided = wire.framing.is_undecided() && !wire.held.is_empty();
            if undecided || (has_refused && wire.link.under_way.get() > 0) {
                wire.link.waits.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            if has_refused {
                // A refused head ends the connection like a close.
                return Poll::Ready(Ok(()));
            }
            let read =
                if wire.held.is_empty() { wire.read_direct(cx, buf) } else { wire.read_held(cx) };
            match ready!(read)? {
                Read::Some => return Poll::Ready(Ok(())),
                Read::Nothing => {}
                Read::End => {
                    wire.link.head_begun.set(false);
                    wire.link.head_waits.set(false);
                    wire.link.awaits_request.set(false);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed chunked body")
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.link.note_write(&wrote);
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.link.note_write(&wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Left to the driver, which first says what is left to say and then closes so that the client can read it.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
