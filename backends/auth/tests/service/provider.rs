//! A browser that an application sends to log in.

use hyper::header;

use crate::browser::{Browser, CALLBACK, exchange, hidden, usual, usual_but};
use crate::rig::{ISSUER, Rig, form, form_request};
use crate::users_stub::{ANN_ID, PASSWORD};

scenarios![
    a_login_brings_a_code_back_and_the_next_needs_no_password,
    the_form_is_plain_and_safe,
    who_is_not_known_here_gets_a_page_and_no_redirect,
    the_application_gets_to_know_what_it_did_wrong,
    a_wrong_password_shows_the_form_again,
    a_form_from_elsewhere_logs_nobody_in,
    the_application_decides_whether_the_user_is_asked,
    a_session_ends_with_its_time_and_with_its_user,
    the_request_may_come_as_a_form,
    without_users_the_application_may_come_again,
];

async fn a_login_brings_a_code_back_and_the_next_needs_no_password(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let form = browser.open(&usual()).await;
    assert_eq!(form.status, 200);
    let answer = browser.fill_in(&form, "ann@example.org", PASSWORD).await;
    let answered = answer.answered(CALLBACK);
    assert_eq!((answered.of("state"), answered.of("iss")), (Some("some state"), Some(ISSUER)));
    assert_eq!(answer.header("cache-control"), "no-store");
    let first = answered.of("code").unwrap().to_owned();

    let answer = browser.open(&usual()).await;
    let second = answer.answered(CALLBACK).of("code").unwrap().to_owned();
    assert_ne!(first, second);
    for code in [first, second] {
        assert_eq!(exchange(&rig, &code).await.status, 200);
    }
    let stranger = Browser::new(&rig).open(&usual()).await;
    assert_eq!(stranger.status, 200, "another browser is asked");
}

async fn the_form_is_plain_and_safe(rig: Rig) {
    let path = usual_but("login_hint", "\"><script>");
    let form = Browser::new(&rig).open(&path).await;
    assert_eq!(form.header("content-type"), "text/html; charset=utf-8");
    let policy = form.header("content-security-policy");
    for part in
        ["default-src 'none'", "form-action 'self' https://portal.test;", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{part} is not in {policy}");
    }
    assert_eq!(form.header("cache-control"), "no-store");
    assert_eq!(form.header("x-frame-options"), "DENY");
    assert!(!form.text.contains("<script"), "{}", form.text);
    for part in [
        "<html lang=\"en\">",
        "Log in to News portal",
        "<label for=\"email\">",
        "<label for=\"password\">",
        "autocomplete=\"current-password\"",
        "action=\"/auth/v1/authorize/login\"",
    ] {
        assert!(form.text.contains(part), "{part} is not in {}", form.text);
    }
}

