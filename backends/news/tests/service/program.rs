//! The program itself: what it logs of a request, how it stops when it is told to, what it says of a wrong flag.

use std::net::SocketAddr;
use std::process::Command;

use servers::ServiceProcess;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::homes::{Home, Homes};
use crate::rig::{self, draft, eventually};

const NEWS: &str = env!("CARGO_BIN_EXE_news");

fn service(home: &Home) -> ServiceProcess {
    let database = |file: &str| format!("sqlite:{}", home.file(file).display());
    let arguments = vec![
        "--theme=famous".to_owned(),
        format!("--database={}", database("event-log.sqlite")),
        format!("--read-database={}", database("latest.sqlite")),
    ];
    ServiceProcess::new(NEWS, arguments).unwrap()
}

#[tokio::test]
async fn each_line_about_a_request_carries_its_correlation_id() {
    let home = Homes::Embedded.make();
    let mut service = service(&home);
    let address = service.start().await.unwrap();
    let mut article = draft("Title");
    for (id, method) in [("write-7", "POST"), ("write-8", "PUT")] {
        let mut request = rig::request(method, "/", article.into());
        request.headers_mut().insert("x-correlation-id", id.parse().unwrap());
        article = rig::send(address, request).await.json()["news"].clone();
    }
    for id in ["write-7", "write-8"] {
        is_logged(&service, "answered", id).await;
        is_logged(&service, "readers see a version", id).await;
    }
}

async fn is_logged(service: &ServiceProcess, message: &str, id: &str) {
    eventually(&format!("{message} is logged under {id}"), async || {
        let told = |line: &str| line.contains(message) && line.contains(id);
        service.log().unwrap().lines().any(told)
    })
    .await;
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_was_begun_and_ends_well() {
    let home = Homes::Embedded.make();
    let mut service = service(&home);
    let address = service.start().await.unwrap();
    let body = draft("Title").to_string();
    let mut stream = begin(address, &body).await;
    service.terminate().unwrap();
    eventually("nobody else gets in", async || TcpStream::connect(address).await.is_err()).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert_eq!(service.ended().await.unwrap().unwrap().code(), Some(0));
}

/// Sends the head of a request and waits until the service asks for the body.
async fn begin(address: SocketAddr, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: news\r\ncontent-type: application/json\r\n\
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
    let output = Command::new(NEWS)
        .args(["--theme=famous", "--events=amqps://ann:secret@broker.internal/%2f"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("amqps:// (AMQP over TLS) is not supported"), "{said}");
    assert!(said.contains("give http or amqp://"), "{said}");
}
