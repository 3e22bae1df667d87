//! Bytes that are to be written to a socket: heads and small pieces gathered, large pieces as they are.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite;

use super::fields;
use crate::socket::Socket;
use crate::splice::Pipe;

/// A piece up to this long is copied behind its head: one buffer goes out with less work than two.
const SMALL: usize = 4 * 1024;
/// More gathered than this goes out before anything is added.
const GATHERED_MAX: usize = 16 * 1024;

/// How the bytes of a body are told from what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As they are: their number was said before, or the connection's end is theirs.
    Plain,
    /// In chunks (RFC 9112, section 7.1).
    Chunked,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Output {
    gathered: Vec<u8>,
    /// Bytes of `gathered` that have gone.
    gone: usize,
    /// A large piece that goes behind it.
    piece: Bytes,
    /// What goes behind that.
    tail: &'static [u8],
    /// Bytes of a body that are not in our memory: behind all else.
    pipe: Option<Pipe>,
    /// TLS has taken what it may not have given to the socket yet.
    unflushed: bool,
    /// Bytes that have gone since the beginning, to see progress.
    written: u64,
}

impl Output {
    /// Where heads are written. Only while [`Output::has_room`].
    pub(crate) fn gather(&mut self) -> &mut Vec<u8> {
        &mut self.gathered
    }

    /// Whether more may be added before the rest has gone.
    pub(crate) fn has_room(&self) -> bool {
        self.piece.is_empty()
            && self.tail.is_empty()
            && self.pipe_is_empty()
            && self.gathered.len() < GATHERED_MAX
    }

    fn pipe_is_empty(&self) -> bool {
        self.pipe.as_ref().is_none_or(Pipe::is_empty)
    }

    /// The pipe for bytes of a body that are not read; lent when there is none yet. Only while [`Output::has_room`].
    pub(crate) fn pipe(&mut self, lend: impl FnOnce() -> Option<Pipe>) -> Option<&mut Pipe> {
        if self.pipe.is_none() {
            self.pipe = lend();
        }
        self.pipe.as_mut()
    }

    /// The body is over, and its pipe is for others.
    pub(crate) fn give_back_pipe(&mut self) {
        self.pipe = None;
    }

    /// Whether everything has gone.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_handed_over() && !self.unflushed
    }

    fn is_handed_over(&self) -> bool {
        self.is_written() && self.pipe_is_empty()
    }

    fn is_written(&self) -> bool {
        self.gathered.is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Bytes that have gone.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Adds a piece of a body. Only while [`Output::has_room`].
    pub(crate) fn add(&mut self, data: Bytes, coding: Coding) {
        if data.is_empty() {
            // An empty chunk would be the last.
            return;
        }
        let tail: &[u8] = match coding {
            Coding::Plain => b"",
            Coding::Chunked => {
                write_hex(&mut self.gathered, data.len());
                b"\r\n"
            }
        };
        if data.len() <= SMALL {
            self.gathered.extend_from_slice(&data);
            self.gathered.extend_from_slice(tail);
        } else {
            self.piece = data;
            self.tail = tail;
        }
    }

    /// Ends a body, with trailer fields if there are any.
    pub(crate) fn end(&mut self, coding: Coding, trailers: Option<&HeaderMap>) {
        if coding == Coding::Plain {
            return;
        }
        self.gathered.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            fields::write(&mut self.gathered, name, value);
        }
        self.gathered.extend_from_slice(b"\r\n");
    }

    /// Throws away what has not gone.
    pub(crate) fn clear(&mut self) {
        self.gathered.clear();
        self.gone = 0;
        self.piece = Bytes::new();
        self.tail = b"";
        self.pipe = None;
        self.unflushed = false;
    }

    /// Writes until everything has gone.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let head = &self.gathered[self.gone..];
            let wrote = if self.piece.is_empty() && self.tail.is_empty() {
                Pin::new(&mut *socket).poll_write(cx, head)
            } else {
                let slices = [head, &self.piece, self.tail].map(IoSlice::new);
                let empty = slices.iter().take_while(|slice| slice.is_empty()).count();
                Pin::new(&mut *socket).poll_write_vectored(cx, &slices[empty..])
            };
            match ready!(wrote)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.advance(count),
            }
            self.unflushed = true;
        }
        while !self.pipe_is_empty() {
            match ready!(self.poll_pipe(cx, socket))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count as u64,
            }
        }
        if self.unflushed {
            ready!(Pin::new(socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Pipes are only for plain TCP.
    fn poll_pipe(&mut self, cx: &mut Context<'_>, socket: &Socket) -> Poll<io::Result<usize>> {
        match (&mut self.pipe, socket) {
            (Some(pipe), Socket::Tcp(stream)) => pipe.poll_drain(cx, stream),
            (Some(_), Socket::Unix(_) | Socket::Tls(_)) | (None, _) => Poll::Ready(Ok(0)),
        }
    }

    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        let of_gathered = count.min(self.gathered.len() - self.gone);
        self.gone += of_gathered;
        let of_piece = (count - of_gathered).min(self.piece.len());
        if of_piece > 0 {
            self.piece.advance(of_piece);
        }
        self.tail = &self.tail[count - of_gathered - of_piece..];
        if self.gone == self.gathered.len() {
            self.gone = 0;
            self.gathered.clear();
            if self.gathered.capacity() > GATHERED_MAX {
                self.gathered = Vec::new();
            }
        }
    }
}

/// The size line of a chunk.
fn write_hex(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[size >> (4 * digit) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}
