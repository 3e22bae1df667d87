//! The one place where something that went wrong becomes an answer.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::AccountsError;
use crate::database::DatabaseError;
use crate::intake::IntakeError;
use crate::password::HashError;
use crate::user::FieldError;
use crate::worker::WorkError;

/// What every refusal looks like.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refusal {
    /// Why, in words for people.
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
    #[error(transparent)]
    Accounts(#[from] AccountsError),
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
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Metrics(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Accounts(error) => status_of(error),
        }
    }
}

fn status_of(error: &AccountsError) -> StatusCode {
    match error {
        AccountsError::UnknownId | AccountsError::UnknownLetter => StatusCode::NOT_FOUND,
        AccountsError::EmailTaken => StatusCode::CONFLICT,
        AccountsError::WrongCredentials => StatusCode::UNAUTHORIZED,
        AccountsError::Contended
        | AccountsError::Behind
        | AccountsError::Hash(HashError::Busy)
        | AccountsError::Database(DatabaseError::Failed(_))
        | AccountsError::Index(WorkError::Database(DatabaseError::Failed(_)))
        | AccountsError::Intake(
            IntakeError::NotReady
            | IntakeError::Superseded
            | IntakeError::Full
            | IntakeError::Redis(_)
            | IntakeError::File(_),
        )
        | AccountsError::Index(WorkError::Intake(_)) => StatusCode::SERVICE_UNAVAILABLE,
        AccountsError::Hash(HashError::Argon2(_) | HashError::Task(_))
        | AccountsError::Database(_)
        | AccountsError::Index(WorkError::Database(_))
        | AccountsError::Intake(
            IntakeError::InUse { .. }
            | IntakeError::Migrate(_)
            | IntakeError::Damaged { .. }
            | IntakeError::Task(_),
        ) => StatusCode::INTERNAL_SERVER_ERROR,
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
        let refusal = (status, Json(Refusal { error }));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return ([(header::RETRY_AFTER, "1")], refusal).into_response();
        }
        refusal.into_response()
    }
}
