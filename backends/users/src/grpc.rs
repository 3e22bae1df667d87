//! `GetUser` for the other services, as `proto/user_data.proto` has it.

use std::sync::Arc;

use axum::{Router, middleware};
use tonic::{Request, Response, Status};

use crate::accounts::{Accounts, AccountsError};
use crate::grpc::user_data::get_user_data_server::{GetUserData, GetUserDataServer};
use crate::grpc::user_data::{UserDataRequest, UserDataResponse};
use crate::request_log;
use crate::user::User;

/// What the build script made of the `.proto` file.
mod user_data {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/server/user_data.rs"));
}

/// A request is one id.
const REQUEST_BYTES_MAX: usize = 1024;

/// The whole gRPC side as one router.
pub(crate) fn app(accounts: Arc<Accounts>) -> Router {
    let metrics = Arc::clone(&accounts.worker.metrics);
    let server =
        GetUserDataServer::new(Service { accounts }).max_decoding_message_size(REQUEST_BYTES_MAX);
    Router::new()
        .route_service("/user_data.GetUserData/{method}", server)
        .fallback(async || Status::unimplemented("no such service").into_http::<axum::body::Body>())
        .layer(middleware::from_fn_with_state(metrics, request_log::follow))
}

struct Service {
    accounts: Arc<Accounts>,
}

#[tonic::async_trait]
impl GetUserData for Service {
    async fn get_user(
        &self,
        request: Request<UserDataRequest>,
    ) -> Result<Response<UserDataResponse>, Status> {
        let UserDataRequest { id } = request.into_inner();
        let id = id.parse().map_err(|_| status_of(&AccountsError::UnknownId))?;
        let found = self.accounts.find(id).await.map_err(|error| status_of(&error))?;
        let User { id, name, email } = found.account.user;
        let (name, email) = (name.as_str().to_owned(), email.as_str().to_owned());
        Ok(Response::new(UserDataResponse { id: id.to_string(), name, email }))
    }
}

fn status_of(error: &AccountsError) -> Status {
    if matches!(error, AccountsError::UnknownId) {
        return Status::not_found(error.to_string());
    }
    // Ours to know, not the caller's.
    tracing::error!(%error, "request failed");
    Status::unavailable("the service cannot do this now")
}
