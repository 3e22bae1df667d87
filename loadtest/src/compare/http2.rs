//! HTTP/2 for the client that counts: hyper on a runtime of its own, one request at a time.

use std::io;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::certificates::Certificates;
use super::client::{ANSWER_TIME, CONNECTIONS};
use super::encryption::{self, EncryptionError};
use super::load::{MESSAGE_BYTES, headers};
use super::scenarios::{Job, Task};

/// Why a request was not answered as it has to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http2Error {
    #[error("runtime: {0}")]
    Runtime(io::Error),
    #[error("connect: {0}")]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    #[error("HTTP/2: {0}")]
    Handshake(hyper::Error),
    #[error("request: {0}")]
    Request(#[from] http::Error),
    #[error("no answer in time")]
    Late,
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer has gRPC status {0:?}")]
    Grpc(HeaderValue),
}

/// Open connections with the request they send.
pub(super) struct Http2 {
    connections: Vec<SendRequest<Full<Bytes>>>,
    request: Request<Full<Bytes>>,
    runtime: Runtime,
}

impl Http2 {
    pub(super) fn connect(
        port: u16,
        job: &Job,
        certificates: &Certificates,
    ) -> Result<Self, Http2Error> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(Http2Error::Runtime)?;
        let connections = (0..CONNECTIONS)
            .map(|_| runtime.block_on(open(port, job, certificates)))
            .collect::<Result<_, _>>()?;
        Ok(Self { connections, request: request(job)?, runtime })
    }

    /// Sends the request on one of the connections; anything but status 200 is an error.
    pub(super) fn exchange(&mut self, turn: usize) -> Result<(), Http2Error> {
        let Self { connections, request, runtime } = self;
        let answered = one(&mut connections[turn], request.clone());
        // The timer has to be made where the runtime is: in the block.
        runtime
            .block_on(async { timeout(ANSWER_TIME, answered).await })
            .map_err(|_| Http2Error::Late)?
    }
}

async fn open(
    port: u16,
    job: &Job,
    certificates: &Certificates,
) -> Result<SendRequest<Full<Bytes>>, Http2Error> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    if !job.wire.is_tls() {
        return over(stream).await;
    }
    let config = encryption::config(certificates, encryption::HTTP2, Resumption::disabled())?;
    let connector = TlsConnector::from(config);
    over(connector.connect(encryption::server_name()?, stream).await?).await
}

async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
) -> Result<SendRequest<Full<Bytes>>, Http2Error> {
    let (sender, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(Http2Error::Handshake)?;
    tokio::spawn(async move {
        // What goes wrong here is told to the request that meets it.
        driver.await.ok();
    });
    Ok(sender)
}

fn request(job: &Job) -> Result<Request<Full<Bytes>>, Http2Error> {
    let scheme = if job.wire.is_tls() { "https" } else { "http" };
    let mut request = Request::builder().uri(format!("{scheme}://localhost{}", job.path()));
    for (name, value) in headers(job) {
        request = request.header(name, value);
    }
    let body = match job.task {
        Task::Grpc => {
            request = request
                .method("POST")
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            framed()
        }
        Task::Small
        | Task::Down(_)
        | Task::Up(_)
        | Task::Cache
        | Task::Limit
        | Task::Jwt
        | Task::WebSocket
        | Task::Aggregate => Bytes::new(),
    };
    Ok(request.body(Full::new(body))?)
}

/// A gRPC message: not compressed, its length, its bytes.
fn framed() -> Bytes {
    [&[0], &(MESSAGE_BYTES as u32).to_be_bytes()[..], &[b'x'; MESSAGE_BYTES]].concat().into()
}

async fn one(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(), Http2Error> {
    connection.ready().await?;
    let answer = connection.send_request(request).await?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().unwrap_or(&head.headers);
    match head.status.as_u16() {
        200 => grpc_status(trailers),
        status => Err(Http2Error::Status(status)),
    }
}

/// Only gRPC has one.
fn grpc_status(trailers: &HeaderMap) -> Result<(), Http2Error> {
    match trailers.get("grpc-status") {
        Some(status) if status != "0" => Err(Http2Error::Grpc(status.clone())),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::Scenario;
    use super::*;

    #[test]
    fn a_grpc_request_is_framed_and_another_has_no_body() {
        let request = |name: &str| request(&Scenario::named(name).expect("listed").job);
        let grpc = request("grpc").expect("valid");
        assert_eq!((grpc.method().as_str(), grpc.uri().path()), ("POST", "/loadtest.Echo/Unary"));
        assert_eq!(framed()[..5], [0, 0, 0, 0, 64]);
        let page = request("http2").expect("valid");
        assert_eq!(page.uri().scheme_str(), Some("https"));
        assert_eq!(page.headers().len(), 5);
    }

    #[test]
    fn a_call_that_failed_is_not_taken_for_an_answer() {
        let trailers = |status: &'static str| {
            [("grpc-status", status)]
                .into_iter()
                .map(|(name, value)| {
                    (http::HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect::<HeaderMap>()
        };
        assert!(grpc_status(&trailers("0")).is_ok() && grpc_status(&HeaderMap::new()).is_ok());
        assert!(grpc_status(&trailers("14")).is_err());
    }
}
