//! Speaks to the admin endpoint of the running gateway: one request, one reply, over a plain socket.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use plugins::secret::SecretError;
use thiserror::Error;

use super::Blame;
use crate::config::Config;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A reload builds everything anew before it answers.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
const REPLY_BYTES_MAX: u64 = 64 << 20;

/// Why the running gateway could not be asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is nobody to ask.
    #[error("the config has no [admin]; give it an address and a token to ask the running gateway")]
    NoAdmin,
    /// The API takes no one without a token.
    #[error("[admin] has no token; without one the API answers nobody")]
    NoToken,
    /// The token cannot be had.
    #[error("the token of [admin]: {0}")]
    Token(#[from] SecretError),
    /// It does not answer.
    #[error("no answer from {address}: {reason}; is the gateway running?")]
    Unreachable {
        /// The admin endpoint.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// It answers something else than HTTP.
    #[error("{0} does not answer as a gateway does")]
    NotHttp(SocketAddr),
    /// It does not do what was asked for.
    #[error("{status}: {detail}")]
    Refused {
        /// The status of the reply.
        status: u16,
        /// The reply's own words.
        detail: String,
    },
}

impl ClientError {
    /// Who has to do something about it.
    pub fn blame(&self) -> Blame {
        match self {
            Self::NoAdmin | Self::NoToken | Self::Token(_) | Self::Refused { .. } => Blame::Input,
            Self::Unreachable { .. } | Self::NotHttp(_) => Blame::System,
        }
    }
}

/// Sends a request without a body to the admin endpoint of `config`; the body of its reply, if that is a success.
pub fn ask(config: &Config, method: &str, path: &str) -> Result<String, ClientError> {
    send(config, (method, path), "")
}

/// Sends a request with a body of JSON to the admin endpoint of `config`; the body of its reply, if that is a success.
pub fn post(config: &Config, path: &str, body: &str) -> Result<String, ClientError> {
    send(config, ("POST", path), body)
}

fn send(config: &Config, (method, path): (&str, &str), body: &str) -> Result<String, ClientError> {
    let admin = config.admin.as_ref().ok_or(ClientError::NoAdmin)?;
    let token = admin.token.as_ref().ok_or(ClientError::NoToken)?.reveal()?;
    let address = reachable(admin.address);
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let reply = exchange(address, request.as_bytes())
        .map_err(|reason| ClientError::Unreachable { address, reason })?;
    let (status, body) = parse(&reply).ok_or(ClientError::NotHttp(address))?;
    match status {
        200..300 => Ok(body),
        _ => Err(ClientError::Refused { status, detail: detail(&body) }),
    }
}

/// An endpoint on every address is reached on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
    stream.write_all(request)?;
    let mut reply = Vec::new();
    stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply)?;
    Ok(reply)
}

/// Status and body of a reply that ends with its connection.
fn parse(reply: &[u8]) -> Option<(u16, String)> {
    let reply = std::str::from_utf8(reply).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// What a problem+json reply says; else the reply as it is.
fn detail(body: &str) -> String {
    let json = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
    let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
    let problems = json.get("problems").and_then(serde_json::Value::as_array);
    let listed =
        problems.into_iter().flatten().map(|problem| format!("\n{}", problem_line(problem)));
    let said = text("detail").or(text("title")).unwrap_or(body).to_owned();
    std::iter::once(said).chain(listed).collect()
}

/// `file:line:column: what; help`, as `gateway check` writes it.
fn problem_line(problem: &serde_json::Value) -> String {
    let text = |key: &str| problem.get(key).and_then(serde_json::Value::as_str);
    let number = |key: &str| problem.get(key).and_then(serde_json::Value::as_u64);
    let place = match (text("file"), number("line"), number("column")) {
        (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
        _ => String::new(),
    };
    let help = text("help").map(|help| format!("; {help}")).unwrap_or_default();
    format!("{place}{}{help}", text("what").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::config::from_text;

    /// The config of a gateway whose admin endpoint answers once with this.
    fn answering(reply: &'static str) -> (Config, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let text = format!(
            "[admin]\naddress = \"{address}\"\ntoken = {{ text = \"sesame\" }}\n\
             [[listeners]]\naddress = \"127.0.0.1:0\"\n"
        );
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(reply.as_bytes()).unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        (from_text("config.toml", &text).unwrap(), server)
    }

    #[test]
    fn the_token_is_sent_and_the_body_comes_back() {
        let (config, server) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(ask(&config, "GET", "/api/v1/status").unwrap(), "{}");
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /api/v1/status HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer sesame\r\n"), "{request}");
    }

    #[test]
    fn a_body_is_sent_with_its_length() {
        let (config, server) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(post(&config, "/api/v1/explain", "{\"url\": \"/\"}").unwrap(), "{}");
        let request = server.join().unwrap();
        assert!(request.starts_with("POST /api/v1/explain HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-length: 12\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"url\": \"/\"}"), "{request}");
    }

    #[test]
    fn a_refusal_says_every_problem() {
        let (config, server) = answering(
            "HTTP/1.1 422 Unprocessable\r\n\r\n{\"detail\": \"not reloaded\", \"problems\": \
             [{\"file\": \"c.toml\", \"line\": 3, \"column\": 1, \"what\": \"wrong\", \"help\": \"mend\"}]}",
        );
        let error = ask(&config, "POST", "/api/v1/config/reload").unwrap_err();
        assert_eq!(error.to_string(), "422: not reloaded\nc.toml:3:1: wrong; mend");
        assert_eq!(error.blame(), Blame::Input);
        server.join().unwrap();
    }
}
