//! `/token`: an application exchanges a code, or a refresh token, for tokens.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

use crate::clients::{Client, Registry};
use crate::metrics::{Issued, Reused};
use crate::provider::parameters::Parameters;
use crate::refresh;
use crate::reply::{OauthError, OauthFailure, TokenReply};
use crate::routes::Auth;
use crate::scope::Scope;
use crate::secret::{self, RefreshToken, Secret};
use crate::store::{Grant, Spent};

/// A code that does not fit, whatever does not fit about it: who guesses learns nothing.
const BAD_CODE: OauthFailure = OauthFailure::InvalidGrant(
    "the code is not good, or not for this client, address and verifier",
);

/// What a client sends. A confidential one sends its id and secret as `Authorization: Basic`, a public one `client_id`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what exchange_code and exchange_refresh_token take")]
struct TokenRequest {
    grant_type: GrantType,
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// For `authorization_code`, which needs it.
    #[schema(nullable = false)]
    code: Option<String>,
    /// For `authorization_code`, which needs it: where the code was sent.
    #[schema(nullable = false)]
    redirect_uri: Option<String>,
    /// For `authorization_code`, which needs it: PKCE.
    #[schema(nullable = false)]
    code_verifier: Option<String>,
    /// For `refresh_token`, which needs it.
    #[schema(nullable = false)]
    refresh_token: Option<String>,
    /// For `refresh_token`: less than was granted.
    #[schema(nullable = false)]
    scope: Option<String>,
}

/// What is exchanged.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what token takes")]
enum GrantType {
    AuthorizationCode,
    RefreshToken,
}

/// A code or a refresh token for tokens. Each is good once, and one that comes again ends what it gave.
#[utoipa::path(post, path = "/token",
    params(("authorization" = Option<String>, Header, description = "Basic, for a confidential client")),
    request_body(
        content = TokenRequest,
        content_type = "application/x-www-form-urlencoded",
    ),
    responses(
        (status = 200, description = "Tokens, with an id token", body = TokenReply),
        (status = 400, description = "invalid_request, invalid_grant, invalid_scope, unsupported_grant_type", body = OauthError),
        (status = 401, description = "invalid_client", body = OauthError, headers(
            ("www-authenticate" = String, description = "Basic"),
        )),
        (status = 413, description = "invalid_request: over 16 KiB", body = OauthError),
        (status = 500, description = "server_error: a token cannot be signed", body = OauthError),
        (status = 503, description = "temporarily_unavailable: users or the database does not answer; what was sent may be spent", body = OauthError),
    ),
)]
pub(crate) async fn token(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Result<TokenReply, OauthFailure> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => OauthFailure::TooLong,
        _ => OauthFailure::InvalidRequest("the body cannot be read"),
    })?;
    let mut parameters = Parameters::parse(&body)
        .map_err(|_| OauthFailure::InvalidRequest("a parameter comes twice"))?;
    let client = authenticate(&auth.registry, &headers, &mut parameters)?;
    match parameters.take("grant_type").as_deref() {
        Some("authorization_code") => exchange_code(&auth, client, parameters).await,
        Some("refresh_token") => exchange_refresh_token(&auth, client, parameters).await,
        Some(_) => Err(OauthFailure::UnsupportedGrantType),
        None => Err(OauthFailure::InvalidRequest("grant_type is missing")),
    }
}

/// Which client asks. A confidential one proves it with its secret, and a public one cannot claim to be it.
fn authenticate<'a>(
    registry: &'a Registry,
    headers: &HeaderMap,
    parameters: &mut Parameters,
) -> Result<&'a Client, OauthFailure> {
    let named = parameters.take("client_id");
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        let client = named.and_then(|id| registry.client(&id));
        return client.filter(|client| client.is_public()).ok_or(OauthFailure::InvalidClient);
    };
    let (id, secret) = authorization
        .to_str()
        .ok()
        .and_then(basic_credentials)
        .ok_or(OauthFailure::InvalidClient)?;
    if named.is_some_and(|named| named != id) {
        return Err(OauthFailure::InvalidRequest("client_id is not the one of Authorization"));
    }
    let client = registry.client(&id).filter(|client| client.has_secret(&secret));
    client.ok_or(OauthFailure::InvalidClient)
}

