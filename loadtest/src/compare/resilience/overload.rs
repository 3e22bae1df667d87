//! Four times what a server can do, on routes of three criticalities.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::process::pause;
use super::super::report;
use super::stage::{Stage, StageError};
use super::trial::{Column, Taken};

pub(super) const DOES: &str = "four times what one server can do (64 requests at once, 20 ms each): a tenth of it critical, \
    three tenths normal, the rest can be shed; clients wait half a second";

pub(super) const PROMISE: &str = "goodput at least 0.8 × the peak, p99 of the critical route at most 2 × unloaded, no growth of memory";
const GOODPUT_LEAST: f64 = 0.8;
const QUOTIENT_MOST: f64 = 2.0;
/// The same again may not leave more behind, but for what an allocator keeps here and there.
const GROWTH_MOST: f64 = 1.1;

/// What the server can do.
const CAPACITY: &str = "capacity=64:20";
const PEAK_CONNECTIONS: u32 = 64;

/// Offered ÷ peak.
const TIMES: f64 = 4.0;
const UNLOADED: f64 = 0.25;

/// More than are under way when none is answered for as long as clients wait: what is offered does not depend on answers.
const CONNECTIONS: u32 = 8_192;
const PATIENCE: f64 = 0.5;
const SECONDS: u32 = 10;

/// How long memory that is no longer needed may take to be given back.
const REST: Duration = Duration::from_secs(3);

pub(super) const COLUMNS: [Column; 9] = [
    Column { key: "peak", title: "peak/s", digits: 0 },
    Column { key: "goodput", title: "goodput/s", digits: 0 },
    Column { key: "goodput_share", title: "÷ peak", digits: 2 },
    Column { key: "critical_percent", title: "critical answered %", digits: 1 },
    Column { key: "critical_p99_unloaded_ms", title: "p99 ms unloaded", digits: 1 },
    Column { key: "critical_p99_ms", title: "overloaded", digits: 1 },
    Column { key: "rss_before_mb", title: "MB before", digits: 1 },
    Column { key: "rss_after_mb", title: "after", digits: 1 },
    Column { key: "rss_again_mb", title: "after the same again", digits: 1 },
];

pub(super) fn run(stage: &Stage<'_>) -> Result<Taken, StageError> {
    stage.tell_all(CAPACITY)?;
    let peak = stage.load("peak", closed())?;
    let peak = goodput(&peak).ok_or(StageError::Untold("requests"))?;
    report::note(&format!("{}: at most {peak:.0} requests/s", stage.name()));
    let unloaded = stage.load("unloaded", open(peak * UNLOADED, 4))?;
    let before = stage.resident_mb()?;
    let mut loaded = Value::Null;
    let mut after = Vec::new();
    for _ in 0..2 {
        loaded = stage.load("overload", open(peak * TIMES, SECONDS))?;
        pause(REST);
        after.push(stage.resident_mb()?);
    }
    let memory = Memory { before, after: after[0], again: after[1] };
    taken(peak, &unloaded, loaded, &memory).ok_or(StageError::Untold("by_request"))
}

/// Resident, in MB.
struct Memory {
    before: f64,
    after: f64,
    again: f64,
}

fn requests() -> Value {
    let route = |name: &str, weight: u32| json!({ "name": name, "weight": weight, "path": format!("/{name}/x"), "expect": { "status": [200] } });
    json!([route("critical", 1), route("normal", 3), route("sheddable", 6)])
}

fn closed() -> Value {
    json!({ "connections": PEAK_CONNECTIONS, "seconds": 3, "warm-up-seconds": 1, "requests": requests() })
}

fn open(rate: f64, seconds: u32) -> Value {
    json!({
        "rate": rate.round(),
        "connections": CONNECTIONS,
        // One address has too few ports for clients that give up and come back.
        "addresses": 16,
        "warm-up-seconds": 2,
        "seconds": seconds,
        "timeout-seconds": PATIENCE,
        "requests": requests(),
    })
}

/// Answered as it should be.
fn goodput(run: &Value) -> Option<f64> {
    let good = run["requests"].as_f64()? - run["failed"].as_f64()?;
    Some(good / run["seconds"].as_f64()?).filter(|&rate| rate > 0.0)
}

fn taken(peak: f64, unloaded: &Value, loaded: Value, memory: &Memory) -> Option<Taken> {
    let critical = |run: &Value| run["by_request"].get("critical").cloned();
    let p99 = |run: &Value| critical(run)?["latency_ms"]["p99"].as_f64();
    let under_load = critical(&loaded)?;
    let asked = under_load["requests"].as_f64()?;
    let answered = 100.0 * (asked - under_load["failed"].as_f64()?) / asked;
    let goodput = goodput(&loaded).unwrap_or(0.0);
    let (calm, busy) = (p99(unloaded)?, p99(&loaded));
    let Memory { before, after, again } = *memory;
    let [share, calm] = [goodput / peak, calm].map(Some);
    let values = vec![
        Some(peak),
        Some(goodput),
        share,
        Some(answered),
        calm,
        busy,
        Some(before),
        Some(after),
        Some(again),
    ];
    Some(Taken { values, run: loaded })
}

/// Figures in the order of the columns.
pub(super) fn is_kept(values: &[Option<f64>]) -> Option<bool> {
    let [_, _, share, _, calm, busy, _, after, again] = values else { return None };
    Some(
        (*share)? >= GOODPUT_LEAST
            && (*busy)? <= QUOTIENT_MOST * (*calm)?
            && (*again)? <= GROWTH_MOST * (*after)?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(failed: u32, p99: f64) -> Value {
        let critical = json!({ "requests": 1_000, "failed": 10, "latency_ms": { "p99": p99 } });
        json!({ "requests": 40_000, "failed": failed, "seconds": 10.0, "by_request": { "critical": critical } })
    }

    fn kept(failed: u32, p99: f64, again: f64) -> bool {
        let memory = Memory { before: 10.0, after: 100.0, again };
        let taken = taken(1_000.0, &run_of(0, 20.0), run_of(failed, p99), &memory);
        is_kept(&taken.expect("everything is told").values).expect("every figure")
    }

    #[test]
    fn each_part_of_the_promise_counts() {
        assert!(kept(32_000, 40.0, 110.0), "goodput 800/s, twice the time, a tenth more memory");
        assert!(!kept(32_010, 40.0, 110.0), "goodput");
        assert!(!kept(32_000, 40.1, 110.0), "p99");
        assert!(!kept(32_000, 40.0, 110.1), "memory");
    }

    #[test]
    fn the_critical_routes_answers_are_a_share_of_its_requests() {
        let memory = Memory { before: 1.0, after: 1.0, again: 1.0 };
        let taken = taken(1_000.0, &run_of(0, 20.0), run_of(0, 20.0), &memory).expect("told");
        assert_eq!(taken.values[..4], [Some(1_000.0), Some(4_000.0), Some(4.0), Some(99.0)]);
    }
}
