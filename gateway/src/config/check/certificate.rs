//! PEM files: certificates, keys, authorities; each is read once to see that it is what it should be.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::error::Problem;

/// The certificates of a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let pem = pem_text(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| not_pem(path, &error))?;
    if certificates.is_empty() {
        return Err(Problem::nowhere(format!("{} holds no certificate", path.display()))
            .help("it must be PEM, with -----BEGIN CERTIFICATE-----"));
    }
    Ok(certificates)
}

/// The private key of a PEM file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    let pem = pem_text(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        PemError::NoItemsFound => {
            Problem::nowhere(format!("{} holds no private key", path.display()))
                .help("it must be PEM, with -----BEGIN PRIVATE KEY-----")
        }
        other => not_pem(path, &other),
    })
}

/// Whether the key is of a kind we know and belongs to the certificate.
pub(super) fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<(), Problem> {
    let key = any_supported_type(key).map_err(|_| {
        Problem::nowhere("this kind of private key is not known")
            .help("use RSA with 2048 bits or more, ECDSA (P-256, P-384, P-521) or Ed25519")
    })?;
    match CertifiedKey::new(chain, Arc::clone(&key)).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Problem::nowhere("the key does not belong to the certificate"))
        }
        Err(error) => Err(Problem::nowhere(format!("the certificate cannot be used: {error}"))),
    }
}

fn pem_text(path: &Path) -> Result<Vec<u8>, Problem> {
    if path.is_dir() {
        return Err(Problem::nowhere(format!("{} is a directory", path.display()))
            .help("name the PEM file in it"));
    }
    fs::read(path)
        .map_err(|error| Problem::nowhere(format!("cannot read {}: {error}", path.display())))
}

fn not_pem(path: &Path, error: &PemError) -> Problem {
    Problem::nowhere(format!("{} is no well-formed PEM: {error}", path.display()))
}
