//! A server that speaks WebSocket: it echoes messages, and notes how each conversation began and ended.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Echoes; the message "close" makes it close with 4001.
pub struct WsOrigin {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    ends: Arc<Mutex<Vec<End>>>,
    task: JoinHandle<()>,
}

/// How a conversation ended, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By a close frame with this code.
    Closed(u16),
    /// By the end of the connection.
    Cut,
}

impl WsOrigin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
        let ends: Arc<Mutex<Vec<End>>> = Arc::default();
        let (seen, ended) = (Arc::clone(&heads), Arc::clone(&ends));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, ended) = (Arc::clone(&seen), Arc::clone(&ended));
                tokio::spawn(async move {
                    let end = converse(stream, seen).await;
                    ended.lock().unwrap().push(end);
                });
            }
        });
        Self { address, heads, ends, task }
    }

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<HeaderMap> {
        self.heads.lock().unwrap().clone()
    }

    /// Waits for the end of the first conversation.
    pub async fn end(&self) -> End {
        super::until("the end of a conversation", || async {
            self.ends.lock().unwrap().first().cloned()
        })
        .await
    }
}

impl Drop for WsOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
async fn converse(stream: TcpStream, heads: Arc<Mutex<Vec<HeaderMap>>>) -> End {
    let note = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        heads.lock().unwrap().push(request.headers().clone());
        if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", protocol.clone());
        }
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(stream, note).await else { return End::Cut };
    while let Some(Ok(message)) = socket.next().await {
        let said = match message {
            Message::Close(frame) => {
                // tungstenite answers it on the next look.
                drop(socket.next().await);
                return End::Closed(frame.map_or(1005, |frame| frame.code.into()));
            }
            Message::Text(text) if text == "close" => {
                let frame = CloseFrame { code: CloseCode::Library(4001), reason: "bye".into() };
                socket.close(Some(frame)).await
            }
            Message::Text(_) | Message::Binary(_) => socket.send(message).await,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        };
        if said.is_err() {
            return End::Cut;
        }
    }
    End::Cut
}
