//! TLS on listeners: certificates by SNI, HTTP/2 by ALPN, a deadline for the handshake.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer};

use crate::config::{self, ListenerTls, Problem};

/// The settings of a listener's `tls`, ready to use.
pub(crate) fn server_config(tls: &ListenerTls) -> Result<Arc<ServerConfig>, Problem> {
    let mut keys = Vec::new();
    for certificate in &tls.certificates {
        keys.push(load(certificate)?);
    }
    let place = tls.certificates.first().map(|certificate| certificate.place).unwrap_or_default();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::at(place, format!("TLS cannot be set up: {error}")))?;
    let resolver = Arc::new(BySni { keys });
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn load(certificate: &config::Certificate) -> Result<Entry, Problem> {
    let wrong = |what: String| Problem::at(certificate.place, what);
    let (cert, key) = (&certificate.cert, &certificate.key);
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert).and_then(|certificates| certificates.collect());
    let chain = chain.map_err(|error| wrong(format!("cannot read {}: {error}", cert.display())))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| wrong(format!("cannot read {}: {error}", key.display())))?;
    let certified = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|error| {
            wrong(format!("{} does not fit {}: {error}", key.display(), cert.display()))
        })?;
    Ok(Entry { certified: Arc::new(certified) })
}

#[derive(Debug)]
struct Entry {
    certified: Arc<CertifiedKey>,
}

/// The first certificate that is valid for the name asked for, else the first of all.
#[derive(Debug)]
struct BySni {
    keys: Vec<Entry>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| DnsName::try_from(name).ok());
        let fitting = name.and_then(|name| self.keys.iter().find(|entry| entry.is_for(&name)));
        fitting.or(self.keys.first()).map(|entry| Arc::clone(&entry.certified))
    }
}

impl Entry {
    fn is_for(&self, name: &DnsName<'_>) -> bool {
        let Some(leaf) = self.certified.cert.first() else { return false };
        let Ok(parsed) = rustls::server::ParsedCertificate::try_from(leaf) else { return false };
        let name = rustls_pki_types::ServerName::DnsName(name.to_owned());
        rustls::client::verify_server_name(&parsed, &name).is_ok()
    }
}
