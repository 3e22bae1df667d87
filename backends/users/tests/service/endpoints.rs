//! Each endpoint with what it takes and what it refuses, over real sockets.

use serde_json::{Value, json};

use crate::rig::{self, Body, Service, Stores, on_both_kinds_of_stores, path_of};

on_both_kinds_of_stores!(
    a_user_is_created_read_changed_and_removed,
    pages_are_in_order_of_registration_and_bounded,
    what_is_malformed_is_refused_with_a_reason_and_stores_nothing,
    a_change_is_checked_like_a_new_user,
    an_email_belongs_to_one_user_also_when_many_ask_at_once,
    what_is_not_there_is_said_in_json,
    health_tells_the_state_and_latency_of_each_component,
    the_correlation_id_comes_back,
);

async fn a_user_is_created_read_changed_and_removed(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    assert_eq!(ann["name"], "ann");
    assert_eq!(ann["email"], "ann@example.org");
    assert_eq!(ann.as_object().unwrap().len(), 3, "only id, name and email: {ann}");

    let read = service.send("GET", &path_of(&ann), ()).await;
    assert_eq!((read.status.as_u16(), read.json()), (200, ann.clone()));

    let change = json!({ "id": ann["id"], "name": "Ann B.", "email": "ANN@example.org" });
    let changed = service.send("PUT", &path_of(&ann), change.clone()).await;
    assert_eq!((changed.status.as_u16(), changed.json()), (200, change.clone()));
    assert_eq!(service.send("GET", &path_of(&ann), ()).await.json(), change);

    let removed = service.send("DELETE", &path_of(&ann), ()).await;
    assert_eq!((removed.status.as_u16(), removed.text.as_str()), (204, ""));
    for method in ["GET", "DELETE"] {
        assert_eq!(service.send(method, &path_of(&ann), ()).await.status, 404, "{method}");
    }
    let again = service.send("PUT", &path_of(&ann), change).await;
    assert_eq!(again.status, 404, "a change does not bring back");
}

async fn pages_are_in_order_of_registration_and_bounded(stores: Stores) {
    let service = Service::start(stores).await;
    let mut all = Vec::new();
    for number in 0..12 {
        all.push(service.create(&format!("user-{number}")).await);
    }
    for (query, expected) in [
        ("", &all[0..10]),
        ("?start=0&count=10", &all[0..10]),
        ("?start=10", &all[10..12]),
        ("?start=3&count=2", &all[3..5]),
        ("?count=100", &all[..]),
        ("?start=12", &[]),
        ("?start=4294967295", &[]),
    ] {
        let page = service.send("GET", &format!("/users{query}"), ()).await;
        assert_eq!(page.status, 200, "{query}");
        assert_eq!(page.json(), json!(expected), "{query}");
    }
    for query in ["?count=0", "?count=101", "?count=-1", "?start=-1", "?start=x", "?page=1"] {
        let page = service.send("GET", &format!("/users{query}"), ()).await;
        assert_eq!(page.status, 400, "{query}");
        assert!(page.json()["error"].is_string(), "{query}: {}", page.text);
    }
}

async fn what_is_malformed_is_refused_with_a_reason_and_stores_nothing(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = json!({ "name": "ann", "email": "ann@example.org", "password": "s3cret" });
    let but = |key: &str, value: Value| {
        let mut draft = ann.clone();
        draft[key] = value;
        Body::Json(draft)
    };
    let without = |key: &str| {
        let mut draft = ann.clone();
        draft.as_object_mut().unwrap().remove(key);
        Body::Json(draft)
    };
    let cases = [
        (Body::Text(String::new()), 400, "JSON"),
        (Body::Text("{".to_owned()), 400, "JSON"),
        (Body::Text(ann.to_string() + "x"), 400, "JSON"),
        (Body::Json(json!([])), 400, "expected struct"),
        (Body::Json(json!([1])), 400, "invalid type"),
        (without("name"), 400, "name"),
        (without("email"), 400, "email"),
        (without("password"), 400, "missing field `password`"),
        (but("password", Value::Null), 400, "password must be text"),
        (but("name", json!("")), 400, "name"),
        (but("name", json!("x".repeat(101))), 400, "name"),
        (but("name", json!(7)), 400, "name"),
        (but("email", json!("ann")), 400, "email"),
        (but("email", json!(format!("{}@x", "a".repeat(300)))), 400, "email"),
        (but("password", json!("")), 400, "password"),
        (but("password", json!("x".repeat(257))), 400, "password"),
        (but("id", json!("018f0000-0000-7000-8000-000000000000")), 400, "unknown field `id`"),
        (but("pasword", json!("s3cret")), 400, "unknown field `pasword`"),
        (but("name", json!("x".repeat(20_000))), 413, "length limit"),
        (Body::None, 415, "application/json"),
    ];
    for (body, status, reason) in cases {
        let answer = service.send("POST", "/user", body).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        let said = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(reason), "{reason:?} is not in {said:?}");
    }
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([]));
}

