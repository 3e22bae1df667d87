//! Certificates of one run: an authority of its own, and what it signs for `localhost`.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::failure::FileError;

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificatesError {
    #[error("rcgen: {0}")]
    Make(#[from] rcgen::Error),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where the files are.
pub(super) struct Certificates {
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Certificate and key in one file, as HAProxy wants them.
    pub(super) both: PathBuf,
}

/// The name that clients ask for.
pub(super) const SERVER_NAME: &str = "localhost";

impl Certificates {
    /// Names the files of a folder; `write` fills them.
    pub(super) fn within(folder: &Path) -> Self {
        Self {
            authority: folder.join("ca.pem"),
            certificate: folder.join("site.pem"),
            key: folder.join("site.key"),
            both: folder.join("both.pem"),
        }
    }

    /// ECDSA with P-256, which all proxies and clients speak.
    pub(super) fn write(&self) -> Result<(), CertificatesError> {
        let (authority, certificate, key) = make()?;
        let both = format!("{certificate}{key}");
        for (path, text) in [
            (&self.authority, authority),
            (&self.certificate, certificate),
            (&self.key, key),
            (&self.both, both),
        ] {
            fs::write(path, text).map_err(FileError::at(path))?;
        }
        Ok(())
    }
}

fn make() -> Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec![SERVER_NAME.to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    Ok((issuer.pem(), certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificates = Certificates::within(folder.path());
        certificates.write().expect("made");
        let read = |path: &Path| fs::read_to_string(path).expect("written");
        assert!(read(&certificates.authority).contains("BEGIN CERTIFICATE"));
        let both = read(&certificates.both);
        assert!(both.starts_with(&read(&certificates.certificate)));
        assert!(both.ends_with(&read(&certificates.key)));
    }
}
