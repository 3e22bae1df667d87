//! Caching first: what is answered from cache and queue, and what becomes of it when something is away.

use std::time::Duration;

use serde_json::json;
use servers::{PostgreSql, Redis};
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::rig::{self, Service, Stores, draft, on_both_kinds_of_stores, path_of};

on_both_kinds_of_stores!(
    an_email_is_free_at_once_when_its_user_leaves_or_changes_it,
    a_read_asks_the_cache_and_then_the_database,
    a_job_that_the_database_refuses_is_set_aside_and_blocks_nobody,
    a_job_that_nobody_can_read_is_set_aside_and_blocks_nobody,
    a_queue_that_was_lost_knows_again_which_emails_are_taken,
    a_full_queue_refuses_writes_and_reads_go_on,
    many_may_change_one_user_at_once,
    the_openapi_document_tells_what_a_writer_has_to_send,
    the_openapi_document_names_every_endpoint,
);

/// Asks again until the answer is yes.
pub(crate) async fn eventually(question: impl AsyncFn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !question().await {
        assert!(Instant::now() < until, "still not so");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn an_email_is_free_at_once_when_its_user_leaves_or_changes_it(stores: Stores) {
    let service = Service::start(stores).await;
    for round in 0..5 {
        let ann = service.create("ann").await;
        assert_eq!(service.send("DELETE", &path_of(&ann), ()).await.status, 204, "{round}");
    }
    let ann = service.create("ann").await;
    let renamed = json!({ "name": "ann", "email": "bob@example.org" });
    assert_eq!(service.send("PUT", &path_of(&ann), renamed.clone()).await.status, 200);
    let second = service.create("ann").await;
    assert_eq!(service.send("POST", "/user", draft("bob")).await.status, 409);
    let listed = service.send("GET", "/users", ()).await.json();
    assert_eq!(
        listed,
        json!([{ "id": ann["id"], "name": "ann", "email": "bob@example.org" }, second])
    );
    assert_eq!(service.metric("users_dead_letters").await, 0);
}

async fn a_read_asks_the_cache_and_then_the_database(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    assert_eq!(service.send("GET", &path_of(&ann), ()).await.json(), ann);
    assert_eq!(service.metric("users_cache_reads_total{result=\"hit\"}").await, 1);
    assert_eq!(service.metric("users_cache_reads_total{result=\"miss\"}").await, 0);
    service.send("GET", "/users", ()).await;
    service.stores.execute("UPDATE users SET name = 'behind the cache'").await;
    assert_eq!(service.send("GET", &path_of(&ann), ()).await.json(), ann, "cached");

    let unknown = "/user/8d5e7a52-2f9b-4b0c-9a55-0d3d8d3f3f5e";
    assert_eq!(service.send("GET", unknown, ()).await.status, 404);
    assert_eq!(service.metric("users_cache_reads_total{result=\"miss\"}").await, 1);

    let stores = service.stop().await;
    empty_cache(&stores).await;
    let service = Service::start(stores).await;
    for (hits, misses) in [(0, 1), (1, 1)] {
        let read = service.send("GET", &path_of(&ann), ()).await.json();
        assert_eq!(read["name"], "behind the cache");
        assert_eq!(service.metric("users_cache_reads_total{result=\"hit\"}").await, hits);
        assert_eq!(service.metric("users_cache_reads_total{result=\"miss\"}").await, misses);
    }
}

/// Memory is emptied by the restart; Redis is told to.
async fn empty_cache(stores: &Stores) {
    if stores.queue.starts_with("redis://") {
        let delete = "for _, key in ipairs(redis.call('KEYS', '{users}:user:*')) do redis.call('DEL', key) end";
        tell_redis(&stores.queue, &["EVAL", delete, "0"]).await;
    }
}

async fn tell_redis(url: &str, words: &[&str]) {
    let (address, database) =
        url.strip_prefix("redis://").unwrap().split_once('/').unwrap_or((&url[8..], "0"));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    for command in [&["SELECT", database], words] {
        let mut text = format!("*{}\r\n", command.len());
        for word in command {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = [0; 500];
        let length = stream.read(&mut answer).await.unwrap();
        assert_ne!(answer[0], b'-', "{}", String::from_utf8_lossy(&answer[..length]));
    }
}

/// A queue in memory keeps its file to itself, so that the service must have stopped.
async fn tell_file(stores: &Stores, statement: &str) {
    let queue = format!("sqlite:{}", stores.folder().join("users-queue.sqlite").display());
    let mut connection = SqliteConnection::connect(&queue).await.unwrap();
    connection.execute(statement).await.unwrap();
    connection.close().await.unwrap();
}

async fn a_full_queue_refuses_writes_and_reads_go_on(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    service.refuse("poison").await;
    service.create("poison").await;
    eventually(async || service.metric("users_dead_letters").await == 1).await;
    let stores = service.stop().await;
    if stores.queue.starts_with("redis://") {
        let fill = "for _ = 1, 9999 do redis.call('XADD', '{users}:dead', '*', 'kind', 'x') end";
        tell_redis(&stores.queue, &["EVAL", fill, "0"]).await;
    } else {
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) \
             INSERT INTO dead_letters SELECT i, 'x', '', '', '', '', '', '' FROM n";
        tell_file(&stores, fill).await;
    }
    let service = Service::start(stores).await;
    let refused = service.send("POST", "/user", draft("bob")).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(service.send("DELETE", &path_of(&ann), ()).await.status, 503);
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([ann]));
    assert_eq!(service.metric("users_dead_letters").await, 10_000);
    let retried = service.send("POST", "/dead-letters/retry", ()).await;
    assert_eq!(retried.json(), json!({ "retried": 1, "kept": 9_999 }), "this makes room");
}

async fn many_may_change_one_user_at_once(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    let changes: Vec<_> = (0..8)
        .map(|number| {
            let change = json!({ "name": format!("ann {number}"), "email": "ann@example.org" });
            let request = rig::request("PUT", &path_of(&ann), change.into());
            tokio::spawn(rig::send(service.address(), request))
        })
        .collect();
    let mut answers = Vec::new();
    for change in changes {
        let answer = change.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        answers.push(answer.json());
    }
    let read = service.send("GET", &path_of(&ann), ()).await.json();
    assert!(answers.contains(&read), "{read}");
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([read]));
}

