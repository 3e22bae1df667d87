//! A user: what clients write, checked once, and what they read.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::password::{Password, PasswordHash};

const NAME_CHARACTERS_MAX: usize = 100;
/// The longest address SMTP can carry (RFC 5321, 4.5.3.1.3, less the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;
/// Hashing time does not grow with it; this only keeps bodies small.
const PASSWORD_BYTES_MAX: usize = 256;

/// A user as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct User {
    #[schema(value_type = String, format = "uuid")]
    pub(crate) id: UserId,
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    pub(crate) name: Name,
    #[schema(value_type = String, min_length = 3, max_length = 254)]
    pub(crate) email: Email,
}

/// A user with what only this service may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: User,
    pub(crate) hash: PasswordHash,
}

/// Random, so that ids cannot be counted through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct UserId(Uuid);

impl UserId {
    fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl std::fmt::Display for UserId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

impl FromStr for UserId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// A name of 1 to 100 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn parse(text: String) -> Result<Self, FieldError> {
        let characters = text.chars().count();
        if text.trim().is_empty() || characters > NAME_CHARACTERS_MAX {
            return Err(FieldError::Name);
        }
        if text.chars().any(char::is_control) {
            return Err(FieldError::Name);
        }
        Ok(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something before an `@` and something after it. Whether mail arrives there, only mail can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Email(String);

impl Email {
    pub(crate) fn parse(text: String) -> Result<Self, FieldError> {
        let odd = |character: char| character.is_whitespace() || character.is_control();
        match text.rsplit_once('@') {
            Some((local, domain))
                if !local.is_empty()
                    && !domain.is_empty()
                    && text.len() <= EMAIL_BYTES_MAX
                    && !text.contains(odd) =>
            {
                Ok(Self(text))
            }
            _ => Err(FieldError::Email),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What two spellings of one address have in common: the databases too ignore the case of A to Z alone.
    pub(crate) fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

/// What a client sends to register a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// Not blank, no control characters.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// At most 254 bytes; upper and lower case of A to Z are the same.
    #[schema(min_length = 3, max_length = 254, pattern = r"^\S+@[^\s@]+$")]
    email: String,
    /// 1 to 256 bytes.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 256)]
    password: Password,
}

impl NewUser {
    /// A user who was not there before, and the password.
    pub(crate) fn checked(self) -> Result<(User, Password), FieldError> {
        let Self { name, email, password } = self;
        let password = password.checked()?;
        let (name, email) = (Name::parse(name)?, Email::parse(email)?);
        Ok((User { id: UserId::random(), name, email }, password))
    }
}

/// What a client sends to change a user: all of it but the password, which may stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedUser {
    /// Only so that what was read can be sent back changed; it has to be the one in the path.
    #[schema(format = "uuid")]
    id: Option<String>,
    /// Not blank, no control characters.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// At most 254 bytes; upper and lower case of A to Z are the same.
    #[schema(min_length = 3, max_length = 254, pattern = r"^\S+@[^\s@]+$")]
    email: String,
    /// 1 to 256 bytes; left out, or null, it stays.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 256)]
    password: Option<Password>,
}

impl ChangedUser {
    /// What the user with this id becomes; no password means that it stays.
    pub(crate) fn checked(self, id: UserId) -> Result<(User, Option<Password>), FieldError> {
        let Self { id: id_given, name, email, password } = self;
        if id_given.is_some_and(|given| given.parse() != Ok(id)) {
            return Err(FieldError::IdDiffers);
        }
        let password = password.map(Password::checked).transpose()?;
        Ok((User { id, name: Name::parse(name)?, email: Email::parse(email)? }, password))
    }
}

impl Password {
    fn checked(self) -> Result<Self, FieldError> {
        match self.len() {
            1..=PASSWORD_BYTES_MAX => Ok(self),
            _ => Err(FieldError::Password),
        }
    }
}

/// What a client knows of itself when it signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// Any text; what is nobody's email is wrong like a password.
    pub(crate) email: String,
    #[schema(value_type = String, format = Password)]
    pub(crate) password: Password,
}

/// What is wrong with something a client sent. The text goes to the client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("id is not the one in the path")]
    IdDiffers,
    #[error("name must have 1 to {NAME_CHARACTERS_MAX} characters and no control characters")]
    Name,
    #[error("email must look like name@example.org and have at most {EMAIL_BYTES_MAX} bytes")]
    Email,
    #[error("password must have 1 to {PASSWORD_BYTES_MAX} bytes")]
    Password,
    #[error("count must be 1 to {max}")]
    PageSize { max: u32 },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_emails_are_taken_within_their_bounds() {
        let longest = "ä".repeat(NAME_CHARACTERS_MAX);
        for (name, taken) in [
            ("Ann", true),
            (&longest, true),
            (&format!("{longest}x"), false),
            ("", false),
            ("  ", false),
            ("a\nb", false),
        ] {
            assert_eq!(Name::parse(name.to_owned()).is_ok(), taken, "{name:?}");
        }
        let longest = format!("{}@example.org", "a".repeat(EMAIL_BYTES_MAX - 12));
        for (email, taken) in [
            ("ann@example.org", true),
            (&longest, true),
            (&format!("a{longest}"), false),
            ("ann", false),
            ("@example.org", false),
            ("ann@", false),
            ("a nn@example.org", false),
            ("ann@example.org\r\n", false),
        ] {
            assert_eq!(Email::parse(email.to_owned()).is_ok(), taken, "{email:?}");
        }
    }
}
