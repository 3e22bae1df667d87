//! The users service, asked over HTTP: whether a password is right, and who somebody is now.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use crate::password::Credentials;
use crate::request_log;
use crate::settings::UsersAddress;

/// How long one question may take: a password is checked in tens of milliseconds, and may wait for others.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest user is under 2 KB.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Connections that are kept open while nobody asks.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// A user as the users service knows them at this moment.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
}

/// A client of the users service with its open connections.
pub(crate) struct Users {
    address: UsersAddress,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Users {
    pub(crate) fn new(address: UsersAddress) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build_http();
        Self { address, client }
    }

    /// Whose email and password these are, if anybody's.
    pub(crate) async fn verify(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<User>, UsersError> {
        let body = credentials.to_json().to_string();
        let (status, bytes) = self.ask(Method::POST, "/user/verify", body).await?;
        match status {
            StatusCode::OK => Ok(Some(serde_json::from_slice(&bytes)?)),
            // A text that cannot be an email, or that nobody has: the same to who asks.
            StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST => Ok(None),
            status => Err(UsersError::Status { status }),
        }
    }

    /// The user with this id, if there still is one.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<User>, UsersError> {
        // Ids come from the users service itself; one that would change the path is nobody's.
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Ok(None);
        }
        let path = format!("/user/{id}");
        let (status, bytes) = self.ask(Method::GET, &path, String::new()).await?;
        match status {
            StatusCode::OK => Ok(Some(serde_json::from_slice(&bytes)?)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(UsersError::Status { status }),
        }
    }

    /// Asks whether the service is well.
    pub(crate) async fn check(&self) -> Result<(), UsersError> {
        match self.ask(Method::GET, "/health", String::new()).await? {
            (StatusCode::OK, _) => Ok(()),
            (status, _) => Err(UsersError::Status { status }),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, Bytes), UsersError> {
        let request = Request::builder()
            .method(method)
            .uri(self.address.link(path))
            .header(header::CONTENT_TYPE, "application/json")
            .header(request_log::CORRELATION_ID, request_log::current_correlation_id())
            .body(Full::from(body))?;
        let answer = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
                Ok(_) => UsersError::TooLong,
                Err(error) => UsersError::Body(error.to_string()),
            })?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(ANSWER_TIME_MAX, answer).await.map_err(|_| UsersError::TooSlow)?
    }
}

/// Why the users service could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    #[error("users: the request cannot be made: {0}")]
    Request(#[from] axum::http::Error),
    #[error("users: {0}")]
    Client(#[from] ClientError),
    #[error("users: the answer broke off: {0}")]
    Body(String),
    #[error("users: the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("users: no answer in {} s", ANSWER_TIME_MAX.as_secs())]
    TooSlow,
    #[error("users: answered {status}")]
    Status { status: StatusCode },
    #[error("users: the answer is no user: {0}")]
    Shape(#[from] serde_json::Error),
}
