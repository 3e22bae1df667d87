//! A client's HTTP/1.1 connection, bounded in time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::body::Body;
use crate::failure::Failure;

/// How long anything may take that should take milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Answers that are read whole are at most this long.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The header that both ledgers count by.
pub(crate) const NONCE: &str = "x-load-nonce";

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The server said that this was the last answer on the connection.
    pub(crate) last: bool,
}

/// An open connection with at most one request under way.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    address: SocketAddr,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = connect(address, None).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // What goes wrong here is told to the request that meets it.
            connection.await.ok();
        });
        Ok(Self { sender, address })
    }

    /// False once the server has closed it: a request would fail without being sent.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let answer = timeout(PATIENCE, async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        });
        Ok(answer.await.map_err(|_| too_late("an answer"))??)
    }

    /// Sends a request and reads the answer whole.
    pub(crate) async fn exchange(&mut self, request: Request<Body>) -> Result<Answer, Failure> {
        whole(self.send(request).await?).await
    }

    /// The same for a request whose body takes long: the caller bounds the time.
    pub(crate) async fn exchange_slowly(
        &mut self,
        request: Request<Body>,
    ) -> Result<Answer, Failure> {
        self.sender.ready().await?;
        whole(self.sender.send_request(request).await?).await
    }

    /// A request to this connection's server.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        body: Body,
    ) -> Result<Request<Body>, Failure> {
        let request = Request::builder().method(method).uri(path);
        Ok(request.header(header::HOST, self.address.to_string()).body(body)?)
    }
}

async fn whole(response: Response<Incoming>) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    let last = head
        .headers
        .get(header::CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    let body = timeout(PATIENCE, Limited::new(body, ANSWER_BYTES_MAX).collect());
    let body = body.await.map_err(|_| too_late("the end of an answer"))?;
    let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(error) => Failure::Http(*error),
        Err(_) => Failure::Body,
    })?;
    Ok(Answer { status: head.status.as_u16(), body: body.to_bytes(), last })
}

/// One request on a connection of its own.
pub(crate) async fn fetch(
    address: SocketAddr,
    method: &str,
    path: &str,
) -> Result<Answer, Failure> {
    let mut connection = Connection::open(address).await?;
    let request = connection.request(method, path, Body::empty())?;
    connection.exchange(request).await
}

/// A TCP connection, from a client address of our choice.
pub(crate) async fn connect(
    address: SocketAddr,
    from: Option<Ipv4Addr>,
) -> Result<TcpStream, Failure> {
    let failed = |source| Failure::Socket { address, source };
    let connecting = async {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(from) = from {
            socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        }
        socket.connect(address).await
    };
    let stream = timeout(PATIENCE, connecting).await.map_err(|_| too_late("a connection"))?;
    let stream = stream.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// One of two hundred client addresses, so that no limit per client is what we measure.
pub(crate) fn client_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + (number % 200) as u8)
}

fn too_late(what: &'static str) -> Failure {
    Failure::TooLate { what, seconds: PATIENCE.as_secs() }
}
