//! Versions: each follows the one that its writer saw, and none is ever lost.

use serde_json::{Value, json};

use crate::homes::Homes;
use crate::rig::{self, Service, add, draft};

stories![
    a_change_adds_a_version_and_keeps_those_before,
    what_was_read_can_be_sent_back_changed,
    a_stale_version_and_an_unknown_article_are_refused,
    of_writers_who_saw_the_same_version_one_succeeds,
];

fn following(article: &Value, title: &str) -> Value {
    let mut next = draft(title);
    next["id"] = article["id"].clone();
    next["version"] = article["version"].clone();
    next
}

async fn history(service: &Service, article: &Value, query: &str) -> Vec<Value> {
    let path = format!("/{}/history{query}", article["id"].as_str().unwrap());
    let answer = service.send("GET", &path, ()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["news"].as_array().unwrap().clone()
}

async fn a_change_adds_a_version_and_keeps_those_before(homes: &Homes) {
    let service = Service::start(homes).await;
    let first = add(&service, "POST", draft("One")).await;
    let path = format!("/{}", first["id"].as_str().unwrap());
    let second = add(&service, "PUT", following(&first, "Two")).await;
    assert_eq!(service.send("GET", &path, ()).await.json()["news"], second);
    let third = add(&service, "POST", following(&second, "Three")).await;
    assert_eq!((&third["id"], &third["version"]), (&first["id"], &json!(3)));
    assert_eq!(third["published_at"], first["published_at"], "a correction does not republish");

    assert_eq!(service.send("GET", &path, ()).await.json()["news"], third);
    assert_eq!(rig::everything(&service).await, json!([third]), "a page has the latest alone");
    assert_eq!(history(&service, &first, "").await, [third.clone(), second.clone(), first.clone()]);
    assert_eq!(history(&service, &first, "?before=3").await, [second, first.clone()]);
    assert_eq!(history(&service, &first, "?before=1").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_long_history_comes_in_parts() {
    let service = Service::start(&Homes::Embedded).await;
    let mut article = add(&service, "POST", draft("Title")).await;
    for _ in 0..101 {
        let answer = service.send("PUT", "/", following(&article, "Title")).await;
        article = answer.json()["news"].clone();
    }
    assert_eq!(history(&service, &article, "").await.len(), 100);
    assert_eq!(history(&service, &article, "?before=3").await.len(), 2, "the rest");
}

async fn what_was_read_can_be_sent_back_changed(homes: &Homes) {
    let service = Service::start(homes).await;
    let mut article = add(&service, "POST", draft("One")).await;
    article["title"] = json!("Two");
    let second = add(&service, "PUT", article).await;
    assert_eq!((&second["title"], &second["version"]), (&json!("Two"), &json!(2)));
}

async fn a_stale_version_and_an_unknown_article_are_refused(homes: &Homes) {
    let service = Service::start(homes).await;
    let first = add(&service, "POST", draft("One")).await;
    let second = add(&service, "PUT", following(&first, "Two")).await;
    let of = |id: Value, version: Value| {
        let mut next = draft("Three");
        next["id"] = id;
        next["version"] = version;
        next
    };
    let cases = [
        (of(first["id"].clone(), json!(1)), 409, "version 1 is not the latest, which is 2"),
        (of(first["id"].clone(), json!(3)), 409, "version 3 is not the latest, which is 2"),
        (of(first["id"].clone(), json!(0)), 409, "version 0"),
        (of(first["id"].clone(), json!(-1)), 400, "version"),
        (of(json!("8d5e7a52-2f9b-4b0c-9a55-0d3d8d3f3f5e"), json!(1)), 404, "no article"),
        (of(json!("1"), json!(1)), 404, "no article"),
        (of(json!(1), json!(1)), 400, "id"),
    ];
    for (next, status, reason) in cases {
        for method in ["PUT", "POST"] {
            let answer = service.send(method, "/", next.clone()).await;
            assert_eq!(answer.status, status, "{method} {next}: {}", answer.text);
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.contains(reason), "{reason:?} is not in {message:?}");
        }
    }
    assert_eq!(history(&service, &first, "").await, [second, first]);
}

async fn of_writers_who_saw_the_same_version_one_succeeds(homes: &Homes) {
    const ROUNDS: u64 = 5;
    const WRITERS: usize = 8;
    let service = Service::start(homes).await;
    let mut article = add(&service, "POST", draft("0")).await;
    for round in 0..ROUNDS {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let next = following(&article, &format!("{round}.{writer}"));
                tokio::spawn(rig::send(service.address(), rig::request("PUT", "/", next.into())))
            })
            .collect();
        let mut winners = Vec::new();
        for writer in writers {
            let answer = writer.await.unwrap();
            match answer.status.as_u16() {
                201 => winners.push(answer.json()["news"].clone()),
                status => assert_eq!(status, 409, "{}", answer.text),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        article = winners.remove(0);
    }
    let versions: Vec<u64> = history(&service, &article, "")
        .await
        .iter()
        .map(|version| version["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, (1..=ROUNDS + 1).rev().collect::<Vec<_>>(), "no gap and none twice");
}
