//! A client that sends an exact number of requests, one after the other, on a few keep-alive connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::load::headers;
use super::scenarios::{Job, Task};

/// Connections used in turn: some, so that the proxy's keep-alive is exercised; few, so that they all stay open.
const CONNECTIONS: usize = 4;

/// How long one answer may take; under valgrind the first ones are slow.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// The most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Open connections with the request they send.
pub(super) struct Client {
    connections: Vec<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    pub(super) fn connect(port: u16, job: &Job) -> Result<Self, String> {
        let open = || -> std::io::Result<TcpStream> {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_TIME))?;
            stream.set_write_timeout(Some(ANSWER_TIME))?;
            Ok(stream)
        };
        let connections = (0..CONNECTIONS)
            .map(|_| open())
            .collect::<Result<_, _>>()
            .map_err(|error| format!("connect: {error}"))?;
        Ok(Self { connections, request: request(job), answer: vec![0; HEAD_BYTES_MAX] })
    }

    /// Sends exactly `count` requests; anything but `count` answers of status 200 is an error.
    pub(super) fn send(&mut self, count: usize) -> Result<(), String> {
        let Self { connections, request, answer } = self;
        for number in 0..count {
            let stream = &mut connections[number % CONNECTIONS];
            exchange(stream, request, answer)
                .map_err(|error| format!("request {number} of {count}: {error}"))?;
        }
        Ok(())
    }
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

fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> Result<(), String> {
    stream.write_all(request).map_err(|error| error.to_string())?;
    let mut filled = 0;
    let whole = loop {
        let space = &mut buffer[filled..];
        if space.is_empty() {
            return Err(format!("a head of more than {HEAD_BYTES_MAX} bytes"));
        }
        filled += read(stream, space)?;
        if let Some(whole) = whole_answer(&buffer[..filled])? {
            break whole;
        }
    };
    let mut missing = whole.checked_sub(filled).ok_or("an answer too long")?;
    while missing > 0 {
        let most = missing.min(buffer.len());
        missing -= read(stream, &mut buffer[..most])?;
    }
    Ok(())
}

fn read(stream: &mut TcpStream, space: &mut [u8]) -> Result<usize, String> {
    match stream.read(space).map_err(|error| error.to_string())? {
        0 => Err("the connection was closed".to_owned()),
        bytes => Ok(bytes),
    }
}

/// The length of the answer whose head stands here; nothing while the head is not all there.
fn whole_answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(head_end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("http/1.1 200") {
        return Err(format!("the answer is `{status}`"));
    }
    let length: usize = lines
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse().ok())
        .ok_or("the answer has no Content-Length")?;
    Ok(Some(head_end + 4 + length))
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::Scenario;
    use super::*;

    #[test]
    fn the_length_of_an_answer_is_known_from_its_head() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(whole_answer(text), Ok(Some(text.len())));
        assert_eq!(whole_answer(&text[..text.len() - 3]), Ok(Some(text.len())));
        assert_eq!(whole_answer(&text[..20]), Ok(None));
    }

    #[test]
    fn other_answers_are_refused() {
        let refused = whole_answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(refused, Err("the answer is `http/1.1 502 bad gateway`".to_owned()));
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
        let mut client = Client::connect(port, &job("bare")).expect("listening");
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
