//! What operators rely on: health, figures, the contract, correlation ids, the read side made again on demand.

use serde_json::json;

use crate::homes::{Homes, Side};
use crate::rig::{self, Body, Service, add, draft, everything};

stories![
    health_tells_the_state_of_both_sides,
    the_correlation_id_comes_back,
    figures_tell_what_became_of_commands,
    the_contract_names_each_path,
    the_read_side_is_made_again_on_demand,
];

async fn health_tells_the_state_of_both_sides(homes: &Homes) {
    let service = Service::start(homes).await;
    add(&service, "POST", draft("Title")).await;
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.status, 200);
    let components = &health.json()["components"];
    for component in ["event_log", "latest"] {
        assert_eq!(components[component]["status"], "ok");
        assert!(components[component]["latency_ms"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(components["latest"]["events_behind"], 0);
}

async fn the_correlation_id_comes_back(homes: &Homes) {
    let service = Service::start(homes).await;
    for (sent, kept) in [(Some("abc-123"), true), (Some("not one word"), false), (None, false)] {
        let mut request = rig::request("GET", "/1/10", Body::None);
        if let Some(id) = sent {
            request.headers_mut().insert("x-correlation-id", id.parse().unwrap());
        }
        let answer = rig::send(service.address(), request).await;
        let id = answer.headers["x-correlation-id"].to_str().unwrap();
        assert_eq!(sent == Some(id), kept, "{sent:?} became {id}");
        assert!(!id.is_empty());
    }
}

async fn figures_tell_what_became_of_commands(homes: &Homes) {
    let service = Service::start(homes).await;
    let mut stale = add(&service, "POST", draft("One")).await;
    add(&service, "PUT", stale.clone()).await;
    stale["title"] = json!("Two");
    assert_eq!(service.send("PUT", "/", stale).await.status, 409);
    let metrics = service.send("GET", "/metrics", ()).await.text;
    for line in [
        "news_commands_total{outcome=\"added\"} 2",
        "news_commands_total{outcome=\"stale\"} 1",
        "news_events_behind 0",
        "news_request_seconds_count{route=\"/\",status=\"409\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

async fn the_contract_names_each_path(homes: &Homes) {
    let service = Service::start(homes).await;
    let contract = service.send("GET", "/openapi.json", ()).await.json();
    let mut paths: Vec<&String> = contract["paths"].as_object().unwrap().keys().collect();
    paths.sort_unstable();
    let expected = ["/", "/health", "/rebuild", "/{id}", "/{id}/history", "/{page}/{limit}"];
    assert_eq!(paths, expected);
    let added = add(&service, "POST", draft("Title")).await;
    let article = contract["components"]["schemas"]["Article"].to_string();
    let text = contract["components"]["schemas"]["Text"].to_string();
    for key in added.as_object().unwrap().keys() {
        assert!(format!("{article}{text}").contains(&format!("\"{key}\"")), "{key}: {article}");
    }
}

async fn the_read_side_is_made_again_on_demand(homes: &Homes) {
    let service = Service::start(homes).await;
    let article = add(&service, "POST", draft("One")).await;
    add(&service, "PUT", article).await;
    let grown = everything(&service).await;
    service.home().run_sql(Side::Latest, "DELETE FROM articles").await.unwrap();
    assert_eq!(everything(&service).await, json!([]));
    let rebuilt = service.send("POST", "/rebuild", ()).await;
    assert_eq!(rebuilt.json(), json!({ "status": "success", "sequence": 2 }));
    assert_eq!(everything(&service).await, grown);
    add(&service, "POST", draft("Two")).await;
    assert_eq!(everything(&service).await.as_array().unwrap().len(), 2, "it goes on from there");
}
