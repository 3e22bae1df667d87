//! The same stories on PostgreSQL and RabbitMQ, and those that only they can tell. One test, for the servers take
//! seconds to start.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use news::ReadSide;
use serde_json::{Value, json};

use crate::homes::{Homes, Servers, Side};
use crate::rig::{self, Service, add, draft, eventually, everything, titles, written};
use crate::{endpoints, event_sourcing, operation, versions};

#[tokio::test]
async fn every_story_holds_on_postgresql_and_rabbitmq() {
    let mut servers = Box::new(Servers::start().await);
    // First, for PostgreSQL comes back the more slowly the more databases it has.
    a_database_that_was_away_is_used_again(&mut servers).await;
    what_is_written_while_the_broker_is_away_is_published_after(&mut servers).await;
    let homes = Homes::Real(servers);
    endpoints::all(&homes).await;
    event_sourcing::all(&homes).await;
    operation::all(&homes).await;
    versions::all(&homes).await;
    what_the_broker_tells_twice_or_wrongly_changes_nothing(&homes).await;
    a_message_that_comes_before_its_time_is_not_believed(&homes).await;
    a_message_carries_the_event_and_its_correlation_id(&homes).await;
    readers_see_more_than_the_broker_delivers_unacknowledged(&homes).await;
    two_instances_share_their_stores(&homes).await;
}

