//! Codes and refresh tokens for tokens, and every way in which they do not fit.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::browser::{
    Browser, CALLBACK, VERIFIER, exchange, exchange_with, refresh, usual, usual_but,
};
use crate::rig::{Answer, CLIENT_SECRET, ISSUER, Rig, assembled, form_request, unchecked};
use crate::users_stub::{ANN_ID, BOB_ID};

scenarios![
    a_code_gives_tokens_that_say_who_logged_in,
    a_code_that_does_not_fit_is_spent_and_gives_nothing,
    a_code_that_comes_again_ends_what_it_gave,
    a_code_is_over_after_a_minute,
    of_many_who_come_with_one_code_none_keeps_the_login,
    a_confidential_client_proves_who_it_is,
    what_is_malformed_is_refused_by_its_name,
    refresh_tokens_rotate_and_may_become_narrower,
    a_token_that_is_not_ours_tells_nothing,
    a_token_of_ours_for_another_purpose_tells_nothing,
    userinfo_tells_what_the_scope_allows,
];

async fn a_code_gives_tokens_that_say_who_logged_in(rig: Rig) {
    let code = Browser::new(&rig).code(&usual()).await;
    let answer = exchange(&rig, &code).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store");
    let tokens = answer.json();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["scope"], "openid profile email");

    let access_token = tokens["access_token"].as_str().unwrap();
    let access = rig.verify(access_token, "portal").await;
    assert_eq!((&access["sub"], &access["client_id"]), (&json!(ANN_ID), &json!("web")));

    let id_token = tokens["id_token"].as_str().unwrap();
    assert_eq!(unchecked(id_token).0["typ"], "JWT");
    let id = rig.verify(id_token, "web").await;
    assert_eq!((&id["iss"], &id["sub"]), (&json!(ISSUER), &json!(ANN_ID)));
    assert_eq!(id["nonce"], "some nonce");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, access_token.as_bytes());
    assert_eq!(id["at_hash"], URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]));
    for name in ["name", "email"] {
        assert!(id.get(name).is_none(), "userinfo tells {name}");
    }
    let code = Browser::new(&rig).code(&usual_but("nonce", "")).await;
    let id_token = exchange(&rig, &code).await.json()["id_token"].as_str().unwrap().to_owned();
    assert!(unchecked(&id_token).1.get("nonce").is_none());
}

fn assert_refused(answer: &Answer, status: u16, error: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text);
    assert_eq!(answer.json()["error"], error, "{what}");
    assert!(answer.json()["error_description"].is_string(), "{what}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn a_code_that_does_not_fit_is_spent_and_gives_nothing(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let other_verifier = "a".repeat(43);
    for (name, value) in [
        ("code_verifier", &*other_verifier),
        ("code_verifier", "x"),
        ("redirect_uri", "https://portal.test/other"),
        ("redirect_uri", "https://evil.test/"),
    ] {
        let code = browser.code(&usual()).await;
        let answer = exchange_with(&rig, &[("code", &code), (name, value)]).await;
        assert_refused(&answer, 400, "invalid_grant", name);
        assert_refused(&exchange(&rig, &code).await, 400, "invalid_grant", "tried before");
    }
    let code = browser.code(&usual()).await;
    let as_server = [("client_id", ""), ("code", &*code)];
    let answer = exchange_as_server(&rig, &as_server, CLIENT_SECRET).await;
    assert_refused(&answer, 400, "invalid_grant", "another client's code");
    for code in ["", "x", &"A".repeat(43)] {
        let answer = exchange_with(&rig, &[("code", code)]).await;
        let error = if code.is_empty() { "invalid_request" } else { "invalid_grant" };
        assert_refused(&answer, 400, error, code);
    }
    assert_eq!(rig.count("grants").await, 0);
}

async fn a_code_that_comes_again_ends_what_it_gave(rig: Rig) {
    let code = Browser::new(&rig).code(&usual()).await;
    let tokens = exchange(&rig, &code).await.json();
    let second = refresh(&rig, &tokens["refresh_token"]).await.json();
    assert_refused(&exchange(&rig, &code).await, 400, "invalid_grant", "again");
    let answer = refresh(&rig, &second["refresh_token"]).await;
    assert_refused(&answer, 400, "invalid_grant", "what it gave");
    let metrics = rig.get("/metrics").await.text;
    assert!(metrics.contains("auth_reused_total{kind=\"code\"} 1"), "{metrics}");
}

async fn a_code_is_over_after_a_minute(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let code = browser.code(&usual()).await;
    rig.pass(60);
    assert_refused(&exchange(&rig, &code).await, 400, "invalid_grant", "too late");
    let code = browser.code(&usual()).await;
    rig.pass(59);
    let tokens = exchange(&rig, &code).await.json();
    // Its second coming is noticed also after its time.
    rig.pass(300);
    assert_refused(&exchange(&rig, &code).await, 400, "invalid_grant", "again");
    let answer = refresh(&rig, &tokens["refresh_token"]).await;
    assert_refused(&answer, 400, "invalid_grant", "what it gave");
}

