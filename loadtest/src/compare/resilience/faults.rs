//! One of four servers fails in the middle of a steady load.

use serde_json::{Value, json};

use super::stage::{Stage, StageError};
use super::trial::{Column, Taken};

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// Its process ends: connections are closed and refused.
    Dies,
    /// It takes requests and never answers.
    Hangs,
    /// It answers after 2 s.
    Slows,
    /// It resets the connection in the middle of each body.
    Resets,
    /// It answers half of all requests with 500.
    Fails,
}

impl Fault {
    pub(super) const ALL: [Self; 5] =
        [Self::Dies, Self::Hangs, Self::Slows, Self::Resets, Self::Fails];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Dies => "dies",
            Self::Hangs => "hangs",
            Self::Slows => "slows",
            Self::Resets => "resets",
            Self::Fails => "fails",
        }
    }

    pub(super) fn does(self) -> String {
        let what = match self {
            Self::Dies => "its process ends",
            Self::Hangs => "it never answers",
            Self::Slows => "it answers after 2 s",
            Self::Resets => "it resets the connection in mid-body",
            Self::Fails => "it answers 500 to half",
        };
        format!(
            "{what}: one of four servers, {BROKEN} s into {RATE} requests/s; clients wait {PATIENCE} s"
        )
    }

    /// For the server's control.
    const fn behaviour(self) -> &'static str {
        match self {
            Self::Dies => "die",
            Self::Hangs => "hang",
            Self::Slows => "delay=2000",
            Self::Resets => "reset=500",
            Self::Fails => "errors=0.5:500",
        }
    }
}

const RATE: u32 = 2_000;

/// Each connection carries one request: a quarter of the load hangs as long as clients wait, and the rest goes on.
const CONNECTIONS: u32 = 2_048;
const PATIENCE: u32 = 3;

/// Seconds: of steady load first, when the server fails, since when errors count, and the end.
const WARM_UP: u32 = 2;
const BROKEN: u32 = 3;
const SETTLED: u32 = 6;
const END: u32 = 12;

/// Nothing that is due so shortly before the fault is told to be before it: it is still under way.
const MARGIN: f64 = 0.1;

pub(super) const PROMISE: &str = "after 3 s fewer than 0.1 % errors, p99 at most 1.5 × what it was";
const ERRORS_MOST: f64 = 0.1;
const QUOTIENT_MOST: f64 = 1.5;

pub(super) const COLUMNS: [Column; 5] = [
    Column { key: "errors_percent", title: "errors %", digits: 3 },
    Column { key: "errors_first", title: "errors in the first 3 s", digits: 0 },
    Column { key: "p99_before_ms", title: "p99 ms before", digits: 2 },
    Column { key: "p99_after_ms", title: "p99 ms after", digits: 2 },
    Column { key: "p99_quotient", title: "after ÷ before", digits: 2 },
];

pub(super) fn run(fault: Fault, stage: &Stage<'_>) -> Result<Taken, StageError> {
    let run = stage.load("faults", scenario(fault, &stage.servers[0].control.to_string()))?;
    taken(run).ok_or(StageError::Untold("windows"))
}

fn scenario(fault: Fault, control: &str) -> Value {
    json!({
        "rate": RATE,
        "connections": CONNECTIONS,
        "warm-up-seconds": WARM_UP,
        "seconds": END,
        "timeout-seconds": PATIENCE,
        "windows": [[0.0, f64::from(BROKEN) - MARGIN], [BROKEN, SETTLED], [SETTLED, END]],
        "changes": [{ "seconds": BROKEN, "control": control, "behaviour": fault.behaviour() }],
        "requests": [{ "path": "/bytes/1000", "expect": { "status": [200] } }],
    })
}

/// From the windows before the fault, just after it, and once it should be over.
fn taken(run: Value) -> Option<Taken> {
    let windows = run["windows"].as_array()?;
    let [before, first, after] = windows.as_slice() else { return None };
    let p99 = |window: &Value| window["latency_ms"]["p99"].as_f64();
    let errors = 100.0 * after["failed"].as_f64()? / after["requests"].as_f64()?;
    // Nothing at all answered has no latency, and is no quick recovery.
    let quotient = p99(after).zip(p99(before)).map(|(after, before)| after / before);
    Some(Taken {
        values: vec![Some(errors), first["failed"].as_f64(), p99(before), p99(after), quotient],
        run,
    })
}

/// Figures in the order of the columns.
pub(super) fn is_kept(values: &[Option<f64>]) -> Option<bool> {
    let [errors, _, _, _, quotient] = values else { return None };
    Some((*errors)? < ERRORS_MOST && (*quotient)? <= QUOTIENT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(failed_after: u32, p99_after: Option<f64>) -> Value {
        let window = |failed: u32, p99: Option<f64>| json!({ "requests": 12_000, "failed": failed, "latency_ms": p99.map(|p99| json!({ "p99": p99 })) });
        json!({ "windows": [window(0, Some(2.0)), window(70, Some(9.0)), window(failed_after, p99_after)] })
    }

    #[test]
    fn errors_are_a_share_of_the_last_window_and_p99_a_quotient() {
        let taken = taken(run_with(6, Some(2.5))).expect("three windows");
        assert_eq!(taken.values, [Some(0.05), Some(70.0), Some(2.0), Some(2.5), Some(1.25)]);
        assert_eq!(is_kept(&taken.values), Some(true));
    }

    #[test]
    fn the_promise_is_broken_by_errors_or_by_slowness() {
        for (failed, p99, kept) in [
            (11, Some(3.0), Some(true)),
            (12, Some(3.0), Some(false)),
            (0, Some(3.01), Some(false)),
            (0, None, None),
        ] {
            let taken = taken(run_with(failed, p99)).expect("three windows");
            assert_eq!(is_kept(&taken.values), kept, "{failed} {p99:?}");
        }
        assert!(taken(json!({ "windows": [] })).is_none());
    }

    #[test]
    fn every_fault_is_told_in_words_that_a_control_understands() {
        for fault in Fault::ALL {
            let scenario = scenario(fault, "127.0.0.1:9");
            let behaviour = scenario["changes"][0]["behaviour"].as_str().expect("text");
            assert!(crate::origin::is_behaviour(behaviour), "{behaviour}");
        }
    }
}
