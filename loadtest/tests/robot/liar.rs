//! Somebody between the robot and the gateway who passes everything on, but lies about some of it.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Ends with its value.
pub(crate) struct Liar {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

/// About which questions, and what.
#[derive(Clone, Copy)]
pub(crate) struct Lie {
    pub(crate) about: fn(&Question) -> bool,
    pub(crate) tell: fn(&mut Reply),
}

pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) has_cookie: bool,
}

impl Question {
    pub(crate) fn ends_with(&self, end: &str) -> bool {
        self.path.ends_with(end)
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Null if it was no JSON.
    pub(crate) body: Value,
}

impl Liar {
    pub(crate) async fn before(gateway: SocketAddr, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = service_fn(move |request| pass_on(gateway, lie, request));
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { address, serving }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass_on(
    gateway: SocketAddr,
    lie: Lie,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let question = Question {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        has_cookie: request.headers().contains_key(header::COOKIE),
    };
    let (mut head, body) = ask(gateway, request).await.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    if !(lie.about)(&question) {
        return Ok(Response::from_parts(head, Full::new(bytes)));
    }
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut reply = Reply { status: head.status.as_u16(), body };
    (lie.tell)(&mut reply);
    head.status = reply.status.try_into().unwrap();
    head.headers = HeaderMap::new();
    Ok(Response::from_parts(head, Full::new(reply.body.to_string().into())))
}

async fn ask(gateway: SocketAddr, request: Request<Incoming>) -> Response<Incoming> {
    let stream = TcpStream::connect(gateway).await.unwrap();
    let connection = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connection.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}
