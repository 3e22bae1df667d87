//! `/authorize`: a browser that an application sent. It goes back with a code, or is asked who sits before it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::StringRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};

use crate::provider::authorization_request::{
    AuthorizationError, AuthorizationRefused, AuthorizationRequest, Prompt,
};
use crate::provider::cookies::Cookie;
use crate::provider::pages::{LoginForm, Page};
use crate::routes::Auth;
use crate::secret::Secret;
use crate::store::{Code, Session, StoreError};
use crate::users::UsersError;

/// How long a login form can be sent.
const FORM_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// What an application asks, in a query or a form; what is not known is ignored.
#[derive(utoipa::IntoParams, utoipa::ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what AuthorizationRequest::parse takes apart")]
struct AuthorizationParameters {
    /// A configured client.
    client_id: String,
    /// Exactly as it is registered.
    redirect_uri: String,
    #[param(pattern = "^code$")]
    #[schema(pattern = "^code$")]
    response_type: String,
    #[param(pattern = "^query$")]
    #[schema(pattern = "^query$", nullable = false)]
    response_mode: Option<String>,
    /// `openid`, and of `profile`, `email`, with spaces between.
    scope: String,
    /// PKCE: the SHA-256 of the verifier, in base64url.
    #[param(pattern = "^[A-Za-z0-9_-]{43}$")]
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$")]
    code_challenge: String,
    #[param(pattern = "^S256$")]
    #[schema(pattern = "^S256$")]
    code_challenge_method: String,
    /// Comes back as it is.
    #[schema(nullable = false)]
    state: Option<String>,
    /// Stands in the id token; counted in bytes.
    #[param(max_length = 512)]
    #[schema(max_length = 512, nullable = false)]
    nonce: Option<String>,
    /// `none` alone, or of `login`, `select_account`, `consent`.
    #[schema(nullable = false)]
    prompt: Option<String>,
    /// Seconds since the password was given, at most.
    #[schema(nullable = false)]
    max_age: Option<u32>,
    /// The email in the form.
    #[schema(nullable = false)]
    login_hint: Option<String>,
}

/// The browser asks for a code for an application.
#[utoipa::path(get, path = "/authorize", operation_id = "authorize", params(AuthorizationParameters), responses(
    (status = 200, description = "A login form, under a cookie that it repeats", content_type = "text/html", headers(
        ("set-cookie" = String, description = "What the form repeats"),
    )),
    (status = 303, description = "To redirect_uri with code, state, iss; or with error, error_description, state, iss", headers(
        ("location" = String, description = "redirect_uri with these parameters"),
    )),
    (status = 400, description = "Unknown client or redirect_uri, twice the same, or over 4096 bytes, as a page", content_type = "text/html"),
))]
pub(crate) async fn from_query(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    answer(&auth, &headers, &query.unwrap_or_default()).await
}

