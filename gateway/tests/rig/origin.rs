//! An origin of raw bytes: it records each request as it came, and answers with what the test gave it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::client::Client;
use super::soon;

/// A server that records what it saw.
pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The raw head.
    pub head: String,
    /// The body, chunks decoded.
    pub body: Vec<u8>,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let same = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.trim()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

/// An answer that never comes: the request is held until its connection ends.
pub const HOLD: &[u8] = b"hold";

/// How a request is answered: raw bytes; an empty answer closes the connection.
type Answer = Arc<dyn Fn(&Seen) -> Vec<u8> + Send + Sync>;

/// An ordinary answer.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Origin {
    /// Answers everything with 200 and the request line it saw.
    pub async fn start() -> Self {
        Self::answering(|seen| ok(seen.line())).await
    }

    /// Answers with what `answer` makes of each request.
    pub async fn answering(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let answer: Answer = Arc::new(answer);
        let (of_task, counted) = (Arc::clone(&seen), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *counted.lock().unwrap() += 1;
                tokio::spawn(serve(stream, Arc::clone(&of_task), Arc::clone(&answer)));
            }
        });
        Self { address, seen, connections, task }
    }

    /// What it saw so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request it saw.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that the test plays itself, connection by connection and byte by byte.
pub struct ByHand {
    pub address: SocketAddr,
    listener: TcpListener,
}

impl ByHand {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// The next connection.
    pub async fn accept(&self) -> Client {
        let (stream, _) = soon("a connection to the server", self.listener.accept()).await.unwrap();
        Client::over(stream)
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Seen>>>, answer: Answer) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        seen.lock().unwrap().push(request.clone());
        let bytes = answer(&request);
        if bytes == HOLD {
            while more(&mut stream, &mut buffer).await.is_some() {}
        }
        if bytes.is_empty() || stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head = read_past(stream, buffer, b"\r\n\r\n").await?;
    let mut seen =
        Seen { head: String::from_utf8_lossy(&head).trim_end().to_owned(), body: Vec::new() };
    if let Some(length) = seen.header("content-length") {
        let length = length.parse().ok()?;
        while buffer.len() < length {
            more(stream, buffer).await?;
        }
        seen.body = buffer.drain(..length).collect();
    } else if seen.header("transfer-encoding").is_some() {
        loop {
            let line = read_past(stream, buffer, b"\r\n").await?;
            let size = usize::from_str_radix(String::from_utf8(line).ok()?.trim(), 16).ok()?;
            if size == 0 {
                while read_past(stream, buffer, b"\r\n").await? != b"\r\n" {}
                break;
            }
            while buffer.len() < size + 2 {
                more(stream, buffer).await?;
            }
            seen.body.extend(buffer.drain(..size));
            buffer.drain(..2);
        }
    }
    Some(seen)
}

async fn read_past(stream: &mut TcpStream, buffer: &mut Vec<u8>, mark: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(start) = buffer.windows(mark.len()).position(|window| window == mark) {
            return Some(buffer.drain(..start + mark.len()).collect());
        }
        more(stream, buffer).await?;
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let count = stream.read_buf(buffer).await.ok()?;
    (count > 0).then_some(())
}
