//! The same stories on PostgreSQL and RabbitMQ, and those that only they can tell. One test, for the servers take
//! seconds to start.

use serde_json::json;

use crate::homes::{Homes, Servers, Way};
use crate::rig::{ANN, Service, eventually, viewed};
use crate::{counting, dead_letters, endpoints, operation, program};

#[tokio::test]
async fn every_story_holds_on_postgresql_and_rabbitmq() {
    let mut servers = Box::new(Servers::start().await);
    // First, for PostgreSQL comes back the more slowly the more databases it has.
    an_event_waits_while_the_database_is_away(&mut servers).await;
    the_broker_may_go_and_come_back(&mut servers).await;
    what_is_no_event_is_dead_with_the_reason(&servers).await;
    program::each_line_about_a_delivery_carries_its_correlation_id(&servers).await;
    for way in [Way::Http, Way::Amqp] {
        let homes = Homes::Real { servers, way };
        counting::all(&homes).await;
        dead_letters::all(&homes).await;
        endpoints::all(&homes).await;
        operation::all(&homes).await;
        let Homes::Real { servers: back, .. } = homes else { return };
        servers = back;
    }
}

async fn what_is_no_event_is_dead_with_the_reason(servers: &Servers) {
    let service = Service::start_in(servers.make(Way::Amqp).await).await;
    let long = viewed(&"x".repeat(40_000), ANN, &[]).to_string();
    for (body, reason) in [
        ("", "EOF"),
        ("{}", "missing field `id`"),
        (long.as_str(), "longer than"),
        (
            "{\"id\": \"\", \"user_id\": \"u\", \"news\": {\"id\": \"n\", \"news_type\": \"t\"}}",
            "id must",
        ),
    ] {
        service.home.broker.as_ref().unwrap().publish(body.as_bytes(), "poison").await;
        eventually("it is dead", async || {
            let dead = service.send("GET", "/dead-letters?count=100", ()).await.json();
            dead.to_string().contains(reason)
        })
        .await;
    }
    service.tell(viewed("1", ANN, &["film"])).await;
    service.settled(4).await;
    assert_eq!(service.labels(ANN).await, json!([{ "label": "film", "count": 1 }]), "others go on");
    service.stop().await;
}

async fn the_broker_may_go_and_come_back(servers: &mut Servers) {
    let service = Service::start_in(servers.make(Way::Amqp).await).await;
    service.tell(viewed("1", ANN, &["film"])).await;
    service.settled(0).await;
    servers.rabbit.kill_9().await;
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.json()["components"]["broker"]["status"], "failing");
    assert_eq!(health.status, 200, "what was counted is still told");
    servers.rabbit.start_again().await.unwrap();
    service.tell(viewed("2", ANN, &["film"])).await;
    service.settled(0).await;
    assert_eq!(service.labels(ANN).await, json!([{ "label": "film", "count": 2 }]));
    service.stop().await;
}

async fn an_event_waits_while_the_database_is_away(servers: &mut Servers) {
    let service = Service::start_in(servers.make(Way::Amqp).await).await;
    service.tell(viewed("1", ANN, &["film"])).await;
    service.settled(0).await;
    servers.postgres.kill_9().await;
    service.tell(viewed("2", ANN, &["film"])).await;
    let refused = service.send("GET", &format!("/user/{ANN}"), ()).await;
    assert_eq!(refused.status, 503);
    servers.postgres.start_again().await.unwrap();
    service.settled(0).await;
    assert_eq!(service.labels(ANN).await, json!([{ "label": "film", "count": 2 }]));
    service.stop().await;
}
