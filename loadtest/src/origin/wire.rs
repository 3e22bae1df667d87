//! The client's socket as hyper sees it; does what hyper rightly refuses to: breaks off, and lies about a length.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What an answer asks of the socket it is sent on. All on one thread, but hyper wants sockets that are `Send`.
#[derive(Default)]
pub(super) struct Orders {
    reset: AtomicBool,
    /// hyper flushes the socket whenever it has written everything.
    flushed: AtomicBool,
    /// True while there is a lie: the lock is taken for no other answer.
    lying: AtomicBool,
    lie: Mutex<Option<Lie>>,
}

/// The head says `said` where hyper wrote `real`.
#[derive(Clone, Copy)]
struct Lie {
    real: u64,
    said: u64,
}

impl Orders {
    /// The socket's end will be a reset.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// From now on `flushed` tells whether all has been written.
    pub(super) fn watch(&self) {
        self.flushed.store(false, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self) -> bool {
        self.flushed.load(Ordering::Relaxed)
    }

    /// The next head with the length `real` says another.
    pub(super) fn lie(&self, real: u64, said: u64) {
        *self.lie.lock().unwrap_or_else(PoisonError::into_inner) = Some(Lie { real, said });
        self.lying.store(true, Ordering::Relaxed);
    }

    /// `head` up to its length, which is replaced, and how much of it that was.
    fn changed(&self, head: &[u8]) -> Option<(Bytes, usize)> {
        let mut lie = self.lie.lock().unwrap_or_else(PoisonError::into_inner);
        let Lie { real, said } = (*lie)?;
        let written = format!("content-length: {real}\r\n");
        // Not there: it is the end of the answer before, and the lie is for the next.
        let place = head.windows(written.len()).position(|window| window == written.as_bytes())?;
        *lie = None;
        self.lying.store(false, Ordering::Relaxed);
        let changed = [&head[..place], format!("content-length: {said}\r\n").as_bytes()].concat();
        Some((changed.into(), place + written.len()))
    }
}

/// A client's socket.
pub(super) struct Wire {
    stream: TcpStream,
    orders: Arc<Orders>,
    /// Goes out before anything else.
    changed: Bytes,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, orders: Arc<Orders>) -> Self {
        Self { stream, orders, changed: Bytes::new() }
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.changed.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, &self.changed))?;
            self.changed.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.orders.reset.load(Ordering::Relaxed) {
            // Without it the client sees an orderly end, and its test fails.
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        ready!(wire.poll_changed(context))?;
        if wire.orders.lying.load(Ordering::Relaxed)
            && let Some((changed, count)) = wire.orders.changed(bytes)
        {
            wire.changed = changed;
            return Poll::Ready(Ok(count));
        }
        Pin::new(&mut wire.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if wire.orders.lying.load(Ordering::Relaxed) || !wire.changed.is_empty() {
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return Pin::new(wire).poll_write(context, first.map_or(&[], |piece| &**piece));
        }
        Pin::new(&mut wire.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        ready!(wire.poll_changed(context))?;
        wire.orders.flushed.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        ready!(wire.poll_changed(context))?;
        Pin::new(&mut wire.stream).poll_shutdown(context)
    }
}
