//! Opens connections to servers: TCP or Unix, with TLS where the upstream says so.

use std::io;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use super::{Address, Server};
use crate::config::Protocol;
use crate::socket::Socket;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// The system refused.
    #[error("connect: {0}")]
    Refused(#[source] io::Error),
    /// The TLS handshake failed: a certificate that is not believed, no common version or protocol.
    #[error("TLS handshake: {0}")]
    Tls(#[source] io::Error),
    /// Not done within `timeout.connect`.
    #[error("connect timed out")]
    TimedOut,
}

/// TLS to an upstream's servers, ready to use.
#[derive(Clone)]
pub(crate) struct ClientTls {
    /// Trust, versions and ALPN.
    pub(crate) config: Arc<rustls::ClientConfig>,
    /// The name asked for and verified.
    pub(crate) name: ServerName<'static>,
}

/// Connects within the upstream's `timeout.connect`.
pub(super) async fn connect(server: &Server) -> Result<Socket, ConnectError> {
    timeout(server.connect_timeout, connect_now(server))
        .await
        .map_err(|_| ConnectError::TimedOut)?
}

async fn connect_now(server: &Server) -> Result<Socket, ConnectError> {
    let stream = match &server.address {
        Address::Unix(path) => {
            return UnixStream::connect(path)
                .await
                .map(Socket::Unix)
                .map_err(ConnectError::Refused);
        }
        Address::Tcp(address) => {
            TcpStream::connect(address).await.map_err(ConnectError::Refused)?
        }
    };
    stream.set_nodelay(true).map_err(ConnectError::Refused)?;
    let Some(tls) = &server.tls else { return Ok(Socket::Tcp(stream)) };
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let stream = connector.connect(tls.name.clone(), stream).await.map_err(ConnectError::Tls)?;
    if server.protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        // RFC 9113, section 3.2: over TLS it is HTTP/2 only by agreement.
        let said = "the server does not agree to HTTP/2 (ALPN)";
        return Err(ConnectError::Tls(io::Error::new(io::ErrorKind::Unsupported, said)));
    }
    Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
}
