//! Why something could not be measured, or why a request failed.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { path: path.to_owned(), source }
    }
}

/// One reason; a broken promise is not one of them but a line of the report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{address}: {source}")]
    Socket { address: SocketAddr, source: io::Error },
    #[error("{name}: {source}")]
    Name { name: String, source: io::Error },
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: not understood", path = path.display())]
    Unreadable { path: PathBuf },
    #[error("{program} does not start: {source}", program = program.display())]
    Program { program: PathBuf, source: io::Error },
    #[error("the gateway ended with {status}")]
    Ended { status: String },
    #[error("{what} did not happen within {seconds} s")]
    TooLate { what: &'static str, seconds: u64 },
    #[error("{}", with_cause(.0))]
    Http(#[from] hyper::Error),
    #[error("the request cannot be built: {0}")]
    Request(#[from] http::Error),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer's body is not what was asked for")]
    Body,
    #[error("websocket: {0}")]
    WebSocket(Box<tokio_tungstenite::tungstenite::Error>),
    #[error("the system: {0}")]
    System(#[from] rustix::io::Errno),
    #[error("{option}: {reason}")]
    Setting { option: &'static str, reason: &'static str },
}

/// hyper says `connection error` and keeps for itself which one.
fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl From<tokio_tungstenite::tungstenite::Error> for Failure {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}