async fn a_job_that_the_database_refuses_is_set_aside_and_blocks_nobody(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    service.send("GET", "/users", ()).await;
    service.refuse("poison").await;

    let poison = service.create("poison").await;
    let change = json!({ "name": "poison", "email": "other@example.org" });
    assert_eq!(service.send("PUT", &path_of(&ann), change).await.status, 200);
    let bob = service.create("bob").await;
    eventually(async || service.metric("users_dead_letters").await == 2).await;
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([ann, bob]));
    assert_eq!(service.send("GET", &path_of(&poison), ()).await.status, 404);
    assert_eq!(
        service.send("GET", &path_of(&ann), ()).await.json(),
        ann,
        "as the database has her"
    );
    for (name, status) in [("ann", 409), ("other", 201), ("bob", 409)] {
        assert_eq!(service.send("POST", "/user", draft(name)).await.status, status, "{name}");
    }
    assert_eq!(service.metric("users_jobs_buried_total").await, 2);
    eventually(async || service.metric("users_queue_jobs").await == 0).await;
}

/// Puts a job into the queue that nobody can read.
pub(crate) async fn leave_a_riddle(stores: &Stores) {
    if stores.queue.starts_with("redis://") {
        tell_redis(&stores.queue, &["XADD", "{users}:queue", "*", "kind", "riddle"]).await;
    } else {
        tell_file(stores, "INSERT INTO jobs VALUES (7, 'riddle', '', '', '', '', '')").await;
    }
}

async fn a_job_that_nobody_can_read_is_set_aside_and_blocks_nobody(stores: Stores) {
    let stores = Service::start(stores).await.stop().await;
    leave_a_riddle(&stores).await;
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([ann]));
    eventually(async || service.metric("users_dead_letters").await == 1).await;
    eventually(async || service.metric("users_queue_jobs").await == 0).await;
}

async fn a_queue_that_was_lost_knows_again_which_emails_are_taken(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    let stores = service.stop().await;
    if stores.queue.starts_with("redis://") {
        tell_redis(&stores.queue, &["FLUSHDB"]).await;
    } else {
        for end in ["", "-wal", "-shm"] {
            let file = stores.folder().join(format!("users-queue.sqlite{end}"));
            std::fs::remove_file(file).or_else(gone_already).unwrap();
        }
    }
    let service = Service::start(stores).await;
    assert_eq!(service.send("POST", "/user", draft("ann")).await.status, 409);
    let bob = service.create("bob").await;
    let listed = service.send("GET", "/users", ()).await.json();
    assert_eq!(listed, json!([ann, bob]), "new jobs are not taken for old ones");

    if service.stores.queue.starts_with("redis://") {
        tell_redis(&service.stores.queue, &["FLUSHDB"]).await;
        let credentials = json!({ "email": "bob@example.org", "password": "s3cret-s3cret" });
        assert_eq!(service.send("POST", "/user/verify", credentials).await.status, 200);
        tell_redis(&service.stores.queue, &["FLUSHDB"]).await;
        let eve = service.create("eve").await;
        assert_eq!(service.send("POST", "/user", draft("bob")).await.status, 409);
        let listed = service.send("GET", "/users", ()).await.json();
        assert_eq!(listed, json!([ann, bob, eve]), "also while it runs");
    }
}

