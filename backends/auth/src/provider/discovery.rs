//! What applications and checkers of tokens read first: where everything is, and the public keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::keys::{ALGORITHM_NAME, JWKS_AGE_MAX, KeySet};
use crate::routes::Auth;
use crate::scope;
use crate::settings::Issuer;

/// What OpenID Connect Discovery 1.0 lists, and RFC 8414, RFC 9207 and RP-Initiated Logout add.
#[derive(Serialize, ToSchema)]
pub(crate) struct Discovery {
    /// What tokens call `iss`.
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    end_session_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<&'static str>,
    response_types_supported: Vec<&'static str>,
    response_modes_supported: Vec<&'static str>,
    grant_types_supported: Vec<&'static str>,
    subject_types_supported: Vec<&'static str>,
    id_token_signing_alg_values_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    /// PKCE is required of every client.
    code_challenge_methods_supported: Vec<&'static str>,
    claims_supported: Vec<&'static str>,
    prompt_values_supported: Vec<&'static str>,
    /// Whether `iss` comes back with every code.
    authorization_response_iss_parameter_supported: bool,
    claims_parameter_supported: bool,
    request_parameter_supported: bool,
    request_uri_parameter_supported: bool,
}

/// The document of OpenID Connect Discovery; it holds for the whole life of the service.
pub(crate) fn document(issuer: &Issuer) -> Discovery {
    Discovery {
        issuer: issuer.as_str().to_owned(),
        authorization_endpoint: issuer.link("/authorize"),
        token_endpoint: issuer.link("/token"),
        userinfo_endpoint: issuer.link("/userinfo"),
        end_session_endpoint: issuer.link("/end_session"),
        jwks_uri: issuer.link("/.well-known/jwks.json"),
        scopes_supported: scope::KNOWN.to_vec(),
        response_types_supported: vec!["code"],
        response_modes_supported: vec!["query"],
        grant_types_supported: vec!["authorization_code", "refresh_token"],
        subject_types_supported: vec!["public"],
        id_token_signing_alg_values_supported: vec![ALGORITHM_NAME],
        token_endpoint_auth_methods_supported: vec!["none", "client_secret_basic"],
        code_challenge_methods_supported: vec!["S256"],
        claims_supported: vec![
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "nonce",
            "at_hash",
            "sid",
            "name",
            "email",
            "email_verified",
        ],
        prompt_values_supported: vec!["none", "login", "select_account", "consent"],
        authorization_response_iss_parameter_supported: true,
        claims_parameter_supported: false,
        request_parameter_supported: false,
        request_uri_parameter_supported: false,
    }
}

/// Where everything is.
#[utoipa::path(get, path = "/.well-known/openid-configuration", responses(
    (status = 200, description = "OpenID Connect Discovery, good for five minutes", body = Discovery),
))]
pub(crate) async fn configuration(State(auth): State<Arc<Auth>>) -> Response {
    may_be_kept(Json(&auth.discovery))
}

/// The public keys, as a JSON Web Key Set. The next key is here before it signs.
#[utoipa::path(get, path = "/.well-known/jwks.json", responses(
    (status = 200, description = "JSON Web Key Set, good for five minutes", body = KeySet),
))]
pub(crate) async fn jwks(State(auth): State<Arc<Auth>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    may_be_kept((headers, auth.mint.keys.ring().jwks()))
}

/// The same, at the address that many expect.
#[utoipa::path(get, path = "/jwks", responses(
    (status = 200, description = "JSON Web Key Set, good for five minutes", body = KeySet),
))]
pub(crate) async fn jwks_by_short_path(auth: State<Arc<Auth>>) -> Response {
    jwks(auth).await
}

fn may_be_kept(answer: impl IntoResponse) -> Response {
    let cache = format!("public, max-age={}", JWKS_AGE_MAX.as_secs());
    ([(header::CACHE_CONTROL, cache)], answer).into_response()
}
