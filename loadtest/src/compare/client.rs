//! A client that sends an exact number of requests, one after the other: on a few kept connections, or each on a new one.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use super::certificates::Certificates;
use super::encryption::{self, EncryptionError};
use super::http2::{Http2, Http2Error};
use super::load::{MESSAGE_BYTES, headers};
use super::scenarios::{Job, Task, Wire};

/// Connections used in turn: some, so that the proxy's keep-alive is exercised; few, so that they all stay open.
pub(super) const CONNECTIONS: usize = 4;

/// How long one answer may take; under valgrind the first ones are slow.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(60);

/// The most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Why a request was not answered as it has to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("request {number} of {count}: {source}")]
    At { number: usize, count: usize, source: Box<Self> },
    #[error("connect: {0}")]
    Connect(io::Error),
    #[error(transparent)]
    Broken(#[from] io::Error),
    #[error("the connection was closed")]
    Closed,
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    #[error("the session was not resumed")]
    NotResumed,
    #[error("a head of more than {HEAD_BYTES_MAX} bytes")]
    LongHead,
    #[error("the answer is `{0}`")]
    Answer(String),
    #[error("an answer too long")]
    LongAnswer,
    #[error("the answer has no Content-Length")]
    NoLength,
    #[error("another message came back")]
    Echo,
    #[error(transparent)]
    Http2(#[from] Http2Error),
}

/// What is sent again and again, and over what.
pub(super) struct Client {
    port: u16,
    way: Way,
    request: Vec<u8>,
    answer: Vec<u8>,
}

enum Way {
    Plain(Vec<TcpStream>),
    Tls(Vec<Encrypted>),
    /// A connection and a handshake for each request.
    New(Arc<ClientConfig>),
    /// The same, and the handshake has to be a resumed one.
    Resumed(Arc<ClientConfig>),
    Http2(Box<Http2>),
    WebSocket(Vec<TcpStream>),
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    pub(super) fn connect(
        port: u16,
        job: &Job,
        certificates: &Certificates,
    ) -> Result<Self, ClientError> {
        let config = |resumption| encryption::config(certificates, encryption::HTTP1, resumption);
        let way = match job.wire {
            Wire::Http1 => Way::Plain(several(|| tcp(port))?),
            Wire::Tls => {
                let config = config(Resumption::disabled())?;
                Way::Tls(several(|| encrypted(port, &config))?)
            }
            Wire::TlsNew => Way::New(config(Resumption::disabled())?),
            Wire::TlsResumed => {
                let way = Way::Resumed(config(Resumption::in_memory_sessions(8))?);
                let client = Self { port, way, request: request(job), answer: buffer() };
                return client.with_ticket();
            }
            Wire::Http2 | Wire::Http2Clear => {
                Way::Http2(Box::new(Http2::connect(port, job, certificates)?))
            }
            Wire::WebSocket => {
                let streams = several(|| upgraded(port, job))?;
                let (request, answer) = (message(MASKED), message(UNMASKED));
                return Ok(Self { port, way: Way::WebSocket(streams), request, answer });
            }
        };
        Ok(Self { port, way, request: request(job), answer: buffer() })
    }

    /// The first session is a full one, and brings the tickets for the others.
    fn with_ticket(mut self) -> Result<Self, ClientError> {
        if let Way::Resumed(config) = &self.way {
            once(self.port, config, &self.request, &mut self.answer)?;
        }
        Ok(self)
    }

    /// Sends exactly `count` requests; anything but `count` answers of status 200 is an error.
    pub(super) fn send(&mut self, count: usize) -> Result<(), ClientError> {
        (0..count).try_for_each(|number| {
            let at = |source| ClientError::At { number, count, source: Box::new(source) };
            self.send_one(number).map_err(at)
        })
    }

    fn send_one(&mut self, number: usize) -> Result<(), ClientError> {
        let Self { port, way, request, answer } = self;
        let turn = number % CONNECTIONS;
        match way {
            Way::Plain(streams) => exchange(&mut streams[turn], request, answer),
            Way::Tls(streams) => exchange(&mut streams[turn], request, answer),
            Way::New(config) => once(*port, config, request, answer).map(|_| ()),
            Way::Resumed(config) => match once(*port, config, request, answer)? {
                Some(HandshakeKind::Resumed) => Ok(()),
                _ => Err(ClientError::NotResumed),
            },
            Way::Http2(connections) => Ok(connections.exchange(turn)?),
            Way::WebSocket(streams) => echo(&mut streams[turn], request, answer),
        }
    }
}

fn several<T>(open: impl Fn() -> Result<T, ClientError>) -> Result<Vec<T>, ClientError> {
    (0..CONNECTIONS).map(|_| open()).collect()
}

fn buffer() -> Vec<u8> {
    vec![0; HEAD_BYTES_MAX]
}

fn tcp(port: u16) -> Result<TcpStream, ClientError> {
    let open = || -> io::Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.set_write_timeout(Some(ANSWER_TIME))?;
        Ok(stream)
    };
    open().map_err(ClientError::Connect)
}

fn encrypted(port: u16, config: &Arc<ClientConfig>) -> Result<Encrypted, ClientError> {
    let name = encryption::server_name()?;
    let connection =
        ClientConnection::new(Arc::clone(config), name).map_err(EncryptionError::from)?;
    Ok(StreamOwned::new(connection, tcp(port)?))
}

/// A connection for one request, ended as a browser ends it.
fn once(
    port: u16,
    config: &Arc<ClientConfig>,
    request: &[u8],
    answer: &mut [u8],
) -> Result<Option<HandshakeKind>, ClientError> {
    let mut stream = encrypted(port, config)?;
    exchange(&mut stream, request, answer)?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(stream.conn.handshake_kind())
}