async fn a_change_is_checked_like_a_new_user(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    let bob = service.create("bob").await;
    let cases = [
        (json!({ "name": "ann" }), 400),
        (json!({ "name": "", "email": "ann@example.org" }), 400),
        (json!({ "id": bob["id"], "name": "ann", "email": "ann@example.org" }), 400),
        (json!({ "name": "ann", "email": "ann@example.org", "password": "" }), 400),
        (json!({ "name": "ann", "email": "bob@example.org" }), 409),
        (json!({ "name": "ann", "email": "BOB@EXAMPLE.ORG" }), 409),
    ];
    for (change, status) in cases {
        let answer = service.send("PUT", &path_of(&ann), change.clone()).await;
        assert_eq!(answer.status, status, "{change}: {}", answer.text);
        assert!(answer.json()["error"].is_string(), "{}", answer.text);
    }
    assert_eq!(service.send("GET", &path_of(&ann), ()).await.json(), ann);
}

async fn an_email_belongs_to_one_user_also_when_many_ask_at_once(stores: Stores) {
    let service = Service::start(stores).await;
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            let draft = json!({ "name": "ann", "email": "ann@example.org", "password": "s3cret" });
            tokio::spawn(rig::send(service.address(), rig::request("POST", "/user", draft.into())))
        })
        .collect();
    let mut statuses = Vec::new();
    for attempt in attempts {
        statuses.push(attempt.await.unwrap().status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

async fn what_is_not_there_is_said_in_json(stores: Stores) {
    let service = Service::start(stores).await;
    let unknown = "/user/8d5e7a52-2f9b-4b0c-9a55-0d3d8d3f3f5e";
    let cases = [
        ("GET", unknown, 404),
        ("DELETE", unknown, 404),
        ("GET", "/user/1", 404),
        ("GET", "/user/..%2F..%2Fetc", 404),
        ("GET", "/user/%ff", 400),
        ("GET", "/nothing", 404),
        ("DELETE", "/users", 405),
        ("GET", "/user", 405),
        ("PATCH", unknown, 405),
    ];
    for (method, path, status) in cases {
        let answer = service.send(method, path, ()).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json()["error"].is_string(), "{method} {path}: {}", answer.text);
        let allows = answer.headers.contains_key("allow");
        assert_eq!(allows, status == 405, "{method} {path}: Allow belongs to 405");
    }
}

async fn health_tells_the_state_and_latency_of_each_component(stores: Stores) {
    let service = Service::start(stores).await;
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["status"], "ok");
    for component in ["database", "queue"] {
        let component = &health.json()["components"][component];
        assert_eq!(component["status"], "ok");
        assert!(component["latency_ms"].as_f64().unwrap() > 0.0);
    }
}

async fn the_correlation_id_comes_back(stores: Stores) {
    let service = Service::start(stores).await;
    for (sent, kept) in [(Some("abc-123"), true), (Some("not one word"), false), (None, false)] {
        let mut request = rig::request("GET", "/users", Body::None);
        if let Some(id) = sent {
            request.headers_mut().insert("x-correlation-id", id.parse().unwrap());
        }
        let answer = rig::send(service.address(), request).await;
        let id = answer.headers["x-correlation-id"].to_str().unwrap();
        assert_eq!(sent == Some(id), kept, "{sent:?} became {id}");
        assert!(!id.is_empty());
    }
}
