//! `/end_session`: an application lets a browser log out (OpenID Connect RP-Initiated Logout).
//!
//! With an id token of the session it happens at once: only the application can have it. Without one the user is
//! asked, so that no other site can log anybody out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::StringRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};

use crate::clients::{RedirectUri, Registry};
use crate::provider::authorize::{send_to, unreadable};
use crate::provider::cookies::{Cookie, form_is_ours};
use crate::provider::pages::Page;
use crate::provider::parameters::Parameters;
use crate::routes::Auth;
use crate::secret::{Secret, SecretHash};
use crate::store::StoreError;
use crate::tokens::IdClaims;

/// How long the question can be answered.
const FORM_AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// The longest request: an id token and two addresses.
const REQUEST_BYTES_MAX: usize = 6 * 1024;

/// What an application asks.
struct LogoutRequest<'a> {
    /// Whose logout it is, proved by an id token of ours.
    hint: Option<IdClaims>,
    /// Where the browser goes then; registered for the client.
    then: Option<&'a RedirectUri>,
    state: Option<String>,
}

impl<'a> LogoutRequest<'a> {
    fn parse(text: &str, auth: &'a Auth) -> Result<Self, &'static str> {
        if text.len() > REQUEST_BYTES_MAX {
            return Err("The request is too long.");
        }
        let mut parameters =
            Parameters::parse(text).map_err(|_| "The request says one thing twice.")?;
        // A token that is not ours, or of a key long gone, proves nothing: then the user is asked.
        let hint = parameters.take("id_token_hint");
        let hint = hint.and_then(|token| auth.mint.check_id_hint(&token).ok());
        let named = parameters.take("client_id");
        let client_id = match (&hint, named) {
            (Some(hint), Some(named)) if hint.aud != named => {
                return Err("The id token belongs to another application.");
            }
            (Some(hint), _) => Some(hint.aud.clone()),
            (None, named) => named,
        };
        let then = match parameters.take("post_logout_redirect_uri") {
            Some(uri) => Some(registered(&auth.registry, client_id.as_deref(), &uri)?),
            None => None,
        };
        Ok(Self { hint, then, state: parameters.take("state") })
    }

    /// Where the browser goes, or what it shows.
    fn done(&self, auth: &Auth) -> Response {
        let clear = AppendHeaders([(header::SET_COOKIE, Cookie::Session.clear(&auth.issuer))]);
        let Some(then) = self.then else {
            let page = Page::sentence(StatusCode::OK, "Logged out", "You are logged out.");
            return (clear, page).into_response();
        };
        let state: Vec<(&str, &str)> = self.state.iter().map(|it| ("state", it.as_str())).collect();
        (clear, send_to(&then.with(&state))).into_response()
    }
}

fn registered<'a>(
    registry: &'a Registry,
    client_id: Option<&str>,
    uri: &str,
) -> Result<&'a RedirectUri, &'static str> {
    let client = client_id.and_then(|id| registry.client(id));
    client
        .and_then(|client| client.post_logout_redirect_uri(uri))
        .ok_or("The application wants to go on at an address that is not registered for it.")
}

/// What an application asks, in a query or a form; what is not known is ignored.
#[derive(utoipa::IntoParams, utoipa::ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what LogoutRequest::parse takes apart")]
struct LogoutParameters {
    /// An id token of the session, also an old one.
    #[schema(nullable = false)]
    id_token_hint: Option<String>,
    /// Who asks, if there is no id token.
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// Exactly as it is registered.
    #[schema(nullable = false)]
    post_logout_redirect_uri: Option<String>,
    /// Comes back as it is.
    #[schema(nullable = false)]
    state: Option<String>,
}

/// The browser of a user who wants to log out.
#[utoipa::path(get, path = "/end_session", operation_id = "end_session", params(LogoutParameters), responses(
    (status = 200, description = "Logged out, or a question whether to, as a page", content_type = "text/html", headers(
        ("set-cookie" = String, description = "Ends the session, or what the form repeats"),
    )),
    (status = 303, description = "Logged out", headers(
        ("location" = String, description = "post_logout_redirect_uri with state"),
        ("set-cookie" = String, description = "Ends the session"),
    )),
    (status = 400, description = "An address that is not registered, twice the same, or over 6 KiB, as a page", content_type = "text/html"),
    (status = 503, description = "The database does not answer: not logged out, as a page", content_type = "text/html"),
))]
pub(crate) async fn from_query(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    answer(&auth, &headers, &query.unwrap_or_default()).await
}

