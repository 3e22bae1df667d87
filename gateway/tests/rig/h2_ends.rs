//! Both ends of HTTP/2 by hyper: a client that speaks it to the gateway, and a server behind the gateway.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::soon;

/// A body that a test feeds as it goes on.
pub struct Fed {
    ready: VecDeque<Frame<Bytes>>,
    more: Option<mpsc::Receiver<Frame<Bytes>>>,
}

impl Fed {
    pub fn empty() -> Self {
        Self { ready: VecDeque::new(), more: None }
    }

    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { ready: [Frame::data(bytes.into())].into(), more: None }
    }

    /// A body and trailers.
    pub fn with_trailers(bytes: impl Into<Bytes>, trailers: &[(&'static str, &str)]) -> Self {
        let frames = [Frame::data(bytes.into()), Frame::trailers(fields(trailers))];
        Self { ready: frames.into(), more: None }
    }

    /// A body whose frames come through the sender; it ends when that is dropped.
    pub fn channel() -> (mpsc::Sender<Frame<Bytes>>, Self) {
        let (sender, more) = mpsc::channel(1);
        (sender, Self { ready: VecDeque::new(), more: Some(more) })
    }
}

pub fn fields(all: &[(&'static str, &str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(frame) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.more {
            Some(more) => more.poll_recv(cx).map(|frame| frame.map(Ok)),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.more.is_none()
    }
}

/// A client's connection to the gateway. Clones share it.
#[derive(Clone)]
pub struct H2Client {
    sender: client::SendRequest<Fed>,
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl H2Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    /// Over a stream that is connected, such as one of TLS.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let mut builder = client::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(64 * 1024).initial_connection_window_size(1 << 24);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        Self { sender }
    }

    /// Waits until the gateway takes no further request on it.
    pub async fn closed(&mut self) {
        let sender = &self.sender;
        super::until("the connection to be closed", || async { sender.is_closed().then_some(()) })
            .await;
    }

    /// Sends a request; the response's body is still to come.
    pub async fn start(&mut self, request: Request<Fed>) -> hyper::Result<Response<Incoming>> {
        soon("room for a stream", self.sender.ready()).await?;
        soon("a response", self.sender.send_request(request)).await
    }

    pub async fn send(&mut self, request: Request<Fed>) -> Answer {
        let response = self.start(request).await.unwrap();
        whole(response).await.unwrap()
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(get(path)).await
    }
}

/// A GET with the usual host.
pub fn get(path: &str) -> Request<Fed> {
    Request::get(format!("http://test.example{path}")).body(Fed::empty()).unwrap()
}

/// A POST with the usual host.
pub fn post(path: &str, body: Fed) -> Request<Fed> {
    Request::post(format!("http://test.example{path}")).body(body).unwrap()
}

/// Reads a response to its end.
pub async fn whole(response: Response<Incoming>) -> hyper::Result<Answer> {
    let (head, body) = response.into_parts();
    let collected = soon("a body", body.collect()).await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

type Answering = Arc<
    dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Fed>> + Send>> + Send + Sync,
>;

/// A server that speaks HTTP/2, and records the heads it saw.
pub struct H2Origin {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<request::Parts>>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl H2Origin {
    /// Answers everything with 200 and the path it saw.
    pub async fn start() -> Self {
        Self::answering(|request| async move {
            Response::new(Fed::whole(request.uri().path().to_owned()))
        })
        .await
    }

    /// Answers with what `answer` makes of each request.
    pub async fn answering<F>(
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Fed>> + Send + 'static,
    {
        Self::listening(None, Arc::new(move |request| Box::pin(answer(request)))).await
    }

    /// The same over TLS.
    pub async fn over_tls<F>(
        tls: TlsAcceptor,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Fed>> + Send + 'static,
    {
        Self::listening(Some(tls), Arc::new(move |request| Box::pin(answer(request)))).await
    }

    async fn listening(tls: Option<TlsAcceptor>, answer: Answering) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<request::Parts>>> = Arc::default();
        let connections: Arc<Mutex<usize>> = Arc::default();
        let (of_task, counted) = (Arc::clone(&seen), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *counted.lock().unwrap() += 1;
                let (seen, answer, tls) = (Arc::clone(&of_task), Arc::clone(&answer), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, seen, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, seen, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, connections, task }
    }

    /// What it saw so far.
    pub fn seen(&self) -> Vec<request::Parts> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    seen: Arc<Mutex<Vec<request::Parts>>>,
    answer: Answering,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        seen.lock().unwrap().push(parts.clone());
        let answer = answer(Request::from_parts(parts, body));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection =
        server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    drop(connection.await);
}
