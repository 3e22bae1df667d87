//! The load: wrk with keep-alive connections and the headers of an ordinary client.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::configs::REQUEST_PATH;
use super::process::{LOAD_CORE, find_program, pinned};

/// Six request headers (wrk adds Host itself: it is the sixth).
const SCRIPT: &str = r#"wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
wrk.headers["Accept"] = "application/json, text/html;q=0.9, */*;q=0.8"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.8,de;q=0.5"
wrk.headers["Referer"] = "http://news.example/politics"
wrk.headers["Cookie"] = "user_id=7f3b2a90c1d84e55; theme=dark"
"#;

/// The same headers for a client of our own, Host included.
pub(super) fn headers() -> String {
    let own = SCRIPT.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("wrk.headers[\"")?.split_once("\"] = \"")?;
        Some(format!("{name}: {}\r\n", value.strip_suffix('"')?))
    });
    std::iter::once("Host: 127.0.0.1\r\n".to_owned()).chain(own).collect()
}

/// What wrk counted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Counted {
    pub(super) requests: u64,
    pub(super) requests_per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Socket errors and answers that are neither 2xx nor 3xx, in wrk's words.
    pub(super) failures: Vec<String>,
}

/// Writes the script for `run`.
pub(super) fn write_script(folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join("headers.lua");
    fs::write(&path, SCRIPT).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// One run of wrk; a failed request is an error of the run.
pub(super) fn run(
    script: &Path,
    port: u16,
    connections: u32,
    seconds: u32,
) -> Result<Counted, String> {
    let program = find_program("wrk").ok_or("wrk is not installed")?;
    let output = pinned(LOAD_CORE, &program)
        .args(["--threads", "1", "--latency", "--timeout", "10s"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .arg("--script")
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}{REQUEST_PATH}"))
        .output()
        .map_err(|error| format!("wrk: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let counted = parse(&text).ok_or_else(|| {
        format!(
            "wrk's words are not understood:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    match counted.failures.is_empty() {
        true => Ok(counted),
        false => Err(format!("FAILED REQUESTS: {}", counted.failures.join("; "))),
    }
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
    Some(Counted {
        requests,
        requests_per_second: after("Requests/sec:")?.trim().parse().ok()?,
        p50: parse_time(after("50%")?)?,
        p99: parse_time(after("99%")?)?,
        failures,
    })
}

/// wrk writes 812.00us, 1.20ms, 3.00s, 1.50m.
fn parse_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
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
        assert_eq!(counted.p50, Duration::from_micros(710));
        assert_eq!(counted.p99, Duration::from_micros(1_250));
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
        assert_eq!(parse_time(" 3.00s"), Some(Duration::from_secs(3)));
        assert_eq!(parse_time("1.50m"), Some(Duration::from_secs(90)));
        assert_eq!(parse_time("12.00"), None);
        assert_eq!(parse_time("1.0h"), None);
    }

    #[test]
    fn both_clients_send_the_same_six_headers() {
        let sent = headers();
        assert_eq!(sent.matches("\r\n").count(), 6);
        assert!(sent.starts_with("Host: ") && sent.contains("Cookie: user_id=7f3b2a90c1d84e55; "));
    }
}