/// The request of a job as bytes, Host included.
fn request(job: &Job) -> Vec<u8> {
    let (method, body) = match job.task {
        Task::Up(bytes) => ("POST", vec![b'x'; bytes]),
        Task::Small
        | Task::Down(_)
        | Task::Cache
        | Task::Limit
        | Task::Jwt
        | Task::Grpc
        | Task::WebSocket
        | Task::Aggregate => ("GET", Vec::new()),
    };
    let mut text = format!("{method} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n", job.path());
    for (name, value) in headers(job) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.into_bytes(), body].concat()
}

/// A WebSocket after its handshake. The key is anything: nobody here doubts the answer to it.
fn upgraded(port: u16, job: &Job) -> Result<TcpStream, ClientError> {
    let mut stream = tcp(port)?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        job.path()
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    // A byte at a time: what follows the head is a message.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        read(&mut stream, &mut byte)?;
        head.extend(byte);
        if head.len() > HEAD_BYTES_MAX {
            return Err(ClientError::LongHead);
        }
    }
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(stream),
        false => {
            let head = String::from_utf8_lossy(&head);
            Err(ClientError::Answer(head.lines().next().unwrap_or_default().to_owned()))
        }
    }
}

/// Masked as clients have to, with a mask of zeroes: the bytes of the message stay what they are.
const MASKED: &[u8] = &[0x80 | MESSAGE_BYTES as u8, 0, 0, 0, 0];
const UNMASKED: &[u8] = &[MESSAGE_BYTES as u8];

/// One binary message, whole.
fn message(length: &[u8]) -> Vec<u8> {
    [&[0x82], length, &[b'x'; MESSAGE_BYTES]].concat()
}

/// Sends a message and reads it back.
fn echo(stream: &mut TcpStream, message: &[u8], expected: &[u8]) -> Result<(), ClientError> {
    stream.write_all(message)?;
    let mut answer = [0; 2 + MESSAGE_BYTES];
    stream.read_exact(&mut answer)?;
    match answer == expected {
        true => Ok(()),
        false => Err(ClientError::Echo),
    }
}

fn exchange(
    stream: &mut (impl Read + Write),
    request: &[u8],
    buffer: &mut [u8],
) -> Result<(), ClientError> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut filled = 0;
    let whole = loop {
        let space = &mut buffer[filled..];
        if space.is_empty() {
            return Err(ClientError::LongHead);
        }
        filled += read(stream, space)?;
        if let Some(whole) = whole_answer(&buffer[..filled])? {
            break whole;
        }
    };
    let mut missing = whole.checked_sub(filled).ok_or(ClientError::LongAnswer)?;
    while missing > 0 {
        let most = missing.min(buffer.len());
        missing -= read(stream, &mut buffer[..most])?;
    }
    Ok(())
}

fn read(stream: &mut impl Read, space: &mut [u8]) -> Result<usize, ClientError> {
    match stream.read(space)? {
        0 => Err(ClientError::Closed),
        bytes => Ok(bytes),
    }
}

/// The length of the answer whose head stands here; nothing while the head is not all there.
fn whole_answer(bytes: &[u8]) -> Result<Option<usize>, ClientError> {
    let Some(head_end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("http/1.1 200") {
        return Err(ClientError::Answer(status.to_owned()));
    }
    let length: usize = lines
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse().ok())
        .ok_or(ClientError::NoLength)?;
    Ok(Some(head_end + 4 + length))
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::Scenario;
    use super::*;

    #[test]
    fn the_length_of_an_answer_is_known_from_its_head() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        let whole = |bytes| whole_answer(bytes).expect("an answer");
        assert_eq!(whole(text), Some(text.len()));
        assert_eq!(whole(&text[..text.len() - 3]), Some(text.len()));
        assert_eq!(whole(&text[..20]), None);
    }

    #[test]
    fn other_answers_are_refused() {
        let refused = whole_answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        let said = refused.expect_err("no 200").to_string();
        assert_eq!(said, "the answer is `http/1.1 502 bad gateway`");
        assert!(whole_answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    fn job(name: &str) -> Job {
        Scenario::named(name).expect("in the list").job
    }

    #[test]
    fn the_request_has_six_headers_and_the_body_it_names() {
        let bare = String::from_utf8(request(&job("bare"))).expect("text");
        assert_eq!(bare.matches("\r\n").count(), 8);
        let upload = request(&job("upload"));
        let head = String::from_utf8_lossy(&upload[..600]).into_owned();
        assert!(head.starts_with("POST /sink HTTP/1.1\r\nHost: "));
        let end = head.find("\r\n\r\n").expect("the head ends") + 4;
        assert!(head.contains(&format!("Content-Length: {}\r\n", upload.len() - end)));
    }

    #[test]
    fn a_message_of_a_client_is_masked_and_its_echo_is_not() {
        assert_eq!(message(UNMASKED).len(), 2 + MESSAGE_BYTES);
        assert_eq!(message(MASKED).len(), 6 + MESSAGE_BYTES);
        assert_eq!(message(MASKED)[1] & 0x7f, message(UNMASKED)[1]);
    }

    /// Answers every request on one connection; returns how many there were.
    fn serve(mut stream: TcpStream) -> usize {
        let mut count = 0;
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).expect("readable") > 0 {
            count += 1;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).expect("writable");
        }
        count
    }

    #[test]
    fn the_count_is_exact() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let none = Certificates::within(std::path::Path::new("/x"));
        let mut client = Client::connect(port, &job("bare"), &none).expect("listening");
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| listener.accept().expect("a client").0)
            .map(|stream| std::thread::spawn(move || serve(stream)))
            .collect();
        client.send(10).expect("answered");
        drop(client);
        let served = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        assert_eq!(served.sum::<usize>(), 10);
    }
}
