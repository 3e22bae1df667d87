//! A browser that an application sends to log out.

use hyper::header;

use crate::browser::{Browser, exchange, hidden, refresh, usual};
use crate::rig::{Rig, form};

scenarios![
    with_an_id_token_it_happens_at_once_and_ends_what_was_granted,
    an_old_id_token_will_do,
    without_a_proof_the_user_is_asked,
    a_question_from_elsewhere_is_not_answered,
    nobody_is_sent_to_an_address_that_is_not_registered,
    another_user_of_the_browser_is_not_logged_out,
];

const BYE: &str = "https://portal.test/bye";

fn logout(pairs: &[(&str, &str)]) -> String {
    format!("/end_session?{}", form(pairs))
}

async fn with_an_id_token_it_happens_at_once_and_ends_what_was_granted(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let tokens = exchange(&rig, &browser.code(&usual()).await).await.json();
    let unspent = browser.code(&usual()).await;
    let id_token = tokens["id_token"].as_str().unwrap();
    let pairs = [("id_token_hint", id_token), ("post_logout_redirect_uri", BYE), ("state", "a b")];
    let answer = browser.open(&logout(&pairs)).await;
    assert_eq!(answer.answered(BYE).of("state"), Some("a b"));
    assert!(!browser.cookies.contains_key("__Host-auth-session"));
    assert_eq!(browser.open(&usual()).await.status, 200, "the next login asks again");
    assert_eq!(refresh(&rig, &tokens["refresh_token"]).await.status, 400);
    assert_eq!(exchange(&rig, &unspent).await.status, 400);
    assert_eq!(browser.open(&logout(&pairs)).await.status, 303, "a second time does no harm");
}

async fn an_old_id_token_will_do(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let tokens = exchange(&rig, &browser.code(&usual()).await).await.json();
    rig.pass(60 * 60);
    let pairs = [("id_token_hint", tokens["id_token"].as_str().unwrap())];
    let answer = browser.post("/end_session", &pairs).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.contains("You are logged out"), "{}", answer.text);
    assert_eq!(rig.count("sessions").await, 0);
}

async fn without_a_proof_the_user_is_asked(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let tokens = exchange(&rig, &browser.code(&usual()).await).await.json();
    let access_token = tokens["access_token"].as_str().unwrap();
    for pairs in [
        &[][..],
        &[("id_token_hint", "x")],
        &[("id_token_hint", access_token)],
        &[("client_id", "web"), ("post_logout_redirect_uri", BYE), ("state", "s")],
    ] {
        let question = browser.open(&logout(pairs)).await;
        assert_eq!(question.status, 200);
        assert!(question.text.contains("Log out?"), "{}", question.text);
        assert!(browser.cookies.contains_key("__Host-auth-session"), "{pairs:?}");
    }
    let pairs = [("client_id", "web"), ("post_logout_redirect_uri", BYE), ("state", "s")];
    let question = browser.open(&logout(&pairs)).await;
    let (csrf, request) = (hidden(&question, "csrf"), hidden(&question, "request"));
    let yes = [("csrf", &*csrf), ("request", &*request)];
    let answer = browser.post("/end_session/confirm", &yes).await;
    assert_eq!(answer.answered(BYE).of("state"), Some("s"));
    assert_eq!(rig.count("sessions").await, 0);
    assert_eq!(refresh(&rig, &tokens["refresh_token"]).await.status, 400);
    let answer = browser.open("/end_session").await;
    assert!(answer.text.contains("You are logged out"), "nobody is left to ask");
}

async fn a_question_from_elsewhere_is_not_answered(rig: Rig) {
    let mut browser = Browser::new(&rig);
    browser.code(&usual()).await;
    browser.open("/end_session").await;
    for csrf in ["", "x"] {
        let pairs = [("csrf", csrf), ("request", "")];
        assert_eq!(browser.post("/end_session/confirm", &pairs).await.status, 403);
    }
    assert_eq!(rig.count("sessions").await, 1);
}

async fn nobody_is_sent_to_an_address_that_is_not_registered(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let tokens = exchange(&rig, &browser.code(&usual()).await).await.json();
    let hint = ("id_token_hint", tokens["id_token"].as_str().unwrap());
    for pairs in [
        &[hint, ("post_logout_redirect_uri", "https://evil.test/")][..],
        &[hint, ("post_logout_redirect_uri", "https://portal.test/callback")],
        &[hint, ("client_id", "server"), ("post_logout_redirect_uri", BYE)],
        &[("post_logout_redirect_uri", BYE)],
        &[("client_id", "server"), ("post_logout_redirect_uri", BYE)],
        &[("state", "a"), ("state", "b")],
    ] {
        let answer = browser.open(&logout(pairs)).await;
        assert_eq!(answer.status, 400, "{pairs:?}");
        assert!(!answer.headers.contains_key(header::LOCATION));
    }
    assert_eq!(rig.count("sessions").await, 1, "a bad request changes nothing");
}

async fn another_user_of_the_browser_is_not_logged_out(rig: Rig) {
    let mut browser = Browser::new(&rig);
    let of_ann = exchange(&rig, &browser.code(&usual()).await).await.json();
    let form = browser.open(&crate::browser::usual_but("prompt", "login")).await;
    browser.fill_in(&form, "bob@example.org", crate::users_stub::PASSWORD).await;
    assert_eq!(rig.count("sessions").await, 2);
    let answer =
        browser.open(&logout(&[("id_token_hint", of_ann["id_token"].as_str().unwrap())])).await;
    assert!(answer.text.contains("Log out?"), "Bob is asked");
    assert_eq!(rig.count("sessions").await, 1, "Ann's own session has ended");
    assert_eq!(refresh(&rig, &of_ann["refresh_token"]).await.status, 400);
}
