//! What cannot be counted is kept where people see it, and tried again when they say so.

use serde_json::json;

use crate::homes::Homes;
use crate::rig::{ANN, Service, viewed};

stories![an_event_of_an_unknown_user_is_dead_until_it_is_retried,];

const STRANGER: &str = "33333333-3333-4333-8333-333333333333";

async fn an_event_of_an_unknown_user_is_dead_until_it_is_retried(homes: &Homes) {
    let service = Service::start(homes).await;
    service.tell(viewed("1", STRANGER, &["film"])).await;
    service.tell(viewed("2", ANN, &["film"])).await;
    service.settled(1).await;
    assert_eq!(service.labels(ANN).await, json!([{ "label": "film", "count": 1 }]), "others go on");
    let dead = service.send("GET", "/dead-letters", ()).await.json();
    let letter = json!({
        "event": viewed("1", STRANGER, &["film"]),
        "reason": "users knows no such user",
        "came_over": service.way(),
    });
    assert_eq!(dead, json!({ "dead_letters": [letter] }));

    assert_eq!(service.retry().await, 1);
    service.settled(1).await;
    service.directory.add(STRANGER, "Cid");
    assert_eq!(service.retry().await, 1);
    service.settled(0).await;
    assert_eq!(service.labels(STRANGER).await, json!([{ "label": "film", "count": 1 }]));
    let dead = service.send("GET", "/dead-letters", ()).await.json();
    assert_eq!(dead, json!({ "dead_letters": [] }));
}
