//! An event is counted once, whatever happens on the way.

use serde_json::json;

use crate::directory::Mood;
use crate::homes::Homes;
use crate::rig::{ANN, BOB, Service, eventually, viewed};

stories![
    users_and_labels_are_related_both_ways_most_read_first,
    an_event_that_is_told_again_is_not_counted_again,
    an_event_waits_while_users_is_away_and_through_a_restart,
    users_that_sulks_or_fails_is_asked_again_after_the_deadline,
    an_event_without_labels_is_taken_and_counts_nothing,
    an_event_that_could_not_be_counted_halfway_is_counted_whole,
];

async fn users_and_labels_are_related_both_ways_most_read_first(homes: &Homes) {
    let service = Service::start(homes).await;
    service.tell(viewed("1", ANN, &["film", "music"])).await;
    service.tell(viewed("2", ANN, &["music"])).await;
    service.tell(viewed("3", BOB, &["music", "music"])).await;
    service.settled(0).await;
    let count = |label: &str, count: u32| json!({ "label": label, "count": count });
    assert_eq!(service.labels(ANN).await, json!([count("music", 2), count("film", 1)]));
    assert_eq!(
        service.labels(BOB).await,
        json!([count("music", 1)]),
        "a label counts once an event"
    );
    let readers = service.send("GET", "/label/music", ()).await.json();
    let reader =
        |id: &str, name: &str, count: u32| json!({ "id": id, "name": name, "count": count });
    let both = [reader(ANN, "Ann", 2), reader(BOB, "Bob", 1)];
    assert_eq!(readers, json!({ "label": "music", "users": both }));
}

async fn an_event_that_is_told_again_is_not_counted_again(homes: &Homes) {
    let service = Service::start(homes).await;
    for _ in 0..3 {
        service.tell(viewed("same", ANN, &["film"])).await;
        service.settled(0).await;
    }
    let service = service.restart().await;
    service.tell(viewed("same", ANN, &["film"])).await;
    service.settled(0).await;
    assert_eq!(service.labels(ANN).await, json!([{ "label": "film", "count": 1 }]));
}

async fn an_event_waits_while_users_is_away_and_through_a_restart(homes: &Homes) {
    let mut service = Service::start(homes).await;
    service.close_directory();
    for id in ["1", "2", "3"] {
        service.tell(viewed(id, ANN, &["film"])).await;
    }
    let mut service = service.restart().await;
    assert_eq!(service.labels(ANN).await, json!([]));
    service.reopen_directory().await;
    service.settled(0).await;
    assert_eq!(service.labels(ANN).await, json!([{ "label": "film", "count": 3 }]));
}

async fn users_that_sulks_or_fails_is_asked_again_after_the_deadline(homes: &Homes) {
    let service = Service::start(homes).await;
    for (id, mood) in [("1", Mood::Sulks), ("2", Mood::Fails)] {
        service.directory.be(mood);
        let before = service.directory.questions();
        service.tell(viewed(id, ANN, &["film"])).await;
        eventually("users is asked again", async || service.directory.questions() >= before + 2)
            .await;
        service.directory.be(Mood::Answers);
        service.settled(0).await;
    }
    assert_eq!(service.labels(ANN).await, json!([{ "label": "film", "count": 2 }]));
}

async fn an_event_that_could_not_be_counted_halfway_is_counted_whole(homes: &Homes) {
    let service = Service::start(homes).await;
    service.home.run_sql("ALTER TABLE reads RENAME TO elsewhere").await;
    service.tell(viewed("1", ANN, &["film"])).await;
    eventually("it was tried", async || service.postponed().await > 0).await;
    service.home.run_sql("ALTER TABLE elsewhere RENAME TO reads").await;
    service.settled(0).await;
    assert_eq!(service.labels(ANN).await, json!([{ "label": "film", "count": 1 }]));
}

#[tokio::test]
async fn ids_of_events_are_forgotten_when_they_are_old() {
    let mut service = Service::start(&Homes::Embedded).await;
    for (days, count) in [(29, 1), (31, 2)] {
        service.tell(viewed("same", ANN, &["film"])).await;
        service.settled(0).await;
        let age = "UPDATE counted_events SET counted_at = counted_at - 86400000000 * ";
        service.home.run_sql(&format!("{age}{days}")).await;
        service = service.restart().await;
        service.tell(viewed("same", ANN, &["film"])).await;
        service.settled(0).await;
        assert_eq!(service.labels(ANN).await, json!([{ "label": "film", "count": count }]));
    }
}

async fn an_event_without_labels_is_taken_and_counts_nothing(homes: &Homes) {
    let service = Service::start(homes).await;
    service.tell(viewed("1", ANN, &[])).await;
    service.settled(0).await;
    assert_eq!(service.labels(ANN).await, json!([]));
}
