//! The program itself: what it logs of an event, how it stops when it is told to, what it says of a wrong flag.

use std::net::SocketAddr;
use std::process::Command;

use servers::ServiceProcess;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::directory::Directory;
use crate::homes::Servers;
use crate::rig::{self, ANN, eventually, viewed};

const RECOMMENDATION: &str = env!("CARGO_BIN_EXE_recommendation");

fn service(directory: &Directory, arguments: &[String]) -> ServiceProcess {
    let users = format!("--users={}", directory.url());
    ServiceProcess::new(RECOMMENDATION, [&[users], arguments].concat()).unwrap()
}

async fn is_logged(service: &ServiceProcess, message: &str, id: &str) {
    eventually(&format!("{message} is logged under {id}"), async || {
        let told = |line: &str| line.contains(message) && line.contains(id);
        service.log().unwrap().lines().any(told)
    })
    .await;
}

#[tokio::test]
async fn each_line_about_an_event_carries_its_correlation_id() {
    let (directory, _listening) = Directory::open(&[(ANN, "Ann")]).await;
    let folder = tempfile::tempdir().unwrap();
    let database = format!("--database=sqlite:{}", folder.path().join("counts").display());
    let mut service = service(&directory, &[database]);
    let address = service.start().await.unwrap();
    let event = viewed("1", ANN, &["film"]);
    let mut request = rig::request("POST", "/events/viewed", event.into());
    request.headers_mut().insert("x-correlation-id", "view-7".parse().unwrap());
    assert_eq!(rig::send(address, request).await.status, 202);
    is_logged(&service, "answered", "view-7").await;
    is_logged(&service, "event done", "view-7").await;
}

/// A story of the real servers' test.
pub(crate) async fn each_line_about_a_delivery_carries_its_correlation_id(servers: &Servers) {
    let (directory, _listening) = Directory::open(&[(ANN, "Ann")]).await;
    let database = format!("--database={}", servers.database());
    let events = format!("--events={}", servers.rabbit.url());
    let mut service = service(&directory, &[database, events]);
    service.start().await.unwrap();
    let broker = crate::broker::Broker::at(&servers.rabbit.url());
    eventually("it listens", async || broker.queues().await[0].consumers > 0).await;
    broker.publish(viewed("1", ANN, &["film"]).to_string().as_bytes(), "view-8").await;
    is_logged(&service, "event done", "view-8").await;
    service.terminate().unwrap();
    assert_eq!(service.ended().await.unwrap().unwrap().code(), Some(0));
    let [queue, _] = broker.queues().await;
    assert_eq!(queue.messages, 0, "what was counted is acknowledged before the end");
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_was_begun_and_ends_well() {
    let (directory, _listening) = Directory::open(&[(ANN, "Ann")]).await;
    let folder = tempfile::tempdir().unwrap();
    let database = format!("--database=sqlite:{}", folder.path().join("counts").display());
    let mut service = service(&directory, &[database]);
    let address = service.start().await.unwrap();
    let body = viewed("1", ANN, &["film"]).to_string();
    let mut stream = begin(address, &body).await;
    service.terminate().unwrap();
    eventually("nobody else gets in", async || TcpStream::connect(address).await.is_err()).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    assert_eq!(service.ended().await.unwrap().unwrap().code(), Some(0));

    let address = service.start().await.unwrap();
    eventually("what was taken is counted", async || {
        let request = rig::request("GET", &format!("/user/{ANN}"), rig::Body::None);
        rig::send(address, request).await.status == 200
    })
    .await;
}

/// Sends the head of a request and waits until the service asks for the body.
async fn begin(address: SocketAddr, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /events/viewed HTTP/1.1\r\nhost: recommendation\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn a_broker_that_wants_tls_is_refused_at_start_with_a_reason() {
    let output = Command::new(RECOMMENDATION)
        .arg("--events=amqps://ann:secret@broker.internal/%2f")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("amqps:// (AMQP over TLS) is not supported"), "{said}");
    assert!(said.contains("give http or amqp://"), "{said}");
}