async fn of_many_who_come_with_one_code_none_keeps_the_login(rig: Rig) {
    let code = Browser::new(&rig).code(&usual()).await;
    let attempts = (0..6).map(|_| exchange(&rig, &code));
    let answers = futures_of(attempts).await;
    let good: Vec<Value> = answers.iter().filter(|it| it.status == 200).map(Answer::json).collect();
    assert!(good.len() <= 1, "{} were answered", good.len());
    for tokens in good {
        assert_eq!(refresh(&rig, &tokens["refresh_token"]).await.status, 400);
    }
    assert_eq!(rig.count("grants").await, 0);
}

/// All of them at once, on this task.
async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(|it| (Box::pin(it), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in &mut running {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if running.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}

const SERVER_CALLBACK: &str = "https://server.test/callback";

/// The usual request, of the confidential client.
fn of_server() -> String {
    usual_but("client_id", "server").replace(
        &url::form_urlencoded::byte_serialize(CALLBACK.as_bytes()).collect::<String>(),
        &url::form_urlencoded::byte_serialize(SERVER_CALLBACK.as_bytes()).collect::<String>(),
    )
}

async fn exchange_as_server(rig: &Rig, other: &[(&str, &str)], secret: &str) -> Answer {
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("redirect_uri", SERVER_CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    pairs.extend(other.iter().filter(|(_, value)| !value.is_empty()));
    let mut request = form_request("/token", &pairs);
    let basic = format!("Basic {}", STANDARD.encode(format!("server:{secret}")));
    request.headers_mut().insert("authorization", basic.parse().unwrap());
    rig.send(request).await
}

async fn a_confidential_client_proves_who_it_is(rig: Rig) {
    let code = Browser::new(&rig).code(&of_server()).await;
    let named = [("client_id", "server"), ("redirect_uri", SERVER_CALLBACK), ("code", &*code)];
    let answer = exchange_with(&rig, &named).await;
    assert_refused(&answer, 401, "invalid_client", "without its secret");
    assert!(answer.header("www-authenticate").starts_with("Basic"));
    for secret in ["", "S3cret", "s3cret2"] {
        let answer = exchange_as_server(&rig, &[("code", &code)], secret).await;
        assert_refused(&answer, 401, "invalid_client", secret);
    }
    let both = [("code", &*code), ("client_id", "web")];
    let answer = exchange_as_server(&rig, &both, CLIENT_SECRET).await;
    assert_refused(&answer, 400, "invalid_request", "two names");

    let answer = exchange_as_server(&rig, &[("code", &code)], CLIENT_SECRET).await;
    assert_eq!(answer.status, 200, "a refused client spends no code: {}", answer.text);
    let token = &answer.json()["refresh_token"];
    let by_name = [
        ("grant_type", "refresh_token"),
        ("client_id", "server"),
        ("refresh_token", token.as_str().unwrap()),
    ];
    let answer = rig.post_form("/token", &by_name).await;
    assert_refused(&answer, 401, "invalid_client", "refreshing without its secret");
}

async fn what_is_malformed_is_refused_by_its_name(rig: Rig) {
    for (pairs, status, error) in [
        (&[][..], 401, "invalid_client"),
        (&[("client_id", "stranger")], 401, "invalid_client"),
        (&[("client_id", "web")], 400, "invalid_request"),
        (&[("client_id", "web"), ("client_id", "web")], 400, "invalid_request"),
        (&[("client_id", "web"), ("grant_type", "password")], 400, "unsupported_grant_type"),
        (&[("client_id", "web"), ("grant_type", "refresh_token")], 400, "invalid_request"),
        (&[("client_id", "web"), ("grant_type", "authorization_code")], 400, "invalid_request"),
    ] {
        let answer = rig.post_form("/token", pairs).await;
        assert_refused(&answer, status, error, &format!("{pairs:?}"));
    }
    let long = "x".repeat(17_000);
    let answer = rig.post_form("/token", &[("client_id", &long)]).await;
    assert_refused(&answer, 413, "invalid_request", "too long");
}

async fn refresh_tokens_rotate_and_may_become_narrower(rig: Rig) {
    let code = Browser::new(&rig).code(&usual()).await;
    let first = exchange(&rig, &code).await.json();
    let token = first["refresh_token"].as_str().unwrap();
    let mut pairs =
        vec![("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token)];
    pairs.push(("scope", "openid admin"));
    assert_refused(&rig.post_form("/token", &pairs).await, 400, "invalid_scope", "more");
    pairs[3] = ("scope", "openid email");
    let second = rig.post_form("/token", &pairs).await.json();
    assert_eq!(second["scope"], "openid email");
    let claims = rig.verify(second["access_token"].as_str().unwrap(), "portal").await;
    assert_eq!(claims["scope"], "openid email");
    let id = rig.verify(second["id_token"].as_str().unwrap(), "web").await;
    assert_eq!(id["sub"], ANN_ID);
    let third = refresh(&rig, &second["refresh_token"]).await.json();
    assert_eq!(third["scope"], "openid profile email", "the grant itself is as it was");
    assert_refused(&refresh(&rig, &first["refresh_token"]).await, 400, "invalid_grant", "again");
    assert_refused(&refresh(&rig, &third["refresh_token"]).await, 400, "invalid_grant", "ended");
}

async fn a_token_that_is_not_ours_tells_nothing(rig: Rig) {
    let code = Browser::new(&rig).code(&usual()).await;
    let tokens = exchange(&rig, &code).await.json();
    let good = tokens["access_token"].as_str().unwrap();
    let (header, claims) = unchecked(good);
    let signature = good.rsplit('.').next().unwrap();
    let header_with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        header
    };
    let claims_with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let public = rig.get("/jwks").await.text;
    let by_public_key = jsonwebtoken::encode(
        &jsonwebtoken::Header {
            typ: Some("at+jwt".to_owned()),
            kid: Some(header["kid"].as_str().unwrap().to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256)
        },
        &claims,
        &jsonwebtoken::EncodingKey::from_secret(public.as_bytes()),
    )
    .unwrap();
    for (what, token) in [
        ("nothing", String::new()),
        ("no token", "x".to_owned()),
        ("alg none", assembled(&header_with("alg", json!("none")), &claims, "")),
        ("alg none, signed", assembled(&header_with("alg", json!("none")), &claims, signature)),
        ("HS256 by the public key", by_public_key),
        ("another user", assembled(&header, &claims_with("sub", json!(BOB_ID)), signature)),
        ("more scope", assembled(&header, &claims_with("scope", json!("openid")), signature)),
        ("longer", assembled(&header, &claims_with("exp", json!(9_999_999_999_i64)), signature)),
        ("another key", assembled(&header_with("kid", json!("x")), &claims, signature)),
        ("without a signature", assembled(&header, &claims, "")),
        ("an id token", tokens["id_token"].as_str().unwrap().to_owned()),
        ("a refresh token", tokens["refresh_token"].as_str().unwrap().to_owned()),
    ] {
        let answer = rig.userinfo(&token).await;
        assert_refused(&answer, 401, "invalid_token", what);
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}");
    }
    assert_refused(&rig.get("/userinfo").await, 401, "invalid_token", "no header");
    assert_eq!(rig.userinfo(good).await.status, 200, "the test's token was good");
    rig.pass(300);
    assert_refused(&rig.userinfo(good).await, 401, "invalid_token", "expired");
}

async fn a_token_of_ours_for_another_purpose_tells_nothing(rig: Rig) {
    let tokens = rig.log_in().await;
    let good = tokens["access_token"].as_str().unwrap();
    let (header, claims) = unchecked(good);
    let key = jsonwebtoken::EncodingKey::from_ec_der(&rig.private_key().await);
    let signed = |typ: &str, name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        let mut header: jsonwebtoken::Header = serde_json::from_value(header.clone()).unwrap();
        header.typ = Some(typ.to_owned());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    };
    let now = claims["iat"].clone();
    for (what, token, status) in [
        ("as we do it", signed("at+jwt", "jti", json!("another")), 200),
        ("another kind", signed("JWT", "jti", json!("another")), 401),
        ("another audience", signed("at+jwt", "aud", json!("web")), 401),
        ("another issuer", signed("at+jwt", "iss", json!("https://evil.test")), 401),
        ("over", signed("at+jwt", "exp", now), 401),
    ] {
        assert_eq!(rig.userinfo(&token).await.status, status, "{what}");
    }
}

async fn userinfo_tells_what_the_scope_allows(rig: Rig) {
    let mut browser = Browser::new(&rig);
    for (scope, expected) in [
        ("openid", json!({ "sub": ANN_ID })),
        ("openid profile", json!({ "sub": ANN_ID, "name": "Ann" })),
        (
            "openid email",
            json!({ "sub": ANN_ID, "email": "ann@example.org", "email_verified": false }),
        ),
    ] {
        let code = browser.code(&usual_but("scope", scope)).await;
        let tokens = exchange(&rig, &code).await.json();
        let answer = rig.userinfo(tokens["access_token"].as_str().unwrap()).await;
        assert_eq!(answer.json(), expected);
    }
}
