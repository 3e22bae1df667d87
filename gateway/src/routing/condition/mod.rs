//! `when` of a route.

use super::parameters::Parameters;
use super::router::Asked;
use crate::config::{PathPattern, Problem, When};

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {}

impl Condition {
    /// Compiles.
    pub fn compile(when: &When, path: &PathPattern) -> Result<Self, Problem> {
        let _ = (when, path);
        Ok(Self {})
    }
    /// Holds.
    pub fn holds(&self, asked: &Asked<'_>, parameters: &Parameters) -> bool {
        let _ = (asked, parameters);
        true
    }
    /// Errors.
    pub fn errors(&self) -> u64 {
        0
    }
}
