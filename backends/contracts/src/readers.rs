//! Who relies on what: the shape of `proto/readers.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::expected::Expected;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readers {
    /// What is read over HTTP.
    #[serde(default)]
    pub(crate) reads: Vec<Read>,
    /// What is called over gRPC.
    #[serde(default)]
    pub(crate) calls: Vec<Call>,
}

impl Readers {
    /// Reads the text of the file.
    pub fn parse(text: &str) -> Result<Self, ReadersError> {
        Ok(toml::from_str(text)?)
    }
}

/// The text is not TOML of this shape; the message says where.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadersError(#[from] toml::de::Error);

/// Fields by their paths, as `news[].id`, and what is expected of each.
pub(crate) type Fields = BTreeMap<String, Expected>;

/// One operation that a reader uses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Read {
    pub(crate) reader: String,
    /// The service, which is the document's name.
    pub(crate) of: String,
    /// As `GET /user/{id}`.
    pub(crate) operation: String,
    /// Of path, query and headers.
    #[serde(default)]
    pub(crate) parameters: Fields,
    /// What the reader sends; nothing if it has no body.
    #[serde(default)]
    pub(crate) sends: Fields,
    /// What it sends it as.
    #[serde(default = "json")]
    pub(crate) content_type: String,
    /// The statuses it can deal with, and the fields it uses of each.
    pub(crate) responses: BTreeMap<String, Fields>,
}

/// What nearly all of them speak.
fn json() -> String {
    "application/json".to_owned()
}

/// One method that a reader calls. Fields are written as in the `.proto` file: `string id = 1`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    pub(crate) reader: String,
    /// The file, below `proto/`.
    pub(crate) of: String,
    /// As `package.Service/Method`.
    pub(crate) method: String,
    pub(crate) sends: Vec<String>,
    pub(crate) uses: Vec<String>,
}
