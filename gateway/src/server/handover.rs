//! `gateway run --upgrade`: the next process takes the listening sockets over, and no connection is lost.
//!
//! Over a Unix socket in a folder only its user may enter, the next process asks for the listeners; the running one
//! sends them (SCM_RIGHTS) and goes on serving. Only when the next one says that it accepts does the running one drain;
//! if it goes away without saying so, nothing has happened. pingora's own hand-over passes at most 32 sockets, has a
//! world-writable socket file, and stops accepting after a fixed time.

use std::fs::DirBuilder;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use thiserror::Error;

use super::listener::Bound;

/// Descriptors in one message; the kernel takes 253.
const BATCH: usize = 64;
/// Longer than the name of any address.
const NAME_MAX: usize = 4096;
/// The running process answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the next process says when it accepts.
const READY: &[u8] = b"ready";

/// Why the sockets could not be taken over.
#[derive(Debug, Error)]
pub enum HandoverError {
    /// The config names no socket for it.
    #[error("an upgrade needs server.handover, the path of a Unix socket, in the config")]
    NotConfigured,
    /// No process listens there.
    #[error("no running gateway answers at {0}: {1}")]
    Nobody(String, io::Error),
    /// The talk broke off.
    #[error("the running gateway did not hand its sockets over: {0}")]
    Broken(#[source] io::Error),
    /// The folder of the socket is open to others.
    #[error(
        "{0} must be a folder of your own with mode 0700: who can enter it can take the sockets"
    )]
    OpenFolder(String),
    /// The socket cannot be made.
    #[error("cannot make the hand-over socket {0}: {1}")]
    Bind(String, io::Error),
}

/// The sockets of one address, as they came over.
#[derive(Debug)]
pub(super) struct Inherited {
    /// The address as the config writes it.
    pub(super) name: String,
    pub(super) sockets: Vec<OwnedFd>,
}

/// Asks the running process for its sockets. The stream is for [`say_ready`].
pub(super) fn take(path: &Path) -> Result<(UnixStream, Vec<Inherited>), HandoverError> {
    let nobody = |error| HandoverError::Nobody(path.display().to_string(), error);
    let stream = UnixStream::connect(path).map_err(nobody)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(HandoverError::Broken)?;
    let inherited = receive(&stream).map_err(HandoverError::Broken)?;
    Ok((stream, inherited))
}

/// Tells the running process that this one accepts now.
pub(super) fn say_ready(mut stream: &UnixStream) -> io::Result<()> {
    stream.write_all(READY)
}

/// Waits until the next process says that it accepts. An error: it went away.
pub(super) fn wait_ready(mut stream: &UnixStream) -> io::Result<()> {
    let mut word = [0; READY.len()];
    stream.read_exact(&mut word)?;
    if word == READY { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Listens for the next process, in a folder that nobody else may enter.
pub(super) fn listen(path: &Path) -> Result<UnixListener, HandoverError> {
    let failed = |error| HandoverError::Bind(path.display().to_string(), error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let metadata = std::fs::metadata(folder).map_err(failed)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(HandoverError::OpenFolder(folder.display().to_string()));
    }
    // The process that had it before has handed over, or is dead.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(path).map_err(failed)
}

/// Sends all sockets, address by address: name, end of line, and the descriptors in batches.
pub(super) fn send_all<'a>(
    stream: &UnixStream,
    bound: impl Iterator<Item = &'a Bound>,
) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    for address in bound {
        for batch in address.all()?.chunks(BATCH) {
            let descriptors: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
            send_one(stream, &address.address.to_string(), &descriptors)?;
        }
    }
    send_one(stream, "", &[])
}

/// One message: the length of the name, the name, and descriptors with it.
fn send_one(mut stream: &UnixStream, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let length = u32::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = length.to_be_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = sendmsg(stream, &[IoSlice::new(&length)], &mut ancillary, SendFlags::empty())?;
    if sent != length.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    stream.write_all(name.as_bytes())
}

fn receive(stream: &UnixStream) -> io::Result<Vec<Inherited>> {
    let mut all: Vec<Inherited> = Vec::new();
    loop {
        let (name, sockets) = receive_one(stream)?;
        if name.is_empty() {
            return Ok(all);
        }
        match all.iter_mut().find(|known| known.name == name) {
            Some(known) => known.sockets.extend(sockets),
            None => all.push(Inherited { name, sockets }),
        }
    }
}

fn receive_one(mut stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let slices = &mut [IoSliceMut::new(&mut length)];
    let received = recvmsg(stream, slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes != 4 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > NAME_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut name = vec![0; length];
    stream.read_exact(&mut name)?;
    let name = String::from_utf8(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((name, sockets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ListenAddress;

    #[test]
    fn sockets_pass_to_another_process_and_still_accept() {
        let address = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let bound = Bound::new(&address, 3, Vec::new()).unwrap();
        let ListenAddress::Tcp(real) = bound.address else { panic!("not TCP") };
        let (ours, theirs) = UnixStream::pair().unwrap();
        send_all(&ours, std::iter::once(&bound)).unwrap();
        drop(bound);
        let mut inherited = receive(&theirs).unwrap();
        assert_eq!(inherited.len(), 1);
        assert_eq!(inherited[0].name, real.to_string());
        assert_eq!(inherited[0].sockets.len(), 3);
        let listeners: Vec<std::net::TcpListener> =
            inherited.remove(0).sockets.into_iter().map(std::net::TcpListener::from).collect();
        let _client = std::net::TcpStream::connect(real).unwrap();
        let accepted = listeners.iter().filter(|listener| listener.accept().is_ok()).count();
        assert_eq!(accepted, 1);
    }

    #[test]
    fn a_folder_others_may_enter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        DirBuilder::new().mode(0o755).create(&open).unwrap();
        let refused = listen(&open.join("socket")).unwrap_err();
        assert!(matches!(refused, HandoverError::OpenFolder(_)), "{refused}");
    }
}
