//! What operators rely on: health, figures, the contract, correlation ids, an orderly end.

use serde_json::json;

use crate::homes::Homes;
use crate::rig::{self, ANN, Body, Service, viewed};

stories![
    health_tells_the_state_of_each_component,
    figures_tell_what_became_of_events_and_requests,
    the_contract_names_each_path,
    the_correlation_id_comes_back_and_goes_on_to_users,
];

async fn health_tells_the_state_of_each_component(homes: &Homes) {
    let mut service = Service::start(homes).await;
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.status, 200);
    let health = health.json();
    assert_eq!(health["status"], "ok");
    for component in ["database", "users"] {
        assert_eq!(health["components"][component]["status"], "ok", "{component}");
        assert!(health["components"][component]["latency_ms"].as_f64().unwrap() > 0.0);
    }
    service.close_directory();
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.status, 200, "what was counted is still told");
    assert_eq!(health.json()["components"]["users"]["status"], "failing");

    service.home.run_sql("ALTER TABLE inbox RENAME TO elsewhere").await;
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["components"]["database"]["status"], "failing");
    let refused = service.send("POST", "/events/viewed", viewed("1", ANN, &["film"])).await;
    assert_eq!(refused.status, 503, "what is not stored is not taken");
}

async fn figures_tell_what_became_of_events_and_requests(homes: &Homes) {
    let service = Service::start(homes).await;
    service.tell(viewed("1", ANN, &["film"])).await;
    service.settled(0).await;
    service.tell(viewed("1", ANN, &["film"])).await;
    service.tell(viewed("2", "nobody", &["film"])).await;
    service.settled(1).await;
    let metrics = service.send("GET", "/metrics", ()).await.text;
    for line in [
        "recommendation_events_total{outcome=\"counted\"} 1",
        "recommendation_events_total{outcome=\"repeated\"} 1",
        "recommendation_events_total{outcome=\"dead\"} 1",
        "recommendation_request_seconds_count{route=\"/metrics\",status=\"200\"}",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

async fn the_contract_names_each_path(homes: &Homes) {
    let service = Service::start(homes).await;
    let contract = service.send("GET", "/openapi.json", ()).await.json();
    let mut paths: Vec<&String> = contract["paths"].as_object().unwrap().keys().collect();
    paths.sort_unstable();
    let expected = [
        "/dead-letters",
        "/dead-letters/retry",
        "/events/viewed",
        "/health",
        "/label/{label}",
        "/user/{id}",
    ];
    assert_eq!(paths, expected);
    let event = &contract["components"]["schemas"]["Message"];
    assert_eq!(event["required"], json!(["id", "user_id", "news"]));
}

async fn the_correlation_id_comes_back_and_goes_on_to_users(homes: &Homes) {
    let service = Service::start(homes).await;
    for (sent, kept) in [(Some("abc-123"), true), (Some("not one word"), false), (None, false)] {
        let mut request = rig::request("GET", "/label/a", Body::None);
        if let Some(id) = sent {
            request.headers_mut().insert("x-correlation-id", id.parse().unwrap());
        }
        let answer = rig::send(service.address(), request).await;
        let id = answer.headers["x-correlation-id"].to_str().unwrap();
        assert_eq!(sent == Some(id), kept, "{sent:?} became {id}");
        assert!(!id.is_empty());
    }
    service.tell_under("view-7", viewed("1", ANN, &["film"])).await;
    service.settled(0).await;
    assert!(service.directory.heard("view-7"));
}
