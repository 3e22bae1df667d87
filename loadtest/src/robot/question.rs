//! One question over HTTP, and its answer.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use http::{Request, Uri, header};
use serde_json::Value;
use tokio::net::lookup_host;
use tokio::time::Instant;

use crate::body::Body;
use crate::connection::{self, Connection};
use crate::failure::Failure;

/// Somebody to ask: `http://HOST:PORT`.
#[derive(Clone, Debug)]
pub(crate) struct BaseUrl {
    host: String,
    port: u16,
}

impl BaseUrl {
    /// Whether anybody listens there.
    pub(crate) async fn reach(&self) -> Result<(), Failure> {
        connection::connect(self.address().await?, None).await.map(drop)
    }

    async fn address(&self) -> Result<SocketAddr, Failure> {
        let name = || format!("{}:{}", self.host, self.port);
        let unknown = |source| Failure::Name { name: name(), source };
        let mut addresses = lookup_host(name()).await.map_err(unknown)?;
        addresses.next().ok_or_else(|| unknown(std::io::ErrorKind::NotFound.into()))
    }

    fn authority(&self) -> String {
        match self.port {
            80 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "http://{}", self.authority())
    }
}

impl FromStr for BaseUrl {
    type Err = BadBaseUrl;

    fn from_str(text: &str) -> Result<Self, BadBaseUrl> {
        let uri: Uri = text.parse().map_err(|_| BadBaseUrl)?;
        let alone = uri.path_and_query().is_none_or(|path| path == "/");
        match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(host)) if alone => {
                Ok(Self { host: host.to_owned(), port: uri.port_u16().unwrap_or(80) })
            }
            _ => Err(BadBaseUrl),
        }
    }
}

/// The text is no address to ask.
#[derive(Debug, thiserror::Error)]
#[error("give http://HOST:PORT, without a path")]
pub(crate) struct BadBaseUrl;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) base_url: BaseUrl,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl Question {
    pub(crate) fn new(base_url: &BaseUrl, method: &'static str, path: impl Into<String>) -> Self {
        let (base_url, path) = (base_url.clone(), path.into());
        Self { base_url, method, path, headers: Vec::new(), body: None }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.text("application/json", body.to_string())
    }

    /// A body that need not be what its type says.
    pub(crate) fn text(mut self, content_type: &'static str, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", content_type)
    }

    /// On a connection of its own, so that no earlier answer can spoil this one.
    pub(crate) async fn ask(&self) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header(header::HOST, self.base_url.authority());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = self.body.clone().map_or_else(Body::empty, Body::from);
        let begun = Instant::now();
        let mut connection = Connection::open(self.base_url.address().await?).await?;
        let answer = connection.exchange(request.body(body)?).await?;
        let connection::Answer { status, body, last: _ } = answer;
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&body).into_owned();
        // A page or nothing at all is an answer too; who expects JSON sees that there is none.
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status, body, text, took })
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}{}", self.method, self.base_url, self.path)
    }
}

/// What came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Null if the body is no JSON.
    pub(crate) body: Value,
    pub(crate) text: String,
    /// From the connection's beginning to the body's end.
    pub(crate) took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("http://portal.test/", Some("http://portal.test")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("https://portal.test", None),
            ("http://portal.test/v1", None),
            ("127.0.0.1:8080", None),
            ("", None),
        ] {
            let base_url = text.parse::<BaseUrl>().ok().map(|base_url| base_url.to_string());
            assert_eq!(base_url.as_deref(), shown, "{text}");
        }
    }
}
