//! The one place where something that went wrong becomes an answer.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::broker::BrokerError;
use crate::store::StoreError;
use crate::viewed::FieldError;

/// What is said of every request that is not answered as it was meant.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refusal {
    /// The reason, for people.
    error: String,
}

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
    #[error("this user has read nothing that is known here")]
    UnknownUser,
    #[error("nobody has read this label")]
    UnknownLabel,
    #[error("too many events wait already")]
    InboxFull,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
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
            Self::UnknownUser | Self::UnknownLabel | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::InboxFull | Self::Broker(_) | Self::Store(StoreError::Database(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Metrics(_) | Self::Store(StoreError::Migrate(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let error = if status.is_server_error() {
            // Ours to know, not the client's.
            tracing::error!(error = %self, "request failed");
            "the service cannot do this now".to_owned()
        } else {
            self.to_string()
        };
        (status, Json(Refusal { error })).into_response()
    }
}
