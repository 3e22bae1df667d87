//! The one place where something that went wrong becomes a JSON answer: `{"error": …}` at our own endpoints, the codes
//! of RFC 6749 at those of OAuth.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::authentication::LoginRefused;
use crate::clock::seconds;
use crate::password::BadCredentials;
use crate::refresh::RefreshRefused;
use crate::store::StoreError;
use crate::tokens::MintError;
use crate::users::UsersError;

const CANNOT: &str = "the service cannot do this now";

/// Tokens for their owner.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenReply {
    /// A JWT (RFC 9068): send it as `Authorization: Bearer …`.
    access_token: String,
    /// Good once, for the next tokens.
    refresh_token: String,
    token_type: TokenType,
    /// Seconds until the access token ends.
    #[schema(minimum = 1, maximum = 3600)]
    expires_in: i64,
    /// What was granted; only at `/token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) scope: Option<String>,
    /// Who logged in, for the client; only at `/token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) id_token: Option<String>,
}

/// How an access token is sent.
#[derive(Serialize, ToSchema)]
enum TokenType {
    Bearer,
}

impl TokenReply {
    pub(crate) fn new(access_token: String, refresh_token: String, lifetime: Duration) -> Self {
        Self {
            access_token,
            refresh_token,
            token_type: TokenType::Bearer,
            expires_in: seconds(lifetime),
            scope: None,
            id_token: None,
        }
    }
}

impl IntoResponse for TokenReply {
    fn into_response(self) -> Response {
        ([(header::CACHE_CONTROL, "no-store")], Json(self)).into_response()
    }
}

/// What an endpoint of our own answers when it refuses.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiError {
    /// A sentence for people.
    error: String,
}

/// Everything a request to our own endpoints can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", .0.body_text())]
    Body(#[from] JsonRejection),
    #[error(transparent)]
    Credentials(#[from] BadCredentials),
    #[error(transparent)]
    Login(#[from] LoginRefused),
    #[error(transparent)]
    Refresh(#[from] RefreshRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mint(#[from] MintError),
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
            // axum tells JSON of the wrong shape (422) from no JSON (400); to our clients both are malformed.
            Self::Body(rejection) => match rejection.status() {
                StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                status => status,
            },
            Self::Credentials(_) | Self::Refresh(RefreshRefused::Scope) => StatusCode::BAD_REQUEST,
            Self::Login(LoginRefused::Wrong) | Self::Refresh(RefreshRefused::NotGood) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Login(LoginRefused::TooMany { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Login(LoginRefused::Busy | LoginRefused::Users(_) | LoginRefused::Store(_))
            | Self::Refresh(RefreshRefused::Users(_) | RefreshRefused::Store(_))
            | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refresh(RefreshRefused::Mint(_)) | Self::Mint(_) | Self::Metrics(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let error = if status.is_server_error() {
            // Ours to know, not the client's.
            tracing::error!(error = %self, "request failed");
            CANNOT.to_owned()
        } else {
            self.to_string()
        };
        let mut response = (status, Json(ApiError { error })).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Self::Login(LoginRefused::TooMany { wait }) = self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What an endpoint of OAuth answers when it refuses (RFC 6749, 5.2).
#[derive(Serialize, ToSchema)]
pub(crate) struct OauthError {
    error: OauthCode,
    /// A sentence for people.
    error_description: String,
}

/// A word for programs.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OauthCode {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    UnsupportedGrantType,
    InvalidToken,
    TemporarilyUnavailable,
    ServerError,
}

/// Everything a request to an endpoint of OAuth can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OauthFailure {
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("the body is too long")]
    TooLong,
    #[error("no such client, or it did not prove who it is")]
    InvalidClient,
    #[error("{0}")]
    InvalidGrant(&'static str),
    #[error("the scope is more than was granted, or without openid")]
    InvalidScope,
    #[error("grant_type must be authorization_code or refresh_token")]
    UnsupportedGrantType,
    #[error("the access token is missing, not good, or not any more")]
    InvalidToken,
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl From<RefreshRefused> for OauthFailure {
    fn from(refused: RefreshRefused) -> Self {
        match refused {
            RefreshRefused::NotGood => Self::InvalidGrant("the refresh token is not good"),
            RefreshRefused::Scope => Self::InvalidScope,
            RefreshRefused::Users(error) => Self::Users(error),
            RefreshRefused::Store(error) => Self::Store(error),
            RefreshRefused::Mint(error) => Self::Mint(error),
        }
    }
}

impl OauthFailure {
    fn status_and_code(&self) -> (StatusCode, OauthCode) {
        match self {
            Self::InvalidRequest(_) => (StatusCode::BAD_REQUEST, OauthCode::InvalidRequest),
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, OauthCode::InvalidRequest),
            Self::InvalidClient => (StatusCode::UNAUTHORIZED, OauthCode::InvalidClient),
            Self::InvalidGrant(_) => (StatusCode::BAD_REQUEST, OauthCode::InvalidGrant),
            Self::InvalidScope => (StatusCode::BAD_REQUEST, OauthCode::InvalidScope),
            Self::UnsupportedGrantType => {
                (StatusCode::BAD_REQUEST, OauthCode::UnsupportedGrantType)
            }
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, OauthCode::InvalidToken),
            Self::Users(_) | Self::Store(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, OauthCode::TemporarilyUnavailable)
            }
            Self::Mint(_) => (StatusCode::INTERNAL_SERVER_ERROR, OauthCode::ServerError),
        }
    }

    /// How to do better, where HTTP wants it said.
    fn challenge(&self) -> Option<HeaderValue> {
        match self {
            Self::InvalidClient => Some(HeaderValue::from_static("Basic realm=\"auth\"")),
            Self::InvalidToken => Some(HeaderValue::from_static("Bearer error=\"invalid_token\"")),
            Self::InvalidRequest(_)
            | Self::TooLong
            | Self::InvalidGrant(_)
            | Self::InvalidScope
            | Self::UnsupportedGrantType
            | Self::Users(_)
            | Self::Store(_)
            | Self::Mint(_) => None,
        }
    }
}

impl IntoResponse for OauthFailure {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let error_description = if status.is_server_error() {
            tracing::error!(error = %self, "request failed");
            CANNOT.to_owned()
        } else {
            self.to_string()
        };
        let body = Json(OauthError { error: code, error_description });
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
