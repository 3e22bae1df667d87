//! What the service keeps, what it never shows, and how it ends.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{self, Service, Stores, draft, on_both_kinds_of_stores, path_of};

on_both_kinds_of_stores!(
    users_outlive_a_restart,
    a_change_with_a_password_changes_it_and_one_without_keeps_it,
    a_wrong_password_and_an_unknown_email_are_told_alike,
    a_request_that_was_begun_is_finished_before_the_service_ends,
    what_was_answered_is_in_the_database_when_the_service_has_stopped,
);

async fn users_outlive_a_restart(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    let service = service.restart().await;
    assert_eq!(service.send("GET", "/users", ()).await.json(), json!([ann]));
    assert_eq!(service.send("GET", &path_of(&ann), ()).await.json(), ann);
    assert_eq!(service.send("POST", "/user", draft("ann")).await.status, 409);
}

async fn what_was_answered_is_in_the_database_when_the_service_has_stopped(stores: Stores) {
    let service = Service::start(stores).await;
    for number in 0..20 {
        service.create(&format!("user-{number}")).await;
    }
    let stores = service.stop().await;
    assert_eq!(stores.query_number("SELECT count(*) FROM users").await, 20);
}

#[tokio::test]
async fn a_password_is_in_no_reply_and_not_in_the_database() {
    const FIRST: &str = "correct-horse-battery-staple";
    const SECOND: &str = "another-unmistakable-phrase";
    const NUMBER: i64 = 73_518_264_910_273;
    let service = Service::start(Stores::embedded()).await;
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
        ("POST", "/user/verify", json!({ "email": "ann@example.org", "password": SECOND })),
        ("POST", "/user/verify", json!({ "email": "ann@example.org", "password": FIRST })),
    ] {
        answers.push(service.send(method, path, body).await);
    }
    let truncated = format!("{{\"name\":\"ann\",\"password\":\"{FIRST}\"");
    answers.push(service.send("POST", "/user", truncated).await);
    answers.push(service.send("GET", &path, ()).await);
    for path in ["/users", "/metrics", "/health"] {
        answers.push(service.send("GET", path, ()).await);
    }
    for answer in answers {
        for password in [FIRST, SECOND, &NUMBER.to_string(), "argon2"] {
            let shown = format!("{:?}{}", answer.headers, answer.text);
            assert!(!shown.contains(password), "{}: {}", answer.status, answer.text);
        }
    }

    let contains = |bytes: &[u8], text: &str| {
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let running = rig::bytes_on_disk(service.stores.folder());
    let stores = service.stop().await;
    let stopped = rig::bytes_on_disk(stores.folder());
    for bytes in [running, stopped] {
        assert!(contains(&bytes, "ann@example.org"), "the test must look at the right bytes");
        assert!(contains(&bytes, "$argon2id$"), "the hash must be there");
        assert!(!contains(&bytes, FIRST) && !contains(&bytes, SECOND));
    }
}

async fn a_change_with_a_password_changes_it_and_one_without_keeps_it(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = |password: Value| {
        let mut draft = json!({ "name": "ann", "email": "ann@example.org" });
        draft["password"] = password;
        draft
    };
    let created = service.send("POST", "/user", ann("first".into())).await;
    let path = path_of(&created.json());
    for (sent, fits) in
        [(Value::Null, "first"), ("second".into(), "second"), (Value::Null, "second")]
    {
        assert_eq!(service.send("PUT", &path, ann(sent.clone())).await.status, 200);
        for (password, status) in [(fits, 200), ("third", 401)] {
            let credentials = json!({ "email": "Ann@example.org", "password": password });
            let verified = service.send("POST", "/user/verify", credentials).await;
            assert_eq!(verified.status, status, "{password} after {sent}");
        }
    }
}

async fn a_wrong_password_and_an_unknown_email_are_told_alike(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    let verify = async |email: &str, password: &str| {
        let credentials = json!({ "email": email, "password": password });
        service.send("POST", "/user/verify", credentials).await
    };
    let right = verify("ann@example.org", "s3cret-s3cret").await;
    assert_eq!((right.status.as_u16(), right.json()), (200, ann.clone()));
    let wrong = verify("ann@example.org", "s3cret").await;
    assert_eq!(wrong.status, 401);
    assert_eq!(wrong.json(), json!({ "error": "email or password is wrong" }));
    for email in ["bob@example.org", "no email", ""] {
        let unknown = verify(email, "s3cret-s3cret").await;
        assert_eq!((unknown.status, unknown.text), (wrong.status, wrong.text.clone()), "{email}");
    }
    for malformed in [json!({ "email": "ann@example.org" }), json!([]), json!("x")] {
        let answer = service.send("POST", "/user/verify", malformed.clone()).await;
        assert_eq!(answer.status, 400, "{malformed}");
    }
    service.send("DELETE", &path_of(&ann), ()).await;
    assert_eq!(verify("ann@example.org", "s3cret-s3cret").await.status, 401, "she has left");
}

async fn a_request_that_was_begun_is_finished_before_the_service_ends(stores: Stores) {
    let service = Service::start(stores).await;
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

    let (running, stores) = service.into_running();
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
    assert_eq!(stores.query_number("SELECT count(*) FROM users").await, 1, "it is in the database");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let service = Service::start(Stores::embedded()).await;
    let stores = Stores::embedded();
    let configuration =
        users::Configuration { listen: service.address(), ..stores.configuration() };
    let error = users::start(configuration).await.unwrap_err().to_string();
    assert!(error.contains(&service.address().to_string()), "{error}");
}

#[tokio::test]
async fn two_services_do_not_share_a_queue_in_memory() {
    let service = Service::start(Stores::embedded()).await;
    let error = users::start(service.stores.configuration()).await.unwrap_err().to_string();
    assert!(error.ends_with("users-queue.sqlite is in use by another process"), "{error}");
}

#[tokio::test]
async fn a_program_may_start_the_service_with_three_settings() {
    let folder = tempfile::tempdir().unwrap();
    let settings = users::Settings {
        address: "127.0.0.1:0".parse().unwrap(),
        database: users::Database::Sqlite(folder.path().join("users.sqlite")),
        hash_cost: users::HashCost::default(),
    };
    let running = users::start(settings).await.unwrap();
    let health = rig::request("GET", "/health", rig::Body::None);
    assert_eq!(rig::send(running.address(), health).await.status, 200);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let stores = Stores::embedded();
    // Nobody listens on port 1, and only root could.
    let database = "postgres://users:s3cret@127.0.0.1:1/users".parse().unwrap();
    let queue = "redis://:s3cret@127.0.0.1:1".parse().unwrap();
    let without_database = users::Configuration { database, ..stores.configuration() };
    let without_queue = users::Configuration { queue, ..stores.configuration() };
    for (configuration, component) in
        [(without_database, "database: "), (without_queue, "queue: Redis: ")]
    {
        let error = users::start(configuration).await.unwrap_err().to_string();
        assert!(error.starts_with(component), "{error}");
        assert!(error.to_lowercase().contains("refused"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}
