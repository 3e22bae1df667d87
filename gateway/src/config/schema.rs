//! The JSON schema of config.toml, for editors.

use super::file::File;

/// The schema (draft 2020-12) as printed by `gateway schema`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}