async fn channel(servers: &Servers) -> (Connection, Channel) {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&servers.rabbit.url(), properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn what_the_broker_tells_twice_or_wrongly_changes_nothing(homes: &Homes) {
    let Homes::Real(servers) = homes else { return };
    let service = written(homes).await;
    let before = everything(&service).await;
    let (_connection, channel) = channel(servers).await;
    let key = format!("news.appended.{}", service.home().theme);
    for body in ["", "{", "{\"sequence\": 1}"] {
        publish(&channel, &key, body).await;
    }
    // As if the process had died before it noted what the broker had confirmed.
    service.home().run_sql(Side::Log, "UPDATE published SET sequence = 0").await.unwrap();
    let last = add(&service, "POST", draft("Last")).await;
    eventually("all is published again", async || {
        let metrics = service.send("GET", "/metrics", ()).await.text;
        metrics.contains("news_events_unpublished 0\n")
    })
    .await;
    let mut expected = before.as_array().unwrap().clone();
    expected.insert(0, last);
    assert_eq!(everything(&service).await, Value::from(expected));
}

async fn a_message_that_comes_before_its_time_is_not_believed(homes: &Homes) {
    let Homes::Real(servers) = homes else { return };
    let service = written(homes).await;
    let before = everything(&service).await;
    let (_connection, channel) = channel(servers).await;
    let key = format!("news.appended.{}", service.home().theme);
    // Two after the last one, as if the one between was lost on the way; and alone, for a message that cannot be read
    // would have all that arrive with it taken from the log.
    let mut wrong = before[0].clone();
    wrong["version"] = json!(99);
    let ahead = json!({ "sequence": 7, "correlation_id": null, "article": wrong }).to_string();
    publish(&channel, &key, &ahead).await;
    let last = add(&service, "POST", draft("Last")).await;
    let mut expected = before.as_array().unwrap().clone();
    expected.insert(0, last);
    assert_eq!(everything(&service).await, Value::from(expected));
}

async fn publish(channel: &Channel, key: &str, body: &str) {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let (exchange, body) = ("portal.events".into(), body.as_bytes());
    let sent = channel.basic_publish(exchange, key.into(), options, body, properties).await;
    sent.unwrap().await.unwrap();
}

async fn a_message_carries_the_event_and_its_correlation_id(homes: &Homes) {
    let Homes::Real(servers) = homes else { return };
    let service = Service::start(homes).await;
    let (_connection, channel) = channel(servers).await;
    let (queue, none) = ("listener", FieldTable::default);
    channel.queue_declare(queue.into(), QueueDeclareOptions::default(), none()).await.unwrap();
    let key = format!("news.appended.{}", service.home().theme);
    let (exchange, bind) = ("portal.events".into(), QueueBindOptions::default());
    channel.queue_bind(queue.into(), exchange, key.into(), bind, none()).await.unwrap();
    let options = BasicConsumeOptions::default();
    let mut consumer =
        channel.basic_consume(queue.into(), "".into(), options, none()).await.unwrap();

    let mut request = rig::request("POST", "/", draft("Title").into());
    request.headers_mut().insert("x-correlation-id", "write-7".parse().unwrap());
    let added = rig::send(service.address(), request).await.json();
    let message = consumer.next().await.unwrap().unwrap();
    message.ack(BasicAckOptions::default()).await.unwrap();
    let event: Value = serde_json::from_slice(&message.data).unwrap();
    assert_eq!(
        event,
        json!({ "sequence": 1, "correlation_id": "write-7", "article": added["news"] })
    );
    let id = message.properties.correlation_id().as_ref().map(|id| id.as_str());
    assert_eq!(id, Some("write-7"));
    assert_eq!(*message.properties.delivery_mode(), Some(2), "it outlives the broker");
}

async fn readers_see_more_than_the_broker_delivers_unacknowledged(homes: &Homes) {
    const WRITES: usize = 60;
    // One instance, and one write after the other: else events are taken from the log, whatever the broker delivers.
    let service = Service::start(homes).await;
    for number in 0..WRITES {
        add(&service, "POST", draft(&number.to_string())).await;
    }
    assert_eq!(everything(&service).await.as_array().unwrap().len(), WRITES);
}

async fn two_instances_share_their_stores(homes: &Homes) {
    const WRITES: usize = 20;
    let first = Service::start(homes).await;
    let settings = first.home().settings(ReadSide::CatchUp);
    let second = news::start_with(settings, first.home().events.clone()).await.unwrap();
    let writers = (0..WRITES).map(|number| {
        let address = if number % 2 == 0 { first.address() } else { second.address() };
        let request = rig::request("POST", "/", draft(&number.to_string()).into());
        tokio::spawn(rig::send(address, request))
    });
    let writers: Vec<_> = writers.collect();
    for writer in writers {
        assert_eq!(writer.await.unwrap().status, 201);
    }
    eventually("all are seen", async || {
        everything(&first).await.as_array().unwrap().len() == WRITES
    })
    .await;
    let seen = rig::send(second.address(), rig::request("GET", "/1/100", rig::Body::None)).await;
    assert_eq!(seen.json()["news"], everything(&first).await);
    second.stop().await.unwrap();
}

async fn what_is_written_while_the_broker_is_away_is_published_after(servers: &mut Servers) {
    let service = Service::start_in(servers.make(), ReadSide::CatchUp).await;
    add(&service, "POST", draft("Before")).await;
    servers.rabbit.kill_9().await;
    let answer = service.send("POST", "/", draft("Meanwhile")).await;
    assert_eq!(answer.status, 201, "the log has it");
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.status, 200, "what is asked is answered");
    assert_eq!(health.json()["components"]["broker"]["status"], "failing");
    assert_eq!(titles(&everything(&service).await), ["Before"]);
    servers.rabbit.start_again().await.unwrap();
    eventually("readers see it", async || {
        titles(&everything(&service).await) == ["Meanwhile", "Before"]
    })
    .await;
    service.stop().await;
}

async fn a_database_that_was_away_is_used_again(servers: &mut Servers) {
    let service = Service::start_in(servers.make(), ReadSide::CatchUp).await;
    add(&service, "POST", draft("Before")).await;
    servers.postgres.kill_9().await;
    let refused =
        tokio::time::timeout(Duration::from_secs(10), service.send("POST", "/", draft("Lost")));
    assert_eq!(refused.await.unwrap().status, 503, "what is not stored is not taken");
    assert_eq!(service.send("GET", "/health", ()).await.status, 503);
    servers.postgres.start_again().await.unwrap();
    eventually("it is well", async || service.send("GET", "/health", ()).await.status == 200).await;
    add(&service, "POST", draft("After")).await;
    assert_eq!(titles(&everything(&service).await), ["After", "Before"]);
    service.stop().await;
}