fn gone_already(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Each field, and what may be left out.
async fn the_openapi_document_tells_what_a_writer_has_to_send(stores: Stores) {
    let service = Service::start(stores).await;
    let document = service.send("GET", "/openapi.json", ()).await.json();
    for (method, path, required, optional) in [
        ("post", "/user", json!(["name", "email", "password"]), json!([])),
        ("put", "/user/{id}", json!(["name", "email"]), json!(["id", "password"])),
    ] {
        let body = &document["paths"][path][method]["requestBody"];
        let reference = body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
        let schema = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        assert_eq!(schema["required"], required, "{method}");
        let fields = schema["properties"].as_object().unwrap();
        let nullable: Vec<_> =
            fields.iter().filter(|(_, it)| it["type"] == json!(["string", "null"])).collect();
        let nullable: Vec<_> = nullable.into_iter().map(|(name, _)| name).collect();
        assert_eq!(json!(nullable), optional, "{method}");
        let password = &fields["password"];
        let said = (&password["format"], &password["minLength"], &password["maxLength"]);
        assert_eq!(said, (&json!("password"), &json!(1), &json!(256)));
    }
}

async fn the_openapi_document_names_every_endpoint(stores: Stores) {
    let service = Service::start(stores).await;
    let document = service.send("GET", "/openapi.json", ()).await;
    assert_eq!(document.status, 200);
    let paths = document.json()["paths"].clone();
    let named: Vec<String> = paths
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    for endpoint in [
        "get /users",
        "post /user",
        "post /user/verify",
        "get /user/{id}",
        "put /user/{id}",
        "delete /user/{id}",
        "get /dead-letters",
        "post /dead-letters/retry",
        "delete /dead-letters/{id}",
        "get /health",
        "get /metrics",
    ] {
        assert!(named.contains(&endpoint.to_owned()), "{endpoint} is not in {named:?}");
    }
    assert_eq!(named.len(), 11, "{named:?}");
}

#[tokio::test]
async fn writes_are_answered_while_the_database_is_away() {
    let (mut postgresql, redis) =
        (PostgreSql::start().await.unwrap(), Redis::start().await.unwrap());
    let service = Service::start(Stores::of(&postgresql, &redis)).await;
    let ann = service.create("ann").await;
    postgresql.kill_9().await;

    let bob = service.create("bob").await;
    let change = json!({ "id": ann["id"], "name": "Ann B.", "email": "ann@example.org" });
    assert_eq!(service.send("PUT", &path_of(&ann), change.clone()).await.status, 200);
    assert_eq!(service.send("GET", &path_of(&ann), ()).await.json(), change);
    assert_eq!(service.send("GET", &path_of(&bob), ()).await.json(), bob);
    assert_eq!(service.send("POST", "/user", draft("bob")).await.status, 409);
    let page = service.send("GET", "/users", ()).await;
    assert_eq!((page.status.as_u16(), &page.headers["retry-after"]), (503, &"1".parse().unwrap()));
    let health = service.send("GET", "/health", ()).await;
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (503, &json!("failing")));
    assert_eq!(health.json()["components"]["database"]["status"], "failing");
    assert_eq!(health.json()["components"]["queue"]["status"], "ok");

    postgresql.start_again().await.unwrap();
    eventually(async || service.metric("users_queue_jobs").await == 0).await;
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([change, bob]));
}

#[tokio::test]
async fn without_its_queue_the_service_says_so_and_comes_back() {
    let (postgresql, mut redis) =
        (PostgreSql::start().await.unwrap(), Redis::start().await.unwrap());
    let service = Service::start(Stores::of(&postgresql, &redis)).await;
    let ann = service.create("ann").await;
    redis.kill_9().await;

    let refused = service.send("POST", "/user", draft("bob")).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert_eq!(refused.json(), json!({ "error": "the service cannot do this now" }));
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.json()["components"]["queue"]["status"], "failing");

    redis.start_again().await.unwrap();
    eventually(async || service.send("GET", "/health", ()).await.status == 200).await;
    assert_eq!(service.send("GET", &path_of(&ann), ()).await.json(), ann);
    let bob = service.create("bob").await;
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([ann, bob]));
}

#[tokio::test]
async fn instances_on_the_same_stores_see_each_others_writes_at_once() {
    let (postgresql, redis) = (PostgreSql::start().await.unwrap(), Redis::start().await.unwrap());
    let one = Service::start(Stores::of(&postgresql, &redis)).await;
    let other = Service::start(Stores::of(&postgresql, &redis)).await;
    let mut all = Vec::new();
    for number in 0..20 {
        let (writer, reader) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let user = writer.create(&format!("user-{number}")).await;
        assert_eq!(reader.send("GET", &path_of(&user), ()).await.json(), user);
        let draft = draft(&format!("user-{number}"));
        assert_eq!(reader.send("POST", "/user", draft).await.status, 409);
        all.push(user);
        assert_eq!(reader.send("GET", "/users?count=100", ()).await.json(), json!(all));
    }
    let (first, second) = tokio::join!(
        one.send("POST", "/user", draft("ann")),
        other.send("POST", "/user", draft("ann")),
    );
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}
