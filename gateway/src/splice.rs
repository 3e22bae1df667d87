//! Long bodies from one TCP connection to another without copying them into our memory: through pipes of the kernel.
//!
//! splice(2) hands pages of a received segment to the sending socket. HAProxy does the same (`splice-response`). Where it
//! cannot be done (TLS, a plugin that reads the body, no pipe left), bodies are read and written.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Shorter bodies are read: two more system calls for a pipe cost more than copying.
pub(crate) const LONG: u64 = 64 * 1024;

/// Of one worker at once, each with two descriptors; beyond, bodies are read.
const PIPES_MAX: usize = 128;

/// What a pipe is asked to hold. Every user of the system may have 64 MiB in pipes: then the kernel leaves it at 64 KiB.
const PIPE_BYTES: usize = 256 * 1024;

/// Whether a body may go by a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piped {
    Yes,
    No,
}

/// The pipes of one worker.
#[derive(Default)]
pub(crate) struct Pipes {
    idle: RefCell<Vec<(OwnedFd, OwnedFd)>>,
    lent: Cell<usize>,
}

/// A pipe lent to one body; it comes back when this is dropped.
pub(crate) struct Pipe {
    /// Not once it was dropped.
    ends: Option<(OwnedFd, OwnedFd)>,
    holds: usize,
    pipes: Rc<Pipes>,
}

impl Pipes {
    /// A pipe, if there is one left.
    pub(crate) fn lend(self: &Rc<Self>) -> Option<Pipe> {
        if self.lent.get() >= PIPES_MAX {
            return None;
        }
        let idle = self.idle.borrow_mut().pop();
        let ends = idle.or_else(|| open().ok())?;
        self.lent.set(self.lent.get() + 1);
        Some(Pipe { ends: Some(ends), holds: 0, pipes: Rc::clone(self) })
    }
}

fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    // Smaller ones do too.
    fcntl_setpipe_size(&write, PIPE_BYTES).ok();
    Ok((read, write))
}

impl Pipe {
    /// Whether nothing waits in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.holds == 0
    }

    /// Takes at most `left` bytes from a connection; 0 is its end. Only while it is empty, or it could be the pipe that
    /// has to wait.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        left: u64,
    ) -> Poll<io::Result<usize>> {
        let Some((_, write)) = &self.ends else { return Poll::Ready(Ok(0)) };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIPE_BYTES);
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || between(from, write, most));
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => {
                    self.holds += *moved.as_ref().unwrap_or(&0);
                    return Poll::Ready(moved);
                }
            }
        }
    }

    /// Gives what it holds to a connection; the number of bytes that have gone.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        let Some((read, _)) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || between(read, to, self.holds));
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => {
                    self.holds -= *moved.as_ref().unwrap_or(&0);
                    return Poll::Ready(moved);
                }
            }
        }
    }
}

fn between(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    Ok(splice(from, None, to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.pipes.lent.set(self.pipes.lent.get() - 1);
        // What is left in it belongs to nobody: it is closed with the pipe.
        if let Some(ends) = self.ends.take().filter(|_| self.holds == 0) {
            self.pipes.idle.borrow_mut().push(ends);
        }
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pipe").field("holds", &self.holds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(connecting, listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_go_through_in_order_and_the_end_is_seen() {
        let (mut server, from) = pair().await;
        let (to, mut client) = pair().await;
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|place| (place % 251) as u8).collect();
        let sent = bytes.clone();
        let serving = tokio::spawn(async move { server.write_all(&sent).await });
        let mut received = Vec::new();
        let receiving =
            tokio::spawn(async move { client.read_to_end(&mut received).await.map(|_| received) });
        let pipes = Rc::<Pipes>::default();
        let mut pipe = pipes.lend().unwrap();
        // The last ten bytes are not asked for.
        let mut left = 999_990;
        while left > 0 {
            let count = poll_fn(|cx| pipe.poll_fill(cx, &from, left)).await.unwrap();
            left -= count as u64;
            empty(&mut pipe, &to).await;
        }
        drop(to);
        assert!(receiving.await.unwrap().unwrap() == bytes[..999_990]);
        serving.await.unwrap().unwrap();
        assert_eq!(poll_fn(|cx| pipe.poll_fill(cx, &from, 100)).await.unwrap(), 10);
        let mut nothing = pipes.lend().unwrap();
        assert_eq!(poll_fn(|cx| nothing.poll_fill(cx, &from, 100)).await.unwrap(), 0);
    }

    async fn empty(pipe: &mut Pipe, to: &TcpStream) {
        while !pipe.is_empty() {
            poll_fn(|cx| pipe.poll_drain(cx, to)).await.unwrap();
        }
    }

    #[test]
    fn an_emptied_pipe_is_lent_again_and_one_that_holds_bytes_is_closed() {
        let pipes = Rc::<Pipes>::default();
        drop(pipes.lend());
        assert_eq!((pipes.idle.borrow().len(), pipes.lent.get()), (1, 0));
        let mut pipe = pipes.lend().unwrap();
        assert_eq!((pipes.idle.borrow().len(), pipes.lent.get()), (0, 1));
        pipe.holds = 1;
        drop(pipe);
        assert_eq!((pipes.idle.borrow().len(), pipes.lent.get()), (0, 0));
        let many: Vec<_> = std::iter::from_fn(|| pipes.lend()).collect();
        assert_eq!(many.len(), PIPES_MAX);
    }
}
