//! Each endpoint with what it takes and what it refuses.

use serde_json::{Value, json};

use crate::homes::Homes;
use crate::rig::{Body, Service, add, draft, everything};

stories![
    an_article_is_added_and_read,
    an_article_without_a_date_is_published_when_it_is_added,
    pages_count_from_one_and_begin_with_the_newest,
    what_is_malformed_is_refused_with_a_reason_and_stores_nothing,
    the_longest_legal_article_is_taken,
    what_cannot_be_read_is_refused_with_a_reason,
];

const UNKNOWN: &str = "8d5e7a52-2f9b-4b0c-9a55-0d3d8d3f3f5e";

async fn an_article_is_added_and_read(homes: &Homes) {
    let service = Service::start(homes).await;
    let mut sent = draft("Title");
    sent["published_at"] = json!("2026-03-01T12:00:00.123456Z");
    let added = add(&service, "POST", sent.clone()).await;
    for (key, value) in sent.as_object().unwrap() {
        assert_eq!(&added[key], value, "{key}");
    }
    let theme = &service.home().theme;
    assert_eq!((&added["version"], &added["news_type"]), (&json!(1), &json!(theme)));
    let mut keys: Vec<&String> = added.as_object().unwrap().keys().collect();
    keys.sort_unstable();
    let contract = [
        "author",
        "content",
        "created_at",
        "id",
        "news_type",
        "published_at",
        "tags",
        "title",
        "version",
    ];
    assert_eq!(keys, contract);

    let read = service.send("GET", &format!("/{}", added["id"].as_str().unwrap()), ()).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.json(), json!({ "status": "success", "news": added }));
}

async fn an_article_without_a_date_is_published_when_it_is_added(homes: &Homes) {
    let service = Service::start(homes).await;
    let added = add(&service, "POST", draft("Title")).await;
    assert_eq!(added["published_at"], added["created_at"]);
}

async fn pages_count_from_one_and_begin_with_the_newest(homes: &Homes) {
    let service = Service::start(homes).await;
    assert_eq!(everything(&service).await, json!([]), "an empty page is no failure");
    for day in [2, 4, 1, 5, 3] {
        let mut article = draft(&day.to_string());
        article["published_at"] = json!(format!("2026-03-0{day}T00:00:00Z"));
        add(&service, "POST", article).await;
    }
    for (path, expected) in [
        ("/1/100", vec!["5", "4", "3", "2", "1"]),
        ("/1/2", vec!["5", "4"]),
        ("/2/2", vec!["3", "2"]),
        ("/3/2", vec!["1"]),
        ("/4/2", vec![]),
        ("/4294967295/100", vec![]),
    ] {
        let page = service.send("GET", path, ()).await;
        assert_eq!(page.status, 200, "{path}");
        let page = page.json();
        let titles: Vec<&str> = page["news"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["title"].as_str().unwrap())
            .collect();
        assert_eq!(titles, expected, "{path}");
    }
}

async fn what_is_malformed_is_refused_with_a_reason_and_stores_nothing(homes: &Homes) {
    let service = Service::start(homes).await;
    let but = |key: &str, value: Value| {
        let mut draft = draft("Title");
        draft[key] = value;
        Body::Json(draft)
    };
    let without = |key: &str| {
        let mut draft = draft("Title");
        draft.as_object_mut().unwrap().remove(key);
        Body::Json(draft)
    };
    let cases = [
        ("POST", Body::Text(String::new()), 400, "JSON"),
        ("POST", Body::Text("{".to_owned()), 400, "JSON"),
        ("POST", without("title"), 400, "title"),
        ("POST", without("content"), 400, "content"),
        ("POST", without("author"), 400, "author"),
        ("POST", but("title", json!("x".repeat(201))), 400, "title"),
        ("POST", but("title", json!(" ")), 400, "title"),
        ("POST", but("title", json!(1)), 400, "title"),
        ("POST", but("author", json!("x".repeat(51))), 400, "author"),
        ("POST", but("content", json!("")), 400, "content"),
        ("POST", but("content", json!("x".repeat(100_001))), 400, "content"),
        ("POST", but("tags", json!(["a", "x".repeat(51)])), 400, "tag"),
        ("POST", but("tags", json!([""])), 400, "tag"),
        ("POST", but("tags", json!(["a\0"])), 400, "NUL"),
        ("POST", but("title", json!("a\0b")), 400, "NUL"),
        ("POST", but("tags", json!(vec!["a"; 21])), 400, "tags"),
        ("POST", but("tags", json!("a")), 400, "tags"),
        ("POST", but("published_at", json!("yesterday")), 400, "published_at"),
        ("POST", but("news_type", json!("sports")), 400, "news_type"),
        ("POST", but("tag", json!("a")), 400, "unknown field `tag`"),
        ("POST", but("id", json!(UNKNOWN)), 400, "id and version"),
        ("POST", but("version", json!(1)), 400, "id and version"),
        ("PUT", Body::Json(draft("Title")), 400, "id and version"),
        ("POST", but("content", json!("x".repeat(600_000))), 413, "length limit"),
        ("POST", Body::None, 415, "application/json"),
    ];
    for (method, body, status, reason) in cases {
        let answer = service.send(method, "/", body).await;
        assert_eq!(answer.status, status, "{reason}: {}", answer.text);
        let answer = answer.json();
        assert_eq!(answer["status"], "fail");
        let said = answer["message"].as_str().unwrap();
        assert!(said.contains(reason), "{reason:?} is not in {said:?}");
    }
    assert_eq!(everything(&service).await, json!([]));
}

async fn the_longest_legal_article_is_taken(homes: &Homes) {
    let service = Service::start(homes).await;
    let article = json!({
        "title": "ä".repeat(200), "author": "ä".repeat(50), "content": "😀".repeat(100_000),
        "tags": vec!["ä".repeat(50); 20],
    });
    let added = add(&service, "POST", article.clone()).await;
    assert_eq!(added["content"], article["content"]);
}

async fn what_cannot_be_read_is_refused_with_a_reason(homes: &Homes) {
    let service = Service::start(homes).await;
    let cases = [
        ("GET", "/0/10".to_owned(), 400),
        ("GET", "/-1/10".to_owned(), 400),
        ("GET", "/x/10".to_owned(), 400),
        ("GET", "/1/0".to_owned(), 400),
        ("GET", "/1/101".to_owned(), 400),
        ("GET", "/1/10000".to_owned(), 400),
        ("GET", "/1/x".to_owned(), 400),
        ("GET", "/99999999999999999999/10".to_owned(), 400),
        ("GET", "/%ff".to_owned(), 400),
        ("GET", format!("/{UNKNOWN}/history?before=x"), 400),
        ("GET", format!("/{UNKNOWN}/history?after=1"), 400),
        ("GET", format!("/{UNKNOWN}"), 404),
        ("GET", format!("/{UNKNOWN}/history"), 404),
        ("GET", "/1".to_owned(), 404),
        ("GET", "/1/history".to_owned(), 404),
        ("GET", "/a/b/c".to_owned(), 404),
        ("GET", "/".to_owned(), 405),
        ("DELETE", format!("/{UNKNOWN}"), 405),
        ("GET", "/rebuild".to_owned(), 405),
    ];
    for (method, path, status) in cases {
        let answer = service.send(method, &path, ()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        let answer = answer.json();
        assert_eq!(answer["status"], "fail", "{method} {path}");
        assert!(!answer["message"].as_str().unwrap().is_empty(), "{method} {path}");
    }
}
