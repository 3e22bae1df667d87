//! Whether a server has said nothing on a connection that rests.

use std::io;
use std::os::fd::AsFd;

use rustix::net::RecvFlags;

/// A server that says something before it is asked, or nothing any more, is of no use.
pub(super) fn is_silent(read: io::Result<usize>) -> bool {
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Asks the system, which knows of bytes that the runtime has not heard of yet.
pub(super) fn peek(socket: impl AsFd) -> io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (count, _) = rustix::net::recv(socket, &mut [0], flags)?;
    Ok(count)
}
