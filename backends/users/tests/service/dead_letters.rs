//! What the database refused is kept where people see it, and tried again when they say so.

use serde_json::{Value, json};

use crate::queueing::{eventually, leave_a_riddle};
use crate::rig::{Service, Stores, draft, on_both_kinds_of_stores, path_of};

on_both_kinds_of_stores!(
    a_refused_write_is_shown_and_is_done_when_it_is_retried,
    a_later_write_takes_the_place_of_a_dead_letter,
    a_dead_letter_that_no_longer_fits_stays_until_it_is_given_up,
    an_unreadable_dead_letter_is_shown_and_given_up,
);

impl Service {
    /// Has the database refuse users of this name.
    pub(crate) async fn refuse(&self, name: &str) {
        let refuse = if self.stores.database.starts_with("sqlite:") {
            format!(
                "CREATE TRIGGER poison BEFORE INSERT ON users WHEN new.name = '{name}' \
                 BEGIN SELECT RAISE(ABORT, 'poison'); END"
            )
        } else {
            format!("ALTER TABLE users ADD CONSTRAINT poison CHECK (name <> '{name}')")
        };
        self.stores.execute(&refuse).await;
    }

    async fn mend(&self) {
        let mend = match self.stores.database.starts_with("sqlite:") {
            true => "DROP TRIGGER poison",
            false => "ALTER TABLE users DROP CONSTRAINT poison",
        };
        self.stores.execute(mend).await;
    }

    async fn dead_letters(&self) -> Vec<Value> {
        let answer = self.send("GET", "/dead-letters?count=100", ()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(!answer.text.contains("argon2"), "{}", answer.text);
        answer.json()["dead_letters"].as_array().unwrap().clone()
    }

    async fn retry(&self) -> Value {
        let answer = self.send("POST", "/dead-letters/retry", ()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Waits until so many jobs were refused.
    async fn refused(&self, count: u64) {
        eventually(async || self.metric("users_jobs_buried_total").await == count).await;
        eventually(async || self.metric("users_queue_jobs").await == 0).await;
    }
}

async fn a_refused_write_is_shown_and_is_done_when_it_is_retried(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    service.send("GET", "/users", ()).await;
    service.refuse("poison").await;
    let poison = service.create("poison").await;
    let change = json!({ "id": ann["id"], "name": "poison", "email": "new@example.org" });
    assert_eq!(service.send("PUT", &path_of(&ann), change.clone()).await.status, 200);
    service.refused(2).await;
    let dead = service.dead_letters().await;
    assert_eq!(dead.len(), 2, "{dead:?}");
    for (letter, user) in dead.iter().zip([&change, &poison]) {
        assert_eq!((&letter["write"], &letter["user"]), (&json!("keep"), user), "latest first");
        assert_eq!(letter["user_id"], user["id"]);
        assert!(letter["reason"].as_str().unwrap().contains("poison"), "{letter}");
        assert!(!letter["correlation_id"].as_str().unwrap().is_empty(), "{letter}");
    }

    assert_eq!(service.retry().await, json!({ "retried": 2, "kept": 0 }));
    service.refused(4).await;
    assert_eq!(service.dead_letters().await.len(), 2, "the database still refuses");
    let service = service.restart().await;
    assert_eq!(service.dead_letters().await.len(), 2, "they outlive a restart");

    service.mend().await;
    assert_eq!(service.retry().await, json!({ "retried": 2, "kept": 0 }));
    for user in [&change, &poison] {
        assert_eq!(service.send("GET", &path_of(user), ()).await.json(), *user, "at once");
    }
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([change, poison]));
    let credentials = json!({ "email": "poison@example.org", "password": "s3cret-s3cret" });
    assert_eq!(service.send("POST", "/user/verify", credentials).await.status, 200);
    assert_eq!(service.dead_letters().await, Vec::<Value>::new());
    assert_eq!(service.metric("users_dead_letters").await, 0);
    assert_eq!(service.metric("users_dead_letters_retried_total").await, 2);
    for (name, status) in [("ann", 201), ("new", 409), ("poison", 409)] {
        assert_eq!(service.send("POST", "/user", draft(name)).await.status, status, "{name}");
    }
}

async fn a_later_write_takes_the_place_of_a_dead_letter(stores: Stores) {
    let service = Service::start(stores).await;
    let (ann, bob) = (service.create("ann").await, service.create("bob").await);
    service.send("GET", "/users", ()).await;
    service.refuse("poison").await;
    for user in [&ann, &bob] {
        let change = json!({ "name": "poison", "email": user["email"] });
        assert_eq!(service.send("PUT", &path_of(user), change).await.status, 200);
    }
    service.refused(2).await;
    let later = json!({ "id": ann["id"], "name": "Ann B.", "email": "ann@example.org" });
    assert_eq!(service.send("PUT", &path_of(&ann), later.clone()).await.status, 200);
    assert_eq!(service.send("DELETE", &path_of(&bob), ()).await.status, 204);
    assert_eq!(service.dead_letters().await, Vec::<Value>::new());
    service.mend().await;
    assert_eq!(service.retry().await, json!({ "retried": 0, "kept": 0 }));
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([later]));
    assert_eq!(service.send("GET", &path_of(&bob), ()).await.status, 404);
}

async fn a_dead_letter_that_no_longer_fits_stays_until_it_is_given_up(stores: Stores) {
    let service = Service::start(stores).await;
    service.refuse("poison").await;
    let poison = service.create("poison").await;
    service.refused(1).await;
    let other = json!({ "name": "other", "email": "poison@example.org", "password": "s3cret" });
    assert_eq!(service.send("POST", "/user", other).await.status, 201);
    service.mend().await;
    assert_eq!(service.retry().await, json!({ "retried": 0, "kept": 1 }));
    assert_eq!(service.send("GET", &path_of(&poison), ()).await.status, 404);

    let dead = service.dead_letters().await;
    let path = format!("/dead-letters/{}", dead[0]["id"].as_str().unwrap());
    for status in [204, 404] {
        assert_eq!(service.send("DELETE", &path, ()).await.status, status);
    }
    assert_eq!(service.send("DELETE", "/dead-letters/poison", ()).await.status, 404);
    assert_eq!(service.metric("users_dead_letters").await, 0);
    for query in ["?count=0", "?count=101", "?start=0"] {
        let answer = service.send("GET", &format!("/dead-letters{query}"), ()).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
    }
}

async fn an_unreadable_dead_letter_is_shown_and_given_up(stores: Stores) {
    let stores = Service::start(stores).await.stop().await;
    leave_a_riddle(&stores).await;
    let service = Service::start(stores).await;
    service.refused(1).await;
    assert_eq!(service.retry().await, json!({ "retried": 0, "kept": 1 }));
    let dead = service.dead_letters().await;
    let expected = json!([{
        "id": dead[0]["id"], "write": "unreadable", "user_id": null, "user": null,
        "reason": "the job is unreadable", "correlation_id": "",
    }]);
    assert_eq!(json!(dead), expected);
    let path = format!("/dead-letters/{}", dead[0]["id"].as_str().unwrap());
    assert_eq!(service.send("DELETE", &path, ()).await.status, 204);
    assert_eq!(service.metric("users_dead_letters").await, 0);
}
