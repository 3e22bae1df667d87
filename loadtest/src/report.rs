//! What a run found: figures, and promises that were kept or broken.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this file is for")]

use std::process::ExitCode;

use serde_json::{Map, Value, json};

/// Figures and promises in the order in which they were added.
#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<(String, Value)>,
    promises: Vec<(String, Kept)>,
}

/// What became of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    No,
}

impl From<bool> for Kept {
    fn from(kept: bool) -> Self {
        match kept {
            true => Self::Yes,
            false => Self::No,
        }
    }
}

impl Report {
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.push((name.to_owned(), value.into()));
    }

    pub(crate) fn promise(&mut self, text: &str, kept: impl Into<Kept>) {
        self.promises.push((text.to_owned(), kept.into()));
    }

    /// Prints everything; the exit code is 1 if any promise was broken.
    pub(crate) fn print(&self, json: bool) -> ExitCode {
        match json {
            true => println!("{}", self.document()),
            false => self.table().iter().for_each(|line| println!("{line}")),
        }
        match self.kept() {
            Kept::Yes => ExitCode::SUCCESS,
            Kept::No => ExitCode::FAILURE,
        }
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept::from(self.promises.iter().all(|(_, kept)| *kept == Kept::Yes))
    }

    fn table(&self) -> Vec<String> {
        let figures = self.figures.iter().map(|(name, value)| format!("{name:<44} {value}"));
        let promises = self.promises.iter().map(|(text, kept)| match kept {
            Kept::Yes => format!("kept    {text}"),
            Kept::No => format!("BROKEN  {text}"),
        });
        figures.chain(promises).collect()
    }

    fn document(&self) -> Value {
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|(name, value)| (name.replace(' ', "_"), value.clone()))
            .collect();
        let promises: Vec<Value> = self
            .promises
            .iter()
            .map(|(text, kept)| json!({ "promise": text, "kept": *kept == Kept::Yes }))
            .collect();
        json!({ "figures": figures, "promises": promises, "kept": self.kept() == Kept::Yes })
    }
}

/// A line of the result.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// A line about how far it is.
pub(crate) fn progress(text: &str) {
    eprintln!("{text}");
}

/// A line about what went wrong.
pub(crate) fn complain(text: &str) {
    eprintln!("loadtest: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_promise_breaks_the_report() {
        let mut report = Report::default();
        report.figure("failed requests", 0);
        report.promise("no request failed", true);
        assert_eq!(report.kept(), Kept::Yes);
        report.promise("both ends agree", false);
        assert_eq!(report.kept(), Kept::No);
        assert_eq!(report.document()["figures"]["failed_requests"], 0);
        assert_eq!(report.document()["kept"], false);
        assert!(report.table()[2].starts_with("BROKEN"));
    }
}
