//! A whole login by a client that is not ours: the crate `openidconnect` finds its way by discovery alone.

use std::net::SocketAddr;

use http_body_util::Full;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims,
};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, RedirectUrl, Scope,
    TokenResponse,
};

use crate::browser::Browser;
use crate::rig::{CLIENT_SECRET, ISSUER, Rig, send};
use crate::users_stub::{ANN_ID, PASSWORD};

scenarios![a_public_client_logs_in, a_confidential_client_logs_in];

/// Plays the network and the gateway: the public address leads to the service, without its prefix.
async fn ask(service: SocketAddr, request: HttpRequest) -> Result<HttpResponse, std::io::Error> {
    let (mut head, body) = request.into_parts();
    let link = head.uri.to_string();
    let path = link.strip_prefix(ISSUER).unwrap_or_else(|| panic!("{link} is not ours"));
    head.uri = path.parse().unwrap();
    let answer = send(service, hyper::Request::from_parts(head, Full::from(body))).await;
    let mut response = HttpResponse::new(answer.text.into_bytes());
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

async fn a_public_client_logs_in(rig: Rig) {
    log_in(&rig, "web", None, "https://portal.test/callback").await;
}

async fn a_confidential_client_logs_in(rig: Rig) {
    let secret = Some(ClientSecret::new(CLIENT_SECRET.to_owned()));
    log_in(&rig, "server", secret, "https://server.test/callback").await;
}

async fn log_in(rig: &Rig, id: &str, secret: Option<ClientSecret>, callback: &str) {
    let service = rig.address();
    let http = move |request| ask(service, request);
    let issuer = IssuerUrl::new(ISSUER.to_owned()).unwrap();
    let provider = CoreProviderMetadata::discover_async(issuer, &http).await.unwrap();
    let client = CoreClient::from_provider_metadata(provider, ClientId::new(id.to_owned()), secret)
        .set_redirect_uri(RedirectUrl::new(callback.to_owned()).unwrap());

    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (link, state, nonce) = client
        .authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            CsrfToken::new_random,
            Nonce::new_random,
        )
        .add_scope(Scope::new("profile".to_owned()))
        .add_scope(Scope::new("email".to_owned()))
        .set_pkce_challenge(challenge)
        .url();

    let mut browser = Browser::new(rig);
    let form = browser.open(link.as_str().strip_prefix(ISSUER).unwrap()).await;
    let answer = browser.fill_in(&form, "ann@example.org", PASSWORD).await;
    let answered = answer.answered(callback);
    assert_eq!(answered.of("state"), Some(state.secret().as_str()));
    let code = AuthorizationCode::new(answered.of("code").unwrap().to_owned());

    let request = client.exchange_code(code).unwrap().set_pkce_verifier(verifier);
    let tokens = request.request_async(&http).await.unwrap();
    let id_token = tokens.id_token().unwrap();
    let checker = client.id_token_verifier();
    let claims = id_token.claims(&checker, &nonce).unwrap();
    assert_eq!(claims.subject().as_str(), ANN_ID);
    let hash = AccessTokenHash::from_token(
        tokens.access_token(),
        id_token.signing_alg().unwrap(),
        id_token.signing_key(&checker).unwrap(),
    );
    assert_eq!(claims.access_token_hash(), Some(&hash.unwrap()));

    let access_token = tokens.access_token().clone();
    let expected = Some(claims.subject().clone());
    let user: CoreUserInfoClaims =
        client.user_info(access_token, expected).unwrap().request_async(&http).await.unwrap();
    assert_eq!(user.email().unwrap().as_str(), "ann@example.org");
    assert_eq!(user.name().unwrap().get(None).unwrap().as_str(), "Ann");

    let token = tokens.refresh_token().unwrap();
    let request = client.exchange_refresh_token(token).unwrap();
    let next = request.request_async(&http).await.unwrap();
    assert!(next.refresh_token().is_some());
    assert!(
        client.exchange_refresh_token(token).unwrap().request_async(&http).await.is_err(),
        "a refresh token is good once"
    );
}
