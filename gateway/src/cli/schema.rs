//! `gateway schema`: the JSON schema of config.toml.

use crate::config::schema::schema;

/// The schema as text.
pub fn text() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&schema())
}
