//! Bytes that were read from a socket and not yet taken.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::socket::Socket;

/// What is read at once: most heads fit in the first.
const READ_MIN: usize = 4 * 1024;
/// A body of a length up to this is given its whole room at once; the room for longer ones has to be earned, for those
/// who send slowly are many.
const SHORT_BODY: usize = 16 * 1024;
/// Long bodies come in pieces of this.
const READ_MAX: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Input {
    bytes: BytesMut,
    /// What is read next time; grows while reads fill it.
    room: usize,
}

impl Input {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { bytes: BytesMut::new(), room: READ_MIN }
    }

    /// What was read already.
    pub(crate) fn starting_with(first: &[u8]) -> Self {
        Self { bytes: BytesMut::from(first), room: READ_MIN }
    }

    /// Adds what a socket would have brought.
    #[cfg(test)]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the first `count` bytes out, without copying them.
    pub(crate) fn take(&mut self, count: usize) -> Bytes {
        self.bytes.split_to(count).freeze()
    }

    /// Takes what is there of the `left` bytes of a body, and counts it off.
    pub(crate) fn take_of(&mut self, left: &mut u64) -> Bytes {
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(self.bytes.len());
        *left -= count as u64;
        self.take(count)
    }

    /// Throws the first `count` bytes away.
    pub(crate) fn skip(&mut self, count: usize) {
        bytes::Buf::advance(&mut self.bytes, count);
    }

    /// So much of a body is still to come: a short one is read at once.
    pub(crate) fn expect(&mut self, left: u64) {
        let left = usize::try_from(left).unwrap_or(usize::MAX).min(SHORT_BODY);
        self.room = self.room.max(left);
    }

    /// Lets a buffer go that was good for a long body, once nothing is in it.
    pub(crate) fn shrink(&mut self) {
        if self.room > READ_MIN && self.bytes.is_empty() {
            *self = Self::new();
        }
    }

    /// Reads more; 0 is the end. What is not taken meanwhile adds up, so the caller has to have a bound for it.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<io::Result<usize>> {
        let spare = self.bytes.capacity() - self.bytes.len();
        if spare < READ_MIN / 2 || spare < self.room / 4 {
            self.bytes.reserve(self.room);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let polled = pin!(socket.read_buf(&mut self.bytes)).poll(cx);
        if let Poll::Ready(Ok(count)) = polled {
            if count == room {
                self.room = (self.room * 2).min(READ_MAX);
            } else if count < self.room / 4 {
                self.room = (self.room / 2).max(READ_MIN);
            }
        }
        polled
    }
}