async fn who_is_not_known_here_gets_a_page_and_no_redirect(rig: Rig) {
    let mut logged_in = Browser::new(&rig);
    logged_in.code(&usual()).await;
    for path in [
        usual_but("client_id", "stranger"),
        usual_but("client_id", ""),
        usual_but("redirect_uri", ""),
        usual_but("redirect_uri", "https://portal.test/callback/"),
        usual_but("redirect_uri", "https://portal.test/callback?x=1"),
        usual_but("redirect_uri", "https://evil.test/"),
        usual_but("redirect_uri", "https://server.test/callback"),
        format!("{}&state=other", usual()),
        "/authorize".to_owned(),
    ] {
        let answer = logged_in.open(&path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(!answer.headers.contains_key(header::LOCATION), "{path}");
        assert!(answer.text.contains("This login cannot work"), "{}", answer.text);
    }
}

async fn the_application_gets_to_know_what_it_did_wrong(rig: Rig) {
    for (name, value, error) in [
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "too-short", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("scope", "profile", "invalid_scope"),
        ("request", "e30", "request_not_supported"),
    ] {
        let answer = Browser::new(&rig).open(&usual_but(name, value)).await;
        let answered = answer.answered(CALLBACK);
        assert_eq!(answered.of("error"), Some(error), "{name}={value}");
        assert!(answered.of("error_description").is_some());
        assert_eq!((answered.of("state"), answered.of("iss")), (Some("some state"), Some(ISSUER)));
        assert_eq!(answered.of("code"), None);
    }
}

async fn a_wrong_password_shows_the_form_again(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let mut form = browser.open(&usual()).await;
    for (email, password, status, said) in [
        ("ann@example.org", "wrong", 403, "Email or password is wrong."),
        ("nobody@example.org", "wrong", 403, "Email or password is wrong."),
        ("ann@example.org", "", 400, "password must have"),
        ("", "wrong", 400, "email must have"),
    ] {
        form = browser.fill_in(&form, email, password).await;
        assert_eq!(form.status, status, "{email}");
        assert!(form.text.contains(said) && form.text.contains("role=\"alert\""), "{}", form.text);
        assert!(form.text.contains(&format!("value=\"{email}\"")), "the email is kept");
    }
    for _ in 0..5 {
        form = browser.fill_in(&form, "ann@example.org", "wrong").await;
    }
    assert_eq!(form.status, 429);
    assert!(form.text.contains("Too many failed logins"), "{}", form.text);
    rig.pass(60);
    let answer = browser.fill_in(&form, "ann@example.org", PASSWORD).await;
    assert!(answer.answered(CALLBACK).of("code").is_some());
    assert_eq!(rig.count("sessions").await, 1);
}

async fn a_form_from_elsewhere_logs_nobody_in(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let form = browser.open(&usual()).await;
    let other = Browser::new(&rig).open(&usual()).await;
    let authorization = hidden(&form, "authorization");
    let (own, foreign) = (hidden(&form, "csrf"), hidden(&other, "csrf"));
    let pairs = |csrf| {
        let email = ("email", "ann@example.org");
        [("csrf", csrf), ("authorization", &*authorization), email, ("password", PASSWORD)]
    };
    for csrf in ["", "x", &foreign] {
        let answer = browser.post("/authorize/login", &pairs(csrf)).await;
        assert_eq!(answer.status, 403, "{csrf:?}");
    }
    let mut from_elsewhere = form_request("/authorize/login", &pairs(&own));
    from_elsewhere.headers_mut().insert("origin", "https://evil.test".parse().unwrap());
    assert_eq!(browser.send(from_elsewhere).await.status, 403);
    let without_cookies = rig.post_form("/authorize/login", &pairs(&own)).await;
    assert_eq!(without_cookies.status, 403);
    assert_eq!(rig.count("sessions").await, 0);

    let mut from_here = form_request("/authorize/login", &pairs(&own));
    from_here.headers_mut().insert("origin", "https://portal.test".parse().unwrap());
    assert_eq!(browser.send(from_here).await.status, 303);
}

async fn the_application_decides_whether_the_user_is_asked(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let answer = browser.open(&usual_but("prompt", "none")).await;
    assert_eq!(answer.answered(CALLBACK).of("error"), Some("login_required"));
    browser.code(&usual()).await;
    for (name, value, asked) in [
        ("prompt", "none", false),
        ("prompt", "consent", false),
        ("prompt", "login", true),
        ("prompt", "select_account", true),
        ("max_age", "60", false),
        ("max_age", "0", true),
    ] {
        let answer = browser.open(&usual_but(name, value)).await;
        assert_eq!(answer.status == 200, asked, "{name}={value}");
    }
    rig.pass(60);
    let form = browser.open(&usual_but("max_age", "60")).await;
    assert_eq!(form.status, 200, "the password was given too long ago");
    let answer = browser.fill_in(&form, "ann@example.org", PASSWORD).await;
    let code = answer.answered(CALLBACK).of("code").unwrap().to_owned();
    let tokens = exchange(&rig, &code).await.json();
    let claims = rig.verify(tokens["id_token"].as_str().unwrap(), "web").await;
    assert_eq!(claims["auth_time"], claims["iat"]);
}

async fn a_session_ends_with_its_time_and_with_its_user(rig: Rig) {
    let mut browser = Browser::new(&rig);
    browser.code(&usual()).await;
    rig.pass(8 * 60 * 60 - 1);
    assert_eq!(browser.open(&usual()).await.status, 303);
    rig.pass(1);
    assert_eq!(browser.open(&usual()).await.status, 200);
    browser.code(&usual()).await;
    rig.users.change(|known| known.users.retain(|(id, _, _)| *id != ANN_ID));
    assert_eq!(browser.open(&usual()).await.status, 200);
    let mut forged = Browser::new(&rig);
    forged.cookies.insert("__Host-auth-session".to_owned(), "A".repeat(43));
    assert_eq!(forged.open(&usual()).await.status, 200);
}

async fn the_request_may_come_as_a_form(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let answer = browser.post("/authorize", &crate::browser::USUAL).await;
    assert_eq!(answer.status, 200);
    let answer = browser.fill_in(&answer, "ann@example.org", PASSWORD).await;
    assert!(answer.answered(CALLBACK).of("code").is_some());
    let too_long = form(&[("client_id", &"x".repeat(5000))]);
    assert_eq!(browser.open(&format!("/authorize?{too_long}")).await.status, 400);
    let more = "x".repeat(17_000);
    assert_eq!(browser.post("/authorize", &[("client_id", &more)]).await.status, 413);
}

async fn without_users_the_application_may_come_again(rig: Rig) {
    let mut browser = Browser::new(&rig);
    browser.code(&usual()).await;
    rig.users.change(|known| known.answers = false);
    let answer = browser.open(&usual()).await;
    assert_eq!(answer.answered(CALLBACK).of("error"), Some("temporarily_unavailable"));
    let form = browser.open(&usual_but("prompt", "login")).await;
    let answer = browser.fill_in(&form, "ann@example.org", PASSWORD).await;
    assert_eq!(answer.status, 503);
    rig.users.change(|known| known.answers = true);
    assert!(browser.open(&usual()).await.answered(CALLBACK).of("code").is_some());
}
