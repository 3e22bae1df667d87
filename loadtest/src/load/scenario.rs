//! A scenario: what is asked for, by whom and how often, read from a TOML file and checked once.

mod file;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use serde::Deserialize;

use super::change::Change;
use super::template::Template;
use file::File;

/// A scenario that can be run.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) origin: Url,
    pub(super) protocol: Protocol,
    pub(super) pace: Pace,
    pub(super) connections: usize,
    /// Requests at once on each HTTP/2 connection.
    pub(super) streams: usize,
    pub(super) reuse: Reuse,
    /// Clients come from so many addresses of 127.0.0.0/8; one: from the address the system chooses.
    pub(super) addresses: u32,
    pub(super) threads: usize,
    pub(super) time: Duration,
    pub(super) warm_up: Duration,
    /// How long a request may take.
    pub(super) patience: Duration,
    /// The scripted origins whose ledgers are together compared with ours.
    pub(super) ledgers: Vec<SocketAddr>,
    /// What happens to the origins meanwhile.
    pub(super) changes: Vec<Change>,
    /// Parts of the time since the warm-up, from and to, whose requests are also counted apart.
    pub(super) windows: Vec<(Duration, Duration)>,
    pub(super) tls: Tls,
    /// Milliseconds between an answer and the user's next request.
    pub(super) think_time: Option<(u64, u64)>,
    /// What each user does once, before the load begins.
    pub(super) login: Vec<Step>,
    pub(super) requests: Vec<Step>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) encryption: Encryption,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Whether the connection is TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    None,
    Tls,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Protocol {
    #[default]
    #[serde(rename = "http/1.1")]
    Http1,
    #[serde(rename = "http/2")]
    Http2,
    #[serde(rename = "websocket")]
    WebSocket,
}

impl Protocol {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "http/2",
            Self::WebSocket => "websocket",
        }
    }
}

/// When the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// So many a second, whatever the answers do; latency counts from the time a request was due.
    Open(f64),
    /// As soon as the answer before it is here.
    Closed,
}

/// Whether connections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    Kept,
    /// Each request has a connection of its own.
    New,
}

/// How TLS is spoken.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tls {
    /// Trusted certificates as PEM; without it the certificate is not checked: this is a load test of one's own server.
    pub(super) ca: Option<PathBuf>,
    /// The name asked for (SNI); the URL's host without it.
    pub(super) server_name: Option<String>,
    /// Sessions are resumed where the server lets us.
    #[serde(default = "yes")]
    pub(super) resumption: bool,
}

/// One kind of request.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) weight: u32,
    pub(super) method: Method,
    pub(super) path: Template,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) body: StepBody,
    pub(super) expect: Expect,
    /// Name → JSON pointer into the answer.
    pub(super) save: BTreeMap<String, String>,
    pub(super) grpc: bool,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum StepBody {
    None,
    Text(Template),
    Pattern(u64),
}

/// What an answer has to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Expect {
    /// Empty: any below 400.
    pub(super) status: Vec<StatusCode>,
    pub(super) body_contains: Option<String>,
    /// JSON pointer → value.
    pub(super) json: BTreeMap<String, serde_json::Value>,
    pub(super) headers: HeaderMap,
}

impl Expect {
    /// Whether the body has to be gathered to check it.
    pub(super) fn reads_body(&self) -> bool {
        self.body_contains.is_some() || !self.json.is_empty()
    }
}

/// What the command line says instead of the file.
#[derive(Debug, Default)]
pub(super) struct Instead {
    pub(super) url: Option<String>,
    pub(super) rate: Option<f64>,
    pub(super) connections: Option<usize>,
    pub(super) seconds: Option<f64>,
    pub(super) threads: Option<usize>,
}

/// Why a file is no scenario.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error("{file}: {source}", file = file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("{file}: {source}", file = file.display())]
    Toml { file: PathBuf, source: Box<toml::de::Error> },
    #[error(
        "`{url}` is not a URL like http://127.0.0.1:8080 or https://…; paths belong into [[requests]]"
    )]
    Url { url: String },
    #[error("{key}: {value} is not within {range}")]
    Range { key: &'static str, value: f64, range: &'static str },
    #[error("{key}: {reason}")]
    Contradiction { key: &'static str, reason: &'static str },
    #[error("request `{request}`: {key}: `{value}` is not {wanted}")]
    Value { request: String, key: &'static str, value: String, wanted: &'static str },
    #[error("request `{request}`: {reason}")]
    Template { request: String, reason: String },
}

/// Reads a scenario; `instead` goes before what the file says.
pub(super) fn read(path: &Path, instead: &Instead) -> Result<Scenario, ScenarioError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ScenarioError::File { file: path.to_owned(), source })?;
    let parsed: File = toml::from_str(&text).map_err(|source| ScenarioError::Toml {
        file: path.to_owned(),
        source: Box::new(source),
    })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    parsed.checked(&name, instead)
}

/// A scenario of one request, for a URL with a path.
pub(super) fn of_url(url: &str, instead: &Instead) -> Result<Scenario, ScenarioError> {
    let wrong = || ScenarioError::Url { url: url.to_owned() };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let origin = url.strip_suffix(path).unwrap_or(url);
    File::asking(origin, path).checked(url, instead)
}

const fn yes() -> bool {
    true
}

impl Url {
    pub(super) fn parse(url: &str) -> Result<Self, ScenarioError> {
        let wrong = || ScenarioError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (encryption, port) = match uri.scheme_str() {
            Some("http" | "ws") => (Encryption::None, 80),
            Some("https" | "wss") => (Encryption::Tls, 443),
            _ => return Err(wrong()),
        };
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?.to_owned();
        Ok(Self { encryption, host, port: uri.port_u16().unwrap_or(port) })
    }

    /// For the field `Host`.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) const fn scheme(&self) -> &'static str {
        match self.encryption {
            Encryption::None => "http",
            Encryption::Tls => "https",
        }
    }
}
