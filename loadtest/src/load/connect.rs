//! Opens connections: TCP from a chosen address, TLS with or without resumption.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, NamedGroup, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::scenario::{Encryption, Protocol, Scenario};
use super::schedule::Share;
use super::trouble::Trouble;
use crate::failure::Failure;

/// Everything needed to open one more connection.
pub(super) struct Connector {
    target: SocketAddr,
    addresses: u32,
    next: Cell<u32>,
    step: u32,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(super) opened: Cell<u64>,
    pub(super) handshakes_full: Cell<u64>,
    pub(super) handshakes_resumed: Cell<u64>,
}

impl Connector {
    pub(super) fn new(
        scenario: &Scenario,
        target: SocketAddr,
        share: Share,
    ) -> Result<Self, Failure> {
        let tls = match scenario.origin.encryption {
            Encryption::None => None,
            Encryption::Tls => Some(tls(scenario)?),
        };
        Ok(Self {
            target,
            addresses: scenario.addresses,
            next: Cell::new(share.thread as u32 % scenario.addresses),
            step: share.threads as u32,
            tls,
            opened: Cell::default(),
            handshakes_full: Cell::default(),
            handshakes_resumed: Cell::default(),
        })
    }

    pub(super) async fn open(&self) -> Result<Stream, Trouble> {
        let stream = self.tcp().await.map_err(|_| Trouble::Connect)?;
        stream.set_nodelay(true).map_err(|_| Trouble::Connect)?;
        self.opened.set(self.opened.get() + 1);
        let Some((connector, name)) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let stream = connector.connect(name.clone(), stream).await.map_err(|_| Trouble::Tls)?;
        let (_, connection) = stream.get_ref();
        let counted = match connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => &self.handshakes_resumed,
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
                &self.handshakes_full
            }
        };
        counted.set(counted.get() + 1);
        Ok(Stream::Tls(Box::new(stream)))
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        if self.addresses == 1 || self.target.is_ipv6() {
            return TcpStream::connect(self.target).await;
        }
        let number = self.next.get();
        self.next.set((number + self.step) % self.addresses);
        // 127.0.0.2 and up.
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + 1 + number);
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        socket.connect(self.target).await
    }
}

fn tls(scenario: &Scenario) -> Result<(TlsConnector, ServerName<'static>), Failure> {
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|_| Failure::Setting { option: "tls", reason: "no protocol version" })?;
    let mut config = match &scenario.tls.ca {
        Some(file) => {
            let unreadable = || Failure::Unreadable { path: file.clone() };
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|_| unreadable())? {
                roots.add(certificate.map_err(|_| unreadable())?).map_err(|_| unreadable())?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth(),
    };
    config.alpn_protocols = match scenario.protocol {
        Protocol::Http1 | Protocol::WebSocket => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    config.resumption = match scenario.tls.resumption {
        true => Resumption::store(Arc::new(Tickets::for_connections(scenario.connections))),
        false => Resumption::disabled(),
    };
    let name = scenario.tls.server_name.as_ref().unwrap_or(&scenario.origin.host).clone();
    let name = ServerName::try_from(name)
        .map_err(|_| Failure::Setting { option: "tls.server-name", reason: "not a name" })?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// Sessions to resume: there is one server, and rustls' own cache keeps eight tickets for each, which as many
/// connections at once use up.
#[derive(Debug)]
struct Tickets {
    most: usize,
    tls13: Mutex<VecDeque<Tls13ClientSessionValue>>,
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    group: Mutex<Option<NamedGroup>>,
}

impl Tickets {
    fn for_connections(connections: usize) -> Self {
        let (tls13, tls12, group) = (Mutex::default(), Mutex::default(), Mutex::default());
        // Servers give two for each connection.
        Self { most: connections * 4, tls13, tls12, group }
    }
}

/// A thread that panicked has left nothing half done: each of these is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        *locked(&self.group) = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        *locked(&self.group)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *locked(&self.tls12) = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        locked(&self.tls12).clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *locked(&self.tls12) = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut tickets = locked(&self.tls13);
        if tickets.len() >= self.most {
            tickets.pop_front();
        }
        tickets.push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        locked(&self.tls13).pop_back()
    }
}

/// Trusts every certificate: the load is meant for one's own server, whose certificate is often made for the test.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection, plain or in TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
