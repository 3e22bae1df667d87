//! The read side comes from the log alone; the log is never changed; both outlive the process.

use std::path::Path;

use news::{Database, ReadSide, Settings};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{Service, add, draft, everything};

const LOG: &str = "event-log.sqlite";
const LATEST: &str = "latest.sqlite";

/// Three articles, of which one has three versions.
async fn written() -> Service {
    let service = Service::start().await;
    for title in ["One", "Two"] {
        add(&service, "POST", draft(title)).await;
    }
    let mut article = add(&service, "POST", draft("Three")).await;
    for title in ["Three, corrected", "Three, corrected again"] {
        article["title"] = json!(title);
        article = add(&service, "PUT", article).await;
    }
    service
}

async fn run_sql(folder: &Path, file: &str, statement: &str) -> Result<u64, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(folder.join(file));
    let pool = SqlitePool::connect_with(options).await?;
    let done = sqlx::query(statement).execute(&pool).await;
    pool.close().await;
    Ok(done?.rows_affected())
}

fn titles(articles: &Value) -> Vec<&str> {
    articles.as_array().unwrap().iter().map(|it| it["title"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn articles_outlive_a_restart() {
    let service = written().await;
    let before = everything(&service).await;
    assert_eq!(titles(&before), ["Three, corrected again", "Two", "One"]);
    let service = Service::start_in(service.stop().await, ReadSide::CatchUp).await;
    assert_eq!(everything(&service).await, before);
}

#[tokio::test]
async fn a_rebuilt_read_side_equals_one_that_grew() {
    let service = written().await;
    let grown = everything(&service).await;
    let folder = service.stop().await;
    let changed = run_sql(folder.path(), LATEST, "UPDATE articles SET title = 'wrong'").await;
    assert_eq!(changed.unwrap(), 3);

    let service = Service::start_in(folder, ReadSide::CatchUp).await;
    assert_eq!(titles(&everything(&service).await), ["wrong"; 3], "catching up repairs nothing");
    let service = Service::start_in(service.stop().await, ReadSide::Rebuild).await;
    assert_eq!(everything(&service).await, grown);
}

#[tokio::test]
async fn a_read_side_that_is_gone_behind_or_ahead_is_made_right_at_start() {
    let service = written().await;
    let folder = service.stop().await;
    let path = |file: &str| folder.path().join(file);
    for file in [LOG, LATEST] {
        std::fs::copy(path(file), path(&format!("early-{file}"))).unwrap();
    }
    let service = Service::start_in(folder, ReadSide::CatchUp).await;
    let early = everything(&service).await;
    let number = 60; // More than one batch.
    for title in 0..number {
        add(&service, "POST", draft(&title.to_string())).await;
    }
    let late = everything(&service).await;
    assert_eq!(late.as_array().unwrap().len(), 3 + number);

    let folder = service.stop().await;
    let path = |file: &str| folder.path().join(file);
    std::fs::copy(path(LATEST), path("late-latest.sqlite")).unwrap();
    std::fs::remove_file(path(LATEST)).unwrap();
    let service = Service::start_in(folder, ReadSide::CatchUp).await;
    assert_eq!(everything(&service).await, late, "gone");

    let folder = service.stop().await;
    let path = |file: &str| folder.path().join(file);
    std::fs::rename(path("early-latest.sqlite"), path(LATEST)).unwrap();
    let service = Service::start_in(folder, ReadSide::CatchUp).await;
    assert_eq!(everything(&service).await, late, "behind");

    let folder = service.stop().await;
    let path = |file: &str| folder.path().join(file);
    std::fs::rename(path("early-event-log.sqlite"), path(LOG)).unwrap();
    std::fs::rename(path("late-latest.sqlite"), path(LATEST)).unwrap();
    let service = Service::start_in(folder, ReadSide::CatchUp).await;
    assert_eq!(everything(&service).await, early, "ahead");
}

#[tokio::test]
async fn the_log_itself_refuses_to_be_changed() {
    let folder = written().await.stop().await;
    for statement in ["UPDATE events SET title = 'wrong'", "DELETE FROM events"] {
        let refused = run_sql(folder.path(), LOG, statement).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn a_write_is_answered_while_the_read_side_is_down_and_seen_after() {
    let service = written().await;
    let folder = service.stop().await;
    let service = Service::start_in(folder, ReadSide::CatchUp).await;
    let folder = service.folder().to_owned();
    run_sql(&folder, LATEST, "ALTER TABLE position RENAME TO elsewhere").await.unwrap();
    let added = service.send("POST", "/", draft("Four")).await;
    assert_eq!(added.status, 201);
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["components"]["latest"]["status"], "failing");
    run_sql(&folder, LATEST, "ALTER TABLE elsewhere RENAME TO position").await.unwrap();

    let service = Service::start_in(service.stop().await, ReadSide::CatchUp).await;
    let seen = everything(&service).await;
    assert!(seen.as_array().unwrap().contains(&added.json()["news"]), "{seen}");
}

#[tokio::test]
async fn a_request_that_was_begun_is_finished_before_the_service_ends() {
    let service = Service::start().await;
    let address = service.address();
    let body = draft("Title").to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: news\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n", "the request is being answered");

    let (running, folder) = service.into_running();
    let stopping = tokio::spawn(running.stop());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished(), "the service waits for the request");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    stopping.await.unwrap().unwrap();
    let service = Service::start_in(folder, ReadSide::CatchUp).await;
    assert_eq!(titles(&everything(&service).await), ["Title"]);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let service = Service::start().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        theme: "famous".parse().unwrap(),
        address: service.address(),
        event_log: Database::Sqlite(folder.path().join(LOG)),
        latest: Database::Sqlite(folder.path().join(LATEST)),
        read_side: ReadSide::CatchUp,
    };
    let error = news::start(settings).await.unwrap_err().to_string();
    assert!(error.contains(&service.address().to_string()), "{error}");
}
