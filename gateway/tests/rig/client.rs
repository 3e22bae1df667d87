//! A client of raw bytes: it sends what a test says, and reads what comes back as HTTP/1.1.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::soon;

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// A response, with its body decoded.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        Self::over(stream)
    }

    /// From another address of the loopback, such as 127.0.0.2.
    pub async fn connect_from(source: &str, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        Self::over(soon("a connection", socket.connect(address)).await.unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// The head that comes next, up to its empty line.
    pub async fn head(&mut self) -> String {
        String::from_utf8_lossy(&self.read_past(b"\r\n\r\n").await).into_owned()
    }

    /// Ends the sending side.
    pub async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        soon("room to send", self.stream.write_all(bytes)).await.unwrap();
    }

    /// A GET with the fields given, and its reply.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test.example\r\n\r\n")).await;
        self.reply().await
    }

    /// The next response. Informational ones are passed over.
    pub async fn reply(&mut self) -> Reply {
        loop {
            let reply = self.any_reply().await;
            if reply.status >= 200 || reply.status == 101 {
                return reply;
            }
        }
    }

    /// The next response, informational or not.
    pub async fn any_reply(&mut self) -> Reply {
        let head = self.read_past(b"\r\n\r\n").await;
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let status = status.parse().unwrap_or_else(|_| panic!("no response: {head:?}"));
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        };
        let mut reply = Reply { status, headers: lines.map(field).collect(), body: Vec::new() };
        if status < 200 || status == 204 || status == 304 {
            return reply;
        }
        reply.body = match (reply.header("content-length"), reply.header("transfer-encoding")) {
            (Some(length), _) => self.read_exactly(length.parse().unwrap()).await,
            (None, Some(_)) => self.read_chunks().await,
            (None, None) => self.rest().await,
        };
        reply
    }

    async fn more(&mut self) -> usize {
        let read = soon("bytes", self.stream.read_buf(&mut self.read)).await;
        read.unwrap_or(0)
    }

    pub async fn read_past(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            let found = self.read.windows(mark.len()).position(|window| window == mark);
            if let Some(start) = found {
                return self.read.drain(..start + mark.len()).collect();
            }
            if self.more().await == 0 {
                panic!("closed before {mark:?}: {:?}", String::from_utf8_lossy(&self.read));
            }
        }
    }

    pub async fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more().await > 0, "closed within a body of {length}");
        }
        self.read.drain(..length).collect()
    }

    pub async fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.read_past(b"\r\n").await;
            let size = String::from_utf8(line).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            if size == 0 {
                while self.read_past(b"\r\n").await != b"\r\n" {}
                return body;
            }
            body.extend(self.read_exactly(size).await);
            self.read_past(b"\r\n").await;
        }
    }

    /// Everything until the gateway closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.read)
    }

    /// Everything that comes within this time, or until the gateway closes.
    pub async fn rest_within(&mut self, patience: Duration) -> Vec<u8> {
        let all = async { while matches!(self.stream.read_buf(&mut self.read).await, Ok(1..)) {} };
        drop(tokio::time::timeout(patience, all).await);
        std::mem::take(&mut self.read)
    }

    /// Whether the gateway has closed the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.rest().await.is_empty()
    }
}
