//! What a picture says of each server, in types and in words.

use std::fmt;

use super::member::{Cause, STEPS};

/// What a picture says of one member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It is picked.
    In {
        /// Of all traffic, between 0 and 1, if all are equally busy and quick.
        share: f64,
        /// On what ground.
        ground: Ground,
    },
    /// It could be picked, but is not needed: only for a request that has tried all others.
    Spare(Spare),
    /// It is not picked.
    Out(Reason),
}

/// Why a server takes part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ground {
    /// It is up.
    Up,
    /// It is up again and takes a share of its weight, in sixteenths.
    Starting {
        /// From 1 to 16.
        sixteenths: u32,
    },
    /// Too few are up, so all are used, whatever their state.
    Panic,
}

/// Why a server that is up is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// The groups before its own carry all traffic.
    LaterPriority,
    /// Its group's servers in the gateway's zone carry all traffic.
    FarZone,
}

/// Why a server is not picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its weight is 0.
    NoWeight,
    /// It does not have the label's value.
    OtherSubset,
    /// Its state.
    State(Cause),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In { share, ground } => {
                write!(f, "in: {:.1} % of the traffic, {ground}", share * 100.0)
            }
            Self::Spare(spare) => write!(f, "spare: {spare}"),
            Self::Out(reason) => write!(f, "out: {reason}"),
        }
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Starting { sixteenths } => write!(f, "slow start at {sixteenths}/{STEPS}"),
            Self::Panic => f.write_str("too few are up, so all are used"),
        }
    }
}

impl fmt::Display for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LaterPriority => "servers of an earlier priority carry all traffic",
            Self::FarZone => "servers in the gateway's zone carry all traffic",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWeight => "its weight is 0",
            Self::OtherSubset => "it belongs to another subset",
            Self::State(Cause::Unhealthy) => "its health checks fail",
            Self::State(Cause::Ejected) => "ejected for bad answers",
            Self::State(Cause::Draining) => "draining",
            Self::State(Cause::Disabled) => "disabled",
        })
    }
}
