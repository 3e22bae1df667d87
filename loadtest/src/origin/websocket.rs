//! The origin's WebSocket: every message comes back as it was; a text that is a number is a nonce.

use std::rc::Rc;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Origin;
use super::played::AnswerBody;
use crate::body::Body;

/// Answers 101 and echoes on what the connection becomes.
pub(super) fn upgrade(mut request: Request<Incoming>, origin: Rc<Origin>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Plain(Body::empty()));
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = accept.and_then(|accept| HeaderValue::from_str(&accept).ok()) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(async move {
        if let Ok(upgraded) = upgraded.await {
            let stream = TokioIo::new(upgraded);
            echo(WebSocketStream::from_raw_socket(stream, Role::Server, None).await, origin).await;
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Ends with the connection; tungstenite answers pings and closes itself.
async fn echo<S>(mut socket: WebSocketStream<S>, origin: Rc<Origin>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = &message
            && let Ok(nonce) = text.parse()
        {
            origin.note(nonce);
        }
        let echoed = matches!(message, Message::Text(_) | Message::Binary(_));
        if echoed && socket.send(message).await.is_err() {
            return;
        }
    }
}
