//! TLS as a client of one comparison speaks it: its own authority, one name.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName};

use super::certificates::{Certificates, SERVER_NAME};

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncryptionError {
    #[error("{path}: {source}", path = path.display())]
    Authority { path: PathBuf, source: pem::Error },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{SERVER_NAME}: {0}")]
    Name(#[from] InvalidDnsNameError),
}

pub(super) const HTTP1: &[u8] = b"http/1.1";
pub(super) const HTTP2: &[u8] = b"h2";

/// Trusts what `certificates` signed; asks for one protocol.
pub(super) fn config(
    certificates: &Certificates,
    protocol: &[u8],
    resumption: Resumption,
) -> Result<Arc<ClientConfig>, EncryptionError> {
    let authority = CertificateDer::from_pem_file(&certificates.authority).map_err(|source| {
        EncryptionError::Authority { path: certificates.authority.clone(), source }
    })?;
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = resumption;
    Ok(Arc::new(config))
}

pub(super) fn server_name() -> Result<ServerName<'static>, EncryptionError> {
    Ok(ServerName::try_from(SERVER_NAME)?)
}
