//! Whether an answer over HTTP is good.

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use memchr::memmem;
use thiserror::Error;

use super::{BODY_MAX, CheckError};

/// Why it is not.
#[derive(Debug, Error)]
pub(super) enum HttpError {
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("its body does not hold {0:?}")]
    Lacks(String),
    #[error("the first 64 KiB of its body do not hold {0:?}")]
    LacksSoFar(String),
}

/// Looks at the status, and at the body as far as needed.
pub(super) async fn judge(
    response: Response<Incoming>,
    good: &[StatusCode],
    text: Option<&str>,
) -> Result<String, CheckError> {
    let status = response.status();
    if !good.contains(&status) {
        return Err(HttpError::Status(status).into());
    }
    if let Some(text) = text {
        find(response.into_body(), text).await?;
    }
    Ok(format!("status {}", status.as_u16()))
}

async fn find(mut body: Incoming, text: &str) -> Result<(), CheckError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        // It may have begun in what was looked through before.
        let from = read.len().saturating_sub(text.len() - 1);
        let room = BODY_MAX - read.len();
        read.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if memmem::find(&read[from..], text.as_bytes()).is_some() {
            return Ok(());
        }
        if read.len() == BODY_MAX {
            return Err(HttpError::LacksSoFar(text.to_owned()).into());
        }
    }
    Err(HttpError::Lacks(text.to_owned()).into())
}
