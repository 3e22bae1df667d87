//! A stored password: a hash that cannot be turned back, strong enough, and checked in its own time.

use std::fmt;
use std::str::FromStr;

use argon2::{Argon2, Params, PasswordVerifier};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;
use thiserror::Error;

use crate::text;

/// The least work of argon2id, in KiB times passes: OWASP's weakest recommendation (7 MiB, 5 passes) and all others.
const ARGON2_WORK_MIN: u64 = 7 * 1024 * 5;
/// The least memory of argon2id, in KiB, of the same recommendations.
const ARGON2_MEMORY_MIN: u32 = 7 * 1024;
/// The most memory of argon2id, in KiB: more would let a few logins exhaust the machine.
const ARGON2_MEMORY_MAX: u32 = 1024 * 1024;
/// The least and the most cost of bcrypt: OWASP's minimum, and some seconds of work.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 10..=16;

/// A password hash: argon2id as a PHC string (`$argon2id$v=19$…`) or bcrypt (`$2b$`, `$2y$`, `$2a$`).
#[derive(Clone, JsonSchema)]
#[schemars(transparent)]
pub struct PasswordHash {
    #[schemars(with = "String")]
    text: String,
    #[schemars(skip)]
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Argon2id,
    Bcrypt,
}

/// Why a text is not taken as a password hash. The text is not repeated: it may be the password.
#[derive(Debug, Error)]
pub enum PasswordHashError {
    /// No known prefix.
    #[error(
        "this is no password hash; passwords are not kept as plain text: write an argon2id hash ($argon2id$…) or a \
         bcrypt hash, which `htpasswd -nB -C 12 NAME` prints"
    )]
    PlainText,
    /// A hash that can be turned back in practice, or an unsupported one.
    #[error(
        "{0} is too weak a hash for passwords; make an argon2id hash, or a bcrypt hash with `htpasswd -nB -C 12 NAME`"
    )]
    Weak(&'static str),
    /// A good algorithm with too little work.
    #[error("{found} is too little work; {wanted}")]
    TooLittleWork {
        /// What was given.
        found: String,
        /// What would have done.
        wanted: &'static str,
    },
    /// So much work that logging in would be an attack.
    #[error("{found} is too much work for each login; {wanted}")]
    TooMuchWork {
        /// What was given.
        found: String,
        /// What would have done.
        wanted: &'static str,
    },
    /// Cut off or mistyped.
    #[error("this {0} hash is damaged; copy all of it")]
    Damaged(&'static str),
}

impl PasswordHash {
    /// Whether this is the password. Takes tens of milliseconds of CPU and, for argon2id, megabytes of memory: never
    /// on a worker.
    pub fn verifies(&self, password: &str) -> bool {
        match self.kind {
            Kind::Argon2id => argon2::PasswordHash::new(&self.text).is_ok_and(|hash| {
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            }),
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
        }
    }

    /// The hash as it was given, to tell one from another.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for PasswordHash {
    type Err = PasswordHashError;

    fn from_str(text: &str) -> Result<Self, PasswordHashError> {
        let kind = match text.split('$').nth(1) {
            Some("argon2id") => argon2id(text)?,
            Some("2a" | "2b" | "2y") => bcrypt(text)?,
            Some("2x") => return Err(PasswordHashError::Weak("bcrypt's faulty variant $2x$")),
            Some("argon2i" | "argon2d") => {
                return Err(PasswordHashError::Weak("argon2 other than argon2id"));
            }
            Some("apr1" | "1") => return Err(PasswordHashError::Weak("MD5")),
            Some("5" | "6") => return Err(PasswordHashError::Weak("SHA-2 crypt")),
            _ if text.starts_with("{SHA}") || text.starts_with("{SSHA}") => {
                return Err(PasswordHashError::Weak("SHA-1"));
            }
            _ => return Err(PasswordHashError::PlainText),
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

fn argon2id(text: &str) -> Result<Kind, PasswordHashError> {
    let damaged = PasswordHashError::Damaged("argon2id");
    let Ok(hash) = argon2::PasswordHash::new(text) else { return Err(damaged) };
    let Ok(params) = Params::try_from(&hash) else { return Err(damaged) };
    if hash.salt.is_none() || hash.hash.is_none_or(|hash| hash.len() < 16) {
        return Err(damaged);
    }
    let (memory, passes) = (params.m_cost(), params.t_cost());
    let found = format!("argon2id with m={memory}, t={passes}");
    if memory < ARGON2_MEMORY_MIN || u64::from(memory) * u64::from(passes) < ARGON2_WORK_MIN {
        let wanted = "give at least m=19456, t=2 or m=7168, t=5";
        return Err(PasswordHashError::TooLittleWork { found, wanted });
    }
    if memory > ARGON2_MEMORY_MAX
        || u64::from(memory) * u64::from(passes) > 10 * u64::from(ARGON2_MEMORY_MAX)
    {
        return Err(PasswordHashError::TooMuchWork { found, wanted: "m=65536, t=3 is plenty" });
    }
    Ok(Kind::Argon2id)
}

fn bcrypt(text: &str) -> Result<Kind, PasswordHashError> {
    let Ok(parts) = text.parse::<bcrypt::HashParts>() else {
        return Err(PasswordHashError::Damaged("bcrypt"));
    };
    let found = format!("bcrypt with cost {}", parts.get_cost());
    if parts.get_cost() < *BCRYPT_COSTS.start() {
        let wanted = "give at least 10, as `htpasswd -nB -C 12 NAME` does";
        return Err(PasswordHashError::TooLittleWork { found, wanted });
    }
    if parts.get_cost() > *BCRYPT_COSTS.end() {
        return Err(PasswordHashError::TooMuchWork { found, wanted: "12 is plenty, 16 the most" });
    }
    Ok(Kind::Bcrypt)
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `correct horse`, argon2id with m=7168, t=5, p=1.
    pub(crate) const ARGON2ID: &str = "$argon2id$v=19$m=7168,t=5,p=1$bmV3cyBwb3J0YWwgZWRnZQ$sZc4mlDvBo0ZQ7YugPMOR0wzTXq9EYTFAzp4Ak2VK4s";
    /// `battery`, bcrypt with cost 10.
    pub(crate) const BCRYPT: &str = "$2y$10$ZkT1aw/uZ1HyWUueXUPlXOp2Y00yLWisO8HRZx0/hN4hu8Fpgt.OW";

    #[test]
    fn the_right_password_verifies_and_no_other() {
        for (hash, password) in [(ARGON2ID, "correct horse"), (BCRYPT, "battery")] {
            let hash: PasswordHash = hash.parse().unwrap();
            assert!(hash.verifies(password));
            assert!(!hash.verifies("staple"));
            assert!(!hash.verifies(""));
        }
    }

    #[test]
    fn plain_text_and_weak_hashes_are_refused_and_not_repeated() {
        let weaker = |from: &str, to: &str| ARGON2ID.replace(from, to);
        for (text, message) in [
            ("hunter2", "this is no password hash"),
            ("", "this is no password hash"),
            ("$ecret", "this is no password hash"),
            ("rqXexS6ZhobKA", "this is no password hash"),
            ("{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=", "SHA-1 is too weak"),
            ("$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00", "MD5 is too weak"),
            ("$6$salt$hash", "SHA-2 crypt is too weak"),
            (&weaker("argon2id", "argon2i"), "other than argon2id is too weak"),
            (&weaker("m=7168", "m=4096"), "m=4096, t=5 is too little work; give at least m=19456"),
            (&weaker("m=7168,t=5", "m=4096,t=50"), "m=4096, t=50 is too little work"),
            (&weaker("t=5", "t=4"), "m=7168, t=4 is too little work"),
            (&weaker("m=7168", "m=4194304"), "m=4194304, t=5 is too much work"),
            (&weaker("t=5", "t=5000000"), "is too much work"),
            (&ARGON2ID[..60], "argon2id hash is damaged"),
            (&BCRYPT.replace("$10$", "$05$"), "cost 5 is too little work; give at least 10"),
            (&BCRYPT.replace("$10$", "$31$"), "cost 31 is too much work"),
            (&BCRYPT[..59], "bcrypt hash is damaged"),
        ] {
            let error = text.parse::<PasswordHash>().unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        assert_eq!(format!("{:?}", ARGON2ID.parse::<PasswordHash>().unwrap()), "***");
    }
}
