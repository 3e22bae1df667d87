//! The one place where something that went wrong becomes an answer.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::password::HashError;
use crate::store::StoreError;
use crate::user::FieldError;

/// Everything a request can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("{}", .0.body_text())]
    Body(#[from] JsonRejection),
    #[error("{}", .0.body_text())]
    Path(#[from] PathRejection),
    #[error("{}", .0.body_text())]
    Query(#[from] QueryRejection),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is nothing at this path")]
    NoSuchPath,
    #[error("this path does not take this method")]
    MethodNotAllowed,
    #[error("the request took too long")]
    TooSlow,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Field(_) | Self::Path(_) | Self::Query(_) => StatusCode::BAD_REQUEST,
            // axum tells JSON of the wrong shape (422) from no JSON (400); to our clients both are malformed.
            Self::Body(rejection) => match rejection.status() {
                StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                status => status,
            },
            Self::Store(StoreError::UnknownId) | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Store(StoreError::EmailTaken) => StatusCode::CONFLICT,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Hash(HashError::Busy) | Self::Store(StoreError::Database(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Hash(HashError::Argon2(_) | HashError::Task(_))
            | Self::Store(StoreError::Migrate(_) | StoreError::Damaged { .. }) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let text = if status.is_server_error() {
            // Ours to know, not the client's.
            tracing::error!(error = %self, "request failed");
            "the service cannot do this now".to_owned()
        } else {
            self.to_string()
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}
