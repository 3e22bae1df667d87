//! The sockets that accept: one per worker and TCP address, so that no worker waits for another.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use crate::config::ListenAddress;

/// Connections that may wait to be accepted; the system caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct BindError {
    /// The address.
    pub address: String,
    /// What the system said.
    pub reason: io::Error,
}

/// All sockets of one listener, as many as there are workers (or, after an upgrade, as there were).
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) address: ListenAddress,
    /// None once the process accepts no more: as long as one is open, the system lets clients in.
    sockets: Mutex<Vec<OwnedFd>>,
}

/// A socket a worker accepts on.
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    /// Takes over `inherited` sockets, and binds what they lack.
    pub(super) fn new(
        address: &ListenAddress,
        workers: usize,
        inherited: Vec<OwnedFd>,
    ) -> Result<Self, BindError> {
        let mut sockets = inherited;
        let failed = |reason| BindError { address: address.to_string(), reason };
        if sockets.is_empty() {
            sockets.push(bind(address, Sharing::Alone).map_err(failed)?);
        }
        let address = settled(address, &sockets[0]).map_err(failed)?;
        while sockets.len() < workers {
            let socket = match &address {
                ListenAddress::Tcp(_) => bind(&address, Sharing::Joins).map_err(failed)?,
                ListenAddress::Unix(_) => sockets[0].try_clone().map_err(failed)?,
            };
            sockets.push(socket);
        }
        Ok(Self { address, sockets: Mutex::new(sockets) })
    }

    /// The sockets for one of `workers`. More sockets than workers: some get several.
    pub(super) fn share(&self, worker: usize, workers: usize) -> io::Result<Vec<OwnedFd>> {
        self.open().iter().skip(worker).step_by(workers).map(OwnedFd::try_clone).collect()
    }

    /// All sockets, for the next process.
    pub(super) fn all(&self) -> io::Result<Vec<OwnedFd>> {
        self.open().iter().map(OwnedFd::try_clone).collect()
    }

    /// Lets nobody in any more, once the workers have stopped to accept. Who shares the sockets still may.
    pub(super) fn close(&self) {
        self.open().clear();
    }

    fn open(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address with its real port, if the config leaves that to the system (port 0).
fn settled(address: &ListenAddress, socket: &OwnedFd) -> io::Result<ListenAddress> {
    match address {
        ListenAddress::Tcp(wanted) if wanted.port() == 0 => {
            let bound = SockRef::from(socket).local_addr()?;
            Ok(ListenAddress::Tcp(bound.as_socket().unwrap_or(*wanted)))
        }
        ListenAddress::Tcp(_) | ListenAddress::Unix(_) => Ok(address.clone()),
    }
}

/// Whether a socket may be bound beside others (SO_REUSEPORT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// The first: fails if anybody has the address, also a forgotten process of ours.
    Alone,
    /// The others of the same listener.
    Joins,
}

/// A peer that has gone without a word is noticed within two minutes, whatever is spoken with it.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}

fn bind(address: &ListenAddress, sharing: Sharing) -> io::Result<OwnedFd> {
    match address {
        ListenAddress::Tcp(address) => {
            let socket =
                RawSocket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
            // Connections that are accepted have it from here.
            socket.set_tcp_keepalive(&keepalive())?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(sharing == Sharing::Joins)?;
            socket.bind(&(*address).into())?;
            // Set before bind, a second process would silently share the address; set before listen, ours may join.
            socket.set_reuse_port(true)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        }
        ListenAddress::Unix(path) => bind_unix(path),
    }
}

/// A socket file that nobody listens on is left over from a process that was killed, and is replaced.
fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    let listener = match StdUnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            StdUnixListener::bind(path)?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

impl Acceptor {
    /// Registers a socket with the worker's runtime.
    pub(super) fn new(address: &ListenAddress, socket: OwnedFd) -> io::Result<Self> {
        Ok(match address {
            ListenAddress::Tcp(_) => Self::Tcp(TcpListener::from_std(socket.into())?),
            ListenAddress::Unix(_) => Self::Unix(UnixListener::from_std(socket.into())?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn who_has_gone_without_a_word_is_asked_for() {
        let address = ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        let bound = Bound::new(&address, 1, Vec::new()).expect("a free port");
        let ListenAddress::Tcp(address) = bound.address else { unreachable!("it was TCP") };
        let _client = TcpStream::connect(address).expect("it listens");
        let listening = bound.share(0, 1).expect("a descriptor").remove(0);
        let (accepted, _) = RawSocket::from(listening).accept().expect("somebody is there");
        assert!(accepted.keepalive().expect("an option"));
        assert_eq!(accepted.tcp_keepalive_time().expect("an option"), Duration::from_secs(60));
    }
}