/// Id and secret, each of which is encoded like a form before it is joined and encoded again (RFC 6749, 2.3.1).
fn basic_credentials(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = joined.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    let pair = format!("text={}", text.replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

async fn exchange_code(
    auth: &Auth,
    client: &Client,
    mut parameters: Parameters,
) -> Result<TokenReply, OauthFailure> {
    let missing = OauthFailure::InvalidRequest("code, redirect_uri and code_verifier are needed");
    let (Some(code), Some(redirect_uri), Some(verifier)) = (
        parameters.take("code"),
        parameters.take("redirect_uri"),
        parameters.take("code_verifier"),
    ) else {
        return Err(missing);
    };
    let secret = Secret::parse(&code).ok_or(BAD_CODE)?;
    let refresh = RefreshToken::random();
    let now = auth.clock.now();
    let ends = now.after(auth.lifetimes.refresh);
    let spent = auth.store.spend_code(&secret, &refresh, ends, now).await?;
    let code = match spent {
        Spent::Fresh(code) => code,
        Spent::Again => {
            auth.metrics.count_reused(Reused::Code);
            return Err(BAD_CODE);
        }
        Spent::Unknown => return Err(BAD_CODE),
    };
    // It is spent by now, also if it does not fit: whoever has it should not have it.
    let fits = code.client_id == client.id
        && code.redirect_uri == redirect_uri
        && secret::same(&secret::sha256_base64(verifier.as_bytes()), &code.challenge);
    if !fits {
        auth.store.end_grant(&refresh.grant.hash()).await?;
        return Err(BAD_CODE);
    }
    tokens_for_code(auth, &code.grant(ends), code.nonce, &refresh)
}

fn tokens_for_code(
    auth: &Auth,
    grant: &Grant,
    nonce: String,
    refresh: &RefreshToken,
) -> Result<TokenReply, OauthFailure> {
    let scope = Scope::stored(grant.scope.clone());
    let nonce = Some(nonce).filter(|nonce| !nonce.is_empty());
    let access_token = auth.mint.access_token(grant, &scope)?;
    let id_token = auth.mint.id_token(grant, nonce, &access_token)?;
    auth.metrics.count_issued(Issued::Code);
    let mut reply = TokenReply::new(access_token, refresh.reveal(), auth.lifetimes.access);
    reply.id_token = Some(id_token);
    reply.scope = Some(scope.as_str().to_owned());
    Ok(reply)
}

async fn exchange_refresh_token(
    auth: &Auth,
    client: &Client,
    mut parameters: Parameters,
) -> Result<TokenReply, OauthFailure> {
    let token = parameters
        .take("refresh_token")
        .ok_or(OauthFailure::InvalidRequest("refresh_token is missing"))?;
    let narrower = parameters.take("scope");
    let refreshed = refresh::refresh(auth, &token, &client.id, narrower.as_deref()).await?;
    let id_token = auth.mint.id_token(&refreshed.grant, None, &refreshed.access_token)?;
    let next = refreshed.next.reveal();
    let mut reply = TokenReply::new(refreshed.access_token, next, auth.lifetimes.access);
    reply.id_token = Some(id_token);
    reply.scope = Some(refreshed.scope.as_str().to_owned());
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_s_credentials_are_encoded_twice() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (authorization, expected) in [
            (basic("web:s3cret"), Some(("web", "s3cret"))),
            (basic("web:s%3A%2B+x"), Some(("web", "s:+ x"))),
            (basic("web:a=b&c"), Some(("web", "a=b&c"))),
            (basic("web:"), Some(("web", ""))),
            (basic("web").replace("Basic", "basic"), None),
            ("Bearer abc".to_owned(), None),
            ("Basic ***".to_owned(), None),
            (String::new(), None),
        ] {
            let read = basic_credentials(&authorization);
            let read = read.as_ref().map(|(id, secret)| (id.as_str(), secret.as_str()));
            assert_eq!(read, expected, "{authorization}");
        }
    }
}
