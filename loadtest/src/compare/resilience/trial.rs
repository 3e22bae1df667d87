//! What is tried: its name, its words, its columns, and which servers it needs.

use serde_json::Value;

use super::super::statistics::median;
use super::faults::{self, Fault};
use super::stage::{Stage, StageError};
use super::storm::{self, Storm};
use super::{once, overload};

/// One thing that is tried with every proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Trial {
    Fault(Fault),
    Storm(Storm),
    Overload,
    /// With so many requests.
    Once(u32),
}

/// One column of its table.
pub(super) struct Column {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) digits: usize,
}

/// What one proxy made of it.
pub(in super::super) struct Taken {
    /// One for each column; none where there was nothing to count.
    pub(super) values: Vec<Option<f64>>,
    /// What `loadtest run` said.
    pub(super) run: Value,
}

/// What a proxy's routes are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routes {
    /// Everything goes to the servers.
    One,
    /// `/critical/`, `/normal/` and `/sheddable/`, each as important as it says where the proxy knows that.
    ByCriticality,
}

impl Trial {
    pub(super) const fn part(self) -> &'static str {
        match self {
            Self::Fault(_) => "faults",
            Self::Storm(_) => "storm",
            Self::Overload => "overload",
            Self::Once(_) => "once",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.name(),
            Self::Storm(storm) => storm.name(),
            Self::Overload => "overload",
            Self::Once(_) => "once",
        }
    }

    pub(super) fn does(self) -> String {
        match self {
            Self::Fault(fault) => fault.does(),
            Self::Storm(storm) => storm.does(),
            Self::Overload => overload::DOES.to_owned(),
            Self::Once(count) => once::does(count),
        }
    }

    pub(super) const fn promise(self) -> &'static str {
        match self {
            Self::Fault(_) => faults::PROMISE,
            Self::Storm(_) => storm::PROMISE,
            Self::Overload => overload::PROMISE,
            Self::Once(_) => once::PROMISE,
        }
    }

    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Fault(_) => &faults::COLUMNS,
            Self::Storm(_) => &storm::COLUMNS,
            Self::Overload => &overload::COLUMNS,
            Self::Once(_) => &once::COLUMNS,
        }
    }

    pub(super) const fn servers(self) -> usize {
        match self {
            Self::Fault(_) | Self::Storm(_) | Self::Once(_) => 4,
            Self::Overload => 1,
        }
    }

    pub(super) const fn routes(self) -> Routes {
        match self {
            Self::Fault(_) | Self::Storm(_) | Self::Once(_) => Routes::One,
            Self::Overload => Routes::ByCriticality,
        }
    }

    /// A column's figure over all rounds. Requests of several rounds that may not be sent twice are one large round.
    pub(super) fn joined(self, rounds: &[f64]) -> Option<f64> {
        match self {
            Self::Fault(_) | Self::Storm(_) | Self::Overload => median(rounds),
            Self::Once(_) => (!rounds.is_empty()).then(|| rounds.iter().sum()),
        }
    }

    /// Whether these figures, one for each column, keep the promise.
    pub(super) fn is_kept(self, values: &[Option<f64>]) -> bool {
        let is_kept = match self {
            Self::Fault(_) => faults::is_kept(values),
            Self::Storm(_) => storm::is_kept(values),
            Self::Overload => overload::is_kept(values),
            Self::Once(_) => once::is_kept(values),
        };
        // What was not counted was not kept.
        is_kept.unwrap_or(false)
    }

    pub(super) fn run(self, stage: &Stage<'_>) -> Result<Taken, StageError> {
        match self {
            Self::Fault(fault) => faults::run(fault, stage),
            Self::Storm(storm) => storm::run(storm, stage),
            Self::Overload => overload::run(stage),
            Self::Once(count) => once::run(count, stage),
        }
    }
}
