//! What a run found, as a document for machines and as lines for people.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::ledger::Balance;
use super::scenario::{Pace, Scenario};
use super::tally::{Tally, Window};
use super::worker::loop_name;
use crate::compare::machine;
use crate::latency::Latencies;

/// Figures of one run.
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) balance: Option<Balance>,
    pub(super) opened: u64,
    pub(super) handshakes_full: u64,
    pub(super) handshakes_resumed: u64,
    pub(super) late_at_most: Duration,
    pub(super) cpu: Duration,
    pub(super) tickets: u64,
}

impl Outcome {
    /// Whether every request was answered as expected, and the ledgers agree.
    pub(super) fn is_clean(&self) -> bool {
        self.tally.failed() == 0 && self.balance.as_ref().is_none_or(Balance::is_clean)
    }

    pub(super) fn rate(&self, scenario: &Scenario) -> f64 {
        // Answers to what was due may come later than the time that was asked for.
        self.tally.requests() as f64 / self.tally.time().max(scenario.time).as_secs_f64()
    }

    fn cpu_us_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.tickets.max(1) as f64
    }

    pub(super) fn document(&self, scenario: &Scenario) -> Value {
        let tally = &self.tally;
        let rate = match scenario.pace {
            Pace::Open(rate) => json!(rate),
            Pace::Closed => Value::Null,
        };
        let errors: Map<String, Value> =
            tally.troubles.iter().map(|(kind, &times)| (kind.to_string(), json!(times))).collect();
        json!({
            "scenario": scenario.name,
            "date": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "command": machine::command(),
            "machine": machine::document(),
            "url": format!("{}://{}", scenario.origin.scheme(), scenario.origin.authority()),
            "protocol": scenario.protocol.name(),
            "loop": loop_name(scenario.pace),
            "rate": rate,
            "connections": scenario.connections,
            "streams": scenario.streams,
            "threads": scenario.threads,
            "seconds": scenario.time.as_secs_f64(),
            "requests": tally.requests(),
            "failed": tally.failed(),
            "errors": errors,
            "requests_per_second": rounded(self.rate(scenario)),
            "bytes_in": tally.bytes_in,
            "bytes_out": tally.bytes_out,
            "connections_opened": self.opened,
            "handshakes": { "full": self.handshakes_full, "resumed": self.handshakes_resumed },
            "latency_ms": percentiles(&tally.latencies),
            "percentiles": tally.latencies.curve_ms(),
            "timeline": timeline(tally),
            "windows": windows(tally),
            "by_request": self.by_request(scenario),
            "ledger": self.balance.as_ref().map(Balance::document),
            "generator": {
                "cpu_us_per_request": rounded(self.cpu_us_per_request()),
                "late_ms_max": rounded(self.late_at_most.as_secs_f64() * 1e3),
            },
        })
    }

    fn by_request(&self, scenario: &Scenario) -> Map<String, Value> {
        let steps = scenario.requests.iter().zip(&self.tally.steps);
        let entries = steps.map(|(step, counted)| {
            let figures = json!({
                "requests": counted.requests,
                "failed": counted.failed,
                "latency_ms": percentiles(&counted.latencies),
            });
            (step.name.clone(), figures)
        });
        entries.collect()
    }

    pub(super) fn lines(&self, scenario: &Scenario) -> Vec<String> {
        let tally = &self.tally;
        let latencies = &tally.latencies;
        let mut lines = vec![
            format!(
                "{}  {}  {}, {} connections{}",
                scenario.name,
                scenario.protocol.name(),
                match scenario.pace {
                    Pace::Open(rate) => format!("open loop at {rate}/s"),
                    Pace::Closed => "closed loop".to_owned(),
                },
                scenario.connections,
                match scenario.streams {
                    1 => String::new(),
                    streams => format!(" of {streams} streams"),
                },
            ),
            format!(
                "requests   {} in {:.1} s, {:.1}/s, {} failed",
                tally.requests(),
                tally.time().as_secs_f64(),
                self.rate(scenario),
                tally.failed()
            ),
            latency_line("latency", latencies),
        ];
        if scenario.requests.len() > 1 {
            let steps = scenario.requests.iter().zip(&tally.steps);
            lines.extend(steps.map(|(step, counted)| latency_line(&step.name, &counted.latencies)));
        }
        lines.extend(
            tally.troubles.iter().map(|(kind, times)| format!("failed     {times} × {kind}")),
        );
        lines.push(format!(
            "bytes      {} in, {} out; {} connections opened, {} handshakes, {} resumed",
            tally.bytes_in,
            tally.bytes_out,
            self.opened,
            self.handshakes_full,
            self.handshakes_resumed
        ));
        if let Some(balance) = &self.balance {
            lines.push(format!("ledger     {}", ledger_line(balance)));
        }
        lines.push(format!(
            "generator  {:.2} µs of CPU a request, late by at most {:.2} ms",
            self.cpu_us_per_request(),
            self.late_at_most.as_secs_f64() * 1e3
        ));
        lines
    }
}

fn ledger_line(balance: &Balance) -> String {
    let document = balance.document();
    let entries = document.as_object().into_iter().flatten();
    entries
        .map(|(kind, count)| format!("{count} {}", kind.replace('_', " ")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn latency_line(name: &str, latencies: &Latencies) -> String {
    let at = |percentile| latencies.percentile_ms(percentile);
    format!(
        "{name:<10} p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  p99.99 {:.2}  max {:.2} ms",
        at(50.0),
        at(90.0),
        at(99.0),
        at(99.9),
        at(99.99),
        at(100.0)
    )
}

fn percentiles(latencies: &Latencies) -> Value {
    if latencies.is_empty() {
        return Value::Null;
    }
    json!({
        "min": latencies.min_ms(),
        "mean": rounded(latencies.mean_ms()),
        "p50": latencies.percentile_ms(50.0),
        "p75": latencies.percentile_ms(75.0),
        "p90": latencies.percentile_ms(90.0),
        "p95": latencies.percentile_ms(95.0),
        "p99": latencies.percentile_ms(99.0),
        "p99_9": latencies.percentile_ms(99.9),
        "p99_99": latencies.percentile_ms(99.99),
        "max": latencies.percentile_ms(100.0),
    })
}

fn windows(tally: &Tally) -> Vec<Value> {
    let window = |Window { from, to, counted }: &Window| {
        json!({
            "from": from.as_secs_f64(),
            "to": to.as_secs_f64(),
            "requests": counted.requests,
            "failed": counted.failed,
            "latency_ms": percentiles(&counted.latencies),
        })
    };
    tally.windows.iter().map(window).collect()
}

/// The last second is left out if the run touched it only: it would look like a fall of the rate.
fn timeline(tally: &Tally) -> Vec<Value> {
    let whole = tally.time().as_secs() as usize;
    let touched = tally.time().subsec_millis() < 250 && whole > 0;
    let seconds = tally.seconds.iter().take(if touched { whole } else { usize::MAX }).enumerate();
    seconds
        .map(|(second, counted)| {
            json!({
                "second": second,
                "requests": counted.requests,
                "failed": counted.failed,
                "p50_ms": counted.latencies.percentile_ms(50.0),
                "p99_ms": counted.latencies.percentile_ms(99.0),
                "max_ms": counted.latencies.percentile_ms(100.0),
            })
        })
        .collect()
}

/// To a thousandth: more digits would claim what was not measured.
fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
