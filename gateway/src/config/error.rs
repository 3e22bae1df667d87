//! What is wrong with a configuration: where, what, and what would have done.

use std::fmt;

use super::source::{Place, Sources};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is; `None` when there is no text to point at (a missing file).
    pub place: Option<Place>,
    /// What is wrong, one sentence without a final stop.
    pub what: String,
    /// What would have done.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn at(place: Place, what: impl Into<String>) -> Self {
        Self { place: Some(place), what: what.into(), help: None }
    }

    /// A problem of no place.
    pub fn nowhere(what: impl Into<String>) -> Self {
        Self { place: None, what: what.into(), help: None }
    }

    /// The same with what would have done.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything that is wrong, with the texts it is wrong in.
#[derive(Clone, Debug)]
pub struct Problems {
    /// The files that were read.
    pub sources: Sources,
    /// At least one, in the order of the text.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Problems in these sources, put in the order of the text.
    pub fn new(sources: Sources, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.place);
        list.dedup();
        Self { sources, list }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            if let Some(place) = problem.place {
                write!(f, "{}: ", self.sources.at(place))?;
            }
            write!(f, "{}", problem.what)?;
            if let Some(help) = &problem.help {
                write!(f, "; {help}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
