//! A secret of the configuration: given as text, an environment variable or a file, and printed as `***`.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use thiserror::Error;

/// Where a secret comes from. `{ env = "NAME" }`, `{ file = "path" }` or `{ text = "…" }`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Secret {
    /// The value of an environment variable.
    Env(String),
    /// The content of a file, without a final line break.
    File(PathBuf),
    /// The secret itself; for trying things out.
    Text(String),
}

/// Why a secret cannot be had.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The environment does not have it.
    #[error("the environment variable {0} is not set; set it, or use {{ file = \"…\" }}")]
    NotSet(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file named in the config.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// There is nothing in it.
    #[error("the secret is empty")]
    Empty,
}

impl Secret {
    /// Fetches the secret. Called while a snapshot is built, never per request.
    pub fn reveal(&self) -> Result<String, SecretError> {
        let value = match self {
            Self::Env(name) => {
                std::env::var(name).map_err(|_| SecretError::NotSet(name.clone()))?
            }
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
                .map_err(|reason| SecretError::Unreadable { path: path.clone(), reason })?,
            Self::Text(text) => text.clone(),
        };
        if value.is_empty() { Err(SecretError::Empty) } else { Ok(value) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "{{ env = {name:?} }}"),
            Self::File(path) => write!(f, "{{ file = {path:?} }}"),
            Self::Text(_) => f.write_str("***"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::Text("hunter2".to_owned())), "***");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Secret::Env("NOT_THERE_AT_ALL".to_owned()).reveal().unwrap_err();
        assert!(error.to_string().contains("NOT_THERE_AT_ALL"));
    }
}
