//! The read side comes from the log alone; the log is never changed; both outlive the process.

use news::{Database, ReadSide};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::homes::{Homes, Side};
use crate::rig::{Service, draft, eventually, everything, titles, written};

stories![
    articles_outlive_a_restart,
    a_rebuilt_read_side_equals_one_that_grew,
    the_log_itself_refuses_to_be_changed,
    a_write_is_answered_while_the_read_side_is_down_and_seen_after,
    what_could_not_be_taken_in_halfway_is_taken_in_whole,
    a_request_that_was_begun_is_finished_before_the_service_ends,
];

async fn articles_outlive_a_restart(homes: &Homes) {
    let service = written(homes).await;
    let before = everything(&service).await;
    assert_eq!(titles(&before), ["Three, corrected again", "Two", "One"]);
    let service = Service::start_in(service.stop().await, ReadSide::CatchUp).await;
    assert_eq!(everything(&service).await, before);
}

async fn a_rebuilt_read_side_equals_one_that_grew(homes: &Homes) {
    let service = written(homes).await;
    let grown = everything(&service).await;
    let home = service.stop().await;
    let wrong = match home.latest {
        Database::Sqlite(_) => "UPDATE articles SET title = 'wrong'",
        Database::Postgres(_) => {
            "UPDATE articles SET article = article || '{\"title\": \"wrong\"}'"
        }
    };
    let changed = home.run_sql(Side::Latest, wrong).await;
    assert_eq!(changed.unwrap(), 3);

    let service = Service::start_in(home, ReadSide::CatchUp).await;
    assert_eq!(titles(&everything(&service).await), ["wrong"; 3], "catching up repairs nothing");
    let service = Service::start_in(service.stop().await, ReadSide::Rebuild).await;
    assert_eq!(everything(&service).await, grown);
}

async fn the_log_itself_refuses_to_be_changed(homes: &Homes) {
    let home = written(homes).await.stop().await;
    for statement in ["UPDATE events SET title = 'wrong'", "DELETE FROM events"] {
        let refused = home.run_sql(Side::Log, statement).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
}

async fn a_write_is_answered_while_the_read_side_is_down_and_seen_after(homes: &Homes) {
    let service = written(homes).await;
    let away = "ALTER TABLE position RENAME TO elsewhere";
    service.home().run_sql(Side::Latest, away).await.unwrap();
    let added = service.send("POST", "/", draft("Four")).await;
    assert_eq!(added.status, 201);
    let health = service.send("GET", "/health", ()).await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["components"]["latest"]["status"], "failing");
    let back = "ALTER TABLE elsewhere RENAME TO position";
    service.home().run_sql(Side::Latest, back).await.unwrap();
    let added = added.json()["news"].clone();
    eventually("readers see it", async || {
        everything(&service).await.as_array().unwrap().contains(&added)
    })
    .await;
}

async fn what_could_not_be_taken_in_halfway_is_taken_in_whole(homes: &Homes) {
    let service = written(homes).await;
    let away = "ALTER TABLE articles RENAME TO elsewhere";
    service.home().run_sql(Side::Latest, away).await.unwrap();
    let added = service.send("POST", "/", draft("Four")).await;
    assert_eq!(added.status, 201);
    let behind = service.send("GET", "/health", ()).await.json();
    let behind = &behind["components"]["latest"]["events_behind"];
    assert_eq!(behind, 1, "the position does not go ahead of the rows");
    let back = "ALTER TABLE elsewhere RENAME TO articles";
    service.home().run_sql(Side::Latest, back).await.unwrap();
    let added = added.json()["news"].clone();
    eventually("readers see it", async || {
        everything(&service).await.as_array().unwrap().contains(&added)
    })
    .await;
}

async fn a_request_that_was_begun_is_finished_before_the_service_ends(homes: &Homes) {
    let service = Service::start(homes).await;
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

    let (running, home) = service.into_running();
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
    let service = Service::start_in(home, ReadSide::CatchUp).await;
    assert_eq!(titles(&everything(&service).await), ["Title"]);
}
