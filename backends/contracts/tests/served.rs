//! What the services serve as `/openapi.json` is what `proto/openapi/` says; `UPDATE=1` writes it there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A service that runs until its value is dropped.
struct Service {
    name: &'static str,
    address: SocketAddr,
    _running: Box<dyn std::any::Any>,
}

async fn services(folder: &TempDir) -> Vec<Service> {
    let file = |name: &str| folder.path().join(name);
    let users = users::start(users::Settings {
        address: any_port(),
        database: users::Database::Sqlite(file("users.sqlite")),
        hash_cost: users::HashCost::default(),
    });
    let users = users.await.unwrap();
    let news = news::start(news::Settings {
        theme: "famous".parse().unwrap(),
        address: any_port(),
        event_log: news::Database::Sqlite(file("event-log.sqlite")),
        latest: news::Database::Sqlite(file("latest.sqlite")),
        read_side: news::ReadSide::CatchUp,
    });
    let news = news.await.unwrap();
    let recommendation = recommendation::start(recommendation::Settings {
        listen: any_port(),
        database: recommendation::Database::Sqlite(file("recommendation.sqlite")),
        events: recommendation::Events::Http,
        users: format!("http://{}", users.grpc_address()).parse().unwrap(),
        users_timeout_ms: 1000,
        remember_days: 30,
    });
    let recommendation = recommendation.await.unwrap();
    let auth = auth::start(auth::Settings::new(
        any_port(),
        auth::Database::Sqlite(file("auth.sqlite")),
        "http://127.0.0.1:8080/auth/v1".parse().unwrap(),
        format!("http://{}", users.address()).parse().unwrap(),
    ));
    let auth = auth.await.unwrap();
    vec![
        Service { name: "users", address: users.address(), _running: Box::new(users) },
        Service { name: "news", address: news.address(), _running: Box::new(news) },
        Service {
            name: "recommendation",
            address: recommendation.address(),
            _running: Box::new(recommendation),
        },
        Service { name: "auth", address: auth.address(), _running: Box::new(auth) },
    ]
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn served(address: SocketAddr) -> Value {
    let stream = TcpStream::connect(address).await.unwrap();
    let connection = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connection.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/openapi.json").header("host", address.to_string());
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../proto/openapi/{name}.json"))
}

#[tokio::test]
async fn the_documents_are_what_the_services_serve() {
    let folder = tempfile::tempdir().unwrap();
    let mut differ = Vec::new();
    for Service { name, address, _running } in services(&folder).await {
        let mut text = serde_json::to_string_pretty(&served(address).await).unwrap();
        text.push('\n');
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(committed(name), &text).unwrap();
        }
        let said = std::fs::read_to_string(committed(name)).unwrap_or_default();
        differ.extend(first_difference(name, &said, &text));
    }
    let meant = "if that is meant, UPDATE=1 writes it there";
    assert!(differ.is_empty(), "not what the service serves; {meant}:\n{}", differ.join("\n"));
}

/// The place and both lines; nothing if there is no difference.
fn first_difference(name: &str, said: &str, served: &str) -> Option<String> {
    // The end of the shorter one differs from whatever stands there in the other.
    let line = |text: &str, number| text.lines().nth(number).unwrap_or("(end)").trim().to_owned();
    let lines = said.lines().count().max(served.lines().count());
    let number = (0..lines).find(|number| line(said, *number) != line(served, *number))?;
    let (said, served) = (line(said, number), line(served, number));
    Some(format!("proto/openapi/{name}.json:{}: says {said}, is {served}", number + 1))
}
