//! A server's socket as hyper writes to it: a server that hung up within a request may have answered before.
//!
//! Services refuse a long upload and close at once; what is still on its way to them resets the connection. hyper gives
//! up at the first failed write, with the answer unread. Here that write counts as done, and reading tells the rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Socket;

/// A socket whose failed writes leave the word to its reads.
#[derive(Debug)]
pub(super) struct ToServer {
    socket: Socket,
    /// Nobody takes what is written any more.
    hung_up: bool,
}

impl ToServer {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, hung_up: false }
    }

    pub(super) fn into_inner(self) -> Socket {
        self.socket
    }

    fn settle(
        &mut self,
        wrote: Poll<io::Result<usize>>,
        length: usize,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(Err(error)) if is_hang_up(&error) => {
                self.hung_up = true;
                // hyper reads before it writes: it must come by once more.
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

impl AsyncRead for ToServer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for ToServer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.hung_up {
            return Poll::Ready(Ok(bytes.len()));
        }
        let wrote = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.settle(wrote, bytes.len(), cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = || slices.iter().map(|slice| slice.len()).sum();
        if self.hung_up {
            return Poll::Ready(Ok(length()));
        }
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.settle(wrote, length(), cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hung_up {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            // TLS writes when it is flushed.
            Poll::Ready(Err(error)) => self.settle(Poll::Ready(Err(error)), 0, cx).map_ok(drop),
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
