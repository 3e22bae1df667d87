//! The one place where something that went wrong becomes an answer, and the shape of those that went well.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::article::FieldError;
use crate::event_log::LogError;
use crate::latest::LatestError;
use crate::projector::ProjectionError;

/// An answer that went well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Success<T> {
    /// Always `success`.
    status: &'static str,
    news: T,
}

/// An answer that did not.
#[derive(Serialize, ToSchema)]
pub(crate) struct Fail {
    /// Always `fail`.
    status: &'static str,
    /// The reason, for people.
    message: String,
}

/// `{"status": "success", "news": …}`
pub(crate) fn success<T: Serialize>(status: StatusCode, news: T) -> Response {
    (status, Json(Success { status: "success", news })).into_response()
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
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Latest(#[from] LatestError),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("there is nothing at this path")]
    NoSuchPath,
    #[error("this path does not take this method")]
    MethodNotAllowed,
    #[error("the request took too long")]
    TooSlow,
}

impl From<ProjectionError> for Failure {
    fn from(error: ProjectionError) -> Self {
        match error {
            ProjectionError::Log(error) => Self::Log(error),
            ProjectionError::Latest(error) => Self::Latest(error),
        }
    }
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
            Self::Log(LogError::UnknownId)
            | Self::Latest(LatestError::UnknownId)
            | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Log(LogError::Stale { given: _, latest: _ }) => StatusCode::CONFLICT,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Log(LogError::Database(_)) | Self::Latest(LatestError::Database(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Metrics(_)
            | Self::Log(LogError::Migrate(_))
            | Self::Latest(LatestError::Migrate(_)) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let message = if status.is_server_error() {
            // Ours to know, not the client's.
            tracing::error!(error = %self, "request failed");
            "the service cannot do this now".to_owned()
        } else {
            self.to_string()
        };
        (status, Json(Fail { status: "fail", message })).into_response()
    }
}
