//! One request to a server and the head of its response, over a connection of its own.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use super::{BODY_MAX, CheckError};
use crate::config::Protocol;
use crate::upstream::connect::connect;
use crate::upstream::server::Server;

/// Who asks, for the server's log.
pub(super) const USER_AGENT: HeaderValue = HeaderValue::from_static("gateway-health-check");

/// What a response may have before its body, from HTTP/1.1.
const HEAD_MAX: usize = 64 * 1024;

/// Moves the bytes of a connection, which ends when this is dropped.
pub(super) struct Driver(#[expect(dead_code, reason = "held for its end")] JoinSet<()>);

/// A GET in the words of the server's protocol.
pub(super) fn get(
    server: &Server,
    path: &PathAndQuery,
    host: &HeaderValue,
) -> http::Result<Request<Full<Bytes>>> {
    let request = Request::get(uri(server, path, host)?)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*");
    let request = match server.protocol {
        Protocol::Http1 => request.header(header::HOST, host).header(header::CONNECTION, "close"),
        Protocol::Http2 => request,
    };
    request.body(Full::default())
}

/// The target as the server's protocol has it.
pub(super) fn uri(server: &Server, path: &PathAndQuery, host: &HeaderValue) -> http::Result<Uri> {
    match server.protocol {
        Protocol::Http1 => Ok(Uri::from(path.clone())),
        Protocol::Http2 => Uri::builder()
            .scheme(server.scheme())
            .authority(Authority::try_from(host.as_bytes())?)
            .path_and_query(path.clone())
            .build(),
    }
}

/// Connects, sends, and waits for the head of the response. Its body comes as long as the driver lives.
pub(super) async fn send(
    server: &Server,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Driver), CheckError> {
    let io = TokioIo::new(connect(server).await?);
    let mut driver = JoinSet::new();
    let response = match server.protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            let (mut sender, connection) =
                builder.max_buf_size(HEAD_MAX).handshake::<_, Full<Bytes>>(io).await?;
            // What breaks the connection is told to its request.
            driver.spawn(async move { drop(connection.await) });
            sender.send_request(request).await?
        }
        Protocol::Http2 => {
            let window = BODY_MAX as u32;
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(window).initial_connection_window_size(window);
            let (mut sender, connection) = builder.handshake::<_, Full<Bytes>>(io).await?;
            driver.spawn(async move { drop(connection.await) });
            sender.send_request(request).await?
        }
    };
    Ok((response, Driver(driver)))
}
