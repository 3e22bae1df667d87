//! One server, as a picture is made of it.

use std::time::Duration;

/// A slow start rises in so many steps.
pub(super) const STEPS: u32 = 16;

/// One server, as config and health know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Tells it from the others in a consistent hash: [`super::rendezvous::hash`] of its address. Must be the same in every
    /// gateway and after a restart, and different for each server.
    pub identity: u64,
    /// How much it gets beside the others; 0: nothing. Up to 2^28.
    pub weight: u32,
    /// Where it is, if that is known.
    pub zone: Option<Box<str>>,
    /// Its group: 0 is used first, then 1, …
    pub priority: u32,
    /// Names and values by which requests may choose it.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// Whether it can be used.
    pub state: State,
}

/// Whether a server can be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// In full.
    Up,
    /// Back since not long ago, with a share of its weight between 0 and 1. See [`State::since`].
    Starting {
        /// Of its weight.
        share: f64,
    },
    /// Not.
    Out(Cause),
}

/// Why a server is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its health checks fail.
    Unhealthy,
    /// Its answers to requests were bad.
    Ejected,
    /// It finishes what it has begun and gets nothing new. Not used in a panic either.
    Draining,
    /// Someone has switched it off. Not used in a panic either.
    Disabled,
}

impl State {
    /// The state of a server that came back so long ago, with a slow start of this length: its share rises in sixteen
    /// equal steps, so a picture changes no more often than that.
    pub fn since(back: Duration, slow_start: Duration) -> Self {
        if back >= slow_start {
            return Self::Up;
        }
        let steps = (back.as_secs_f64() / slow_start.as_secs_f64() * f64::from(STEPS)).floor();
        Self::Starting { share: (steps + 1.0) / f64::from(STEPS) }
    }
}

impl Member {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(one, _)| **one == *name).map(|(_, value)| &**value)
    }

    pub(super) fn is_up(&self) -> bool {
        match self.state {
            State::Up | State::Starting { .. } => true,
            State::Out(_) => false,
        }
    }

    /// Its share of its weight, in sixteenths.
    pub(super) fn sixteenths(&self) -> u32 {
        match self.state {
            // A share that is no number counts as the least: `as` makes it 0.
            State::Starting { share } => {
                ((share * f64::from(STEPS)).round() as u32).clamp(1, STEPS)
            }
            State::Up | State::Out(_) => STEPS,
        }
    }
}
