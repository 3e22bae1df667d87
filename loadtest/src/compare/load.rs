//! The load of one round: `loadtest run` in a process of its own, or wrk; and what it counted.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::certificates::{Certificates, SERVER_NAME};
use super::configs::Prepared;
use super::process::{LOAD_CORE, pinned};
use super::scenarios::{Asked, Job, Task, Wire};
use super::wrk::WrkError;
use super::{token, wrk};
use crate::failure::FileError;

/// Why a round has no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("FAILED REQUESTS: {}", .0.join("; "))]
    Failed(Vec<String>),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("loadtest: {0}")]
    Own(io::Error),
    #[error("loadtest run: {0}")]
    Run(io::Error),
    #[error("loadtest run is not understood:\n{0}")]
    NotUnderstood(String),
    #[error(transparent)]
    Wrk(#[from] WrkError),
}

/// Which program asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Generator {
    /// `loadtest run`: everything.
    Run,
    /// wrk, which a sceptic trusts: HTTP/1.1 on kept connections.
    Wrk,
}

/// How much load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    pub(super) connections: u32,
    pub(super) seconds: u32,
    /// Requests a second; none: as many as the proxy takes.
    pub(super) rate: Option<u32>,
}

/// What was counted in one round.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Counted {
    pub(super) requests: u64,
    pub(super) requests_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// wrk does not tell.
    pub(super) p99_9_ms: Option<f64>,
    /// As `loadtest run` prints them: `[percentile, milliseconds]`, and a second each.
    pub(super) percentiles: Value,
    pub(super) timeline: Value,
    /// What failed, in the generator's words.
    pub(super) failures: Vec<String>,
}

/// Why `generator` cannot ask for this.
pub(super) fn cannot(generator: Generator, job: &Job) -> Option<&'static str> {
    match (generator, job.wire) {
        (Generator::Run, _) | (Generator::Wrk, Wire::Http1 | Wire::Tls) => None,
        (Generator::Wrk, Wire::TlsNew | Wire::TlsResumed) => {
            Some("wrk does not open a connection for each request")
        }
        (Generator::Wrk, Wire::Http2 | Wire::Http2Clear) => Some("wrk does not speak HTTP/2"),
        (Generator::Wrk, Wire::WebSocket) => Some("wrk does not speak WebSocket"),
    }
}

/// Loads a proxy; one failed request is an error.
pub(super) fn run(
    generator: Generator,
    prepared: &Prepared<'_>,
    certificates: &Certificates,
    amount: Amount,
) -> Result<Counted, LoadError> {
    let counted = match generator {
        Generator::Run => run_own(prepared, certificates, amount)?,
        Generator::Wrk => wrk::run(prepared, amount)?,
    };
    match counted.failures.is_empty() {
        true => Ok(counted),
        false => Err(LoadError::Failed(counted.failures)),
    }
}

fn run_own(
    prepared: &Prepared<'_>,
    certificates: &Certificates,
    amount: Amount,
) -> Result<Counted, LoadError> {
    let file = prepared.folder.join("load.toml");
    let text = scenario_file(&prepared.job, prepared.port, certificates, amount);
    fs::write(&file, text).map_err(FileError::at(&file))?;
    let document = run_file(&file)?;
    if prepared.job.wire == Wire::TlsResumed {
        warn_of_full_handshakes(prepared, &document);
    }
    read(&document).ok_or_else(|| LoadError::NotUnderstood(document.to_string()))
}

/// What `loadtest run` says of a scenario's file, whatever failed.
pub(super) fn run_file(file: &Path) -> Result<Value, LoadError> {
    let own = std::env::current_exe().map_err(LoadError::Own)?;
    let output = own_output(&own, file)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        LoadError::NotUnderstood(text + &said)
    })
}

/// The share of handshakes that has to be resumed before the figures are those of resumption.
const RESUMED_LEAST: f64 = 0.9;

fn warn_of_full_handshakes(prepared: &Prepared<'_>, document: &Value) {
    let share = resumed(document);
    if let Some(share) = share.filter(|share| *share < RESUMED_LEAST) {
        super::report::note(&format!(
            "NOT WHAT IT SAYS: {} resumed {:.0} % of its sessions",
            prepared.kind().name(),
            share * 100.0
        ));
    }
}

/// Resumed handshakes ÷ all.
fn resumed(document: &Value) -> Option<f64> {
    let handshakes = document.get("handshakes")?;
    let [full, resumed] = ["full", "resumed"].map(|kind| handshakes.get(kind)?.as_f64());
    Some(resumed? / (full? + resumed?))
}

fn own_output(own: &Path, file: &Path) -> Result<Output, LoadError> {
    pinned(LOAD_CORE, own).arg("run").arg(file).arg("--json").output().map_err(LoadError::Run)
}

/// What `loadtest run` printed.
fn read(document: &Value) -> Option<Counted> {
    let latency = document.get("latency_ms")?;
    let failed = document.get("failed")?.as_u64()?;
    let failures = match failed {
        0 => Vec::new(),
        _ => vec![format!("{failed} ({})", document.get("errors").unwrap_or(&Value::Null))],
    };
    Some(Counted {
        requests: document.get("requests")?.as_u64()?,
        requests_per_second: document.get("requests_per_second")?.as_f64()?,
        p50_ms: latency.get("p50")?.as_f64()?,
        p99_ms: latency.get("p99")?.as_f64()?,
        p99_9_ms: latency.get("p99_9").and_then(Value::as_f64),
        percentiles: document.get("percentiles").cloned().unwrap_or(Value::Null),
        timeline: document.get("timeline").cloned().unwrap_or(Value::Null),
        failures,
    })
}