/// The same as a form.
#[utoipa::path(post, path = "/authorize", operation_id = "authorize_by_form",
    request_body(
        content = AuthorizationParameters,
        content_type = "application/x-www-form-urlencoded",
    ),
    responses(
    (status = 200, description = "A login form, under a cookie that it repeats", content_type = "text/html", headers(
        ("set-cookie" = String, description = "What the form repeats"),
    )),
    (status = 303, description = "To redirect_uri with code, state, iss; or with error, error_description, state, iss", headers(
        ("location" = String, description = "redirect_uri with these parameters"),
    )),
    (status = 400, description = "Unknown client or redirect_uri, twice the same, or over 4096 bytes, as a page", content_type = "text/html"),
    (status = 413, description = "Over 16 KiB, as a page", content_type = "text/html"),
))]
pub(crate) async fn from_form(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Response {
    match body {
        Ok(body) => answer(&auth, &headers, &body).await,
        Err(rejection) => unreadable(&rejection),
    }
}

async fn answer(auth: &Auth, headers: &HeaderMap, text: &str) -> Response {
    let request = match AuthorizationRequest::parse(text, &auth.registry) {
        Ok(request) => request,
        Err(refused) => return refuse(auth, &refused),
    };
    match usable_session(auth, headers, &request).await {
        Ok(Some(session)) => match code_for(auth, &request, &session).await {
            Ok(location) => send_to(&location),
            Err(error) => unavailable(auth, &request, &error),
        },
        Ok(None) if request.prompt == Prompt::Never => {
            refuse_there(auth, &request, AuthorizationError::LOGIN_REQUIRED)
        }
        Ok(None) => {
            let asked = Asked { text, request: &request, email: &request.login_hint };
            ask(auth, headers, &asked, None)
        }
        Err(error) => unavailable(auth, &request, &error),
    }
}

/// The browser's session, if it is good enough for this request and its user still exists.
async fn usable_session(
    auth: &Auth,
    headers: &HeaderMap,
    request: &AuthorizationRequest<'_>,
) -> Result<Option<Session>, SessionError> {
    let Some(cookie) = Cookie::Session.read(headers, &auth.issuer) else {
        return Ok(None);
    };
    let now = auth.clock.now();
    let Some(session) = auth.store.session(&cookie.hash(), now).await? else {
        return Ok(None);
    };
    let age = now.since(session.authenticated_at);
    // Zero means that the password has to be given now.
    let too_old = request.age_max.is_some_and(|age_max| age >= age_max);
    if too_old || request.prompt == Prompt::Always {
        return Ok(None);
    }
    if auth.authentication.users.find(&session.user_id).await?.is_none() {
        auth.store.end_session(&session.id).await?;
        return Ok(None);
    }
    Ok(Some(session))
}

/// Where the browser goes with a new code.
pub(crate) async fn code_for(
    auth: &Auth,
    request: &AuthorizationRequest<'_>,
    session: &Session,
) -> Result<String, SessionError> {
    let secret = Secret::random();
    let code = Code {
        client_id: request.client.id.clone(),
        redirect_uri: request.back.redirect_uri.as_str().to_owned(),
        challenge: request.challenge.clone(),
        nonce: request.nonce.clone(),
        user_id: session.user_id.clone(),
        session_id: session.id.as_str().to_owned(),
        scope: request.scope.as_str().to_owned(),
        authenticated_at: session.authenticated_at.0,
        expires_at: auth.clock.now().after(auth.lifetimes.code).0,
    };
    auth.store.add_code(&secret, &code).await?;
    Ok(request.back.with(&[("code", secret.reveal())], &auth.issuer))
}

/// A request whose user has to be asked.
pub(crate) struct Asked<'a> {
    /// As it came.
    pub(crate) text: &'a str,
    pub(crate) request: &'a AuthorizationRequest<'a>,
    /// What to put into the field.
    pub(crate) email: &'a str,
}

/// Shows the login form, with what was wrong the last time.
pub(crate) fn ask(
    auth: &Auth,
    headers: &HeaderMap,
    asked: &Asked<'_>,
    problem: Option<(StatusCode, &str)>,
) -> Response {
    // A second form in another tab repeats the same secret.
    let csrf = Cookie::Csrf.read(headers, &auth.issuer).unwrap_or_else(Secret::random);
    let (status, problem) = problem.unzip();
    let form = LoginForm {
        action: &auth.issuer.path_of("/authorize/login"),
        client_name: &asked.request.client.name,
        leads_to: asked.request.back.redirect_uri.policy_source(),
        csrf: csrf.reveal(),
        authorization: asked.text,
        email: asked.email,
        problem,
    };
    let cookie = Cookie::Csrf.set(&csrf, &auth.issuer, FORM_AGE_MAX);
    let page = Page::login(status.unwrap_or(StatusCode::OK), form);
    (AppendHeaders([(header::SET_COOKIE, cookie)]), page).into_response()
}

/// Says no, to the user or to the application.
pub(crate) fn refuse(auth: &Auth, refused: &AuthorizationRefused<'_>) -> Response {
    match refused {
        AuthorizationRefused::Here(sentence) => {
            Page::sentence(StatusCode::BAD_REQUEST, "This login cannot work", sentence)
                .into_response()
        }
        AuthorizationRefused::There { back, error } => {
            let AuthorizationError { code, description } = error;
            let answer = [("error", *code), ("error_description", *description)];
            send_to(&back.with(&answer, &auth.issuer))
        }
    }
}

/// Sends the browser on. The address may hold a code, so nobody may keep it.
pub(crate) fn send_to(location: &str) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Redirect::to(location)).into_response()
}

fn refuse_there(
    auth: &Auth,
    request: &AuthorizationRequest<'_>,
    error: AuthorizationError,
) -> Response {
    let AuthorizationError { code, description } = error;
    let answer = [("error", code), ("error_description", description)];
    send_to(&request.back.with(&answer, &auth.issuer))
}

/// Something that we need does not answer: the application gets to know that it may come again.
pub(crate) fn unavailable(
    auth: &Auth,
    request: &AuthorizationRequest<'_>,
    error: &SessionError,
) -> Response {
    tracing::error!(%error, "request failed");
    refuse_there(auth, request, AuthorizationError::UNAVAILABLE)
}

/// A form that is no text or too much of it.
pub(crate) fn unreadable(rejection: &StringRejection) -> Response {
    Page::sentence(rejection.status(), "This cannot work", "The form cannot be read.")
        .into_response()
}

/// What a session needs does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
