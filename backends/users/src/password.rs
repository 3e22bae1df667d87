//! Passwords: how one arrives, and how it becomes a hash that cannot be turned back.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier, SaltString, rand_core::OsRng};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::settings::HashCost;

/// Requests that may hash or wait to; the next is told to come later. A full queue is served in about two seconds.
const QUEUE_MAX: usize = 128;

/// Sixteen and thirty-two zero bytes in base 64.
const NOBODYS_SALT_AND_HASH: &str =
    "AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password as the client wrote it. It is never shown: not by `Debug`, nor in a complaint about its JSON.
#[derive(Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub(crate) struct Password(String);

impl Password {
    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl TryFrom<serde_json::Value> for Password {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Self, &'static str> {
        match value {
            serde_json::Value::String(text) => Ok(Self(text)),
            _ => Err("password must be text"),
        }
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// An argon2id hash with its salt and cost, as text in the PHC format.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash(String);

impl PasswordHash {
    /// A hash as a store gives it back. Text that is none fits no password.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// Whether a password is the one that a hash was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is.
    Fits,
    /// It is not.
    Differs,
}

/// Hashes off the runtime's threads, as many at once as there are cores: each takes tens of milliseconds and
/// [`HashCost::memory_kib`] of memory.
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    cores: Arc<Semaphore>,
    queue: Semaphore,
    /// The hash of no password, at the cost of all others.
    nobodys: PasswordHash,
}

impl Hasher {
    /// Fails if argon2 cannot work at this cost.
    pub(crate) fn new(cost: HashCost) -> Result<Self, argon2::Error> {
        let HashCost { memory_kib, passes } = cost;
        let params = Params::new(memory_kib, passes, 1, None)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            cores: Arc::new(Semaphore::new(cores)),
            queue: Semaphore::new(QUEUE_MAX),
            nobodys: PasswordHash(format!(
                "$argon2id$v=19$m={memory_kib},t={passes},p=1${NOBODYS_SALT_AND_HASH}"
            )),
        })
    }

    /// The hash of a password, with a salt of its own.
    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, HashError> {
        let argon2 = self.argon2.clone();
        let hashing = self.off_the_runtime(move || {
            let salt = SaltString::generate(&mut OsRng);
            argon2.hash_password(password.0.as_bytes(), &salt).map(|hash| hash.to_string())
        });
        Ok(PasswordHash(hashing.await??))
    }

    /// Whether a password fits a hash. Without one it works as long and says that it differs, so that the time of an
    /// answer does not tell who is registered.
    pub(crate) async fn verify(
        &self,
        password: Password,
        hash: Option<PasswordHash>,
    ) -> Result<Verdict, HashError> {
        let hash = hash.unwrap_or_else(|| self.nobodys.clone());
        let argon2 = self.argon2.clone();
        self.off_the_runtime(move || {
            let fits = argon2::PasswordHash::new(&hash.0)
                .and_then(|hash| argon2.verify_password(password.0.as_bytes(), &hash));
            if fits.is_ok() { Verdict::Fits } else { Verdict::Differs }
        })
        .await
    }

    async fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let _queued = self.queue.try_acquire().map_err(|_| HashError::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| HashError::Busy)?;
        let working = tokio::task::spawn_blocking(move || {
            // The permit goes along: a request that is dropped leaves its work running.
            let _core = core;
            work()
        });
        Ok(working.await?)
    }
}

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    /// More requests wait for a hash than can be served in time.
    #[error("too many passwords are being hashed; try again")]
    Busy,
    /// argon2 refused the input.
    #[error("hashing failed: {0}")]
    Argon2(#[from] argon2::password_hash::Error),
    /// The hashing task panicked.
    #[error("hashing ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_salted_and_fits_only_its_password() {
        let hasher = Hasher::new(HashCost { memory_kib: 8, passes: 1 }).unwrap();
        let first = hasher.hash(Password("s3cret".to_owned())).await.unwrap();
        let second = hasher.hash(Password("s3cret".to_owned())).await.unwrap();
        assert!(first.as_str().starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{}", first.as_str());
        assert_ne!(first.as_str(), second.as_str(), "the salt must differ");
        let parsed = argon2::PasswordHash::new(first.as_str()).unwrap();
        assert!(Argon2::default().verify_password(b"s3cret", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"S3cret", &parsed).is_err());
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_nobody_has_one() {
        let hasher = Hasher::new(HashCost { memory_kib: 8, passes: 1 }).unwrap();
        let hash = hasher.hash(Password("s3cret".to_owned())).await.unwrap();
        let damaged = PasswordHash::stored("not a hash".to_owned());
        for (password, hash, verdict) in [
            ("s3cret", Some(&hash), Verdict::Fits),
            ("S3cret", Some(&hash), Verdict::Differs),
            ("s3cret", Some(&damaged), Verdict::Differs),
            ("s3cret", None, Verdict::Differs),
        ] {
            let found = hasher.verify(Password(password.to_owned()), hash.cloned()).await.unwrap();
            assert_eq!(found, verdict, "{password}");
        }
    }

    #[test]
    fn nobodys_hash_costs_as_much_as_all_others() {
        let hasher = Hasher::new(HashCost { memory_kib: 64, passes: 3 }).unwrap();
        let parsed = argon2::PasswordHash::new(hasher.nobodys.as_str()).unwrap();
        let params = Params::try_from(&parsed).unwrap();
        assert_eq!((params.m_cost(), params.t_cost()), (64, 3));
        assert_eq!(parsed.hash.unwrap().len(), Params::DEFAULT_OUTPUT_LEN);
    }

    #[tokio::test]
    async fn a_full_queue_says_so_at_once() {
        let hasher = Hasher::new(HashCost { memory_kib: 8, passes: 1 }).unwrap();
        let _others = hasher.queue.try_acquire_many(QUEUE_MAX as u32).unwrap();
        let refused = hasher.hash(Password("s3cret".to_owned())).await;
        assert!(matches!(refused, Err(HashError::Busy)));
    }
}
