//! Requests that may not be sent twice, while servers die and come back.

use serde_json::{Value, json};

use super::stage::{Stage, StageError};
use super::trial::{Column, Taken};

pub(super) fn does(count: u32) -> String {
    format!(
        "{count} POSTs, {RATE} a second, while one of four servers after the other fails and comes back"
    )
}

pub(super) const PROMISE: &str = "none arrives twice";

const RATE: u32 = 5_000;
const CONNECTIONS: u32 = 4_096;

/// Every so many seconds the next server fails, for so long.
const EVERY: f64 = 0.5;
const FOR: f64 = 0.3;

/// How they fail, in turn: each tempts to send again what may have been done already.
const WAYS: [&str; 4] = ["die", "close", "reset=50", "hang"];

pub(super) const COLUMNS: [Column; 6] = [
    Column { key: "sent", title: "sent", digits: 0 },
    Column { key: "answered", title: "answered well", digits: 0 },
    Column { key: "arrived", title: "arrived", digits: 0 },
    Column { key: "twice", title: "arrived twice", digits: 0 },
    Column { key: "lost", title: "arrived, not answered", digits: 0 },
    Column { key: "never_arrived", title: "never arrived nor answered", digits: 0 },
];

pub(super) fn run(count: u32, stage: &Stage<'_>) -> Result<Taken, StageError> {
    let controls: Vec<String> =
        stage.servers.iter().map(|server| server.control.to_string()).collect();
    let run = stage.load("once", scenario(count, &controls))?;
    taken(run).ok_or(StageError::Untold("ledger"))
}

fn scenario(count: u32, controls: &[String]) -> Value {
    let seconds = f64::from(count) / f64::from(RATE);
    json!({
        "rate": RATE,
        "connections": CONNECTIONS,
        "seconds": seconds,
        "timeout-seconds": 1,
        "ledger": controls.join(","),
        "changes": changes(seconds, controls),
        "requests": [{ "method": "POST", "path": "/bytes/100", "body-bytes": 64, "expect": { "status": [200] } }],
    })
}

fn changes(seconds: f64, controls: &[String]) -> Vec<Value> {
    let mut changes = Vec::new();
    let mut at = EVERY;
    // All are well again before the end.
    for (turn, control) in controls.iter().cycle().enumerate() {
        if at + FOR >= seconds {
            break;
        }
        // Each server meets every way: it is another one each time round.
        let way = WAYS[(turn + turn / controls.len()) % WAYS.len()];
        changes.push(json!({ "seconds": at, "control": control, "behaviour": way }));
        changes.push(json!({ "seconds": at + FOR, "control": control, "behaviour": "" }));
        at += EVERY;
    }
    changes
}

fn taken(run: Value) -> Option<Taken> {
    let ledger = run.get("ledger")?.as_object()?;
    let of = |key: &str| ledger.get(key)?.as_f64();
    // The ledger takes a proxy's own 502 for an answer too.
    let well = run["requests"].as_f64()? - run["failed"].as_f64()?;
    let [sent, arrived, twice, lost, never] =
        ["sent", "arrived", "duplicated", "lost", "never_arrived"].map(of);
    let values = vec![sent, Some(well), arrived, twice, lost, never];
    Some(Taken { values, run })
}

/// Figures in the order of the columns. Of nothing that arrived nothing arrived twice.
pub(super) fn is_kept(values: &[Option<f64>]) -> Option<bool> {
    let [_, _, arrived, twice, _, _] = values else { return None };
    Some((*twice)? == 0.0 && (*arrived)? > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_arrived_twice_breaks_the_promise() {
        for (twice, arrived, kept) in [(0, 9, true), (1, 9, false), (0, 0, false)] {
            let ledger = json!({ "sent": 10, "arrived": arrived, "duplicated": twice });
            let run = json!({ "requests": 10, "failed": 2, "ledger": ledger });
            let taken = taken(run).expect("a ledger");
            assert_eq!(is_kept(&taken.values), Some(kept), "{twice} of {arrived}");
            assert_eq!(taken.values[..2], [Some(10.0), Some(8.0)]);
        }
        assert!(taken(json!({ "ledger": null })).is_none());
    }

    #[test]
    fn every_server_fails_in_every_way_and_is_well_at_the_end() {
        let controls: Vec<String> = (1..=4).map(|number| format!("127.0.0.1:{number}")).collect();
        let changes = changes(10.0, &controls);
        for control in &controls {
            let ways: Vec<&str> = changes
                .iter()
                .filter(|change| change["control"] == json!(control))
                .filter_map(|change| change["behaviour"].as_str())
                .collect();
            assert!(WAYS.iter().all(|way| ways.contains(way)), "{control}: {ways:?}");
            assert_eq!(ways.last(), Some(&""));
        }
        assert!(
            changes.iter().all(|change| change["seconds"].as_f64().is_some_and(|at| at < 10.0))
        );
    }
}
