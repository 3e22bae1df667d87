//! The robot at a whole portal: its services on embedded and on real stores, the gateway with the repository's own
//! config before them, and somebody between who lies.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

mod portal;

mod stores;

mod liar;

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

use liar::{Liar, Lie, Reply};
use portal::Portal;
use stores::Stores;

/// Longer than any journey takes.
const TIME_MAX: Duration = Duration::from_secs(60);

async fn robot(gateway: SocketAddr, recommendation: SocketAddr, options: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .arg("robot")
        .args(["--gateway", &format!("http://{gateway}")])
        .args(["--recommendation", &format!("http://{recommendation}")])
        .args(options)
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(TIME_MAX, output).await.unwrap().unwrap()
}

fn said(output: &Output) -> String {
    let Output { status: _, stdout, stderr } = output;
    String::from_utf8_lossy(stdout).into_owned() + &String::from_utf8_lossy(stderr)
}

/// Twice, so that a second journey does not stumble over the first.
async fn all_promises_are_kept_on(stores: Stores) {
    let portal = Portal::start(stores).await;
    for _ in 0..2 {
        let output = robot(portal.gateway, portal.recommendation, &[]).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(said.matches("\nkept ").count(), said.lines().count() - 4, "{said}");
        assert_eq!(said.matches("\nnot through the gateway: ").count(), 2, "{said}");
        assert!(said.contains("\nall "), "{said}");
    }
}

#[tokio::test]
async fn all_promises_are_kept_on_embedded_stores() {
    all_promises_are_kept_on(Stores::embedded()).await;
}

#[tokio::test]
async fn all_promises_are_kept_on_real_stores() {
    all_promises_are_kept_on(Stores::real().await).await;
}

/// A promise, and the lie that breaks it.
const LIES: &[(&str, Lie)] = &[
    (
        "a user is created",
        Lie {
            about: |question| question.method == Method::POST && question.ends_with("/user"),
            tell: |reply| reply.body["password_hash"] = json!("$argon2id$"),
        },
    ),
    (
        "a user is there at once",
        Lie {
            about: |question| question.method == Method::GET && question.path.contains("/v1/user/"),
            tell: |reply| reply.status = 404,
        },
    ),
    (
        "an e-mail that is taken is refused",
        Lie {
            about: |question| question.ends_with("/users/v1/user"),
            tell: |reply| reply.status = 201,
        },
    ),
    (
        "a stale version of a politics article is refused",
        Lie { about: |question| question.ends_with("/politics"), tell: |reply| reply.status = 201 },
    ),
    (
        "a title of 201 characters is refused",
        Lie {
            about: |question| question.ends_with("/famous"),
            tell: |reply| {
                if text(&reply.body["message"]).starts_with("title") {
                    reply.body["message"] = json!("");
                }
            },
        },
    ),
    (
        "page 0 is refused",
        Lie { about: |question| question.ends_with("/0/10"), tell: |reply| reply.status = 200 },
    ),
    (
        "the user reads the sports article",
        Lie {
            about: |question| question.has_cookie && question.path.contains("/sports/"),
            tell: |reply| reply.status = 404,
        },
    ),
    (
        "the user reads the famous article",
        Lie {
            about: |question| question.has_cookie,
            tell: |reply| reply.body["news"]["version"] = json!(1),
        },
    ),
    (
        "the labels of what was read are the user's",
        Lie {
            about: |question| question.path.contains("/recommendation/v1/user/"),
            tell: |reply| drop(reply.body["labels"].as_array_mut().and_then(Vec::pop)),
        },
    ),
    (
        "an event that was told twice is counted once",
        Lie {
            about: |question| question.path.contains("/recommendation/v1/user/"),
            tell: |reply| {
                let labels = reply.body["labels"].as_array_mut();
                if let Some(labels) = labels.filter(|labels| labels.len() > 3) {
                    labels.iter_mut().for_each(|label| label["count"] = json!(2));
                }
            },
        },
    ),
    (
        "the sports page lists the article",
        Lie {
            about: |question| question.ends_with("/sports/1/20"),
            tell: |reply| reply.body["news"] = json!([]),
        },
    ),
    (
        "the key that signed is published",
        Lie {
            about: |question| question.ends_with("/jwks.json"),
            tell: |reply| reply.body["keys"] = json!([]),
        },
    ),
    (
        "a wrong password is refused",
        Lie {
            about: |question| question.ends_with("/login"),
            tell: |reply| {
                if reply.status == 401 {
                    reply.status = 200;
                }
            },
        },
    ),
];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_promise_that_is_broken_is_named_and_the_last() {
    let portal = Portal::start(Stores::embedded()).await;
    for (promise, lie) in LIES {
        let liar = Liar::before(portal.gateway, *lie).await;
        let output = robot(liar.address, portal.recommendation, &["--json"]).await;
        assert_eq!(output.status.code(), Some(1), "{promise}: {}", said(&output));
        let account: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (last, before) = account["promises"].as_array().unwrap().split_last().unwrap();
        assert_eq!(last["promise"], *promise, "{last}");
        assert_eq!((&last["kept"], &account["kept"]), (&json!(false), &json!(false)));
        assert!(before.iter().all(|line| line["kept"] == true), "{account}");
    }
}

/// What the gateway does by itself, and the lie about it. The first is told where nobody listens as recommendation.
const STEPS: &[(&str, &str, Lie)] = &[
    (
        "viewed",
        "the labels of what was read are the user's",
        Lie {
            about: |question| question.path.contains("/recommendation/v1/user/"),
            tell: |reply| reply.body["labels"] = json!([]),
        },
    ),
    (
        "aggregate",
        "the aggregate lists all three articles",
        Lie {
            about: |question| question.ends_with("/all/1/20"),
            tell: |reply| {
                *reply = Reply { status: 200, body: json!({ "status": "success", "news": [] }) }
            },
        },
    ),
];

#[tokio::test]
async fn what_the_gateway_does_is_asked_of_it_alone() {
    let portal = Portal::start(Stores::embedded()).await;
    for ((step, promise, lie), recommendation) in
        STEPS.iter().zip([nobody().await, portal.recommendation])
    {
        let liar = Liar::before(portal.gateway, *lie).await;
        let output = robot(liar.address, recommendation, &["--through-gateway", step]).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let broken = said.lines().find(|line| line.starts_with("BROKEN")).unwrap();
        assert!(broken.contains(promise), "{said}");
        let notes = said.lines().filter(|line| line.starts_with("not through the gateway"));
        assert_eq!(notes.filter(|note| note.contains(step)).count(), 0, "{said}");
    }
}

#[tokio::test]
async fn who_is_not_there_is_named_and_nothing_is_tried() {
    let nobody = nobody().await;
    let output = robot(nobody, nobody, &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"");
    assert!(said(&output).contains(&nobody.to_string()), "{}", said(&output));
}

/// An address that was free a moment ago.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap()
}
