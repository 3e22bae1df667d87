//! TLS to servers: whom to believe, and the name to ask for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Address;
use crate::config::{self, Problem, Protocol, ServerAddress, UpstreamTls};

/// The settings of `tls` of an upstream, ready to use.
pub(super) fn client_config(
    tls: &UpstreamTls,
    upstream: &config::Upstream,
) -> Result<Arc<ClientConfig>, Problem> {
    let wrong = |what: String| Problem::at(upstream.place, what);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("TLS cannot be set up: {error}")))?;
    let mut config = if tls.dangerous_no_verify {
        let verifier = Arc::new(AnyCertificate { provider });
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    } else {
        let roots = roots(tls).map_err(wrong)?;
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    config.alpn_protocols = match upstream.protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Arc::new(config))
}

fn roots(tls: &UpstreamTls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            let unreadable = |error| format!("cannot read the CA {}: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                let certificate = certificate.map_err(unreadable)?;
                roots.add(certificate).map_err(|error| {
                    format!("{} has a certificate that cannot be used: {error}", path.display())
                })?;
            }
            if roots.is_empty() {
                return Err(format!("{} has no certificate in it", path.display()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err("the system has no trusted certificates; give `ca`".to_owned());
            }
        }
    }
    Ok(roots)
}

/// The name in SNI and certificate: the configured one, the server's own, or its address. What cannot be named is
/// refused by [`check_names`]; should it come here, its address stands in, so that nothing is ever sent in the clear.
pub(super) fn server_name(
    upstream: &config::Upstream,
    name: Option<&str>,
    address: &Address,
) -> ServerName<'static> {
    let configured = upstream.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    let named = configured.or(name).and_then(|name| ServerName::try_from(name.to_owned()).ok());
    named.unwrap_or_else(|| match address {
        Address::Tcp(address) => ServerName::from(address.ip()),
        Address::Unix(_) => ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    })
}

/// Refuses servers to which TLS cannot be spoken, instead of speaking plain text to them.
pub(super) fn check_names(upstream: &config::Upstream) -> Result<(), Problem> {
    let Some(tls) = &upstream.tls else { return Ok(()) };
    for server in &upstream.servers {
        match &server.address {
            ServerAddress::Unix(path) => {
                let what = format!("TLS is not spoken over the Unix socket {}", path.display());
                return Err(Problem::at(upstream.place, what)
                    .help("leave out `tls`, or give an address or a name with a port"));
            }
            ServerAddress::Name(name, _)
                if tls.server_name.is_none() && ServerName::try_from(name.as_str()).is_err() =>
            {
                let what = format!("{name:?} is no name that a certificate can have");
                return Err(Problem::at(upstream.place, what).help("give `tls.server-name`"));
            }
            ServerAddress::Name(..) | ServerAddress::Ip(_) => {}
        }
    }
    Ok(())
}

/// `dangerous-no-verify`: believes any certificate, but still checks that the server has its key.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
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
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
