//! wrk as the load: HTTP/1.1 on kept connections, with the headers of an ordinary client.

use std::fmt::Write as _;
use std::fs;
use std::io;

use serde_json::json;

use super::configs::Prepared;
use super::load::{Amount, Counted, headers};
use super::process::{LOAD_CORE, find_program, pinned};
use super::scenarios::{Job, Task};
use crate::failure::FileError;

/// Why wrk has no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WrkError {
    #[error("wrk is not installed")]
    NotInstalled,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("wrk: {0}")]
    Start(io::Error),
    #[error("wrk's words are not understood:\n{0}")]
    NotUnderstood(String),
}

/// wrk adds Host itself: it is the sixth.
fn script(job: &Job) -> String {
    let mut text = String::new();
    for (name, value) in headers(job) {
        writeln!(text, "wrk.headers[\"{name}\"] = \"{value}\"").expect("a String takes everything");
    }
    if let Task::Up(bytes) = job.task {
        writeln!(text, "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", {bytes})")
            .expect("a String takes everything");
    }
    text
}

/// One run of wrk.
pub(super) fn run(prepared: &Prepared<'_>, amount: Amount) -> Result<Counted, WrkError> {
    let job = &prepared.job;
    let file = prepared.folder.join("wrk.lua");
    fs::write(&file, script(job)).map_err(FileError::at(&file))?;
    let program = find_program("wrk").ok_or(WrkError::NotInstalled)?;
    let scheme = if job.wire.is_tls() { "https" } else { "http" };
    let output = pinned(LOAD_CORE, &program)
        .args(["--threads", "1", "--latency", "--timeout", "10s"])
        .args(["--connections", &amount.connections.to_string()])
        .args(["--duration", &format!("{}s", amount.seconds)])
        .arg("--script")
        .arg(&file)
        .arg(format!("{scheme}://127.0.0.1:{}{}", prepared.port, job.path()))
        .output()
        .map_err(WrkError::Start)?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        WrkError::NotUnderstood(format!("{text}{said}"))
    })
}

fn parse(text: &str) -> Option<Counted> {
    let after = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name));
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(number, _)| number.parse().ok())?;
    let failures = ["Socket errors:", "Non-2xx or 3xx responses:"]
        .into_iter()
        .filter_map(|name| Some(format!("{name}{}", after(name)?)))
        .collect();
    let shares = ["50%", "75%", "90%", "99%"].map(|share| {
        let percentile: f64 = share.trim_end_matches('%').parse().ok()?;
        Some((percentile, parse_ms(after(share)?)?))
    });
    let [Some((_, p50_ms)), _, _, Some((_, p99_ms))] = shares else { return None };
    Some(Counted {
        requests,
        requests_per_second: after("Requests/sec:")?.trim().parse().ok()?,
        p50_ms,
        p99_ms,
        p99_9_ms: None,
        percentiles: json!(shares.iter().flatten().collect::<Vec<_>>()),
        timeline: json!([]),
        failures,
    })
}

/// wrk writes 812.00us, 1.20ms, 3.00s, 1.50m.
fn parse_ms(text: &str) -> Option<f64> {
    let text = text.trim();
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let milliseconds = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * milliseconds)
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::Scenario;
    use super::*;

    const WELL: &str = "Running 3s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   812.44us  123.01us   5.50ms   91.02%
    Req/Sec    76.10k     1.20k   78.00k    70.00%
  Latency Distribution
     50%  710.00us
     75%    0.95ms
     90%    1.10ms
     99%    1.25ms
  227979 requests in 3.00s, 101.30MB read
Requests/sec:  75993.12
Transfer/sec:     33.77MB
";

    #[test]
    fn wrks_figures_are_read() {
        let counted = parse(WELL).expect("wrk's own words");
        assert_eq!(counted.requests, 227_979);
        assert!((counted.requests_per_second - 75_993.12).abs() < 0.001);
        assert!((counted.p50_ms - 0.71).abs() < 1e-9 && (counted.p99_ms - 1.25).abs() < 1e-9);
        assert_eq!(counted.percentiles[2], json!([90.0, 1.1]));
        assert!(counted.failures.is_empty());
    }

    #[test]
    fn failures_are_seen() {
        let ill = WELL.replace(
            "Requests/sec:",
            "  Socket errors: connect 0, read 3, write 0, timeout 0\n  Non-2xx or 3xx responses: 17\nRequests/sec:",
        );
        let counted = parse(&ill).expect("wrk's own words");
        assert_eq!(
            counted.failures,
            [
                "Socket errors: connect 0, read 3, write 0, timeout 0",
                "Non-2xx or 3xx responses: 17"
            ]
        );
        assert_eq!(parse("unable to connect"), None);
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_ms(" 3.00s"), Some(3_000.0));
        assert_eq!(parse_ms("1.50m"), Some(90_000.0));
        assert_eq!(parse_ms("12.00"), None);
        assert_eq!(parse_ms("1.0h"), None);
    }

    #[test]
    fn the_script_says_what_the_job_needs() {
        let text = |name: &str| script(&Scenario::named(name).expect("in the list").job);
        assert_eq!(text("bare").lines().count(), 5);
        assert!(text("bare").contains(r#"["Cookie"] = "user_id=7f3b2a90c1d84e55; theme=dark""#));
        assert!(text("jwt").contains("Bearer ey"));
        assert!(text("upload").contains(r#"string.rep("x", 1048576)"#));
    }
}