/// The headers of an ordinary client beside Host, for every generator.
pub(super) const HEADERS: [(&str, &str); 5] = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "application/json, text/html;q=0.9, */*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.8,de;q=0.5"),
    ("Referer", "http://news.example/politics"),
    ("Cookie", "user_id=7f3b2a90c1d84e55; theme=dark"),
];

/// The headers of a job's requests.
pub(super) fn headers(job: &Job) -> Vec<(&'static str, String)> {
    let mut headers: Vec<(&str, String)> =
        HEADERS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    match job.task {
        Task::Jwt => headers.push(("Authorization", format!("Bearer {}", token::token()))),
        // gRPC's and WebSocket's own fields are the generator's.
        Task::Grpc | Task::WebSocket => headers.clear(),
        Task::Small | Task::Down(_) | Task::Up(_) | Task::Cache | Task::Limit | Task::Aggregate => {
        }
    }
    headers
}

/// Bytes of a WebSocket or gRPC message.
pub(super) const MESSAGE_BYTES: usize = 64;

/// HTTP/2 takes fewer connections, with so many requests at once on each.
const STREAMS: u32 = 8;

fn scenario_file(job: &Job, port: u16, certificates: &Certificates, amount: Amount) -> String {
    let scheme = if job.wire.is_tls() { "https" } else { "http" };
    let (protocol, streams) = match job.wire {
        Wire::Http1 | Wire::Tls | Wire::TlsNew | Wire::TlsResumed => ("http/1.1", 1),
        Wire::Http2 | Wire::Http2Clear => ("http/2", STREAMS),
        Wire::WebSocket => ("websocket", 1),
    };
    let mut document = json!({
        "url": format!("{scheme}://127.0.0.1:{port}"),
        "protocol": protocol,
        "connections": (amount.connections / streams).max(1),
        "streams": streams,
        "seconds": amount.seconds,
        "new-connections": job.wire.is_new(),
        "requests": [request(job)],
    });
    if let Some(rate) = amount.rate {
        document["rate"] = json!(rate);
    }
    if job.wire.is_tls() {
        document["tls"] = json!({
            "ca": certificates.authority,
            "server-name": SERVER_NAME,
            "resumption": job.wire == Wire::TlsResumed,
        });
    }
    toml::to_string(&document).expect("no null in it, and tables last")
}

fn request(job: &Job) -> Value {
    let mut request = json!({ "path": path(job), "expect": { "status": [200] } });
    let headers: serde_json::Map<String, Value> =
        headers(job).into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    request["headers"] = Value::Object(headers);
    match job.task {
        Task::Up(bytes) => {
            request["method"] = json!("POST");
            request["body-bytes"] = json!(bytes);
        }
        Task::Grpc => {
            request["method"] = json!("POST");
            request["grpc"] = json!(true);
            request["body-bytes"] = json!(MESSAGE_BYTES);
        }
        Task::WebSocket => {
            request["body-bytes"] = json!(MESSAGE_BYTES);
            request["expect"] = json!({});
        }
        Task::Small | Task::Down(_) | Task::Cache | Task::Limit | Task::Jwt | Task::Aggregate => {}
    }
    request
}

fn path(job: &Job) -> String {
    match job.asked {
        Asked::One => job.path(),
        Asked::Any => {
            format!("/service-{{{{number 0..{}}}}}/items/4711?page=2", job.routes / 2 - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::{ALL, Scenario};
    use super::*;

    const AMOUNT: Amount = Amount { connections: 64, seconds: 3, rate: None };

    #[test]
    fn every_scenario_is_a_file_with_its_path() {
        let certificates = Certificates::within(Path::new("/x"));
        for scenario in ALL {
            let text = scenario_file(&scenario.job, 8080, &certificates, AMOUNT);
            let document: Value = toml::from_str(&text).expect("valid");
            assert_eq!(document["requests"][0]["path"], scenario.job.path(), "{}", scenario.name);
            assert_eq!(document.get("tls").is_some(), scenario.job.wire.is_tls());
            let in_flight = document["connections"].as_u64().zip(document["streams"].as_u64());
            assert_eq!(in_flight.map(|(connections, streams)| connections * streams), Some(64));
        }
    }

    #[test]
    fn any_of_many_routes_is_asked_for() {
        assert_eq!(path(&Job::of_routes(1_000)), "/service-{{number 0..499}}/items/4711?page=2");
    }

    #[test]
    fn the_generators_document_is_read() {
        let mut document = json!({
            "requests": 20_000, "failed": 0, "errors": {}, "requests_per_second": 2000.5,
            "latency_ms": { "p50": 0.5, "p99": 1.5, "p99_9": 2.5 },
            "percentiles": [[0.0, 0.1]], "timeline": [],
        });
        let counted = read(&document).expect("understood");
        assert_eq!((counted.requests, counted.p99_9_ms), (20_000, Some(2.5)));
        assert!(counted.failures.is_empty());
        document["failed"] = json!(3);
        document["errors"] = json!({ "timeout": 3 });
        assert_eq!(read(&document).expect("understood").failures, [r#"3 ({"timeout":3})"#]);
        assert_eq!(read(&json!({})), None);
        assert_eq!(resumed(&json!({ "handshakes": { "full": 1, "resumed": 3 } })), Some(0.75));
    }

    #[test]
    fn wrk_is_not_asked_for_what_it_cannot() {
        let left_out: Vec<&str> = ALL
            .into_iter()
            .filter(|scenario| cannot(Generator::Wrk, &scenario.job).is_some())
            .map(|Scenario { name, .. }| name)
            .collect();
        assert_eq!(
            left_out,
            ["tls-new", "tls-resumed", "http2", "grpc", "websocket", "everything"]
        );
    }
}
