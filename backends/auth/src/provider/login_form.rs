//! `/authorize/login`: the login form that came back.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};

use crate::authentication::LoginRefused;
use crate::password::{Credentials, Password};
use crate::provider::authorization_request::AuthorizationRequest;
use crate::provider::authorize::{
    Asked, SessionError, ask, code_for, refuse, send_to, unavailable, unreadable,
};
use crate::provider::cookies::{Cookie, form_is_ours};
use crate::provider::pages::Page;
use crate::provider::parameters::Parameters;
use crate::routes::Auth;
use crate::secret::Secret;
use crate::store::Session;

const FORM_TOO_OLD: &str =
    "The form was open for too long, or cookies are switched off. Please try again.";
const CANNOT: &str = "Logging in does not work at the moment. Please try again.";

/// What the form sends.
struct Submitted {
    csrf: Option<String>,
    /// The application's request, as it came.
    authorization: String,
    email: String,
    password: Password,
}

impl Submitted {
    fn parse(body: &str) -> Option<Self> {
        let mut parameters = Parameters::parse(body).ok()?;
        Some(Self {
            csrf: parameters.take("csrf"),
            authorization: parameters.take("authorization")?,
            email: parameters.take("email").unwrap_or_default(),
            password: parameters.take("password").unwrap_or_default().into(),
        })
    }
}

/// What the form of `/authorize` sends.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what Submitted::parse takes apart")]
struct LoginSubmission {
    /// The secret of the cookie.
    csrf: String,
    /// The application's request, as it came.
    authorization: String,
    /// Counted in bytes.
    #[schema(min_length = 1, max_length = 254)]
    email: String,
    /// Counted in bytes.
    #[schema(format = "password", min_length = 1, max_length = 256)]
    password: String,
}

/// Email and password from the form of `/authorize`.
#[utoipa::path(post, path = "/authorize/login", operation_id = "log_in_by_form",
    request_body(
        content = LoginSubmission,
        content_type = "application/x-www-form-urlencoded",
    ),
    responses(
        (status = 303, description = "To redirect_uri with a code, and the browser is logged in; or with error", headers(
            ("location" = String, description = "redirect_uri with code, state, iss, or with error"),
            ("set-cookie" = String, description = "The session, if the browser is logged in"),
        )),
        (status = 400, description = "Not complete, too long, or the application's request is not good; as a page", content_type = "text/html"),
        (status = 403, description = "Wrong, or not our form: the form again", content_type = "text/html"),
        (status = 413, description = "Over 16 KiB, as a page", content_type = "text/html"),
        (status = 429, description = "Too many failed logins of this account: the form again", content_type = "text/html"),
        (status = 503, description = "Too busy, or users or the database does not answer: the form again", content_type = "text/html"),
    ),
)]
pub(crate) async fn submit(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unreadable(&rejection),
    };
    let Some(submitted) = Submitted::parse(&body) else {
        let sentence = "The form is not complete.";
        return Page::sentence(StatusCode::BAD_REQUEST, "This cannot work", sentence)
            .into_response();
    };
    let Submitted { csrf, authorization, email, password } = submitted;
    let request = match AuthorizationRequest::parse(&authorization, &auth.registry) {
        Ok(request) => request,
        Err(refused) => return refuse(&auth, &refused),
    };
    let asked = Asked { text: &authorization, request: &request, email: &email };
    if !form_is_ours(&headers, &auth.issuer, csrf.as_deref()) {
        return ask(&auth, &headers, &asked, Some((StatusCode::FORBIDDEN, FORM_TOO_OLD)));
    }
    match Credentials::parse(&email, password) {
        Ok(credentials) => log_in(&auth, &headers, &asked, &credentials).await,
        Err(bad) => {
            let problem = bad.to_string();
            ask(&auth, &headers, &asked, Some((StatusCode::BAD_REQUEST, &problem)))
        }
    }
}

async fn log_in(
    auth: &Auth,
    headers: &HeaderMap,
    asked: &Asked<'_>,
    credentials: &Credentials,
) -> Response {
    let user = match auth.authentication.log_in(credentials, &auth.metrics).await {
        Ok(user) => user,
        Err(refused) => return ask_again(auth, headers, asked, &refused),
    };
    let begun = async {
        // Always a new one: what a browser had before the login is worth nothing after it.
        let (cookie, session) = begin_session(auth, user.id).await?;
        let location = code_for(auth, asked.request, &session).await?;
        Ok((cookie, location))
    };
    match begun.await {
        Ok((cookie, location)) => {
            let cookie = Cookie::Session.set(&cookie, &auth.issuer, auth.lifetimes.session);
            (AppendHeaders([(header::SET_COOKIE, cookie)]), send_to(&location)).into_response()
        }
        Err(error) => unavailable(auth, asked.request, &error),
    }
}

async fn begin_session(auth: &Auth, user_id: String) -> Result<(Secret, Session), SessionError> {
    let cookie = Secret::random();
    let now = auth.clock.now();
    let session = Session {
        id: cookie.hash(),
        user_id,
        authenticated_at: now,
        expires_at: now.after(auth.lifetimes.session),
    };
    auth.store.begin_session(&session).await?;
    Ok((cookie, session))
}

fn ask_again(
    auth: &Auth,
    headers: &HeaderMap,
    asked: &Asked<'_>,
    refused: &LoginRefused,
) -> Response {
    let (status, problem) = match refused {
        LoginRefused::Wrong => (StatusCode::FORBIDDEN, "Email or password is wrong.".to_owned()),
        LoginRefused::TooMany { wait } => (
            StatusCode::TOO_MANY_REQUESTS,
            format!("Too many failed logins. Please try again in {} seconds.", wait.as_secs()),
        ),
        LoginRefused::Busy => (StatusCode::SERVICE_UNAVAILABLE, CANNOT.to_owned()),
        LoginRefused::Users(_) | LoginRefused::Store(_) => {
            tracing::error!(error = %refused, "request failed");
            (StatusCode::SERVICE_UNAVAILABLE, CANNOT.to_owned())
        }
    };
    ask(auth, headers, asked, Some((status, &problem)))
}
