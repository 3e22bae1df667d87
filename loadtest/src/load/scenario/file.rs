//! The scenario's TOML file: its keys, their defaults, and what is refused.

use std::collections::BTreeMap;
use std::net::{AddrParseError, SocketAddr};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use super::{
    Expect, Instead, Pace, Protocol, Reuse, Scenario, ScenarioError, Step, StepBody, Tls, Url,
};
use crate::load::change::Change;
use crate::load::template::{Template, TemplateError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    url: Option<String>,
    #[serde(default)]
    protocol: Protocol,
    rate: Option<f64>,
    #[serde(default = "connections")]
    connections: usize,
    #[serde(default = "one")]
    streams: usize,
    #[serde(default)]
    new_connections: bool,
    #[serde(default = "one")]
    addresses: u32,
    #[serde(default = "one")]
    threads: usize,
    #[serde(default = "seconds")]
    seconds: f64,
    #[serde(default)]
    warm_up_seconds: f64,
    #[serde(default = "patience")]
    timeout_seconds: f64,
    ledger: Option<Ledgers>,
    #[serde(default)]
    changes: Vec<FileChange>,
    #[serde(default)]
    windows: Vec<[f64; 2]>,
    #[serde(default)]
    tls: Option<Tls>,
    think_time_ms: Option<[u64; 2]>,
    #[serde(default)]
    login: Vec<FileStep>,
    requests: Vec<FileStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileStep {
    name: Option<String>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default = "method")]
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_bytes: Option<u64>,
    #[serde(default)]
    expect: FileExpect,
    #[serde(default)]
    save: BTreeMap<String, String>,
    #[serde(default)]
    grpc: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileExpect {
    #[serde(default)]
    status: Vec<u16>,
    body_contains: Option<String>,
    #[serde(default)]
    json: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

fn one<T: From<u8>>() -> T {
    T::from(1)
}

/// As wrk's examples: enough to fill one core of a proxy.
const fn connections() -> usize {
    64
}

const fn seconds() -> f64 {
    10.0
}

/// Longer than any timeout of a proxy that is meant to answer people.
const fn patience() -> f64 {
    30.0
}

fn method() -> String {
    "GET".to_owned()
}

impl Default for File {
    fn default() -> Self {
        toml::from_str("requests = []").expect("every other key has a default")
    }
}

impl Default for FileStep {
    fn default() -> Self {
        toml::from_str("path = '/'").expect("every other key has a default")
    }
}

impl File {
    /// One request, to be repeated.
    pub(super) fn asking(origin: &str, path: &str) -> Self {
        let request = FileStep { path: path.to_owned(), ..FileStep::default() };
        Self { url: Some(origin.to_owned()), requests: vec![request], ..Self::default() }
    }

    pub(super) fn checked(self, name: &str, instead: &Instead) -> Result<Scenario, ScenarioError> {
        let file = self;
        let url = instead.url.as_deref().or(file.url.as_deref()).unwrap_or_default();
        let rate = instead.rate.or(file.rate);
        let connections = instead.connections.unwrap_or(file.connections);
        let threads = instead.threads.unwrap_or(file.threads);
        let time = instead.seconds.unwrap_or(file.seconds);
        within("rate", rate.unwrap_or(1.0), 0.01, 10e6, "0.01 to 10,000,000 requests/s")?;
        within("connections", connections as f64, 1.0, 100e3, "1 to 100,000")?;
        within("streams", file.streams as f64, 1.0, 1_000.0, "1 to 1,000")?;
        within("addresses", f64::from(file.addresses), 1.0, 65_000.0, "1 to 65,000")?;
        within(
            "threads",
            threads as f64,
            1.0,
            connections.min(256) as f64,
            "1 to connections, at most 256",
        )?;
        within("seconds", time, 0.1, 86_400.0, "0.1 to 86,400")?;
        within("warm-up-seconds", file.warm_up_seconds, 0.0, 3_600.0, "0 to 3,600")?;
        within("timeout-seconds", file.timeout_seconds, 0.001, 3_600.0, "0.001 to 3,600")?;
        contradictions(&file, rate)?;
        let saved: Vec<String> = file
            .login
            .iter()
            .chain(&file.requests)
            .flat_map(|step| step.save.keys().cloned())
            .collect();
        let steps = |steps: Vec<FileStep>| -> Result<Vec<Step>, ScenarioError> {
            steps.into_iter().map(|step| step.checked(&saved)).collect()
        };
        Ok(Scenario {
            name: name.to_owned(),
            origin: Url::parse(url)?,
            protocol: file.protocol,
            pace: rate.map_or(Pace::Closed, Pace::Open),
            connections,
            streams: file.streams,
            reuse: if file.new_connections { Reuse::New } else { Reuse::Kept },
            addresses: file.addresses,
            threads,
            time: Duration::from_secs_f64(time),
            warm_up: Duration::from_secs_f64(file.warm_up_seconds),
            patience: Duration::from_secs_f64(file.timeout_seconds),
            ledgers: file.ledger.map_or(Vec::new(), |ledgers| ledgers.0),
            changes: file.changes.into_iter().map(FileChange::checked).collect::<Result<_, _>>()?,
            windows: file.windows.into_iter().map(window).collect::<Result<_, _>>()?,
            tls: file.tls.unwrap_or(Tls { ca: None, server_name: None, resumption: true }),
            think_time: file.think_time_ms.map(|[low, high]| (low, high)),
            login: steps(file.login)?,
            requests: steps(file.requests)?,
        })
    }
}

/// One address, or several with commas between them.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Ledgers(Vec<SocketAddr>);

impl TryFrom<String> for Ledgers {
    type Error = AddrParseError;

    fn try_from(text: String) -> Result<Self, AddrParseError> {
        text.split(',').map(|address| address.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileChange {
    seconds: f64,
    control: SocketAddr,
    behaviour: String,
}

impl FileChange {
    fn checked(self) -> Result<Change, ScenarioError> {
        let Self { seconds, control, behaviour } = self;
        within("changes.seconds", seconds, 0.0, 86_400.0, "0 to 86,400")?;
        Ok(Change { after: Duration::from_secs_f64(seconds), control, behaviour })
    }
}

fn window([from, to]: [f64; 2]) -> Result<(Duration, Duration), ScenarioError> {
    within("windows", from, 0.0, to, "0 to the window's end")?;
    within("windows", to, from, 86_400.0, "the window's beginning to 86,400")?;
    Ok((Duration::from_secs_f64(from), Duration::from_secs_f64(to)))
}

fn within(
    key: &'static str,
    value: f64,
    low: f64,
    high: f64,
    range: &'static str,
) -> Result<(), ScenarioError> {
    match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err(ScenarioError::Range { key, value, range }),
    }
}

/// Whole periods of the pattern, near 64 KiB.
const MESSAGE_MAX: u64 = 65_511;

fn contradictions(file: &File, rate: Option<f64>) -> Result<(), ScenarioError> {
    let wrong = [
        (file.requests.is_empty(), "requests", "at least one [[requests]] is needed"),
        (
            file.requests.iter().all(|request| request.weight == 0) && !file.requests.is_empty(),
            "weight",
            "all are 0: nothing would ever be sent",
        ),
        (
            file.think_time_ms.is_some() && rate.is_some(),
            "think-time-ms",
            "only without `rate`: at a constant rate nobody waits for an answer",
        ),
        (
            file.think_time_ms.is_some_and(|[low, high]| low > high),
            "think-time-ms",
            "[least, most], the smaller number first",
        ),
        (
            file.streams > 1 && file.protocol != Protocol::Http2,
            "streams",
            "only with protocol = \"http/2\": others have one request at a time on a connection",
        ),
        (
            file.new_connections && file.streams > 1,
            "new-connections",
            "not with `streams`: each request has a connection of its own",
        ),
        (
            file.protocol == Protocol::WebSocket && file.ledger.is_some(),
            "ledger",
            "not with websocket: there each echo is compared with what was sent",
        ),
        (
            file.protocol == Protocol::WebSocket
                && file
                    .requests
                    .iter()
                    .any(|it| it.body_bytes.is_some_and(|bytes| bytes > MESSAGE_MAX)),
            "body-bytes",
            "at most 65,511 for a websocket's message",
        ),
        (
            file.requests.iter().any(|request| request.grpc) && file.protocol != Protocol::Http2,
            "grpc",
            "only with protocol = \"http/2\"",
        ),
    ];
    match wrong.into_iter().find(|(is_wrong, ..)| *is_wrong) {
        Some((_, key, reason)) => Err(ScenarioError::Contradiction { key, reason }),
        None => Ok(()),
    }
}

impl FileStep {
    fn checked(self, saved: &[String]) -> Result<Step, ScenarioError> {
        let name = self.name.clone().unwrap_or_else(|| format!("{} {}", self.method, self.path));
        let wrong = |key, value: &str, wanted| ScenarioError::Value {
            request: name.clone(),
            key,
            value: value.to_owned(),
            wanted,
        };
        let template = |text: &str| {
            Template::parse(text, saved).map_err(|reason: TemplateError| ScenarioError::Template {
                request: name.clone(),
                reason: reason.to_string(),
            })
        };
        if !self.path.starts_with('/') {
            return Err(wrong("path", &self.path, "a path that begins with `/`"));
        }
        let method = self.method.parse().map_err(|_| wrong("method", &self.method, "a method"))?;
        let headers = self.headers.iter().map(|(field, value)| {
            let field_name = field.parse().map_err(|_| wrong("headers", field, "a field name"))?;
            Ok((field_name, template(value)?))
        });
        let headers = headers.collect::<Result<_, ScenarioError>>()?;
        let body = match (&self.body, self.body_bytes) {
            (Some(_), Some(_)) => {
                return Err(wrong("body-bytes", "", "there beside `body`: one of them"));
            }
            (Some(text), None) => StepBody::Text(template(text)?),
            (None, Some(bytes)) => StepBody::Pattern(bytes),
            (None, None) => StepBody::None,
        };
        let expect = self.expect.checked(&wrong)?;
        if let Some(pointer) = self.save.values().find(|pointer| !pointer.starts_with('/')) {
            return Err(wrong("save", pointer, "a JSON pointer like /access_token"));
        }
        let (path, save) = (template(&self.path)?, self.save);
        Ok(Step {
            name,
            weight: self.weight,
            method,
            path,
            headers,
            body,
            expect,
            save,
            grpc: self.grpc,
        })
    }
}

impl FileExpect {
    fn checked(
        self,
        wrong: &dyn Fn(&'static str, &str, &'static str) -> ScenarioError,
    ) -> Result<Expect, ScenarioError> {
        let status = self.status.iter().map(|&code| {
            StatusCode::from_u16(code).map_err(|_| wrong("status", &code.to_string(), "100 to 999"))
        });
        let headers = self.headers.iter().map(|(field, value)| {
            let name: HeaderName =
                field.parse().map_err(|_| wrong("headers", field, "a field name"))?;
            let value = HeaderValue::from_str(value);
            Ok((name, value.map_err(|_| wrong("headers", field, "a field with a valid value"))?))
        });
        Ok(Expect {
            status: status.collect::<Result<_, _>>()?,
            body_contains: self.body_contains,
            json: self.json,
            headers: headers.collect::<Result<_, ScenarioError>>()?,
        })
    }
}
