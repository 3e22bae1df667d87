//! A retry storm: all servers fail, and each retry makes it worse.

use serde_json::{Value, json};

use super::stage::{Stage, StageError};
use super::trial::{Column, Taken};

/// How all of them fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Storm {
    /// They answer 503.
    Refuse,
    /// They take the request and close the connection.
    Close,
}

impl Storm {
    pub(super) const ALL: [Self; 2] = [Self::Refuse, Self::Close];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "storm-503",
            Self::Close => "storm-close",
        }
    }

    pub(super) fn does(self) -> String {
        let what = match self {
            Self::Refuse => "answer 503",
            Self::Close => "close each connection without an answer",
        };
        format!("all four servers {what}; {RATE} requests/s")
    }

    const fn behaviour(self) -> &'static str {
        match self {
            Self::Refuse => "errors=1:503",
            Self::Close => "close",
        }
    }
}

const RATE: u32 = 2_000;
const SECONDS: u32 = 6;

pub(super) const PROMISE: &str = "at most 1.2 requests at the servers for each of a client";
const LOAD_MOST: f64 = 1.2;

pub(super) const COLUMNS: [Column; 3] = [
    Column { key: "requests", title: "requests of clients", digits: 0 },
    Column { key: "arrived", title: "at the servers", digits: 0 },
    Column { key: "load", title: "load", digits: 3 },
];

pub(super) fn run(storm: Storm, stage: &Stage<'_>) -> Result<Taken, StageError> {
    stage.tell_all(storm.behaviour())?;
    let before = stage.arrived()?;
    let run = stage.load(
        "storm",
        json!({
            "rate": RATE,
            "connections": 256,
            "seconds": SECONDS,
            "timeout-seconds": 3,
            "requests": [{ "path": "/bytes/1000" }],
        }),
    )?;
    taken(run, stage.arrived()? - before).ok_or(StageError::Untold("requests"))
}

fn taken(run: Value, arrived: u64) -> Option<Taken> {
    let requests = run["requests"].as_f64().filter(|&requests| requests > 0.0)?;
    let load = arrived as f64 / requests;
    let values = vec![Some(requests), Some(arrived as f64), Some(load)];
    Some(Taken { values, run })
}

/// Figures in the order of the columns.
pub(super) fn is_kept(values: &[Option<f64>]) -> Option<bool> {
    let [_, _, load] = values else { return None };
    Some((*load)? <= LOAD_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_more_is_allowed_and_no_more() {
        for (arrived, kept) in [(0, true), (1_000, true), (1_200, true), (1_201, false)] {
            let taken = taken(json!({ "requests": 1_000 }), arrived).expect("requests");
            assert_eq!(is_kept(&taken.values), Some(kept), "{arrived}");
        }
        assert!(taken(json!({ "requests": 0 }), 7).is_none(), "nothing was tried");
    }
}
