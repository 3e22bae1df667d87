//! Asks the users service over gRPC who a user is.

use std::time::Duration;

use axum::http::Uri;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::correlation::{CorrelationId, METADATA_KEY};
use wire::UserDataRequest;
use wire::get_user_data_client::GetUserDataClient;

/// Made from `proto/user_data.proto`.
#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/client/user_data.rs"));
}

/// An id that no user has, to ask whether users answers at all.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// A connection that is made when it is needed, and again when it broke.
#[derive(Clone)]
pub(crate) struct Users {
    client: GetUserDataClient<Channel>,
    timeout: Duration,
}

/// Who read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Users {
    /// `timeout` is how long one answer may take, the connection included.
    pub(crate) fn at(address: Uri, timeout: Duration) -> Self {
        let channel = Endpoint::from(address).connect_timeout(timeout).connect_lazy();
        Self { client: GetUserDataClient::new(channel), timeout }
    }

    pub(crate) async fn find(
        &self,
        id: &str,
        correlation_id: &CorrelationId,
    ) -> Result<Reader, UsersError> {
        let mut request = Request::new(UserDataRequest { id: id.to_owned() });
        // Users stops working on what nobody waits for.
        request.set_timeout(self.timeout);
        if let Ok(value) = MetadataValue::try_from(correlation_id.as_str()) {
            request.metadata_mut().insert(METADATA_KEY, value);
        }
        let mut client = self.client.clone();
        let answer = tokio::time::timeout(self.timeout, client.get_user(request))
            .await
            .map_err(|_| UsersError::TooSlow)??;
        let wire::UserDataResponse { id, name, email: _ } = answer.into_inner();
        Ok(Reader { id, name })
    }

    /// Whether users answers.
    pub(crate) async fn probe(&self) -> Result<(), UsersError> {
        match self.find(NOBODY, &CorrelationId::random()).await {
            Ok(_) | Err(UsersError::Unknown) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Why it is not known who a user is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    #[error("users knows no such user")]
    Unknown,
    #[error("users did not answer in time")]
    TooSlow,
    #[error("users answered {:?}: {}", .0.code(), .0.message())]
    Failed(Box<Status>),
}

impl From<Status> for UsersError {
    fn from(status: Status) -> Self {
        match status.code() {
            // An id that users cannot even read names nobody.
            Code::NotFound | Code::InvalidArgument => Self::Unknown,
            _ => Self::Failed(Box::new(status)),
        }
    }
}
