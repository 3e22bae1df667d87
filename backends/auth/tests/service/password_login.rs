//! Login without a browser: tokens for a password, tokens for the next tokens, and what ends it.

use serde_json::{Value, json};

use crate::browser::{self, Browser, exchange, usual};
use crate::rig::{ISSUER, Rig, json_request, send, unchecked};
use crate::users_stub::{ANN_ID, PASSWORD};

scenarios![
    a_right_password_gives_tokens,
    what_is_wrong_is_refused_with_a_reason,
    nobody_learns_whether_an_email_is_known,
    guesses_are_counted_for_each_account_also_when_they_come_at_once,
    a_refresh_token_is_good_once,
    a_refresh_token_that_comes_again_ends_the_login,
    of_many_who_come_with_one_token_none_keeps_the_login,
    a_login_ends_when_its_time_is_over,
    a_logout_ends_the_login_and_no_other,
    a_user_who_is_gone_gets_no_more_tokens,
    without_users_nothing_is_lost,
    a_login_belongs_to_its_client,
    a_user_has_a_bounded_number_of_logins,
];

async fn a_right_password_gives_tokens(rig: Rig) {
    let answer = rig.try_password(PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store");
    let tokens = answer.json();
    assert_eq!(tokens.as_object().unwrap().len(), 4, "{tokens}");
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(300)));

    let token = tokens["access_token"].as_str().unwrap();
    let (header, _) = unchecked(token);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));
    let claims = rig.verify(token, "portal").await;
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!(ISSUER), &json!(ANN_ID)));
    assert_eq!(claims["client_id"], "password-login");
    assert_eq!(claims["scope"], "openid profile email");
    assert_eq!(claims["roles"], json!(["editor"]));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    let other = rig.log_in().await;
    let other = rig.verify(other["access_token"].as_str().unwrap(), "portal").await;
    assert_ne!(claims["jti"], other["jti"]);
}

async fn what_is_wrong_is_refused_with_a_reason(rig: Rig) {
    let ann = json!({ "email": "ann@example.org", "password": PASSWORD });
    let but = |key: &str, value: Value| {
        let mut body = ann.clone();
        body[key] = value;
        body
    };
    for (path, body, status, reason) in [
        ("/login", but("password", json!("wrong")), 401, "email or password is wrong"),
        ("/login", but("email", json!("nobody@example.org")), 401, "email or password is wrong"),
        ("/login", but("email", json!("")), 400, "email"),
        ("/login", but("email", json!("a".repeat(255))), 400, "email"),
        ("/login", but("password", json!("")), 400, "password"),
        ("/login", but("password", json!("a".repeat(257))), 400, "password"),
        ("/login", but("password", json!(12_345_678)), 400, "password must be text"),
        ("/login", but("pasword", json!("x")), 400, "unknown field `pasword`"),
        ("/login", json!([]), 400, "expected struct"),
        ("/login", but("email", json!("a".repeat(20_000))), 413, "length limit"),
        ("/refresh", json!({ "refresh_token": "x" }), 401, "log in again"),
        ("/refresh", json!({ "refresh_token": 7 }), 400, "refresh_token"),
        ("/refresh", json!({}), 400, "refresh_token"),
        ("/logout", json!({}), 400, "refresh_token"),
    ] {
        let answer = rig.post_json(path, body.clone()).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
        let said = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(reason), "{reason:?} is not in {said:?}");
        assert!(!answer.text.contains("12345678"), "a password is not repeated");
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    }
    let mut no_json = json_request("/login", &ann);
    no_json.headers_mut().remove("content-type");
    assert_eq!(rig.send(no_json).await.status, 415);
    assert_eq!(rig.count("grants").await, 0, "nothing was stored");
}

async fn nobody_learns_whether_an_email_is_known(rig: Rig) {
    let known = rig.try_password("wrong").await;
    let body = json!({ "email": "nobody@example.org", "password": "wrong" });
    let unknown = rig.post_json("/login", body.clone()).await;
    assert_eq!((known.status, known.text), (unknown.status, unknown.text));
    // Also the count of attempts is the same.
    let mut ends = [0, 0];
    for _ in 0..5 {
        ends[0] = rig.try_password("wrong").await.status.as_u16();
        ends[1] = rig.post_json("/login", body.clone()).await.status.as_u16();
    }
    assert_eq!(ends, [429, 429]);
}

async fn guesses_are_counted_for_each_account_also_when_they_come_at_once(rig: Rig) {
    let guesses: Vec<_> = (0..20)
        .map(|_| {
            let body = json!({ "email": "ANN@example.org", "password": "wrong" });
            tokio::spawn(send(rig.address(), json_request("/login", &body)))
        })
        .collect();
    let mut statuses = Vec::new();
    for guess in guesses {
        statuses.push(guess.await.unwrap().status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![401; 5], vec![429; 15]].concat());

    let refused = rig.try_password(PASSWORD).await;
    assert_eq!(refused.status, 429, "the right password is not even looked at");
    let wait: i64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let bob = json!({ "email": "bob@example.org", "password": PASSWORD });
    assert_eq!(rig.post_json("/login", bob).await.status, 200, "others are not held up");

    rig.pass(wait);
    assert_eq!(rig.try_password("wrong").await.status, 401, "one more try");
    assert_eq!(rig.try_password(PASSWORD).await.status, 429);
    rig.pass(60);
    assert_eq!(rig.try_password(PASSWORD).await.status, 200);
    for _ in 0..5 {
        assert_eq!(rig.try_password("wrong").await.status, 401, "a login wipes the slate clean");
    }
    assert_eq!(rig.try_password("wrong").await.status, 429);
}

