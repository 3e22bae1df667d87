//! Secrets we hand out: random, shown once, and kept only as hashes.

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// More than anybody can guess.
const SECRET_BYTES: usize = 32;
/// The same in base64 without padding.
pub(crate) const SECRET_CHARACTERS: usize = 43;

/// 256 random bits as text that fits into URLs, cookies and forms. It is never shown but to its owner.
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; SECRET_BYTES];
        // aws-lc ends the process rather than go on without randomness, so there is no error to pass on.
        rand::fill(&mut bytes).expect("the system has randomness");
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// A secret that came back. Text that cannot be one of ours is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (text.len() == SECRET_CHARACTERS && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// The text itself, for its owner.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored in its place.
    pub(crate) fn hash(&self) -> SecretHash {
        SecretHash(sha256_base64(self.0.as_bytes()))
    }

    /// Whether the text is this secret, in a time that does not tell how much of it is.
    pub(crate) fn is(&self, text: &str) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), text.as_bytes()).is_ok()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// The SHA-256 of a secret. It finds what belongs to the secret and does not lead back to it: a secret of 256 random
/// bits needs no slow hash.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct SecretHash(String);

impl SecretHash {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// One that we stored.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }
}

/// A refresh token: which grant it belongs to, and the secret that changes with every use. Both are random; a client
/// sees one opaque text.
#[derive(Debug)]
pub(crate) struct RefreshToken {
    pub(crate) grant: Secret,
    pub(crate) current: Secret,
}

impl RefreshToken {
    pub(crate) fn random() -> Self {
        Self { grant: Secret::random(), current: Secret::random() }
    }

    /// The next token of the same grant.
    pub(crate) fn successor(&self) -> Self {
        Self { grant: Secret(self.grant.0.clone()), current: Secret::random() }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (grant, current) = text.split_once('.')?;
        Some(Self { grant: Secret::parse(grant)?, current: Secret::parse(current)? })
    }

    /// The text itself, for its owner.
    pub(crate) fn reveal(&self) -> String {
        format!("{}.{}", self.grant.0, self.current.0)
    }
}

/// SHA-256 as base64 without padding: how PKCE compares, and how we store.
pub(crate) fn sha256_base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, bytes))
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub(crate) fn same(one: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_back_and_its_hash_is_another_text() {
        let secret = Secret::random();
        let back = Secret::parse(secret.reveal()).unwrap();
        assert_eq!(back.hash(), secret.hash());
        assert_ne!(secret.hash().as_str(), secret.reveal());
        assert_ne!(Secret::random().hash(), secret.hash());
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn text_that_cannot_be_ours_is_no_secret() {
        let good = "a".repeat(SECRET_CHARACTERS);
        let spaced = format!("{} ", "a".repeat(SECRET_CHARACTERS - 1));
        assert!(Secret::parse(&good).is_some());
        for text in ["", "abc", &spaced, &format!("{good}a"), "ä"] {
            assert!(Secret::parse(text).is_none(), "{text:?}");
        }
        for text in [&good, "", ".", &format!("{good}."), &format!("{good}.{good}.{good}")] {
            assert!(RefreshToken::parse(text).is_none(), "{text:?}");
        }
        assert!(RefreshToken::parse(&format!("{good}.{good}")).is_some());
    }

    #[test]
    fn a_refresh_token_s_successor_is_of_the_same_grant() {
        let first = RefreshToken::random();
        let second = RefreshToken::parse(&first.successor().reveal()).unwrap();
        assert_eq!(first.grant.hash(), second.grant.hash());
        assert_ne!(first.current.hash(), second.current.hash());
    }

    #[test]
    fn the_hash_is_the_one_of_pkce() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(
            sha256_base64(verifier.as_bytes()),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
