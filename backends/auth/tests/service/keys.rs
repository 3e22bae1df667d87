//! Keys that change while tokens live.

use std::time::Duration;

use serde_json::Value;

use crate::rig::{Rig, unchecked};

scenarios![
    a_key_is_published_before_it_signs_and_kept_until_its_tokens_have_ended,
    two_instances_sign_with_one_key,
    a_key_that_leaked_is_replaced_at_once,
];

const DAY: i64 = 24 * 60 * 60;

fn key_of(tokens: &Value) -> String {
    let (header, _) = unchecked(tokens["access_token"].as_str().unwrap());
    header["kid"].as_str().unwrap().to_owned()
}

async fn a_key_is_published_before_it_signs_and_kept_until_its_tokens_have_ended(rig: Rig) {
    let answer = rig.get("/.well-known/jwks.json").await;
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let first = rig.wait_for_keys(1).await.remove(0);
    assert_eq!(key_of(&rig.log_in().await), first);

    rig.pass(30 * DAY - 60 * 60);
    let both = rig.wait_for_keys(2).await;
    assert_eq!(both[0], first);
    assert_eq!(key_of(&rig.log_in().await), first, "the next key is only published");

    rig.pass(60 * 60 - 10);
    let last_of_first = rig.log_in().await;
    assert_eq!(key_of(&last_of_first), first);
    rig.pass(10);
    let first_of_second = rig.log_in().await;
    assert_eq!(key_of(&first_of_second), both[1], "now it signs");

    for tokens in [&last_of_first, &first_of_second] {
        let token = tokens["access_token"].as_str().unwrap();
        rig.verify(token, "portal").await;
        assert_eq!(rig.userinfo(token).await.status, 200);
    }
    rig.pass(60 * 60 + 5 * 60);
    assert_eq!(rig.wait_for_keys(1).await, [both[1].clone()]);
    let old = last_of_first["access_token"].as_str().unwrap();
    assert_eq!(rig.userinfo(old).await.status, 401);
    let rig = rig.restart().await;
    assert_eq!(key_of(&rig.log_in().await), both[1], "keys outlive a restart");
}

async fn two_instances_sign_with_one_key(rig: Rig) {
    let twin = rig.twin().await;
    rig.pass(30 * DAY);
    let both = rig.wait_for_keys(2).await;
    rig.pass(60 * 60);
    let tokens = rig.log_in().await;
    assert_eq!(key_of(&tokens), both[1]);
    let request = hyper::Request::get("/jwks").body(http_body_util::Full::default()).unwrap();
    let of_twin = crate::rig::send(twin.address(), request).await.json();
    let of_twin: Vec<&str> = of_twin["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert!(of_twin.contains(&both[1].as_str()), "{of_twin:?}");
    twin.stop().await.unwrap();
}

async fn a_key_that_leaked_is_replaced_at_once(rig: Rig) {
    let leaked = rig.log_in().await;
    rig.execute("DELETE FROM signing_keys").await;
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while key_of(&rig.log_in().await) == key_of(&leaked) {
        assert!(tokio::time::Instant::now() < until, "the leaked key still signs");
    }
    assert_eq!(rig.wait_for_keys(1).await, [key_of(&rig.log_in().await)]);
    let token = leaked["access_token"].as_str().unwrap();
    assert_eq!(rig.userinfo(token).await.status, 401);
}