async fn a_refresh_token_is_good_once(rig: Rig) {
    let first = rig.log_in().await;
    let second = rig.refresh(&first["refresh_token"]).await;
    assert_eq!(second.status, 200, "{}", second.text);
    let second = second.json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let claims = rig.verify(second["access_token"].as_str().unwrap(), "portal").await;
    assert_eq!(claims["sub"], ANN_ID);
    let third = rig.refresh(&second["refresh_token"]).await;
    assert_eq!(third.status, 200, "{}", third.text);
    assert_eq!(rig.count("grants").await, 1, "a login is one row, however often it is refreshed");
}

async fn a_refresh_token_that_comes_again_ends_the_login(rig: Rig) {
    let first = rig.log_in().await;
    let other = rig.log_in().await;
    let second = rig.refresh(&first["refresh_token"]).await.json();
    assert_eq!(rig.refresh(&first["refresh_token"]).await.status, 401);
    assert_eq!(rig.refresh(&second["refresh_token"]).await.status, 401, "the family has ended");
    assert_eq!(rig.refresh(&other["refresh_token"]).await.status, 200, "others have not");
    let metrics = rig.get("/metrics").await.text;
    assert!(metrics.contains("auth_reused_total{kind=\"refresh_token\"} 1"), "{metrics}");
}

async fn of_many_who_come_with_one_token_none_keeps_the_login(rig: Rig) {
    let first = rig.log_in().await;
    let body = json!({ "refresh_token": first["refresh_token"] });
    let attempts: Vec<_> = (0..8)
        .map(|_| tokio::spawn(send(rig.address(), json_request("/refresh", &body))))
        .collect();
    let mut next = Vec::new();
    for attempt in attempts {
        let answer = attempt.await.unwrap();
        if answer.status == 200 {
            next.push(answer.json()["refresh_token"].clone());
        } else {
            assert_eq!(answer.status, 401, "{}", answer.text);
        }
    }
    assert!(next.len() <= 1, "{} were answered", next.len());
    for token in next {
        assert_eq!(rig.refresh(&token).await.status, 401);
    }
    assert_eq!(rig.count("grants").await, 0);
}

async fn a_login_ends_when_its_time_is_over(rig: Rig) {
    let first = rig.log_in().await;
    rig.pass(14 * 24 * 60 * 60 - 1);
    let second = rig.refresh(&first["refresh_token"]).await.json();
    rig.pass(1);
    let answer = rig.refresh(&second["refresh_token"]).await;
    assert_eq!(answer.status, 401, "refreshing does not make it longer");
}

async fn a_logout_ends_the_login_and_no_other(rig: Rig) {
    let (one, other) = (rig.log_in().await, rig.log_in().await);
    for _ in 0..2 {
        let body = json!({ "refresh_token": one["refresh_token"] });
        let answer = rig.post_json("/logout", body).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    }
    assert_eq!(rig.post_json("/logout", json!({ "refresh_token": "x" })).await.status, 204);
    assert_eq!(rig.refresh(&one["refresh_token"]).await.status, 401);
    assert_eq!(rig.refresh(&other["refresh_token"]).await.status, 200);
}

async fn a_user_who_is_gone_gets_no_more_tokens(rig: Rig) {
    let tokens = rig.log_in().await;
    rig.users.change(|known| known.users.retain(|(id, _, _)| *id != ANN_ID));
    assert_eq!(rig.refresh(&tokens["refresh_token"]).await.status, 401);
    assert_eq!(rig.userinfo(tokens["access_token"].as_str().unwrap()).await.status, 401);
    assert_eq!(rig.count("grants").await, 0);
}

async fn without_users_nothing_is_lost(rig: Rig) {
    let tokens = rig.log_in().await;
    rig.users.change(|known| known.answers = false);
    let answer = rig.try_password(PASSWORD).await;
    assert_eq!(answer.status, 503);
    assert!(!answer.text.contains("users"), "what is behind us is not told: {}", answer.text);
    assert_eq!(rig.refresh(&tokens["refresh_token"]).await.status, 503);
    rig.users.change(|known| known.answers = true);
    let answer = rig.refresh(&tokens["refresh_token"]).await;
    assert_eq!(answer.status, 200, "the token was not spent: {}", answer.text);
}

async fn a_login_belongs_to_its_client(rig: Rig) {
    let by_password = rig.log_in().await;
    let code = Browser::new(&rig).code(&usual()).await;
    let by_browser = exchange(&rig, &code).await.json();
    assert_eq!(browser::refresh(&rig, &by_password["refresh_token"]).await.status, 400);
    assert_eq!(rig.refresh(&by_browser["refresh_token"]).await.status, 401);
    assert_eq!(rig.count("grants").await, 0, "in the wrong hands a token ends");
}

async fn a_user_has_a_bounded_number_of_logins(rig: Rig) {
    let first = rig.log_in().await;
    let second = rig.log_in().await;
    for _ in 2..=100 {
        rig.log_in().await;
    }
    assert_eq!(rig.count("grants").await, 100);
    assert_eq!(rig.refresh(&first["refresh_token"]).await.status, 401, "the oldest has ended");
    assert_eq!(rig.refresh(&second["refresh_token"]).await.status, 200);
}
