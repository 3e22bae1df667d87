//! Each endpoint with what it refuses, and that nothing of it is stored.

use serde_json::{Value, json};

use crate::homes::Homes;
use crate::rig::{ANN, Body, Service, viewed};

stories![
    what_is_malformed_is_refused_with_a_reason_and_stores_nothing,
    what_cannot_be_read_is_refused_with_a_reason,
    lists_come_in_pages,
    a_label_may_have_any_characters,
];

async fn what_is_malformed_is_refused_with_a_reason_and_stores_nothing(homes: &Homes) {
    let service = Service::start(homes).await;
    let but = |path: &str, value: Value| {
        let mut event = viewed("1", ANN, &["film"]);
        *event.pointer_mut(path).unwrap() = value;
        Body::Json(event)
    };
    let without = |key: &str| {
        let mut event = viewed("1", ANN, &["film"]);
        event.as_object_mut().unwrap().remove(key);
        Body::Json(event)
    };
    let cases = [
        (Body::Text(String::new()), 400, "JSON"),
        (Body::Text("{".to_owned()), 400, "JSON"),
        (Body::Json(json!([viewed("1", ANN, &["film"])])), 400, "JSON"),
        (without("id"), 400, "id"),
        (without("user_id"), 400, "user_id"),
        (without("news"), 400, "news"),
        (but("/id", json!("")), 400, "id"),
        (but("/id", json!("x".repeat(129))), 400, "id"),
        (but("/id", json!("a\0")), 400, "NUL"),
        (but("/user_id", json!(" ")), 400, "user_id"),
        (but("/news/tags", json!(["x".repeat(51)])), 400, "tag"),
        (but("/news/tags", json!(vec!["a"; 21])), 400, "tags"),
        (but("/news/tags", json!("film")), 400, "tags"),
        (but("/id", json!("x".repeat(40_000))), 413, "length limit"),
        (Body::None, 415, "application/json"),
    ];
    for (body, status, reason) in cases {
        let answer = service.send("POST", "/events/viewed", body).await;
        assert_eq!(answer.status, status, "{reason}: {}", answer.text);
        let said = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(reason), "{reason:?} is not in {said:?}");
    }
    service.tell(viewed("last", ANN, &["last"])).await;
    service.settled(0).await;
    assert_eq!(service.labels(ANN).await, json!([{ "label": "last", "count": 1 }]));
}

async fn what_cannot_be_read_is_refused_with_a_reason(homes: &Homes) {
    let service = Service::start(homes).await;
    let long = "x".repeat(129);
    let cases = [
        ("GET", format!("/user/{ANN}"), 404),
        ("GET", "/user/1".to_owned(), 404),
        ("GET", format!("/user/{long}"), 400),
        ("GET", "/user/a%00b".to_owned(), 400),
        ("GET", "/user/%ff".to_owned(), 400),
        ("GET", "/label/unread".to_owned(), 404),
        ("GET", format!("/label/{}", "x".repeat(51)), 400),
        ("GET", "/label/a?count=0".to_owned(), 400),
        ("GET", "/label/a?count=101".to_owned(), 400),
        ("GET", "/label/a?count=10000".to_owned(), 400),
        ("GET", "/label/a?start=-1".to_owned(), 400),
        ("GET", "/label/a?page=1".to_owned(), 400),
        ("GET", "/dead-letters?count=0".to_owned(), 400),
        ("GET", "/dead-letters/retry".to_owned(), 405),
        ("GET", "/events/viewed".to_owned(), 405),
        ("POST", "/events/liked".to_owned(), 404),
        ("DELETE", format!("/user/{ANN}"), 405),
        ("GET", "/".to_owned(), 404),
    ];
    for (method, path, status) in cases {
        let answer = service.send(method, &path, ()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        assert!(!answer.json()["error"].as_str().unwrap().is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn more_events_than_may_wait_are_refused() {
    let service = Service::start(&Homes::Embedded).await;
    let full = "INSERT INTO inbox (id, event, correlation_id, due_at) \
                WITH RECURSIVE numbers (n) AS \
                (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000000) \
                SELECT 'n' || n, '', 'x', 9000000000000000 FROM numbers";
    service.home.run_sql(full).await;
    // Asked for, the figure is up to date.
    service.send("GET", "/metrics", ()).await;
    let event = || viewed("1", ANN, &["film"]);
    let refused = service.send("POST", "/events/viewed", event()).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    service.home.run_sql("DELETE FROM inbox WHERE id = 'n7'").await;
    service.send("GET", "/metrics", ()).await;
    assert_eq!(service.send("POST", "/events/viewed", event()).await.status, 202);
}

async fn lists_come_in_pages(homes: &Homes) {
    let service = Service::start(homes).await;
    service.tell(viewed("1", ANN, &["a", "b", "c", "d", "e"])).await;
    service.settled(0).await;
    for (query, expected) in [
        ("", vec!["a", "b", "c", "d", "e"]),
        ("?count=2", vec!["a", "b"]),
        ("?start=2&count=2", vec!["c", "d"]),
        ("?start=4&count=100", vec!["e"]),
        ("?start=4294967295", vec![]),
    ] {
        let answer = service.send("GET", &format!("/user/{ANN}{query}"), ()).await;
        assert_eq!(answer.status, 200, "{query}");
        let answer = answer.json();
        let labels: Vec<&str> = answer["labels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|label| label["label"].as_str().unwrap())
            .collect();
        assert_eq!(labels, expected, "{query}");
    }
}

async fn a_label_may_have_any_characters(homes: &Homes) {
    let service = Service::start(homes).await;
    service.tell(viewed("1", ANN, &["Käse & Brot/Öl?", "😀"])).await;
    service.settled(0).await;
    for path in ["/label/K%C3%A4se%20&%20Brot%2F%C3%96l%3F", "/label/%F0%9F%98%80"] {
        let answer = service.send("GET", path, ()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
}
