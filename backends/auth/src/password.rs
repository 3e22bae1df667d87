//! What a user types to log in, checked once and never shown.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::secret::{SecretHash, sha256_base64};

/// The longest address SMTP can carry (RFC 5321, 4.5.3.1.3, less the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;
/// What the users service takes.
const PASSWORD_BYTES_MAX: usize = 256;

/// A password as the user wrote it, counted in bytes. It is never shown: not by `Debug`, nor in a complaint about its JSON.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "serde_json::Value")]
#[schema(value_type = String, format = "password", min_length = 1, max_length = 256)]
pub(crate) struct Password(String);

impl TryFrom<serde_json::Value> for Password {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Self, &'static str> {
        match value {
            serde_json::Value::String(text) => Ok(Self(text)),
            _ => Err("password must be text"),
        }
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// An email and a password that could belong together.
#[derive(Debug)]
pub(crate) struct Credentials {
    email: String,
    password: Password,
}

impl Credentials {
    /// Only what is too long or empty is refused: whether such a user exists is nobody's business here.
    pub(crate) fn parse(email: &str, password: Password) -> Result<Self, BadCredentials> {
        let email = email.trim().to_owned();
        if !(1..=EMAIL_BYTES_MAX).contains(&email.len()) {
            return Err(BadCredentials::Email);
        }
        if !(1..=PASSWORD_BYTES_MAX).contains(&password.0.len()) {
            return Err(BadCredentials::Password);
        }
        Ok(Self { email, password })
    }

    /// What failed logins are counted under: the hash of the email, in which upper and lower case are the same.
    pub(crate) fn account(&self) -> SecretHash {
        SecretHash::stored(sha256_base64(self.email.to_lowercase().as_bytes()))
    }

    /// What the users service is asked.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "email": self.email, "password": self.password.0 })
    }
}

/// What is wrong with what was typed. The text goes to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCredentials {
    #[error("email must have 1 to {EMAIL_BYTES_MAX} bytes")]
    Email,
    #[error("password must have 1 to {PASSWORD_BYTES_MAX} bytes")]
    Password,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(email: &str, password: &str) -> Result<Credentials, BadCredentials> {
        Credentials::parse(email, Password(password.to_owned()))
    }

    #[test]
    fn only_what_nobody_can_have_is_refused() {
        for (email, password, expected) in [
            ("ann@example.org", "s3cret", Ok(())),
            ("ann", "s", Ok(())),
            ("", "s3cret", Err(BadCredentials::Email)),
            ("  ", "s3cret", Err(BadCredentials::Email)),
            (&"a".repeat(255), "s3cret", Err(BadCredentials::Email)),
            ("ann@example.org", "", Err(BadCredentials::Password)),
            ("ann@example.org", &"a".repeat(257), Err(BadCredentials::Password)),
        ] {
            assert_eq!(credentials(email, password).map(drop), expected, "{email} {password}");
        }
    }

    #[test]
    fn an_account_is_the_same_in_every_spelling_of_its_email() {
        let account = |email| credentials(email, "s3cret").unwrap().account();
        assert_eq!(account("ann@example.org"), account(" ANN@Example.org"));
        assert_ne!(account("ann@example.org"), account("bob@example.org"));
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", credentials("ann@example.org", "s3cret").unwrap());
        assert!(shown.contains("ann") && !shown.contains("s3cret"), "{shown}");
    }
}
