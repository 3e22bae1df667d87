//! What the service keeps, what it never shows, and how it ends.

use std::path::Path;

use argon2::{Argon2, PasswordVerifier};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{self, Service};

#[tokio::test]
async fn users_outlive_a_restart() {
    let service = Service::start().await;
    let draft = json!({ "name": "ann", "email": "ann@example.org", "password": "s3cret" });
    let ann = service.send("POST", "/user", draft.clone()).await.json();
    let service = service.restart().await;
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([ann]));
    assert_eq!(service.send("POST", "/user", draft).await.status, 409);
}

#[tokio::test]
async fn a_password_is_in_no_reply_and_not_in_the_database() {
    const FIRST: &str = "correct-horse-battery-staple";
    const SECOND: &str = "another-unmistakable-phrase";
    const NUMBER: i64 = 73_518_264_910_273;
    let service = Service::start().await;
    let ann = |password: Value| json!({ "name": "ann", "email": "ann@example.org", "password": password });
    let created = service.send("POST", "/user", ann(FIRST.into())).await;
    let path = format!("/user/{}", created.json()["id"].as_str().unwrap());
    let mut answers = vec![created];
    for (method, path, body) in [
        ("POST", "/user", ann(FIRST.into())),
        ("POST", "/user", ann(NUMBER.into())),
        ("POST", "/user", ann(json!([FIRST]))),
        ("PUT", &path, ann(SECOND.into())),
        ("PUT", &path, json!({ "name": "", "email": "ann@example.org", "password": SECOND })),
    ] {
        answers.push(service.send(method, path, body).await);
    }
    let truncated = format!("{{\"name\":\"ann\",\"password\":\"{FIRST}\"");
    answers.push(service.send("POST", "/user", truncated).await);
    answers.push(service.send("GET", &path, ()).await);
    answers.push(service.send("GET", "/users", ()).await);
    for answer in answers {
        for password in [FIRST, SECOND, &NUMBER.to_string(), "argon2"] {
            let shown = format!("{:?}{}", answer.headers, answer.text);
            assert!(!shown.contains(password), "{}: {}", answer.status, answer.text);
        }
    }

    let contains = |bytes: &[u8], text: &str| {
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let running = rig::bytes_on_disk(service.folder());
    let folder = service.stop().await;
    let stopped = rig::bytes_on_disk(folder.path());
    for bytes in [running, stopped] {
        assert!(contains(&bytes, "ann@example.org"), "the test must look at the right bytes");
        assert!(contains(&bytes, "$argon2id$"), "the hash must be there");
        assert!(!contains(&bytes, FIRST) && !contains(&bytes, SECOND));
    }
}

#[tokio::test]
async fn a_change_with_a_password_changes_it_and_one_without_keeps_it() {
    let service = Service::start().await;
    let ann = |password: Value| {
        let mut draft = json!({ "name": "ann", "email": "ann@example.org" });
        draft["password"] = password;
        draft
    };
    let created = service.send("POST", "/user", ann("first".into())).await;
    let path = format!("/user/{}", created.json()["id"].as_str().unwrap());
    for (sent, fits) in
        [(Value::Null, "first"), ("second".into(), "second"), (Value::Null, "second")]
    {
        assert_eq!(service.send("PUT", &path, ann(sent.clone())).await.status, 200);
        let hash = stored_hash(service.folder()).await;
        let hash = argon2::PasswordHash::new(&hash).unwrap();
        let verified = Argon2::default().verify_password(fits.as_bytes(), &hash);
        assert!(verified.is_ok(), "{fits} after {sent}");
    }
}

/// The hash of the only user.
async fn stored_hash(folder: &Path) -> String {
    let file = SqliteConnectOptions::new().filename(folder.join("users.sqlite"));
    let pool = SqlitePool::connect_with(file).await.unwrap();
    let hash =
        sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(&pool).await.unwrap();
    pool.close().await;
    hash
}

#[tokio::test]
async fn a_request_that_was_begun_is_finished_before_the_service_ends() {
    let service = Service::start().await;
    let address = service.address();
    let body =
        json!({ "name": "ann", "email": "ann@example.org", "password": "s3cret" }).to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /user HTTP/1.1\r\nhost: users\r\ncontent-type: application/json\r\n\
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
    drop(folder);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let service = Service::start().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = users::Settings {
        address: service.address(),
        database: users::Database::Sqlite(folder.path().join("users.sqlite")),
        hash_cost: users::HashCost::default(),
    };
    let error = users::start(settings).await.unwrap_err().to_string();
    assert!(error.contains(&service.address().to_string()), "{error}");
}