/// The same as a form.
#[utoipa::path(post, path = "/end_session", operation_id = "end_session_by_form",
    request_body(content = LogoutParameters, content_type = "application/x-www-form-urlencoded"),
    responses(
    (status = 200, description = "Logged out, or a question whether to, as a page", content_type = "text/html", headers(
        ("set-cookie" = String, description = "Ends the session, or what the form repeats"),
    )),
    (status = 303, description = "Logged out", headers(
        ("location" = String, description = "post_logout_redirect_uri with state"),
        ("set-cookie" = String, description = "Ends the session"),
    )),
    (status = 400, description = "An address that is not registered, twice the same, or over 6 KiB, as a page", content_type = "text/html"),
    (status = 413, description = "Over 16 KiB, as a page", content_type = "text/html"),
    (status = 503, description = "The database does not answer: not logged out, as a page", content_type = "text/html"),
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
    let request = match LogoutRequest::parse(text, auth) {
        Ok(request) => request,
        Err(sentence) => return refused(sentence),
    };
    match log_out(auth, headers, &request).await {
        Ok(Outcome::Done) => request.done(auth),
        Ok(Outcome::Unsure) => ask(auth, headers, text, &request),
        Err(error) => failed(&error),
    }
}

/// What came of it.
enum Outcome {
    /// Nobody is logged in here any more.
    Done,
    /// Somebody is, and it is not proved that they want to log out.
    Unsure,
}

async fn log_out(
    auth: &Auth,
    headers: &HeaderMap,
    request: &LogoutRequest<'_>,
) -> Result<Outcome, StoreError> {
    if let Some(hint) = &request.hint {
        auth.store.end_session(&SecretHash::stored(hint.sid.clone())).await?;
    }
    let Some(cookie) = Cookie::Session.read(headers, &auth.issuer) else {
        return Ok(Outcome::Done);
    };
    let Some(session) = auth.store.session(&cookie.hash(), auth.clock.now()).await? else {
        return Ok(Outcome::Done);
    };
    // The browser may have logged in again since; the same user means it, another one is asked.
    if request.hint.as_ref().is_some_and(|hint| hint.sub == session.user_id) {
        auth.store.end_session(&session.id).await?;
        return Ok(Outcome::Done);
    }
    Ok(Outcome::Unsure)
}

fn ask(auth: &Auth, headers: &HeaderMap, text: &str, request: &LogoutRequest<'_>) -> Response {
    let csrf = Cookie::Csrf.read(headers, &auth.issuer).unwrap_or_else(Secret::random);
    let leads_to = request.then.map(RedirectUri::policy_source);
    let action = auth.issuer.path_of("/end_session/confirm");
    let page = Page::logout(&action, csrf.reveal(), text, leads_to);
    let cookie = Cookie::Csrf.set(&csrf, &auth.issuer, FORM_AGE_MAX);
    (AppendHeaders([(header::SET_COOKIE, cookie)]), page).into_response()
}

/// What the form of `/end_session` sends.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what confirm takes apart")]
struct LogoutConfirmation {
    /// The secret of the cookie.
    csrf: String,
    /// The application's request, as it came.
    #[schema(nullable = false)]
    request: Option<String>,
}

/// The user's yes, from the form of `/end_session`.
#[utoipa::path(post, path = "/end_session/confirm", operation_id = "confirm_end_session",
    request_body(
        content = LogoutConfirmation,
        content_type = "application/x-www-form-urlencoded",
    ),
    responses(
    (status = 200, description = "Logged out, as a page", content_type = "text/html", headers(
        ("set-cookie" = String, description = "Ends the session"),
    )),
    (status = 303, description = "Logged out", headers(
        ("location" = String, description = "post_logout_redirect_uri with state"),
        ("set-cookie" = String, description = "Ends the session"),
    )),
    (status = 400, description = "An address that is not registered, twice the same, or over 6 KiB, as a page", content_type = "text/html"),
    (status = 403, description = "Not our form, as a page", content_type = "text/html"),
    (status = 413, description = "Over 16 KiB, as a page", content_type = "text/html"),
    (status = 503, description = "The database does not answer: not logged out, as a page", content_type = "text/html"),
))]
pub(crate) async fn confirm(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unreadable(&rejection),
    };
    let Ok(mut parameters) = Parameters::parse(&body) else {
        return refused("The form says one thing twice.");
    };
    let text = parameters.take("request").unwrap_or_default();
    let request = match LogoutRequest::parse(&text, &auth) {
        Ok(request) => request,
        Err(sentence) => return refused(sentence),
    };
    if !form_is_ours(&headers, &auth.issuer, parameters.take("csrf").as_deref()) {
        let sentence = "The form was open for too long, or cookies are switched off.";
        return Page::sentence(StatusCode::FORBIDDEN, "This cannot work", sentence).into_response();
    }
    if let Some(cookie) = Cookie::Session.read(&headers, &auth.issuer)
        && let Err(error) = auth.store.end_session(&cookie.hash()).await
    {
        return failed(&error);
    }
    request.done(&auth)
}

fn refused(sentence: &str) -> Response {
    Page::sentence(StatusCode::BAD_REQUEST, "This logout cannot work", sentence).into_response()
}

fn failed(error: &StoreError) -> Response {
    tracing::error!(%error, "request failed");
    let sentence = "Logging out does not work at the moment. Please try again.";
    Page::sentence(StatusCode::SERVICE_UNAVAILABLE, "Not logged out", sentence).into_response()
}
