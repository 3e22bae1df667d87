//! What the service keeps, what it never shows, and how it ends.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use auth::Database;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::browser::{Browser, exchange, usual};
use crate::rig::{Rig, bytes_on_disk};
use crate::users_stub::PASSWORD;

scenarios![
    logins_and_sessions_outlive_a_restart,
    what_has_expired_is_deleted,
    a_table_has_a_bounded_number_of_rows,
    a_request_that_was_begun_is_finished_before_the_service_ends,
];

async fn logins_and_sessions_outlive_a_restart(rig: Rig) {
    let tokens = rig.log_in().await;
    let mut browser = Browser::new(&rig);
    let code = browser.code(&usual()).await;
    let cookies = browser.cookies.clone();
    let rig = rig.restart().await;
    assert_eq!(rig.refresh(&tokens["refresh_token"]).await.status, 200);
    assert_eq!(rig.refresh(&tokens["refresh_token"]).await.status, 401, "spent stays spent");
    assert_eq!(exchange(&rig, &code).await.status, 200);
    let mut browser = Browser::new(&rig);
    browser.cookies = cookies;
    assert_eq!(browser.open(&usual()).await.status, 303);
    let rig = rig.restart().await;
    assert_eq!(exchange(&rig, &code).await.status, 400, "a code, too");
}

async fn what_has_expired_is_deleted(rig: Rig) {
    rig.try_password("wrong").await;
    let code = Browser::new(&rig).code(&usual()).await;
    exchange(&rig, &code).await;
    rig.try_password("wrong").await;
    rig.log_in().await;
    rig.try_password("wrong").await;
    for table in ["login_attempts", "codes", "sessions", "grants"] {
        assert!(rig.count(table).await > 0, "{table}");
    }
    rig.pass(14 * 24 * 60 * 60);
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    for table in ["login_attempts", "codes", "sessions", "grants"] {
        while rig.count(table).await > 0 {
            assert!(tokio::time::Instant::now() < until, "{table} still has rows");
        }
    }
}

async fn a_table_has_a_bounded_number_of_rows(rig: Rig) {
    for _ in 0..5 {
        rig.try_password("wrong").await;
    }
    let flood = "INSERT INTO login_attempts WITH RECURSIVE numbers (number) AS \
                 (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 100100) \
                 SELECT 'flood ' || number, 99999999990 + number FROM numbers";
    rig.execute(flood).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while rig.count("login_attempts").await > 100_000 {
        assert!(tokio::time::Instant::now() < until, "the table is too long");
    }
    assert_eq!(rig.count("login_attempts").await, 100_000, "and no more are deleted than must be");
}

async fn a_request_that_was_begun_is_finished_before_the_service_ends(rig: Rig) {
    let address = rig.address();
    let body = format!("{{\"email\":\"ann@example.org\",\"password\":\"{PASSWORD}\"}}");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: auth\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n", "the request is being answered");

    let restarting = tokio::spawn(rig.restart());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!restarting.is_finished(), "the service waits for the request");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    restarting.await.unwrap();
}

#[tokio::test]
async fn secrets_of_clients_are_on_the_disk_only_as_hashes() {
    let rig = Rig::on_sqlite().await;
    let tokens = rig.log_in().await;
    let mut browser = Browser::new(&rig);
    let code = browser.code(&usual()).await;
    let by_browser = exchange(&rig, &code).await.json();
    let mut secrets = vec![code, PASSWORD.to_owned()];
    for tokens in [&tokens, &by_browser] {
        let token = tokens["refresh_token"].as_str().unwrap();
        secrets.extend(token.split('.').map(str::to_owned));
        secrets.push(tokens["access_token"].as_str().unwrap().to_owned());
    }
    secrets.extend(browser.cookies.values().cloned());
    let bytes = bytes_on_disk(rig.folder());
    let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(contains("some nonce"), "the test must look at the right bytes");
    for secret in secrets {
        assert!(!contains(&secret), "{secret} is on the disk");
    }
}

#[tokio::test]
async fn the_file_with_the_keys_is_its_owner_s_alone() {
    let rig = Rig::on_sqlite().await;
    rig.log_in().await;
    for entry in std::fs::read_dir(rig.folder()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    let Database::Sqlite(file) = rig.settings().database.clone() else {
        panic!("this is about SQLite");
    };
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = auth::start(rig.settings().clone()).await.unwrap_err().to_string();
    assert!(error.contains("chmod 600") && error.contains("640"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    let rig = Rig::on_sqlite().await;
    let mut settings = rig.settings().clone();
    settings.listen = rig.address();
    let error = auth::start(settings).await.unwrap_err().to_string();
    assert!(error.contains(&rig.address().to_string()), "{error}");

    let mut settings = rig.settings().clone();
    settings.rotation.publish_ahead = Duration::from_secs(300);
    settings.housekeeping_every = Duration::from_secs(1);
    let error = auth::start(settings).await.unwrap_err().to_string();
    assert!(error.contains("600 s before they sign"), "{error}");

    let mut settings = rig.settings().clone();
    settings.housekeeping_every = Duration::ZERO;
    assert!(auth::start(settings).await.is_err());
}
